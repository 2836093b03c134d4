"""Certified accuracy of smoothed classifiers, and their accuracy under attack, which bounds it.

Cohen et al. 2019, section 4: the certified accuracy at r is the share of all test images that are
certified for the true class with a radius of at least r; abstentions count as wrong. An attack
within r that changes what PREDICT says shows that the accuracy under attack at r is lower than
that of clean images: no attack can bring it below the certified one, but with a probability of α.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from advdetect.errors import AdvdetectError
from advdetect.evaluation.cells import BOOTSTRAP_INTERVAL, STATISTICS
from advdetect.evaluation.perturbation import Statistic, mean_with_interval
from advdetect.files.counts import CountedImages, read_counts
from advdetect.protocol import CLEAN
from advdetect.smoothing.certificates import ABSTAIN, certify, largest_radius, predict
from advdetect.smoothing.counts import ESTIMATION, PREDICTION, SELECTION

#: Where a statistic of one image says that it never holds.
_NEVER = -1.0


@dataclass(frozen=True)
class SmoothedClassifier:
    """What is known of a classifier that is smoothed with noise of one σ, image by image.

    Attributes:
        sigma: σ.
        largest_radius: What is certified where all draws agree.
        attacks: Names of the attacks whose images were counted, perhaps none.
        seeds: For each seed a table with a row per test image: index; base, whether the base
            classifier is right; smoothed, whether PREDICT is; abstained, whether CERTIFY abstains;
            radius, that of a certificate for the true class, −1 without one; broken, the L2 norm of
            the nearest attack that PREDICT errs or abstains on, 0 where it does without and
            infinite where no attack is; base_broken, the same of the base classifier; changed, the
            norm of the nearest attack to which PREDICT gives a wrong class.
    """

    sigma: float
    largest_radius: float
    attacks: tuple[str, ...]
    seeds: Mapping[int, pd.DataFrame]


def read_smoothed(paths: Sequence[str], alpha: float) -> list[SmoothedClassifier]:
    """Read the files of certify of one run.

    Args:
        paths: Counts of clean images, and for each σ perhaps those of attacked ones.
        alpha: Probability that a certificate, or an answer of PREDICT, is wrong.

    Returns:
        A classifier for each σ, from the smallest on.

    Raises:
        AdvdetectError: Attacked images are given without the clean ones.
    """
    found: dict[float, dict[str, dict[int, CountedImages]]] = {}
    for path in paths:
        counted = read_counts(path)
        sigma, kind = float(counted.facts["spec"]["sigma"]), counted.facts["attack"]
        found.setdefault(sigma, {}).setdefault(kind, {})[counted.facts["seed"]] = counted
    return [_smoothed(sigma, kinds, alpha) for sigma, kinds in sorted(found.items())]


def _smoothed(
    sigma: float, kinds: Mapping[str, Mapping[int, CountedImages]], alpha: float
) -> SmoothedClassifier:
    clean = kinds.get(CLEAN, {})
    attacked = {seed: c for kind, of in kinds.items() if kind != CLEAN for seed, c in of.items()}
    for seed, counted in attacked.items():
        of_clean: ArrayLike = clean[seed].images["index"] if seed in clean else []
        if not np.isin(counted.images["index"], of_clean).all():
            raise AdvdetectError(
                f"There are counts of attacked images with σ = {sigma:g} and seed {seed}, but none "
                f"of all of the clean ones: give those as well."
            )
    draws = {counted.facts["spec"][ESTIMATION] for counted in clean.values()}
    names = (name for counted in attacked.values() for name in counted.facts["attacks"])
    return SmoothedClassifier(
        sigma,
        largest_radius(max(draws), alpha, sigma),
        tuple(dict.fromkeys(names)),
        {seed: _images(of, attacked.get(seed), alpha, sigma) for seed, of in clean.items()},
    )


def _images(
    clean: CountedImages, attacked: CountedImages | None, alpha: float, sigma: float
) -> pd.DataFrame:
    label, estimation = clean.images["label"], clean.of(ESTIMATION)
    found = certify(clean.of(SELECTION), estimation, alpha, sigma)
    right = {
        "base": clean.images["prediction"] == label,
        "smoothed": predict(estimation, alpha) == label,
    }
    broken = {name: np.where(values, np.inf, 0.0) for name, values in right.items()}
    broken["changed"] = np.full(len(label), np.inf)
    if attacked:
        row = np.searchsorted(clean.images["index"], attacked.images["index"])
        base, smoothed = attacked.images["prediction"], predict(attacked.of(PREDICTION), alpha)
        is_wrong = {
            name: answer != attacked.images["label"]
            for name, answer in {"base": base, "smoothed": smoothed}.items()
        }
        is_wrong["changed"] = is_wrong["smoothed"] & (smoothed != ABSTAIN)
        for name, wrong in is_wrong.items():
            np.minimum.at(broken[name], row[wrong], attacked.images["l2"][wrong])
    return pd.DataFrame(
        {
            "index": clean.images["index"],
            **right,
            "abstained": found.classes == ABSTAIN,
            "radius": np.where(found.classes == label, found.radius, _NEVER),
            "broken": broken["smoothed"],
            "base_broken": broken["base"],
            "changed": broken["changed"],
        }
    )


def certified_at(radii: ArrayLike) -> Statistic:
    """Return the statistic of the shares of images that are certified with each radius or more."""
    return _shares("radius", lambda own: own[:, None] >= np.asarray(radii, np.float64))


def standing_at(radii: ArrayLike, column: str = "broken") -> Statistic:
    """Return the statistic of the shares of images that no attack of each norm or less breaks."""
    return _shares(column, lambda own: own[:, None] > np.asarray(radii, np.float64))


def _shares(column: str, holds: Callable[[NDArray], NDArray]) -> Statistic:
    def shares(table: pd.DataFrame, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        own = holds(table[column].to_numpy(np.float64)).astype(np.float64)
        total = weights.sum(axis=1)
        return np.where(total > 0, (weights @ own).T / np.where(total > 0, total, 1), np.nan)

    return shares


def broken_certificates(table: pd.DataFrame) -> int:
    """Return how many images an attack gives another class inside their certified radius.

    Where PREDICT abstains nothing is broken: g may still be right, by less than the draws show.
    """
    return int((table["changed"] < table["radius"]).sum())


def certified_accuracies(
    classifiers: Sequence[SmoothedClassifier],
    radii: Sequence[float],
    *,
    replicates: int,
    seed: int,
) -> pd.DataFrame:
    """Compute accuracies of each σ: certified, under attack, and of clean images.

    Args:
        classifiers: The classifiers of one run.
        radii: Where the certified accuracy and that under attack are given.
        replicates: Number of bootstrap replicates.
        seed: Seed of the bootstrap.

    Returns:
        Tidy cells with the keys noise and quantity, in [0, 1]; broken is a number of images, and
        there are none of attacks where none were counted.
    """
    parts = []
    for one in classifiers:
        quantities: dict[str, Statistic] = {
            "base_accuracy": standing_at([0.0], "base"),
            "smoothed_accuracy": standing_at([0.0], "smoothed"),
            "abstained": standing_at([0.0], "abstained"),
        }
        for radius in radii:
            quantities[f"certified,r={radius:g}"] = certified_at([radius])
            if one.attacks:
                quantities[f"attacked,r={radius:g}"] = standing_at([radius])
        tables = list(one.seeds.values())
        for quantity, statistic in quantities.items():
            cell = mean_with_interval(tables, statistic, replicates=replicates, seed=seed)
            parts.append(cell.assign(quantity=quantity, sigma=one.sigma))
        if one.attacks:
            count = sum(map(broken_certificates, tables))
            cell = pd.DataFrame([{"value": float(count), "quantity": "broken"}])
            parts.append(cell.assign(sigma=one.sigma))
    cells = pd.concat(parts, ignore_index=True)
    images = {one.sigma: sum(map(len, one.seeds.values())) for one in classifiers}
    return cells.assign(
        noise=[f"σ = {sigma:g}" for sigma in cells["sigma"]],
        interval=BOOTSTRAP_INTERVAL,
        n_positive=cells["sigma"].map(images),
        n_negative=0,
    )[["noise", "quantity", *STATISTICS]]
