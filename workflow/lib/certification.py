"""Certificates of randomised smoothing: their files in the store, and the table made of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from experiment import Run, Spec
from methods import hydra_value
from published import FOLDER, Published, Publisher
from store import Store
from store_file import Inputs, StoreFile

#: The table.
NAME = "certified"
#: What tables and figures call the counts of clean images and of attacked ones, which is also their
#: folder, and what draws of them are for.
USES = {"certificates": ("selection", "estimation"), "attacked": ("prediction",)}


def noises(settings: Mapping[str, Any]) -> dict[str, float]:
    """Return the standard deviations that models are certified with, by name."""
    return {f"sigma={hydra_value(sigma)}": sigma for sigma in settings["certification"]["sigmas"]}


class CertifiedStore(Store):
    """The files that an experiment needs, certificates among them."""

    def counts(self, kind: str, run: Run, seed: int, noise: str) -> StoreFile:
        """Return how often each class came under noise.

        Args:
            kind: ``certificates``, of clean images, or ``attacked``, of what the attacks made.
            run: The run.
            seed: The seed.
            noise: Name of the noise.
        """
        settings = self._experiment.settings
        certification = settings["certification"]
        spec: Spec = {"sigma": noises(settings)[noise], "images": certification["images"]}
        spec |= {use: certification[use] for use in USES[kind]}
        inputs: Inputs = self._tested(run, seed)
        if kind == "attacked":
            attacks = [self.attack(run, seed, name) for name in run.attacks]
            inputs = {**inputs, "attacks": attacks}
        keyed = {"name": noise, "seed": seed}
        return self._of_run(
            "certify", f"{kind}/{noise}", spec, inputs, run, seed, keyed, noise=noise
        )


def publish_table(
    publisher: Publisher, settings: Mapping[str, Any], files: Iterable[str], inputs: list[StoreFile]
) -> Published:
    """Make the table known.

    Args:
        publisher: What makes it known.
        settings: Those of the experiment, with labels and titles of its runs.
        files: Its paths.
        inputs: Counts of all runs.
    """
    names = ("replicates", "bootstrap_seed", "runs", "titles")
    certification = settings["certification"]
    return publisher.add(
        NAME,
        "certified",
        {
            "alpha": certification["alpha"],
            "radii": list(map(str, certification["radii"])),
            **{name: settings[name] for name in names},
        },
        {"certificates": inputs},
        {FOLDER: list(files)},
        category="Tables",
    )
