"""How well defences do: the share of adversarial images that they flag or mend, with intervals."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advdetect.evaluation.names import display_name
from advdetect.evaluation.perturbation import mean_with_interval
from advdetect.evaluation.sweeps import split_name
from advdetect.evaluation.table import BOOTSTRAP_INTERVAL, CellFormat, Table
from advdetect.protocol import CLEAN

REPORTED = "_reported"
# File name → bits.
DEFENSE_TABLES = {"defense_accuracy": "float32", "defense_accuracy_8bit": "8bit"}


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
        defenses: For each defence and seed a row per image: attack, kind (clean, adversarial or
            adversarial_8bit), index, success and good.
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
        for attack in pd.concat(seeds.values())["attack"].unique():
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


def defense_table(cells: pd.DataFrame, reported: pd.DataFrame | None, bits: str) -> Table:
    """Build the table of attacks by defences, the reported values beside ours.

    Args:
        cells: What `defense_accuracies` returns.
        reported: Columns attack, defense and value in [0, 1]; None where there are none.
        bits: ``float32`` or ``8bit``.

    Returns:
        Mean over seeds with its 95 % interval, in percent.
    """
    keys = ["attack", "defense"]
    statistics = ["value", "standard_deviation", "low", "high", "n_positive", "n_negative"]
    ours = cells[[*keys, *statistics]].assign(interval=BOOTSTRAP_INTERVAL)
    parts = [ours]
    if reported is not None:
        known = reported.merge(cells[keys], on=keys)
        theirs = known.assign(defense=known["defense"] + REPORTED, interval="none")
        parts.append(theirs.reindex(columns=ours.columns))
    table = pd.concat(parts, ignore_index=True).fillna({"n_positive": 0, "n_negative": 0})
    order = [
        name
        for defense in cells["defense"].unique()
        for name in (defense, f"{defense}{REPORTED}")
        if (table["defense"] == name).any()
    ]
    rank = table["defense"].map(order.index)
    ordered = table.iloc[np.argsort(rank.to_numpy(), kind="stable")].reset_index(drop=True)
    return stored_defense_table(ordered, bits)


def stored_defense_table(cells: pd.DataFrame, bits: str) -> Table:
    """Build the table again from its cells.

    Args:
        cells: The cells of a `defense_table`, as its CSV file holds them.
        bits: ``float32`` or ``8bit``.
    """
    return Table(
        name=f"defense_accuracy_{bits}",
        caption="Defence accuracy in percent, "
        f"{display_name(bits)}: share of the successful adversarial images that are flagged, or "
        "classified correctly after the reformer; of the clean images, the share that is not "
        "flagged and classified correctly after it. In brackets the 95 % bootstrap interval over "
        "seeds and source images.",
        rows="attack",
        columns="defense",
        cells=cells,
        format=CellFormat(best=False),
    )


def reported_accuracies(table: pd.DataFrame, dataset: str, attacks: list[str]) -> pd.DataFrame:
    """Return the values that Hsu et al. 2018 report, under our attacks' names.

    Args:
        table: Columns dataset, defense, attack (``cw_l2``, ``ead_l1`` or ``ead_en``), kappa and
            accuracy_percent.
        dataset: Name of the data set.
        attacks: Our attacks' names, such as ``ead,kappa=5,rule=l1``; κ is 0 where it is not named.

    Returns:
        Columns attack, defense and value in [0, 1], for the attacks that they have.
    """
    rows = []
    here = table[table["dataset"] == dataset]
    for attack in attacks:
        base, values = split_name(attack)
        name = f"{base}_{values['rule']}" if "rule" in values else base
        kappa = float(values.get("kappa", 0))
        matching = here[(here["attack"] == name) & (here["kappa"] == kappa)]
        for defense, percent in zip(matching["defense"], matching["accuracy_percent"], strict=True):
            rows.append({"attack": attack, "defense": defense, "value": percent / 100})
    return pd.DataFrame(rows, columns=["attack", "defense", "value"])


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
