"""Files of certify that are made by hand: four images of two classes, two attacks on three."""

from pathlib import Path

import numpy as np

from advdetect.files.counts import write_counts
from advdetect.smoothing.counts import Block, Counts

SIGMA, ALPHA = 0.25, 0.001


def clean_file(folder: Path, *, seed: int = 0, sigma: float = SIGMA, sure: int = 100) -> str:
    """Write counts of clean images, and return the path.

    Args:
        folder: Where.
        seed: The seed.
        sigma: σ.
        sure: How many of 100 draws are for the first image's true class.
    """
    hits = {"selection": [100, 100, 0, 100], "estimation": [sure, 80, 0, 50]}
    counts = Counts()
    for row in range(4):
        for use, of in hits.items():
            counts.add([Block(row, use, 0, 100)], np.repeat([0, 1], [of[row], 100 - of[row]]))
    images = {
        "index": np.arange(4),
        "label": np.zeros(4),
        "prediction": np.array([0, 0, 1, 0]),
        "attack": np.zeros(4),
        "l2": np.zeros(4),
    }
    path = folder / f"clean-{sigma}-{seed}.safetensors"
    write_counts(path, images, counts, _facts(seed, sigma, "clean", ["clean"]))
    return str(path)


def attacked_file(folder: Path, *, seed: int = 0, sigma: float = SIGMA) -> str:
    """Write counts of the images that the base classifier gets right, attacked; return the path."""
    hits = [100, 10, 50, 0, 0, 90]
    counts = Counts()
    for row, own in enumerate(hits):
        counts.add([Block(row, "prediction", 0, 100)], np.repeat([0, 1], [own, 100 - own]))
    images = {
        "index": np.array([0, 1, 3] * 2),
        "label": np.zeros(6),
        "prediction": np.array([0, 0, 0, 1, 0, 1]),
        "attack": np.repeat([0, 1], 3),
        "l2": np.array([0.4, 0.5, 0.6, 2.0, 1.9, 1.5]),
    }
    path = folder / f"attacked-{sigma}-{seed}.safetensors"
    write_counts(path, images, counts, _facts(seed, sigma, "attacked", ["weak", "strong"]))
    return str(path)


def _facts(seed: int, sigma: float, attack: str, attacks: list[str]) -> dict:
    spec = {"sigma": sigma, "selection": 100, "estimation": 100, "prediction": 100}
    return {
        "step": "certify",
        "name": f"sigma={sigma}",
        "seed": seed,
        "spec": spec,
        "attack": attack,
        "attacks": attacks,
        "classes": 2,
    }
