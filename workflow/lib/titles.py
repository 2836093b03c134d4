"""What tables and figures call methods and runs.

The title of a method is the line ``_title_`` of its YAML file, that of a run stands beside its
name. No file of the store knows any.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from advdetect.naming import family
from experiment import ConfigurationError, Run, Spec
from methods import GROUPS, TITLE

#: What holds every attack under the name of a feature or of a defence.
_OF_ALL_ATTACKS = ("scores", "metrics", "defenses")


def titles_of(tree: Spec, names: Mapping[str, str]) -> dict[str, str]:
    """Return the titles of the methods that are chosen, and of a paper's own names.

    Args:
        tree: The composed configuration.
        names: Names of the data set and of the model.
    """
    every = {name: spec for group in GROUPS for name, spec in tree[group].items()}
    every |= {name: tree[kind] for kind, name in names.items()}
    given: dict[str, str] = {}
    for name, spec in every.items():
        title = spec.get(TITLE, name) if isinstance(spec, dict) else name
        given |= title if isinstance(title, dict) else {name: title}
    papers = tree["reproductions"].values()
    chosen = (str(name) for key in GROUPS.values() for name in tree[key])
    shown = {
        *names.values(),
        *(method for name in chosen for method in (name, name.partition("@")[0])),
    }
    for table in papers:
        shown |= table.get("methods", {}).keys()
        for reading in table["readings"]:
            shown |= reading["attacks"].keys() | reading.get("defenses", {}).keys()
    titles = {name: text for name, text in given.items() if name.partition(",")[0] in shown}
    for table in papers:
        titles |= table.get("titles", {})
    return titles


def titles_of_runs(
    runs: Sequence[Run],
    entries: Sequence[Spec],
    tables: Iterable[Spec],
    crafted_on: Iterable[str],
    model_title: Callable[[str], str],
) -> dict[str, str]:
    """Return the titles of runs, behind an ``@``, and of what a paper's tables call one of them.

    Args:
        runs: The runs, with their names.
        entries: What the configuration says of each; nothing of a single one that is not listed.
        tables: The papers' tables.
        crafted_on: Names of runs and models that images are crafted on.
        model_title: Returns the title of a model.

    Raises:
        ConfigurationError: Two runs would be shown by one title.
    """
    pairs = zip(runs, entries, strict=False)
    own = {run.name: entry["title"] for run, entry in pairs if run.name and "title" in entry}
    shown = [own.get(run.name, run.name) for run in runs]
    if twice := [title for title in shown if shown.count(title) > 1]:
        raise ConfigurationError(
            f"runs: two runs would be shown as {twice[0]!r}: give one another title."
        )
    names = {run.name for run in runs}
    titles = {f"@{name}": model_title(name) for name in crafted_on if name not in names}
    titles |= {f"@{name}": title for name, title in own.items()}
    for table in tables:
        called = table.get("runs", {}).items()
        titles |= {label: own[run] for label, run in called if isinstance(run, str) and run in own}
        titles |= table.get("titles", {})
    return titles


def titles_shown(
    titles: Mapping[str, str], reads: Iterable[str], attacks: Iterable[str], others: Iterable[str]
) -> dict[str, str]:
    """Return the titles that a figure can show, so that other methods come and go without it.

    Args:
        titles: Of everything.
        reads: Names of what the figure is drawn from, such as ``scores/kd``.
        attacks: Names of the attacks, values of sweeps and other models included.
        others: Names of the features and defences.
    """
    parts = [read.split("/") for read in reads]
    if any(stage == "tables" for stage, *_ in parts):
        return dict(titles)
    named = {name for _, *names in parts for name in names}
    unseen = set(others)
    if not any(stage in _OF_ALL_ATTACKS for stage, *_ in parts):
        unseen |= {each for name in attacks for each in (name, _method(name))}
    unseen -= {*named, *map(_method, named)}
    return {name: text for name, text in titles.items() if name not in unseen}


def _method(attack: str) -> str:
    return family(attack.partition("@")[0])
