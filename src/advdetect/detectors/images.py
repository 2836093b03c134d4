"""The images that detectors are fitted on and score, as rows of features."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advdetect.protocol import BITS, KINDS

CLEAN_ROW, NOISY_ROW, ADVERSARIAL_ROW = range(len(KINDS))


@dataclass(frozen=True)
class AttackedImages:
    """One attack's images as a detector sees them.

    Attributes:
        features: Rows indexed by source image, columns: the features; one table per kind
            (``noisy``, ``adversarial``, ``noisy_8bit``, ``adversarial_8bit``).
        success: Boolean columns ``float32`` and ``8bit``, rows indexed by source image.
        origins: Of the nearest of several attacks the names of those; empty for any other.
    """

    features: Mapping[str, pd.DataFrame]
    success: pd.DataFrame
    origins: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rows:
    """Features of n images.

    Attributes:
        index: (n,) their source images.
        kind: (n,) positions in `KINDS`.
        features: (d, n) one contiguous row per column of the feature.
    """

    index: NDArray[np.integer]
    kind: NDArray[np.int8]
    features: NDArray

    def __len__(self) -> int:
        return len(self.index)

    @property
    def adversarial(self) -> NDArray[np.bool_]:
        """(n,) whether the image is adversarial."""
        return self.kind == ADVERSARIAL_ROW

    def where(self, chosen: NDArray[np.bool_]) -> "Rows":
        """Return the rows that are chosen."""
        return Rows(self.index[chosen], self.kind[chosen], self.features[:, chosen])

    def table(self, columns: Collection[str]) -> pd.DataFrame:
        """Return the features as a detector gets them: a copy (pandas 3), which is its own."""
        return pd.DataFrame(self.features.T, columns=list(columns))


def concatenate(parts: Iterable[Rows]) -> Rows:
    """Return the rows of all parts, one part after the other."""
    parts = list(parts)
    return Rows(
        np.concatenate([rows.index for rows in parts]),
        np.concatenate([rows.kind for rows in parts]),
        np.concatenate([rows.features for rows in parts], axis=1),
    )


def attacked_rows(
    attack: AttackedImages, sources: Collection[int], bits: str, positives: str
) -> Rows:
    """Return the noisy and adversarial images of one attack in one form.

    Args:
        attack: The attack's images.
        sources: Source images to keep.
        bits: A name in `BITS`.
        positives: ``successful`` or ``all``: which adversarial images count.
    """
    suffix = BITS[bits]
    adversarial = attack.features[f"adversarial{suffix}"]
    if positives == "successful":
        adversarial = adversarial[attack.success[bits].loc[adversarial.index].to_numpy()]
    noisy = attack.features[f"noisy{suffix}"]
    return concatenate(
        [_rows(noisy, NOISY_ROW, sources), _rows(adversarial, ADVERSARIAL_ROW, sources)]
    )


def clean_rows(clean: pd.DataFrame, sources: Collection[int]) -> Rows:
    """Return the clean images, which are those of every attack.

    Args:
        clean: Features of the clean images, indexed by source image.
        sources: Source images to keep.
    """
    return _rows(clean, CLEAN_ROW, sources)


def without_values(attack: AttackedImages, bits: str) -> str:
    """Say why no detector can be fitted on an attack's images in this form, or score them.

    Returns:
        A phrase; empty where every value is finite.
    """
    bad = total = 0
    for kind in ("noisy", "adversarial"):
        values = attack.features[f"{kind}{BITS[bits]}"].to_numpy()
        bad += int((~np.isfinite(values)).any(axis=1).sum())
        total += len(values)
    return f"the feature has no finite value for {bad} of {total} images" if bad else ""


def _rows(table: pd.DataFrame, kind: int, sources: Collection[int]) -> Rows:
    chosen = table[table.index.isin(sources)]
    values = np.ascontiguousarray(chosen.to_numpy().T)
    return Rows(chosen.index.to_numpy(), np.full(len(chosen), kind, dtype=np.int8), values)
