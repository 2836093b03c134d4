"""What the rules need of an experiment: specifications, code fingerprints and lists of files."""

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from composition import ConfigurationError, Spec, canonical_json, load_experiment
from fingerprints import fingerprint
from publication import DEFENSES, Publication
from reproductions import check_reported
from sweeps import sweep_values

RUNTIME_SETTINGS = ("device", "threads", "batch_size")  # they make nothing stale


class Pipeline(Publication):
    """One experiment, as the rules see it: each asks for its own slice only.

    Args:
        base: Folder of the Snakefile.
        workflow_config: Snakemake's own configuration.

    Raises:
        WorkflowError: The configuration cannot be run, or a source file cannot be parsed.
    """

    def __init__(self, base: Path, workflow_config: Mapping[str, Any]) -> None:
        self._roots = (base / "src", Path.cwd())
        self._config = base / "config"
        self._workflow_config = dict(workflow_config)
        try:
            experiment = load_experiment(base / "config", workflow_config)
        except ConfigurationError as error:
            raise WorkflowError(str(error)) from None
        super().__init__(experiment)
        # All fingerprints once, so that a module that cannot be parsed is named in one line here;
        # within a rule Snakemake would wrap it in its own traceback.
        for attack in self.attacks:
            self.code("attack", self.attack_spec(attack))
        for feature in self.experiment.computed_features:
            self.feature_code(feature)
        for defense in self.experiment.defenses:
            self.code("defend", self.defense_spec(defense))
        for name, spec in experiment.settings["reproductions"].items():
            reported = Path(self.reproduction_reported(name))
            for problem in check_reported(spec, reported, experiment.dataset_name):
                raise WorkflowError(
                    f"reproductions.{name}: {problem}. Mend it, or leave the table out with "
                    f"overrides='~reproductions.{name}'."
                )

    def use_this_source(self) -> None:
        """Make the jobs run the code that is fingerprinted here, with this Python.

        Another clone may be the installed one, and ``.venv/bin/snakemake`` works without
        activation; an environment of ``--sdm conda`` still comes first on the path.
        """
        for variable, first in (
            ("PYTHONPATH", str(self._roots[0])),
            ("PATH", str(Path(sys.executable).parent)),
        ):
            rest = [part for part in os.environ.get(variable, "").split(os.pathsep) if part]
            os.environ[variable] = os.pathsep.join(
                [first, *(part for part in rest if part != first)]
            )

    # Specifications, as canonical JSON: what Snakemake compares to decide whether a job is stale.

    @cached_property
    def dataset_spec(self) -> str:
        """The data set, without the folder that it lies in: moved data is the same data."""
        return canonical_json(
            {key: value for key, value in self.experiment.dataset.items() if key != "root"}
        )

    @cached_property
    def model_spec(self) -> str:
        """The model."""
        return canonical_json(self.experiment.model)

    def attack_spec(self, name: str) -> str:
        """One attack."""
        return canonical_json(self.experiment.attacks[name])

    def sweep(self, name: str) -> str:
        """Values of the swept parameters of all attacks that share their work with this one."""
        return canonical_json(sweep_values(name, self.experiment.attacks))

    def feature_spec(self, name: str) -> str:
        """One feature that is computed, or whose auxiliary model is fitted."""
        experiment = self.experiment
        return canonical_json((experiment.fitted_features | experiment.computed_features)[name])

    def feature_options(self, wildcards: Any) -> list[str]:
        """What a job is told of the hidden layers, where its feature asks for them."""
        if not json.loads(self.feature_spec(wildcards.feature)).get("_activations_"):
            return []
        return [f"--activations={canonical_json(self.experiment.settings['activations'])}"]

    @cached_property
    def sensitivity_spec(self) -> str:
        """Of how many images the sensitivity is drawn, and how."""
        return canonical_json(self.experiment.settings["sensitivity"])

    def detection_spec(self, feature: str) -> str:
        """All detectors, for one feature."""
        return canonical_json(
            {
                # A list, since their order is the order of the tables.
                "detectors": list(self.experiment.detectors.items()),
                "score": self.experiment.features[feature].get("_score_"),
                "train_fraction": self.experiment.settings["evaluation"]["train_fraction"],
            }
        )

    def defense_spec(self, name: str) -> str:
        """One defence."""
        return canonical_json(self.experiment.defenses[name])

    @cached_property
    def report_spec(self) -> str:
        """The whole resolved configuration, which the report shows."""
        settings = self.experiment.settings
        return canonical_json(
            {
                "settings": {
                    key: settings[key]
                    for key in (
                        *("name", "title", "seeds", "evaluate_on"),
                        *("activations", "sensitivity", "evaluation"),
                    )
                },
                "dataset": json.loads(self.dataset_spec) | {"name": self.experiment.dataset_name},
                "model": self.experiment.model | {"name": self.experiment.model_name},
                "attacks": list(self.experiment.attacks.items()),
                "features": list(self.experiment.features.items()),
                "detectors": list(self.experiment.detectors.items()),
                "defenses": list(self.experiment.defenses.items()),
                "reproductions": {
                    name: spec["title"] for name, spec in settings["reproductions"].items()
                },
                "paper_figures": {
                    name: spec["caption"] for name, spec in settings["paper_figures"].items()
                },
            }
        )

    # Fingerprints

    def code(self, step: str, *specs: str) -> str:
        """Return the fingerprint of a step and of the methods that its specifications name."""
        targets = [target for spec in specs for target in _targets(json.loads(spec))]
        modules = [f"advdetect.steps.{step}", *(t.rpartition(".")[0] for t in targets)]
        try:
            return fingerprint(modules, self._roots)
        except SyntaxError as error:
            raise WorkflowError(f"{error.filename}, line {error.lineno}: {error.msg}.") from None

    def feature_code(self, name: str) -> str:
        """Return the fingerprint of a computed feature and of the step that computes it."""
        return self.code("feature", self.feature_spec(name))

    @cached_property
    def source_files(self) -> str:
        """Fingerprint of the names and sizes below the data set's folder, where that is tracked."""
        if not self.experiment.dataset.get("_track_root_"):
            return ""
        folder = Path(self.data_root)
        if not folder.is_dir():
            raise WorkflowError(f"dataset.root: the folder {folder} does not exist.")
        digest = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        return digest.hexdigest()[:16]

    # Names and files

    def parts(self, feature: str) -> list[str]:
        """Names of the features that a union consists of, or the feature itself."""
        return self.experiment.parts(feature)

    @property
    def feature_names(self) -> str:
        """Pattern of the names of the features that are computed or fitted."""
        return _any_of(self.experiment.fitted_features | self.experiment.computed_features)

    def fitted(self, wildcards: Any) -> list[str]:
        """The file of the auxiliary model that a feature uses, if any: its own or another's."""
        spec = self.experiment.computed_features[wildcards.feature]
        owner = spec.get("_fitted_by_") or (wildcards.feature if "_fit_" in spec else None)
        run = f"{self.results}/{wildcards.dataset}/{wildcards.model}/seed{wildcards.seed}"
        return [f"{run}/fitted/{owner}.safetensors"] if owner else []

    def defense_inputs(self, wildcards: Any) -> dict[str, list[str] | str]:
        """The files that a defence works on: attacks, its features of all images, its model."""
        spec = self.experiment.defenses[wildcards.defense]
        run = f"{self.results}/{wildcards.dataset}/{wildcards.model}/seed{wildcards.seed}"
        features = dict.fromkeys(detector["feature"] for detector in spec["detectors"])
        return {
            "attacks": [f"{run}/attacks/{attack}.safetensors" for attack in self.attacks],
            "features": [
                f"{run}/features/{source}/{feature}.parquet"
                for source in ("held_out", "clean", *self.attacks)
                for feature in features
            ],
            "fitted": f"{run}/fitted/{spec['_fitted_by_']}.safetensors",
        }

    @property
    def reported(self) -> list[str]:
        """The file of reported values, if any."""
        name = self.experiment.settings["reported"]
        return [self._reference("reported", name)] if name else []

    def reproduction_spec(self, name: str) -> str:
        """One paper's table, without the file of its reported values, which is an input.

        What maps the paper's names to ours is a list of pairs: their order is that of the table.
        """
        spec = self.experiment.settings["reproductions"][name]
        return canonical_json(_in_order({k: v for k, v in spec.items() if k != "reported"}))

    def reproduction_reported(self, name: str) -> str:
        """The file of the values that a paper's table reports."""
        spec = self.experiment.settings["reproductions"][name]
        return self._reference(f"reproductions.{name}.reported", spec["reported"])

    @property
    def reproduction_names(self) -> str:
        """Pattern of the names of the papers' tables."""
        return _any_of(self.reproductions)

    def paper_figure_spec(self, name: str) -> str:
        """One paper's figure, without its caption; its columns are pairs in order."""
        spec = self.experiment.settings["paper_figures"][name]
        return canonical_json(_in_order({k: v for k, v in spec.items() if k != "caption"}))

    @property
    def paper_figure_names(self) -> str:
        """Pattern of the names of the papers' figures."""
        return _any_of(self.paper_figures)

    @cached_property
    def path_spec(self) -> str:
        """What is followed along adversarial perturbations."""
        return canonical_json(self.experiment.settings["paths"])

    def _reference(self, where: str, name: str) -> str:
        path = self._config / "reference" / name
        if not path.is_file():
            known = ", ".join(sorted(file.name for file in path.parent.glob("*.csv")))
            raise WorkflowError(f"{where}: {name} is not among config/reference/: {known}.")
        return str(path)

    def figure_reported(self, wildcards: Any) -> list[str]:
        """The file of reported values, for the figure that shows them."""
        return self.reported if wildcards.figure == DEFENSES else []

    @property
    def own_weights(self) -> list[str]:
        """The file of the user's own weights, if any."""
        weights = self.experiment.model.get("weights")
        if weights and not Path(weights).is_file():
            raise WorkflowError(f"model.weights: the file {weights} does not exist.")
        return [weights] if weights else []

    @property
    def evaluation(self) -> Spec:
        """Settings of the evaluation."""
        return self.experiment.settings["evaluation"]

    # Report

    @property
    def report_template(self) -> str:
        """Fingerprint of the report's templates, style and script, which are no Python modules."""
        folder = self._roots[0] / "advdetect" / "evaluation" / "templates"
        digest = hashlib.sha256()
        for path in sorted(folder.iterdir()):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()[:16]

    @property
    def command(self) -> str:
        """The command that makes this experiment."""
        config = " ".join(
            f"{key}={shlex.quote(value if isinstance(value, str) else json.dumps(value))}"
            for key, value in self._workflow_config.items()
            if key not in RUNTIME_SETTINGS
        )
        return f"snakemake --cores all --config {config}" if config else "snakemake --cores all"

    # What a job may use; none of it changes results, so none of it makes a job stale.

    @property
    def data_root(self) -> str:
        """The folder that the data set lies in, empty where it has none."""
        return self.experiment.dataset.get("root", "")

    @property
    def device(self) -> str:
        """Device of the steps that run a model."""
        return self.experiment.settings["device"]

    @property
    def threads(self) -> int:
        """CPU threads of a job."""
        return self.experiment.settings["threads"]

    @property
    def batch_size(self) -> int:
        """Images at a time."""
        return self.experiment.settings["batch_size"]

    @property
    def gpu(self) -> int | None:
        """GPUs of a job: one where the configuration asks for CUDA, else the resource is unset."""
        return 1 if self.device == "cuda" else None

    def print_outcome(self) -> None:
        """Print the main table and the path of the report, where they exist."""
        table = Path(self.results, "tables", "detection.txt")
        report = Path(self.results, "report.html")
        if table.is_file() and report.is_file():
            print(f"\n{table.read_text(encoding='utf-8')}\nReport: {report.resolve()}")


def _any_of(names: Iterable[str]) -> str:
    """Return a pattern that matches these names only; of none, nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


def _in_order(spec: Any) -> Any:
    """Return the specification with the mappings whose order is shown as lists of pairs."""
    if isinstance(spec, list):
        return [_in_order(value) for value in spec]
    if not isinstance(spec, dict):
        return spec
    shown = ("values", "methods", "attacks", "defenses", "columns")
    return {
        key: list(value.items()) if key in shown and isinstance(value, dict) else _in_order(value)
        for key, value in spec.items()
    }


def _targets(spec: Any) -> Iterable[str]:
    """Yield every import path in a specification, nested ones too."""
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key in ("_target_", "_fit_"):
                yield value
            else:
                yield from _targets(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from _targets(value)
