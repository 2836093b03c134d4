import pandas as pd
import pytest
import torch

from advdetect.errors import AdvdetectError
from advdetect.files.texts import write_json
from advdetect.io import write_tensors
from advdetect.runs import RunFiles, group_by_run, read_frame, with_tables

LABELS = {"a1": "A", "b2": "B"}


@pytest.fixture
def file(tmp_path):
    """Write a file of a run: a function that returns its path."""

    def write(stem, **facts):
        path = tmp_path / f"{stem}.safetensors"
        write_tensors(path, {"x": torch.zeros(1)}, {"step": "attack", "name": "fgsm"} | facts)
        return str(path)

    return write


def test_files_are_grouped_by_the_run_that_they_name(file):
    paths = [file("1", run="b2", seed=0), file("2", run="a1", seed=0), file("3", run="b2", seed=1)]
    runs = group_by_run(paths, LABELS)
    assert runs == {
        "A": RunFiles("A", (paths[1],)),
        "B": RunFiles("B", (paths[0], paths[2])),
    }
    assert list(runs) == ["A", "B"]


def test_without_labels_there_is_one_run(file):
    paths = [file("1", seed=0), file("2", seed=1)]
    assert group_by_run(paths, {}) == {"": RunFiles("", tuple(paths))}


def test_the_metrics_of_training_name_their_run_too(tmp_path):
    for run in LABELS:
        write_json(tmp_path / f"{run}.json", {"run": run, "seed": 0})
    paths = [str(tmp_path / f"{run}.json") for run in LABELS]
    assert list(group_by_run(paths, LABELS)) == ["A", "B"]
    with pytest.raises(AdvdetectError, match=r"a1\.json and .*b2\.json are of the same run"):
        group_by_run(paths, {})


def test_two_files_of_a_run_and_seed_are_refused(file):
    paths = [file("1", run="a1", seed=0), file("2", run="a1", seed=0)]
    with pytest.raises(AdvdetectError) as caught:
        group_by_run(paths, LABELS)
    message = str(caught.value)
    assert paths[0] in message
    assert paths[1] in message
    assert "\n" not in message
    other = [paths[0], file("3", run="b2", seed=0), file("4", run="a1", seed=0, name="ossa")]
    assert len(group_by_run(other, LABELS)["A"].paths) == 2


def test_a_run_without_a_label_is_refused(file):
    with pytest.raises(AdvdetectError, match="of the run c3, which --runs does not name: a1, b2"):
        group_by_run([file("1", run="c3")], LABELS)


def test_tables_of_several_runs_are_read_run_by_run(tmp_path):
    path = str(tmp_path / "kd.csv")
    pd.DataFrame({"run": ["B", "A", "B"], "value": [1.0, 2.0, 3.0]}).to_csv(path, index=False)
    runs = with_tables({}, [path], LABELS)
    assert list(runs) == ["A", "B"]
    assert runs["B"].frame()["value"].tolist() == [1.0, 3.0]
    assert runs["A"].frame()["value"].tolist() == [2.0]


def test_what_a_table_does_not_say_is_empty(tmp_path):
    path = str(tmp_path / "kd.csv")
    pd.DataFrame({"value": [1.0], "reason": [None]}).to_csv(path, index=False)
    frame = read_frame(path)
    assert frame[["run", "reason"]].to_dict("records") == [{"run": "", "reason": ""}]
