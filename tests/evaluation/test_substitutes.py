"""How well substitutes imitate their oracles, by hand."""

from io import StringIO

import pandas as pd
import pytest
import torch

from advdetect.evaluation.substitutes import imitations
from advdetect.files.texts import write_json
from advdetect.io import write_tensors
from advdetect.tables.names import titled
from advdetect.tables.rendering import to_csv, to_text
from advdetect.tables.substitute_table import substitute_table

BOOTSTRAP = {"replicates": 200, "seed": 0}
LABELS = {"run of the oracle": "svm", "run of the substitute": "imitated"}
TOLD = [0, 1, 2, 3, 0, 1, 2, 3]  # what the oracle says of eight images


@pytest.fixture
def files(tmp_path):
    """Two seeds of a substitute and its oracle, and a model that imitates nothing."""
    histories, clean = [], []
    for seed, wrong, queries in ((0, 2, 600), (1, 4, 800)):
        said = {"svm": TOLD, "substitute": [9] * wrong + TOLD[wrong:], "other": [0] * 8}
        for model, prediction in said.items():
            key = f"{model} {seed}"
            run = "run of the oracle" if model == "svm" else f"run of the {model}"
            facts = {"run": run, "seed": seed, "inputs": {"model": key}}
            path = tmp_path / f"{model}{seed}.safetensors"
            write_tensors(path, {"prediction": torch.tensor(prediction)}, facts)
            clean.append(str(path))
            made = {"run": run, "seed": seed, "key": key, "inputs": {"train": "t"}, "history": []}
            if model == "other":
                made["history"] = [{"epoch": 1, "loss": 0.1}]
            if model == "substitute":
                made["history"] = [{"queries": 150}, {"queries": queries}]
                made["inputs"]["others"] = f"svm {seed}"
            histories.append(str(tmp_path / f"{model}{seed}.json"))
            write_json(histories[-1], made)
    return histories, clean


def test_agreement_counts_all_images_and_queries_are_the_last(files):
    cells = imitations(*files, LABELS, **BOOTSTRAP)
    named = cells[["substitute", "oracle"]].drop_duplicates()
    assert named.to_numpy().tolist() == [["imitated", "svm"]]
    values = cells.set_index("quantity")["value"]
    assert values.to_dict() == {"queries": 700, "agreement": (6 / 8 + 4 / 8) / 2}
    agreement = cells[cells["quantity"] == "agreement"].iloc[0]
    assert agreement["low"] < agreement["value"] < agreement["high"]
    assert agreement["n_positive"] == 16


def test_the_table_says_percent_and_is_the_same_from_its_file(files):
    table = substitute_table(imitations(*files, LABELS, **BOOTSTRAP))
    text = to_text(table)
    assert "imitated (of svm)" in text
    assert "Labels asked for" in text
    assert " 700" in text
    assert "62.5 [" in text
    assert to_text(substitute_table(pd.read_csv(StringIO(to_csv(table))))) == text


@pytest.mark.parametrize(
    ("title", "shown"),
    [("an imitation", "an imitation (of SVM)"), ("substitute of SVM", "substitute of SVM")],
)
def test_the_table_shows_titles_of_runs(files, title, shown):
    with titled({"@imitated": title, "@svm": "SVM"}):
        table = substitute_table(imitations(*files, LABELS, **BOOTSTRAP))
        assert table.headings == [[shown]]
        assert "imitated,svm,queries" in to_csv(table)


def test_an_oracle_that_is_no_run_is_not_named(files):
    labels = {"run of the substitute": "imitated"}
    table = substitute_table(imitations(*files, labels, **BOOTSTRAP))
    assert table.headings == [["imitated"]]
    again = substitute_table(pd.read_csv(StringIO(to_csv(table))))
    assert again.headings == [["imitated"]]
