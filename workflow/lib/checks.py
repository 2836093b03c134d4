"""The names that one part of an experiment uses of another: settled or refused before any job."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

from advdetect.naming import family
from columns import check_columns
from experiment import ConfigurationError, Experiment, Run, Spec
from methods import FIGURE, GROUPS, SCHEMA, TRAINING, hydra_value, unknown, validate
from needs import check_labels_only, check_needs, check_without_training_images
from papers import what_can_be_made
from trainings import is_trained
from yaml_files import OVERRIDES

# What stands where the name of an attack, of a feature or of an experiment would.
RESERVED = {
    "An attack": {
        "clean": "clean images are",
        "train": "training images are",
        "others": "all attacks but one are",
        "held_out": "training images that nothing is fitted on are",
        "unchanged": "the control of features is",
    },
    "A feature": {"paired": "the tests between features are"},
    "An experiment": {
        "store": "the folder of what lies between the stages is",
        "logs": "the folder of what jobs said is",
    },
}
#: The command line's choices after which what the experiment set for its own may not fit any more.
_CHOICES = {*OVERRIDES, *GROUPS.values(), "runs", "evaluation.bits"}


def settle(
    experiment: Experiment, explicit: Set[str], kinds: Mapping[str, Spec], references: Path
) -> Experiment:
    """Check all references; leave out what the command line's choices have left without a base.

    A defence whose features were not chosen, and a paper's table, reading or figure that the
    choices lack something of, are left out with a sentence. What was named on the command line
    itself, or in YAML without any choice on the command line, is refused instead.

    Args:
        experiment: The experiment as composed.
        explicit: Names of the settings that the command line sets.
        kinds: The kinds of figure with their schemas.
        references: Folder of the files of reported values.

    Raises:
        ConfigurationError: A reference is wrong.
    """
    left_out: list[str] = []
    if "features" in explicit and "defenses" not in explicit:
        runs = []
        for run in experiment.runs:
            kept = {
                name: spec
                for name, spec in run.defenses.items()
                if all(detector["feature"] in run.features for detector in spec["detectors"])
            }
            gone = [name for name in run.defenses if name not in kept]
            if gone:
                left_out.append(f"the defences {', '.join(gone)}, whose features were not chosen")
            runs.append(_without_defenses(run, kept) if gone else run)
        experiment = replace(experiment, runs=tuple(runs))
    _check_reserved("An experiment", [experiment.settings["name"].lower()])
    for run in experiment.models:
        check_without_training_images(run)
    for run in experiment.runs:
        _check_run(run)
        check_columns(run)
        check_needs(run, experiment.settings)
        check_labels_only(experiment, run)
    settings = experiment.settings
    if not explicit & _CHOICES or "units.runs" in explicit:
        _check_names("units.runs", settings["units"]["runs"], [run.name for run in experiment.runs])
    for name, kind in experiment.figures.items():
        if "detector" in kind:
            there = experiment.names("detectors")
            _check_names(f"figure.{name}.detector", [kind["detector"]], there)
    _check_paper_figures(settings["paper_figures"], kinds)
    _check_reported_files(settings["reproductions"], references)
    made, gone = what_can_be_made(
        experiment,
        lambda part: bool(explicit & _CHOICES) and part not in explicit,
        kinds,
        references,
    )
    left_out += gone
    return replace(
        experiment, settings=experiment.settings | made, left_out=tuple(dict.fromkeys(left_out))
    )


def preferences(
    evaluation: Spec, runs: Sequence[Run], explicit: Set[str], files: Mapping[str, Iterable[str]]
) -> list[str]:
    """Return overrides of the preferences that are not among what is chosen: the first that is.

    Args:
        evaluation: The settings of the evaluation.
        runs: The runs.
        explicit: Names of the settings that the command line sets.
        files: Names of all detectors and features that there are.

    Raises:
        ConfigurationError: The command line itself prefers one that is not chosen, or there is none
            of that name.
    """
    detectors = {name: spec for run in runs for name, spec in run.detectors.items()}
    features = list(dict.fromkeys(name for run in runs for name in run.features))
    real = [name for name, spec in detectors.items() if not spec.get("_control_")]
    overrides = []
    for key, group, chosen in (
        ("primary_detector", "detector", [*real, *(n for n in detectors if n not in real)]),
        ("main_feature", "feature", features),
    ):
        preferred = str(evaluation[key])
        if preferred in chosen:
            continue
        swept = [name for name in chosen if name.partition(",")[0] == preferred]
        if preferred.partition(",")[0] not in files[group]:
            raise ConfigurationError(
                f"evaluation.{key}: {unknown(group, [preferred], files[group])}"
            )
        if f"evaluation.{key}" in explicit and not swept:
            raise ConfigurationError(
                f"evaluation.{key}: {preferred} is not among those of this experiment "
                f"({', '.join(chosen)})."
            )
        overrides.append(f"evaluation.{key}={hydra_value((swept or chosen)[0])}")
    return overrides


def check_used(experiment: Experiment, keys: Iterable[str]) -> None:
    """Check that each override of a method is of one that the experiment has: it would be in vain.

    Args:
        experiment: The experiment, settled.
        keys: What the command line and the runs set, such as ``attack.fgsm.epsilon``.

    Raises:
        ConfigurationError: No run has the method.
    """
    for key in keys:
        group, _, rest = key.partition(".")
        name = rest.partition(".")[0]
        if group == TRAINING and not any(is_trained(run.model) for run in experiment.runs):
            raise ConfigurationError(
                f"{key} is set, but the model takes its weights from a file or fits itself: leave "
                f"out one of both."
            )
        if group not in GROUPS or not name:
            continue
        used = {method for run in experiment.runs for method in _methods(run, group)}
        if name not in used:
            raise ConfigurationError(
                f"{key} is set, but no {group} {name} is in this experiment "
                f"({GROUPS[group]}: {', '.join(sorted(used)) or 'none'}): choose it, or leave the "
                f"setting out."
            )


def _methods(run: Run, group: str) -> Iterable[str]:
    """Yield the names of the YAML files that a run's methods of a group come from."""
    methods: dict[str, Iterable[str]] = {
        "attack": run.attacks,
        "feature": [*run.features, *run.computed_features, *run.fitted_features],
        "detector": run.detectors,
        "defense": run.defenses,
    }
    yield from (family(name).partition("@")[0] for name in methods[group])


def _without_defenses(run: Run, kept: dict[str, Spec]) -> Run:
    """Return the run with fewer defences, and without the features that only the others need."""
    needed = {part for name in run.features for part in run.parts(name)}
    needed |= {d["feature"] for spec in kept.values() for d in spec["detectors"]}
    computed = {name: spec for name, spec in run.computed_features.items() if name in needed}
    owners = {spec["_fitted_by_"] for spec in computed.values() if spec.get("_fitted_by_")}
    fitted = {
        k: v
        for k, v in run.fitted_features.items()
        if k in computed or k.partition(",")[0] in owners
    }
    return replace(run, defenses=kept, computed_features=computed, fitted_features=fitted)


def _check_names(where: str, names: Iterable[str] | None, there: Sequence[str]) -> None:
    if missing := [name for name in names or () if name not in there]:
        raise ConfigurationError(
            f"{where}: {missing[0]} is not among those of this experiment "
            f"({', '.join(filter(None, there)) or 'none has a name'})."
        )


def _check_reported_files(tables: Mapping[str, Spec], references: Path) -> None:
    for name, spec in tables.items():
        if not (references / spec["reported"]).is_file():
            there = ", ".join(sorted(path.name for path in references.glob("*.csv")))
            raise ConfigurationError(
                f"reproductions.{name}.reported: {spec['reported']} is not among config/reference/ "
                f"({there})."
            )


def _check_paper_figures(named: Mapping[str, Spec], kinds: Mapping[str, Spec]) -> None:
    """Check that each is of a kind that there is, and has the parameters of its kind."""
    for name, figure in named.items():
        if figure["kind"] not in kinds:
            raise ConfigurationError(unknown(FIGURE, [figure["kind"]], kinds))
        given = {key: figure[key] for key in figure if key not in ("kind", "caption", "attacks")}
        values = {key: value for key, value in kinds[figure["kind"]].items() if key[0] != "_"}
        validate(f"paper_figures.{name}", values | given, kinds[figure["kind"]].get(SCHEMA))


def _check_run(run: Run) -> None:
    """Check the names that one part of a run uses of another."""
    _check_reserved("An attack", run.attacks)
    _check_reserved("A feature", run.features)
    for name, spec in run.computed_features.items():
        if "_union_" in spec:
            raise ConfigurationError(f"feature.{name} is a union and cannot be a part of another.")
    users = {f"feature.{name}": spec for name, spec in run.computed_features.items()}
    users |= {f"defense.{name}": spec for name, spec in run.defenses.items()}
    for name, spec in users.items():
        owner = spec.get("_fitted_by_")
        if owner and owner not in run.fitted_features:
            swept = [fitted for fitted in run.fitted_features if fitted.startswith(f"{owner},")]
            reason = (
                f"is a sweep ({'; '.join(swept)})" if swept else "has no auxiliary model (no _fit_)"
            )
            raise ConfigurationError(f"{name}._fitted_by_: {owner} {reason}.")
    for name, spec in run.defenses.items():
        for detector in spec["detectors"]:
            feature = detector["feature"]
            own = run.computed_features[feature]
            if own.get("_activations_") or (
                spec.get("_fitted_by_") not in (own.get("_fitted_by_"), feature)
            ):
                raise ConfigurationError(
                    f"defense.{name}.detectors: the feature {feature} is not made with the "
                    f"auxiliary model of {spec.get('_fitted_by_')}, which says what is held out."
                )


def _check_reserved(what: str, names: Iterable[str]) -> None:
    for name in names:
        if used := RESERVED[what].get(name):
            raise ConfigurationError(f"{what} cannot be named {name}: {used}; rename it.")
