"""How well defences do: the share of adversarial images that they flag or mend, with intervals."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advdetect.evaluation.perturbation import mean_with_interval
from advdetect.protocol import CLEAN


def defense_accuracies(
    defenses: Mapping[str, Mapping[int, pd.DataFrame]],
    *,
    bits: str,
    positives: str,
    replicates: int,
    seed: int,
) -> pd.DataFrame:
    """Compute the defence accuracy of Meng & Chen 2017 and Hsu et al. 2018.

    Of adversarial images it is the share that is flagged, or classified correctly after the
    reformer; of clean ones (the row `CLEAN`) the share that is not flagged and classified correctly
    after the reformer.

    Args:
        defenses: For each defence and seed a row per image: attack (categorical: of an attack that
            changed no image there is no row), kind (clean, adversarial or adversarial_8bit), index,
            success and good.
        bits: ``float32`` or ``8bit``.
        positives: ``successful``: only images that fool the undefended model; or ``all``.
        replicates: Number of bootstrap replicates, at least 1.
        seed: Bootstrap seed in [0, 2**64).

    Returns:
        A row for each attack and defence: attack, defense, value in [0, 1], standard_deviation,
        low and high (see `perturbation.mean_with_interval`), n_seeds, n_positive (images that are
        defended, of all seeds) and n_negative (images that are not). An attack without an image in
        any seed has no value.
    """
    parts = []
    for defense, seeds in defenses.items():
        names = (name for table in seeds.values() for name in table["attack"].cat.categories)
        for attack in dict.fromkeys(names):
            tables = defended_tables(seeds, attack, bits, positives)
            cell = mean_with_interval(tables, defended_share, replicates=replicates, seed=seed)
            good = sum(int(table["good"].sum()) for table in tables)
            counts = {
                "n_seeds": len(tables),
                "n_positive": good,
                "n_negative": sum(map(len, tables)) - good,
            }
            parts.append(cell.assign(attack=attack, defense=defense, **counts))
    return pd.concat(parts, ignore_index=True)


def defended_tables(
    seeds: Mapping[int, pd.DataFrame], attack: str, bits: str, positives: str
) -> list[pd.DataFrame]:
    """Return of each seed the images of an attack (or the clean ones) that count.

    Args:
        seeds: As in `defense_accuracies`, of one defence.
        attack: Name of the attack, or `CLEAN`.
        bits: ``float32`` or ``8bit``.
        positives: ``successful`` or ``all``.
    """
    kind = "adversarial_8bit" if bits == "8bit" else "adversarial"
    return [
        table[
            (table["attack"] == attack)
            & table["kind"].isin([CLEAN, kind])
            & (table["success"] if positives == "successful" else True)
        ]
        for table in seeds.values()
    ]


def defended_share(table: pd.DataFrame, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the images that are good, (1, B)."""
    total = weights.sum(axis=1)
    good = weights @ table["good"].to_numpy(np.float64)
    return np.divide(good, total, out=np.full_like(total, np.nan), where=total > 0)[None]
