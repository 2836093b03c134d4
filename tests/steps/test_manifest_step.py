"""Which files of the store stand behind an experiment: all of them, and none besides."""

import pytest
from small_store import fill, write_manifest

from advdetect.__main__ import main
from advdetect.files.experiment import store_files, timing_files
from advdetect.files.texts import read_json, write_json
from advdetect.io import read_provenance


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def files(store):
    return fill(store)


def test_all_that_the_scores_were_made_from_is_listed(files, store, tmp_path):
    """And nothing of an attack that they do not rest on."""
    detectors, scores = files.scores(["fgsm"])
    path = write_manifest(tmp_path, "mine", [scores])
    expected = {
        *files.data.values(),
        *(files.model, files.clean, files.attacks["fgsm"]),
        *(files.features[name] for name in ("clean", "fgsm")),
        *(detectors, scores),
    }
    assert set(store_files(tmp_path / "mine")) == expected
    listed = read_json(path)["files"]
    assert list(listed) == sorted(listed)
    for name, entry in listed.items():
        facts = read_provenance(store / name)
        assert (entry["step"], entry["key"]) == (facts["step"], facts["key"])
        keys = {listed[made]["key"] for made in entry["made_from"]}
        inputs = facts["inputs"].values()
        assert keys == {key for of in inputs for key in ([of] if isinstance(of, str) else of)}


def test_a_cell_names_the_files_that_it_rests_on(files, store, tmp_path):
    _, scores = files.scores(["fgsm", "ossa"])
    cells = read_json(write_manifest(tmp_path, "mine", [scores]))["cells"]
    assert {cell["attack"] for cell in cells} == {"fgsm", "ossa"}
    for cell in cells:
        assert (cell["feature"], cell["seed"]) == ("kd", 0)
        assert store / cell["scores"] == scores
        assert store / cell["attack_file"] == files.attacks[cell["attack"]]
        assert [store / name for name in cell["feature_files"]] == [files.features[cell["attack"]]]


def test_what_jobs_took_is_found_by_the_files_that_they_made(files, tmp_path):
    """Those of the experiment alone, and of its own jobs, but no other's."""
    detectors, scores = files.scores(["fgsm"])
    write_manifest(tmp_path, "mine", [scores])
    logs = tmp_path / "logs"

    def log(path):
        file = logs / f"{path}.json"
        write_json(file, {})
        return file

    jobs = {
        log(path.relative_to(tmp_path / "store"))
        for path in (
            files.attacks["fgsm"].with_suffix(""),
            files.model.with_suffix(""),
            detectors.parent,  # a job of several files
        )
    }
    jobs.add(log("mine/tables"))
    log(files.attacks["ossa"].with_suffix("").relative_to(tmp_path / "store"))
    log("other/tables")
    assert set(timing_files(tmp_path / "mine")) == jobs


def test_files_that_lie_in_no_store_are_refused(tmp_path, capsys):
    path = fill(tmp_path / "elsewhere").model
    output = tmp_path / "manifest.json"
    assert main(["manifest", "--files", str(path), "--output", str(output)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path} lies in no folder called store" in line
    assert not output.exists()
