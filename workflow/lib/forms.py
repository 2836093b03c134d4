"""The forms of images that papers' tables and figures show, and those that are computed."""

from collections.abc import Iterable, Mapping

from experiment import Experiment, Spec


def missing_forms(wanted: Iterable[Spec], experiment: Experiment) -> Iterable[str]:
    """Yield what keeps readings or a figure from being made, a sentence each.

    Args:
        wanted: Specifications that may have ``bits``, the form of their images.
        experiment: The experiment, which says what is computed.
    """
    there = experiment.settings["evaluation"]["bits"]
    for form in dict.fromkeys(spec["bits"] for spec in wanted if "bits" in spec):
        if form not in there:
            yield f"its images are {form}, which is not in evaluation.bits ({', '.join(there)})"


def without_missing(
    tables: Mapping[str, Spec], experiment: Experiment
) -> tuple[dict[str, Spec], list[str]]:
    """Return papers' tables without the readings of images that are not computed.

    Args:
        tables: The tables by name.
        experiment: The experiment.

    Returns:
        The tables, and in words what was left out. A table all of whose readings are of such images
        keeps them: it cannot be made at all.
    """
    kept, gone = {}, []
    for name, spec in tables.items():
        readings = [each for each in spec["readings"] if not [*missing_forms([each], experiment)]]
        kept[name] = spec | {"readings": readings or spec["readings"]}
        if readings:
            lacking = [each["name"] for each in spec["readings"] if each not in readings]
            gone += [f"of reproductions.{name} the reading {reading}" for reading in lacking]
    return kept, gone
