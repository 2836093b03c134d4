"""The file of scores: what is read of it are the rows that are asked for."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from advdetect.files.scores import (
    CELL,
    ScorePart,
    detectors_of,
    read_cells,
    read_own_scores,
    read_parts,
    write_scores,
)

ATTACKS = ("fgsm", "ossa", "deepfool")
#: Detector and what it is trained on; of the first also in every form.
TRAININGS = [("forest", name) for name in (*ATTACKS, "others")] + [("gaussian", "clean")]
FORMS = [(bits, positives) for bits in ("float32", "8bit") for positives in ("successful", "all")]
COUNT = 3


@pytest.fixture
def file(tmp_path):
    """A file with all cells; each row has a score of its own."""
    path, number = tmp_path / "scores.parquet", 0
    rows = len(ATTACKS) * COUNT
    with write_scores(path, {"name": "kd"}) as append:
        for detector, trained_on in TRAININGS:
            for bits, positives in FORMS:
                append(
                    ScorePart(
                        *(detector, trained_on, bits, positives, ATTACKS),
                        attack=np.repeat(np.arange(len(ATTACKS), dtype=np.int16), COUNT),
                        index=np.tile(np.arange(COUNT), len(ATTACKS)),
                        kind=np.full(rows, 2, np.int8),
                        score=np.arange(number, number + rows, dtype=float),
                        reasons={"ossa": "none fooled"} if bits == "8bit" else {},
                    )
                )
                number += rows
    return path


def test_parts_come_back_with_their_names_and_reasons(file):
    table = pd.concat(read_parts(file), ignore_index=True)
    cells = table.groupby(CELL, observed=True).size()
    assert len(cells) == len(TRAININGS) * len(FORMS) * len(ATTACKS)
    assert set(cells) == {COUNT}
    unknown = (table["bits"] == "8bit") & (table["tested_on"] == "ossa")
    assert table.loc[~unknown, "score"].tolist() == np.flatnonzero(~unknown).tolist()
    assert table.loc[unknown, "score"].isna().all()
    assert set(table.loc[unknown, "reason"]) == {"none fooled"}
    assert set(table.loc[~unknown, "reason"]) == {""}
    assert set(table["kind"]) == {"adversarial"}
    assert detectors_of(file) == ["forest", "gaussian"]


def test_own_scores_are_those_of_the_attack_that_a_detector_was_trained_on(file):
    whole = read_cells(file)
    own = read_own_scores(file, "forest")
    assert set(zip(own["trained_on"], own["tested_on"], strict=True)) == {
        (name, name) for name in ATTACKS
    }
    assert set(own["bits"]) == {"float32"}
    assert set(own["positives"]) == {"successful"}
    expected = [
        row.score
        for row in whole.itertuples()
        if (row.detector, row.bits, row.positives) == ("forest", "float32", "successful")
        and row.trained_on == row.tested_on
    ]
    assert own["score"].tolist() == expected
    assert len(expected) == len(ATTACKS) * COUNT


def test_a_detector_of_clean_images_meets_every_attack_as_its_own(file):
    own = read_own_scores(file, "gaussian")
    assert set(own["trained_on"]) == {"clean"}
    assert set(own["tested_on"]) == set(ATTACKS)
    assert len(own) == len(ATTACKS) * COUNT


def test_there_are_no_own_scores_of_a_detector_that_is_not_there(file):
    assert read_own_scores(file, "threshold").empty


def test_cells_are_read_by_the_values_of_columns(file):
    table = read_cells(file, trained_on="others", bits="8bit")
    assert len(table) == 2 * len(ATTACKS) * COUNT
    assert set(table["trained_on"]) == {"others"}
    assert set(table["positives"]) == {"successful", "all"}


def test_clean_images_are_kept_once_and_come_back_for_every_attack(tmp_path):
    """Against the rows written out by hand.

    An attack with a reason has no score of them either; one that changed nothing has its own.
    """
    path = tmp_path / "scores.parquet"
    with write_scores(path, {}) as append:
        for number, trained_on in enumerate(ATTACKS):
            append(
                ScorePart(
                    *("forest", trained_on, "float32", "all", (*ATTACKS, "untouched")),
                    attack=np.array([-1, -1, 0, 0, 1, 2, 2, 3, 3], np.int16),
                    index=np.array([3, 5, 3, 5, 5, 3, 5, 3, 5]),
                    kind=np.array([0, 0, 1, 2, 1, 1, 2, 0, 0], np.int8),
                    score=np.array([1, 2, 3, 4, np.nan, 6, 7, 1, 2]) + number,
                    reasons={"ossa": "no value"},
                )
            )
    columns = ["tested_on", "index", "kind", "score", "reason"]
    expected = [
        ("fgsm", 3, "clean", 1, ""),
        ("fgsm", 5, "clean", 2, ""),
        ("fgsm", 3, "noisy", 3, ""),
        ("fgsm", 5, "adversarial", 4, ""),
        ("ossa", 3, "clean", np.nan, "no value"),
        ("ossa", 5, "clean", np.nan, "no value"),
        ("ossa", 5, "noisy", np.nan, "no value"),
        ("deepfool", 3, "clean", 1, ""),
        ("deepfool", 5, "clean", 2, ""),
        ("deepfool", 3, "noisy", 6, ""),
        ("deepfool", 5, "adversarial", 7, ""),
        ("untouched", 3, "clean", 1, ""),
        ("untouched", 5, "clean", 2, ""),
    ]
    assert pq.ParquetFile(path).metadata.num_rows == 9 * len(ATTACKS)
    whole = pd.concat(read_parts(path))
    for number, trained_on in enumerate(ATTACKS):
        rows = pd.DataFrame(expected, columns=columns)
        rows["score"] += number
        for found in (
            whole[whole["trained_on"] == trained_on],
            read_cells(path, trained_on=trained_on),
        ):
            pd.testing.assert_frame_equal(
                found[columns].reset_index(drop=True),
                rows,
                check_dtype=False,
                check_categorical=False,
            )
    ossa = read_cells(path, trained_on="fgsm", tested_on="deepfool")
    assert ossa["score"].tolist() == [1, 2, 6, 7]


def test_scores_have_the_digits_of_float32_and_the_range_of_float64(tmp_path):
    generator = np.random.default_rng(0)
    usual = generator.normal(0, 10, 1000)
    far = np.array([1e300, -3e-200, 5e-324, 0.0, -np.inf, np.inf])
    scores = np.concatenate([usual, far])
    with write_scores(tmp_path / "scores.parquet", {}) as append:
        append(
            ScorePart(
                *("forest", "fgsm", "float32", "all", ["fgsm"]),
                attack=np.zeros(len(scores), np.int16),
                index=np.arange(len(scores)),
                kind=np.full(len(scores), 2, np.int8),
                score=scores,
                reasons={},
            )
        )
    found = read_cells(tmp_path / "scores.parquet")["score"].to_numpy()
    np.testing.assert_array_equal(found[: len(usual)], usual.astype(np.float32))
    np.testing.assert_allclose(found[len(usual) :], far, rtol=2**-24, atol=0)
    assert (np.diff(found[np.argsort(scores)]) >= 0).all()
