"""The papers' tables and figures that an experiment can make, and what the others lack."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from columns import columns_of_figure, columns_of_table, unknown_columns
from experiment import ConfigurationError, Experiment, Spec
from figures import used_names
from reproductions import check_reported, runs_of, unknown, unknown_names


def what_can_be_made(
    experiment: Experiment,
    may_lack: Callable[[str], bool],
    kinds: Mapping[str, Spec],
    references: Path,
) -> tuple[dict[str, dict[str, Spec]], list[str]]:
    """Return papers' tables, with their readings, and figures that lack nothing.

    Args:
        experiment: The experiment.
        may_lack: Whether a table or figure, such as ``reproductions.table4``, may lack something,
            since the command line has chosen it away. What may not is refused.
        kinds: The kinds of figure with their schemas.
        references: Folder of the files of reported values.

    Returns:
        The settings ``reproductions`` and ``paper_figures``, and in words what was left out.

    Raises:
        ConfigurationError: One lacks something that it may not.
    """
    tables: dict[str, Spec] = {}
    figures: dict[str, Spec] = {}
    left_out: list[str] = []

    def lacks(part: str, problems: Iterable[str]) -> str | None:
        problem = next(iter(problems), None)
        if problem and not may_lack(part):
            raise ConfigurationError(f"{part}: {problem}.")
        return problem

    for name, spec in experiment.settings["reproductions"].items():
        part = f"reproductions.{name}"
        if not lacks(part, _problems_of_table(spec, experiment, references)):
            tables[name] = spec
            continue
        readings, problems = [], []
        for reading in spec["readings"]:
            alone = spec | {"readings": [reading]}
            if problem := lacks(part, _problems_of_table(alone, experiment, references)):
                problems.append((reading["name"], problem))
            else:
                readings.append(reading)
        if readings:
            tables[name] = spec | {"readings": readings}
            left_out += [f"of {part} the reading {own}, since {why}" for own, why in problems]
        else:
            left_out.append(f"{part}, since {problems[0][1]}")
    for name, spec in experiment.settings["paper_figures"].items():
        part = f"paper_figures.{name}"
        if problem := lacks(part, _problems_of_figure(spec, experiment, kinds)):
            left_out.append(f"{part}, since {problem}")
        else:
            figures[name] = spec
    return {"reproductions": tables, "paper_figures": figures}, left_out


def _problems_of_table(spec: Spec, experiment: Experiment, references: Path) -> Iterable[str]:
    """Yield what keeps a paper's table from being made, a sentence each."""
    runs = {run.name: run for run in experiment.runs}
    labels = runs_of(spec)
    if missing := [label for label in labels or () if label not in runs]:
        there = ", ".join(filter(None, runs)) or "none has a name"
        yield f"the run {missing[0]} is not among those of this experiment ({there})"
        return
    named = experiment.runs if labels is None else tuple(runs[label] for label in labels)
    yield from unknown_names(spec, _known(replace(experiment, runs=named)))
    yield from unknown_columns(columns_of_table(spec), named)
    yield from check_reported(spec, references / spec["reported"], named[0].reported_as)
    yield from _missing_forms(spec["readings"], experiment)


def _problems_of_figure(
    spec: Spec, experiment: Experiment, kinds: Mapping[str, Spec]
) -> Iterable[str]:
    """Yield what keeps a paper's figure from being drawn, a sentence each."""
    yield from unknown(used_names(spec, kinds), _known(experiment))
    yield from _missing_forms([spec], experiment)
    yield from unknown_columns(columns_of_figure(spec), experiment.runs)
    there = [run.name for run in experiment.runs if run.name]
    if "runs" in spec and not set(there) & set(spec["runs"]):  # a small experiment has fewer
        yield (
            f"none of the runs {', '.join(spec['runs'])} is among those of this experiment "
            f"({', '.join(there) or 'none has a name'})"
        )


def _known(experiment: Experiment) -> dict[str, Iterable[str]]:
    known: dict[str, dict[str, Any]] = {}
    for run in experiment.runs:
        for group, names in run.known_names().items():
            known.setdefault(group, {}).update(dict.fromkeys(names))
    return {group: list(names) for group, names in known.items()}


def _missing_forms(wanted: Iterable[Spec], experiment: Experiment) -> Iterable[str]:
    """Yield which forms of images readings or a figure show that are not computed."""
    there = experiment.settings["evaluation"]["bits"]
    for form in dict.fromkeys(spec["bits"] for spec in wanted if "bits" in spec):
        if form not in there:
            yield f"its images are {form}, which is not in evaluation.bits ({', '.join(there)})"
