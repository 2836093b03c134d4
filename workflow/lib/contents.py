"""What an experiment has, by the names that tables and figures use for it."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from advdetect.protocol import CLEAN
from certification import USES, CertifiedStore, noises
from experiment import Experiment, Run, Spec
from figures import sort_attacks
from store import EXAMPLES, UNITS
from store_file import StoreFile
from trainings import is_trained, needs_unused

FORMATS = ("csv", "md", "tex", "txt")  # of every table
DEFENSES = "defense_accuracy"  # the table of the defences


class Contents:
    """The runs of an experiment, their files, and the papers' tables.

    Args:
        experiment: The experiment.
        store: Its files between the stages.
        base: Folder of the Snakefile.

    Raises:
        WorkflowError: Two runs are one.
    """

    def __init__(self, experiment: Experiment, store: CertifiedStore, base: Path) -> None:
        self._experiment, self._store, self._base = experiment, store, base
        self._settings = experiment.settings
        self.folder = f"{self._settings['results']}/{self._settings['name']}"
        self._evaluation = self._settings["evaluation"]
        self._check_runs()

    def _check_runs(self) -> None:
        """Check that files tell all runs apart: by their model and its training images."""
        known: dict[str, Run] = {}
        for run in self._experiment.runs:
            other = known.setdefault(self._store.run_id(run), run)
            if other is not run:
                raise WorkflowError(
                    f"runs: {other.name} and {run.name} have the same model and training images; "
                    "list values of a method instead, as in attack.fgsm.epsilon=[0.1,0.2]."
                )

    @property
    def _runs(self) -> list[tuple[Run, int]]:
        return [(run, seed) for run in self._experiment.runs for seed in self._settings["seeds"]]

    @property
    def _features(self) -> list[str]:
        return self._experiment.names("features")

    @property
    def _attacks(self) -> dict[str, Spec]:
        names = self._experiment.names("attacks")
        return {name: self._experiment.spec("attacks", name) for name in names}

    @property
    def _bootstrap(self) -> dict[str, Any]:
        evaluation = self._evaluation
        return {
            "replicates": evaluation["replicates"],
            "bootstrap_seed": evaluation["bootstrap_seed"],
            **self._labels,
        }

    @property
    def _of_metrics(self) -> dict[str, Any]:
        return {**self._bootstrap, "primary_detector": self._evaluation["primary_detector"]}

    @property
    def _labels(self) -> dict[str, Any]:
        """What readers call the runs, by what their files say that they are of."""
        return {"runs": {self._store.run_id(run): run.name for run in self._experiment.runs}}

    @property
    def _titles(self) -> dict[str, Any]:
        return {"titles": dict(self._experiment.titles)}

    @property
    def _run_titles(self) -> dict[str, Any]:
        titles = self._experiment.titles.items()
        return {"titles": {name: text for name, text in titles if name.startswith("@")}}

    def _all(self, what: str, names: Iterable[str]) -> list[StoreFile]:
        """Return a kind of files of all runs and seeds, for the names that a run has."""
        return [file for run, seed in self._runs for file in self._of(what, run, seed, names)]

    def _of(self, what: str, run: Run, seed: int, names: Iterable[str]) -> list[StoreFile]:
        group = {"scores": "features", "attack": "attacks", "defense": "defenses"}[what]
        own = [name for name in names if name in getattr(run, group)]
        return [getattr(self._store, what)(run, seed, name) for name in own]

    def _named(self, run: Run, seed: int, read: str) -> StoreFile | None:
        """Return the file of a run that tables and figures call ``scores/kd`` and the like."""
        stage, _, name = read.removesuffix(".parquet").removesuffix(".safetensors").partition("/")
        if stage == "training":
            return self._store.history(run, seed) if is_trained(run.model) else None
        if stage == CLEAN:
            return self._store.clean(run, seed)
        if stage == UNITS:
            chosen = self._settings[UNITS]["runs"]
            is_wanted = chosen is None or run.name in chosen
            return self._store.units(run, seed) if is_wanted else None
        source, _, feature = name.partition("/")
        if stage == "features":
            has_both = source in (CLEAN, *run.attacks) and feature in run.computed_features
            return self._store.feature(run, seed, source, feature) if has_both else None
        if stage in USES:
            return self._store.counts(stage, run, seed, name)
        for step, (folder, _) in EXAMPLES.items():
            if stage == folder:
                has = name in run.attacks
                return self._store.of_examples(step, run, seed, name) if has else None
        what = {"scores": "scores", "attacks": "attack", "defenses": "defense"}[stage]
        return next(iter(self._of(what, run, seed, [name])), None)

    @property
    def _substitutes(self) -> list[Run]:
        """The runs whose model imitates another."""
        return [run for run in self._experiment.runs if needs_unused(run.model)]

    @property
    def _imitation(self) -> dict[str, list[StoreFile]]:
        """What says how well substitutes imitate their oracles."""
        both = [(run, seed) for run in self._substitutes for seed in self._settings["seeds"]]
        pairs = [(of, seed) for run, seed in both for of in (run, *run.others.values())]
        return {
            "histories": [self._store.history(run, seed) for run, seed in both],
            "clean": list(dict.fromkeys(self._store.clean(run, seed) for run, seed in pairs)),
        }

    @property
    def _defense_reproductions(self) -> dict[str, Spec]:
        specs = self._reproductions.items()
        return {name: spec for name, spec in specs if spec["kind"] == "defense"}

    @property
    def _reproductions(self) -> dict[str, Spec]:
        """The papers' tables by name, each with the data set that its values are reported for."""
        runs = {run.name: run for run in self._experiment.runs}
        return {
            name: spec
            | {"dataset": runs.get(spec.get("run", ""), self._experiment.runs[0]).reported_as}
            for name, spec in self._settings["reproductions"].items()
        }

    def _reference(self, name: str) -> str:
        return str(self._base / "config" / "reference" / name)

    @cached_property
    def _tables(self) -> list[str]:
        """Names of the files of our own tables, without suffix."""
        rounded = ["_8bit", "_all_8bit"] if self._has_rounded else []
        variants = ["", "_all", *rounded]
        variants += ["_average_precision", "_tpr_at_fpr_0.01", "_tpr_at_fpr_0.05"]
        return [
            *(f"detection{variant}" for variant in variants),
            *(f"cross_attack_{feature}" for feature in self._features),
            "detectors",
            "control",
            "attacks",
            *(["paired"] if len(self._features) > 1 else []),
            *(["least_perturbation"] if sort_attacks(self._attacks)["minimal_norm"] else []),
            *self._defense_tables,
            *(["substitutes"] if self._substitutes else []),
        ]

    @cached_property
    def _counts(self) -> list[StoreFile]:
        """Counts of images under noise of all runs, for certificates; none without a noise."""
        return [
            self._store.counts(kind, run, seed, noise)
            for run, seed in self._runs
            for noise in noises(self._settings)
            for kind in USES
        ]

    @property
    def _defense_tables(self) -> list[str]:
        rounded = [f"{DEFENSES}_8bit"] if self._has_rounded else []
        return [DEFENSES, *rounded] if self._experiment.names("defenses") else []

    @property
    def _has_rounded(self) -> bool:
        return "8bit" in self._evaluation["bits"]

    def _table_files(self, names: Iterable[str], *others: str) -> list[str]:
        tables = [f"{self.folder}/tables/{name}.{suffix}" for name in names for suffix in FORMATS]
        return [*tables, *(f"{self.folder}/tables/{other}" for other in others)]


def in_order(spec: Any) -> Any:
    """Return the specification with the mappings whose order is shown as lists of pairs."""
    if isinstance(spec, list):
        return [in_order(value) for value in spec]
    if not isinstance(spec, dict):
        return spec
    shown = ("values", "methods", "attacks", "defenses", "columns", "runs")
    return {
        key: list(value.items()) if key in shown and isinstance(value, dict) else in_order(value)
        for key, value in spec.items()
    }


def placeless(dataset: Spec) -> Spec:
    """Return a data set without the folder that it lies in: moved data is the same data."""
    return {key: value for key, value in dataset.items() if key != "root"}
