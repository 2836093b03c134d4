"""Which figures an experiment has, and what each is drawn from: read off the YAML of its kinds.

A kind is a file of ``config/figure/``. Its parameters are those of the function that draws it; the
names with underscores say when it is drawn and from what:

- ``_reads_``: names of what is stored, such as ``scores/{feature}``, without folders and suffixes.
  What stands in braces is filled in: an attack, a feature, a defence, a noise of certificates, a
  table of ``reproductions``, a source (clean images or an attack), a file of reported values.
- ``_attacks_``: of which attacks; without it, of all.
- ``_reported_``: of which kind of ``reproductions`` the reported values are shown, if any.
- ``_each_``: one figure for each feature or table, with its name behind that of the kind.
- ``_when_``: what the experiment must have; ``_needs_`` says it in words.
- ``_seeds_``: ``first`` where one model is shown.
- ``_order_``, ``_section_``, ``_caption_``: where it stands in the report, and what is below it.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from sweeps import has_number_sweep

Spec = dict[str, Any]
CLEAN = "clean"
_OF_PAPERS = "reproduction"  # the section of the papers' figures


class UnknownFigureError(WorkflowError):
    """There is no such figure, or this experiment lacks what it needs; the message says which."""


@dataclass(frozen=True)
class Contents:
    """What an experiment has, as far as its figures depend on it.

    Attributes:
        attacks: Specification by name.
        features: Names of the features that are evaluated.
        computed: Names of the features that are computed.
        defenses: Names of the defences.
        noises: Names of the noises that models are certified with.
        reproductions: The papers' tables by name.
        paper_figures: The papers' figures by name: kind, caption, attacks and parameters.
        main_feature: The feature that is shown where one is.
        trained: Whether the model is trained here.
        chosen: Names of the figures of the report, those of papers left out; None: all that it has.
    """

    attacks: Mapping[str, Spec]
    features: Sequence[str]
    computed: Collection[str]
    defenses: Sequence[str]
    noises: Sequence[str]
    reproductions: Mapping[str, Spec]
    paper_figures: Mapping[str, Spec]
    main_feature: str
    trained: bool
    chosen: Collection[str] | None = None


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        spec: What the step draws it by: the function and its parameters.
        reads: Names of what it is drawn from.
        first_seed: Whether of the first seed only.
        section: The section of the report that it stands in.
        caption: What stands below it.
    """

    spec: Spec
    reads: tuple[str, ...]
    first_seed: bool
    section: str
    caption: str


class Figures:
    """The figures of an experiment.

    Args:
        kinds: Specification by name of the kinds of figure.
        contents: What the experiment has.
    """

    def __init__(self, kinds: Mapping[str, Spec], contents: Contents) -> None:
        self._kinds = kinds
        self._has = contents

    @property
    def own(self) -> list[str]:
        """Names of the figures of the report in their order, those of papers left out.

        Raises:
            UnknownFigureError: One that is chosen is unknown, or cannot be drawn here.
        """
        chosen = self._has.chosen
        for name in chosen or ():
            self[name]  # refuses what there is not
        return [
            name
            for name in self._all
            if (self._is_usual(name) if chosen is None else name in chosen)
        ]

    @property
    def others(self) -> list[str]:
        """Names of the figures that can be drawn, but are not part of the report."""
        own = self.own
        return [name for name in self._all if name not in own]

    @property
    def _all(self) -> list[str]:
        ordered = sorted(self._kinds, key=lambda kind: self._kinds[kind].get("_order_", 0))
        return [name for kind in ordered if self._can_be_drawn(kind) for name in self._names(kind)]

    def __getitem__(self, name: str) -> Figure:
        """Return a figure.

        Raises:
            UnknownFigureError: There is none of that name, or it cannot be drawn here.
        """
        if name in self._has.paper_figures:
            return self._of_paper(self._has.paper_figures[name])
        kind, each = self._split(name)
        spec = self._kinds[kind]
        if not self._can_be_drawn(kind):
            there = ", ".join([*self._has.defenses, *self._has.attacks])
            needs = spec.get("_needs_", "to be named in paper_figures")
            raise UnknownFigureError(
                f"The figure {name} needs {needs}; this experiment has: {there}."
            )
        return self._figure(spec, self._attacks_of(spec), each, spec["_section_"])

    def _of_paper(self, named: Spec) -> Figure:
        """Return a figure of a paper: a kind with attacks, parameters and a caption of its own."""
        kind = self._kinds[named["kind"]]
        own = {name: named[name] for name in named.keys() - {"kind", "caption", "attacks"}}
        spec = kind | own | {"_caption_": named["caption"]}
        return self._figure(spec, named["attacks"], {}, _OF_PAPERS)

    def _split(self, name: str) -> tuple[str, dict[str, str]]:
        """Return the kind of one of our own figures, and what it is one for."""
        for kind, spec in self._kinds.items():
            each = spec.get("_each_")
            if name == kind and not each:
                return kind, {}
            of = name.removeprefix(f"{kind}_")
            if each and of != name and of in self._known(each):
                return kind, {each: of}
        near = " or ".join(get_close_matches(name, self._all))
        raise UnknownFigureError(
            f"Unknown figure: {name}. There are: {', '.join(self._all)}."
            + (f" Did you mean {near}?" if near else "")
        )

    def _figure(
        self, kind: Spec, attacks: Iterable[str], each: Mapping[str, str], section: str
    ) -> Figure:
        tables = self._has.reproductions.values()
        reported = [table for table in tables if table["kind"] == kind.get("_reported_")]
        fillings: dict[str, list[str]] = {
            "attack": list(attacks),
            "source": [CLEAN, *attacks],
            "feature": [kind["feature"]] if "feature" in kind else list(self._has.features),
            "defense": list(self._has.defenses),
            "noise": list(self._has.noises),
            "reported": list(dict.fromkeys(table["reported"] for table in reported)),
            **{name: [value] for name, value in each.items()},
        }
        spec = {name: value for name, value in kind.items() if not _is_private(name)}
        if reported:
            spec["reproductions"] = reported
        table = self._has.reproductions.get(each.get("reproduction", ""), {})
        return Figure(
            spec={"_target_": kind["_target_"], **spec},
            reads=tuple(name for pattern in kind["_reads_"] for name in _fill(pattern, fillings)),
            first_seed=kind.get("_seeds_") == "first",
            section=section,
            caption=kind["_caption_"].replace("{title}", table.get("title", "")),
        )

    def _names(self, kind: str) -> list[str]:
        each = self._kinds[kind].get("_each_")
        return [f"{kind}_{name}" for name in self._known(each)] if each else [kind]

    def _is_usual(self, name: str) -> bool:
        """Return whether a figure is in the report if none is chosen: of features the main one."""
        _, each = self._split(name)
        return each.get("feature", self._has.main_feature) == self._has.main_feature

    def _known(self, each: str) -> list[str]:
        return list({"feature": self._has.features, "reproduction": self._has.reproductions}[each])

    def _can_be_drawn(self, kind: str) -> bool:
        spec = self._kinds[kind]
        return bool(self._attacks_of(spec)) and all(map(self._holds, spec.get("_when_", [])))

    def _holds(self, condition: str) -> bool:
        what, _, name = condition.partition(" ")
        return {
            "trained": self._has.trained,
            "computed": name in self._has.computed,
            "defenses": bool(self._has.defenses),
            "certification": bool(self._has.noises),
            "number_sweep": what == "number_sweep" and has_number_sweep(self._has.attacks),
            "named": False,
        }[what]

    def _attacks_of(self, kind: Spec) -> list[str]:
        """Return the attacks that a kind shows, in the order of its sorts."""
        if "_attacks_" not in kind:
            return list(self._has.attacks)
        sorts = sort_attacks(self._has.attacks)
        return list(dict.fromkeys(name for sort in kind["_attacks_"] for name in sorts[sort]))


def sort_attacks(attacks: Mapping[str, Spec]) -> dict[str, list[str]]:
    """Return the names of the attacks of each sort.

    ``minimal_norm``: they look for the least perturbation; ``line_search``: those of them that look
    along one direction; ``epsilon_sweep``: instances of a sweep of ε that spend a budget;
    ``transferred_sweep``: instances of a sweep of a number that are crafted on another model.
    """
    minimal = [name for name, spec in attacks.items() if spec.get("_minimal_norm_")]
    return {
        "minimal_norm": minimal,
        "line_search": [name for name in minimal if "direction" in attacks[name]],
        "epsilon_sweep": [name for name in attacks if ",epsilon=" in name and name not in minimal],
        "transferred_sweep": [
            name for name in attacks if "@" in name and has_number_sweep(_siblings(name, attacks))
        ],
    }


def _siblings(name: str, attacks: Mapping[str, Spec]) -> dict[str, Spec]:
    """Return the instances of an attack's sweep."""
    method = name.partition(",")[0]
    return {other: spec for other, spec in attacks.items() if other.partition(",")[0] == method}


def used_names(named: Spec, kinds: Mapping[str, Spec]) -> Iterable[tuple[str, str]]:
    """Yield group and name of what a paper's figure is drawn from."""
    yield from (("attack", name) for name in named["attacks"])
    if "feature" in named:
        yield "computed", named["feature"]
    if "detector" in named:
        yield "detector", named["detector"]
    for pattern in kinds[named["kind"]]["_reads_"]:
        found = re.fullmatch(r"features/\w+/(\w+)", pattern)
        if found:
            yield "computed", found[1]


def _fill(pattern: str, fillings: Mapping[str, Sequence[str]]) -> Iterable[str]:
    """Yield the names that a pattern stands for, the last of its braces first to change."""
    found = re.search(r"\{(\w+)\}", pattern)
    if not found:
        yield pattern
        return
    for value in fillings[found[1]]:
        yield from _fill(f"{pattern[: found.start()]}{value}{pattern[found.end() :]}", fillings)


def _is_private(name: str) -> bool:
    return name.startswith("_")
