"""What tables and figures call methods: the line ``_title_`` of each YAML file."""

from collections.abc import Mapping

from experiment import Spec
from methods import GROUPS, TITLE


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
