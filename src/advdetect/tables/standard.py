"""The tables that every experiment gets, by file name."""

from collections.abc import Collection

import pandas as pd

from advdetect.evaluation.metrics import METRICS
from advdetect.tables.attack_tables import attack_table, least_perturbation_table
from advdetect.tables.paired_table import paired_table
from advdetect.tables.table import Table
from advdetect.tables.tables import (
    control_table,
    cross_attack_table,
    detection_table,
    detector_table,
)

# File name → protocol: bits and positives.
DETECTION_TABLES = {
    "detection": ("float32", "successful"),
    "detection_all": ("float32", "all"),
    "detection_8bit": ("8bit", "successful"),
    "detection_all_8bit": ("8bit", "all"),
}


def standard_tables(
    metrics: pd.DataFrame,
    attack_summary: pd.DataFrame,
    *,
    detector: str,
    controls: Collection[str],
    unchanged: pd.DataFrame | None = None,
    least_perturbations: pd.DataFrame | None = None,
    paired: pd.DataFrame | None = None,
) -> dict[str, Table]:
    """Build the tables of an experiment.

    Args:
        metrics: Metrics of all features, with the column ``feature``.
        attack_summary: One row per attack and seed, as `attack_table` takes it.
        detector: The primary detector.
        controls: Names of the control detectors.
        unchanged: Metrics of `protocol.UNCHANGED`, of all features; None without them.
        least_perturbations: What `perturbation.least_perturbations` returns; None or empty where
            there is no attack of the minimal-norm kind.
        paired: What `paired.paired_tests` returns; None or empty where there is one feature.

    Returns:
        By file name without suffix: ``detection`` (successful adversarials, float32 images), the
        same with ``_all`` (failed ones included), ``_8bit`` (rounded images, where they have
        metrics) and with the other metrics, ``detectors``, ``attacks``, ``cross_attack_<feature>``;
        with its metrics ``control``, with an attack of the minimal-norm kind
        ``least_perturbation``, and with more than one feature ``paired``.
    """
    tables = {
        name: detection_table(metrics, detector=detector, bits=bits, positives=positives)
        for name, (bits, positives) in DETECTION_TABLES.items()
        if (metrics["bits"] == bits).any()
    }
    main = {"bits": "float32", "positives": "successful"}
    tables |= {
        f"detection_{metric}": detection_table(metrics, detector=detector, metric=metric, **main)
        for metric in METRICS[1:]
    }
    tables |= {
        f"cross_attack_{feature}": cross_attack_table(
            metrics, feature=feature, detector=detector, **main
        )
        for feature in metrics["feature"].unique()
    }
    tables["detectors"] = detector_table(metrics, controls=controls, **main)
    if unchanged is not None and len(unchanged):
        tables["control"] = control_table(unchanged)
    tables["attacks"] = attack_table(attack_summary)
    if least_perturbations is not None and len(least_perturbations):
        tables["least_perturbation"] = least_perturbation_table(least_perturbations)
    if paired is not None and len(paired):
        tables["paired"] = paired_table(paired, detector=detector, controls=controls)
    return tables
