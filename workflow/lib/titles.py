"""What tables and figures call methods: the line ``_title_`` of each YAML file."""

from collections.abc import Iterable, Mapping

from advdetect.naming import family
from experiment import Spec
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
