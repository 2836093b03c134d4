"""The file of scores: what is read of it are the rows that are asked for."""

import numpy as np
import pandas as pd
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
    assert table["score"].tolist() == list(range(len(TRAININGS) * len(FORMS) * 9))
    cells = table.groupby(CELL, observed=True).size()
    assert len(cells) == len(TRAININGS) * len(FORMS) * len(ATTACKS)
    assert set(cells) == {COUNT}
    unknown = (table["bits"] == "8bit") & (table["tested_on"] == "ossa")
    assert set(table.loc[unknown, "reason"]) == {"none fooled"}
    assert set(table.loc[~unknown, "reason"]) == {""}
    assert set(table["kind"]) == {"adversarial"}
    assert detectors_of(file) == ["forest", "gaussian"]


def test_own_scores_are_those_of_the_attack_that_a_detector_was_trained_on(file):
    whole = pd.read_parquet(file)
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
