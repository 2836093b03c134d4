"""The files between the stages, each named by what makes it, under all experiments.

A file's key is the hash of its specification, the fingerprint of its code and the keys of its
inputs (`advdetect.identity`), all of which is known before anything runs. So a changed value has
another path, and what two experiments have in common is made once::

    store/mnist.3fa9c1…/train.safetensors  test.77aa11….safetensors
          mnist.3fa9c1…/lenet5-seed0.a81c22…/model.safetensors
                                             attacks/fgsm.5512cd….safetensors
                                             features/fgsm.5512cd…/kd.c0ffee….parquet
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from advdetect.identity import digest, run_of
from advdetect.protocol import CLEAN, HELD_OUT, TRAIN, UNCHANGED, UNUSED
from advdetect.requirements.weights import is_name
from best_of import ATTACKS
from experiment import Experiment, Run, Spec
from methods import BEST_OF, CRAFTED_ON, FILE, WEIGHTS
from store_file import ARRAYS, TABLE, Inputs, Registry, StoreFile, once
from sweeps import sweep_values
from trainings import needs_unused

#: Folder and suffix of what is computed of a few examples, by step.
EXAMPLES = {"sensitivity": ("sensitivity", ARRAYS), "eigenvalue-path": ("paths", TABLE)}
UNITS = "units"
_UNCHANGED = {"_target_": "advdetect.attacks.unchanged.unchanged"}


class Store:
    """The files that an experiment needs, each made known once.

    Args:
        experiment: The experiment.
        code: Returns the fingerprint of a step and of the methods that a specification names.
        source_files: Returns the fingerprint of the folder of a data set, if it is tracked.
    """

    def __init__(
        self,
        experiment: Experiment,
        code: Callable[[str, Spec], str],
        source_files: Callable[[Spec], str],
    ) -> None:
        self._experiment = experiment
        self._registry = Registry(code)
        self._source_files = source_files
        self._swept: dict[str, dict[str, Spec]] = {}
        self._roots: dict[str, str] = {}
        self.known: dict[tuple[Any, ...], StoreFile] = {}

    @property
    def files(self) -> Mapping[str, StoreFile]:
        """All files that were asked for and what they are made from, by job."""
        return self._registry.files

    @once
    def split(self, run: Run, name: str) -> StoreFile:
        """A split of a data set: training, unused or test; all lie in the folder of the first."""
        other = ("root", "train_count", "test_count")
        spec = {key: value for key, value in run.dataset.items() if key not in other}
        spec["count"] = run.dataset[f"{TRAIN if name == UNUSED else name}_count"]
        job = f"{run.dataset_name}.{{key}}/{TRAIN}"
        if name != TRAIN:
            job = f"{self.split(run, TRAIN).folder}/{name}.{{key}}"
        keyed = {
            "split": name,
            "evaluate_on": self._experiment.settings["evaluate_on"],
            "source_files": self._source_files(run.dataset),
        }
        about = {"dataset": run.dataset_name}
        file = self._registry.add("prepare-data", job, spec, {}, keyed, about)
        self._roots[file.job] = run.dataset.get("root") or ""
        return file

    def root(self, job: str) -> str:
        """Return the folder of a split's data or of a model's published weights, empty if none."""
        return self._roots.get(job, "")

    @once
    def model(self, run: Run, seed: int) -> StoreFile:
        """A trained classifier, the user's own weights, or those that a library publishes."""
        train, weights = self.split(run, TRAIN), run.model.get(WEIGHTS)
        unused = [self.split(run, UNUSED)] if needs_unused(run.model) else []
        files = [weights] if weights and not is_name(weights, run.model) else []
        spec = {key: value for key, value in run.model.items() if key != "weights_root"}
        file = self._registry.add(
            "train",
            f"{train.folder}/{run.model_name}-seed{seed}.{{key}}/model",
            spec | {WEIGHTS: digest(Path(files[0]).read_bytes()) if files else weights},
            {
                "train": [train],
                "unused": unused,
                "weights": files,
                "others": [self.model(other, seed) for other in run.others.values()],
            },
            {"seed": seed},
            {"dataset": run.dataset_name, "model": run.model_name, "seed": seed},
        )
        self._roots[file.job] = run.model.get("weights_root") or ""
        return file

    def history(self, run: Run, seed: int) -> StoreFile:
        """How the training of a model went; made with it."""
        return replace(self.model(run, seed), suffix=".json")

    def run_id(self, run: Run) -> str:
        """What its files say a run is, whatever the seed."""
        model = self.model(run, 0)
        spec, code = json.loads(model.option("--spec")), model.option("--code")
        return run_of(spec, code, self.split(run, TRAIN).key, map(self.run_id, run.others.values()))

    @once
    def clean(self, run: Run, seed: int) -> StoreFile:
        """Which test images the model classifies correctly."""
        return self._of_run("classify", CLEAN, {}, self._tested(run, seed), run, seed)

    @once
    def attack(self, run: Run, seed: int, name: str) -> StoreFile:
        """Adversarial images: crafted, crafted on another model, brought along, or others' nearest.

        Beside those of the run there is `UNCHANGED`, the control of its features.
        """
        if name == UNCHANGED:
            return self._crafted(run, seed, name, {name: _UNCHANGED})
        spec, judged = run.attacks[name], self._judged(run, seed)
        job, keyed = f"attacks/{name}", {"name": name, "seed": seed}
        if BEST_OF in spec:
            parts = [self.attack(run, seed, part) for part in spec[ATTACKS]]
            of: Inputs = {"parts": parts, "test": judged["test"], CLEAN: judged[CLEAN]}
            return self._of_run("best-of", job, spec, of, run, seed, keyed, attack=name)
        if FILE not in spec and CRAFTED_ON not in spec:
            return self._crafted(run, seed, name, run.attacks)
        crafted: StoreFile | str = spec.get(FILE, "")
        own: Spec = {}
        if FILE in spec:
            own["content"] = digest(Path(spec[FILE]).read_bytes())
        else:
            model = spec[CRAFTED_ON]
            source = self._experiment.source(run, model)
            attacks = {
                other.replace(f"@{model}", "", 1): _plain(its)
                for other, its in run.attacks.items()
                if its.get(CRAFTED_ON) == model
            }
            crafted = self._crafted(source, seed, name.replace(f"@{model}", "", 1), attacks)
        inputs: Inputs = {"crafted": [crafted], **judged}
        return self._of_run("transfer", job, own, inputs, run, seed, keyed, attack=name)

    def _crafted(self, run: Run, seed: int, name: str, attacks: Mapping[str, Spec]) -> StoreFile:
        spec, inputs = attacks[name], self._judged(run, seed)
        keyed: dict[str, Any] = {"name": name, "seed": seed}
        job = f"attacks/{name}"
        file = self._of_run("attack", job, spec, inputs, run, seed, keyed, attack=name)
        self._swept[file.job] = sweep_values(name, attacks)
        return file

    def sweep(self, job: str) -> dict[str, Spec]:
        """Return values of the swept parameters, by name, of all attacks that share its work."""
        return self._swept[job]

    @once
    def fitted(self, run: Run, seed: int, feature: str) -> StoreFile:
        """The auxiliary model of a feature, fitted on training images."""
        spec = run.fitted_features[feature]
        inputs = {"train": [self.split(run, TRAIN)], "model": [self.model(run, seed)]}
        job, keyed = f"fitted/{feature}", {"seed": seed, **self._collected(spec)}
        return self._of_run("fit-feature", job, spec, inputs, run, seed, keyed, feature=feature)

    @once
    def feature(self, run: Run, seed: int, source: str, feature: str) -> StoreFile:
        """A feature of the clean, the held-out or an attack's images."""
        spec = run.computed_features[feature]
        owner = spec.get("_fitted_by_") or (feature if "_fit_" in spec else None)
        fitted = [self.fitted(run, seed, owner)] if owner else []
        if source == HELD_OUT:
            folder, of = HELD_OUT, {"train": [self.split(run, TRAIN)]}
            inputs: Inputs = {"model": [self.model(run, seed)], **of, "fitted": fitted}
        else:
            images = [] if source == CLEAN else [self.attack(run, seed, source)]
            folder = Path((images or [self.clean(run, seed)])[0].job).name
            inputs = {**self._judged(run, seed), "attack": images, "fitted": fitted}
        job = f"features/{folder}/{feature}"
        keyed = {"name": feature, "seed": seed, **self._collected(spec)}
        keyed |= self._bits if source in run.attacks else {}
        return self._of_run(
            "feature", job, spec, inputs, run, seed, keyed, TABLE, feature=feature, attack=source
        )

    @once
    def defense(self, run: Run, seed: int, name: str) -> StoreFile:
        """What a defence does with the clean and every attack's images."""
        spec = run.defenses[name]
        features = dict.fromkeys(detector["feature"] for detector in spec["detectors"])
        inputs = {
            **self._judged(run, seed),
            "attacks": [self.attack(run, seed, attack) for attack in run.attacks],
            "features": [
                self.feature(run, seed, source, feature)
                for source in (HELD_OUT, CLEAN, *run.attacks)
                for feature in features
            ],
            "fitted": [self.fitted(run, seed, spec["_fitted_by_"])],
        }
        job, keyed = f"defenses/{name}", {"name": name, **self._bits}
        return self._of_run("defend", job, spec, inputs, run, seed, keyed, TABLE, defense=name)

    @once
    def detectors(self, run: Run, seed: int, feature: str) -> StoreFile:
        """All detectors, fitted on a feature."""
        spec, inputs = self._detection(run, feature), self._detected(run, seed, feature)
        job, keyed = f"detectors/{feature}", {"name": feature, "seed": seed}
        step, suffix = "fit-detectors", f"/fitted{TABLE}"
        return self._of_run(step, job, spec, inputs, run, seed, keyed, suffix, feature=feature)

    @once
    def scores(self, run: Run, seed: int, feature: str) -> StoreFile:
        """What the detectors of a feature say of the images that they were not fitted on."""
        fitted = self.detectors(run, seed, feature)
        inputs = {
            "detectors": [fitted],
            "split": [replace(fitted, suffix=f"/split{TABLE}")],
            **self._detected(run, seed, feature),
        }
        spec, keyed = self._detection(run, feature), {"name": feature, "seed": seed}
        job = f"scores/{feature}"
        return self._of_run("score", job, spec, inputs, run, seed, keyed, TABLE, feature=feature)

    def _detection(self, run: Run, feature: str) -> Spec:
        return {
            # A list, since their order is the order of the tables.
            "detectors": list(run.detectors.items()),
            "score": run.features[feature].get("_score_"),
            "train_fraction": self._experiment.settings["evaluation"]["train_fraction"],
            **self._bits,
        }

    @property
    def _bits(self) -> dict[str, list[str]]:
        """The forms of the images of attacks."""
        return {"bits": self._experiment.settings["evaluation"]["bits"]}

    def of_examples(self, step: str, run: Run, seed: int, attack: str) -> StoreFile:
        """What is computed of a few images of an attack: ``sensitivity`` or ``eigenvalue-path``."""
        folder, suffix = EXAMPLES[step]
        spec = self._experiment.settings[folder]
        inputs = {**self._tested(run, seed), "attack": [self.attack(run, seed, attack)]}
        return self._of_run(
            step, f"{folder}/{attack}", spec, inputs, run, seed, suffix=suffix, attack=attack
        )

    def units(self, run: Run, seed: int) -> StoreFile:
        """Single units of the hidden layer beside random directions."""
        spec = {k: v for k, v in self._experiment.settings[UNITS].items() if k != "runs"}
        return self._of_run(UNITS, UNITS, spec, self._tested(run, seed), run, seed, suffix=TABLE)

    def _tested(self, run: Run, seed: int) -> dict[str, list[StoreFile]]:
        return {"model": [self.model(run, seed)], "test": [self.split(run, "test")]}

    def _judged(self, run: Run, seed: int) -> dict[str, list[StoreFile]]:
        return {**self._tested(run, seed), CLEAN: [self.clean(run, seed)]}

    def _detected(self, run: Run, seed: int, feature: str) -> dict[str, list[StoreFile]]:
        return {
            "features": [
                self.feature(run, seed, source, part)
                for source in (CLEAN, *run.attacks, UNCHANGED)
                for part in run.parts(feature)
            ],
            "attacks": [self.attack(run, seed, attack) for attack in (*run.attacks, UNCHANGED)],
        }

    def _collected(self, spec: Spec) -> dict[str, Any]:
        """Return what is collected of the hidden layers for a feature that asks for it."""
        settings = self._experiment.settings["activations"]
        return {"activations": settings} if spec.get("_activations_") else {}

    def _of_run(
        self,
        step: str,
        name: str,
        spec: Spec,
        inputs: Inputs,
        run: Run,
        seed: int,
        keyed: Mapping[str, Any] | None = None,
        suffix: str = ARRAYS,
        **names: str,
    ) -> StoreFile:
        about = {"dataset": run.dataset_name, "model": run.model_name, "seed": seed, **names}
        folder = self.model(run, seed).folder
        return self._registry.add(
            step, f"{folder}/{name}.{{key}}", spec, inputs, keyed or {}, about, suffix
        )


def _plain(spec: Spec) -> Spec:
    return {key: value for key, value in spec.items() if key != CRAFTED_ON}
