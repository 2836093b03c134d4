"""Removing what no named experiment needs: just that, and only when it was said and asked for."""

import pytest
from small_store import fill, write_manifest

from advdetect.__main__ import main


@pytest.fixture
def results(tmp_path):
    """Two experiments, which share all but one attack and the detectors."""
    files = fill(tmp_path / "store")
    for name, attacks in {"one": ["fgsm"], "two": ["fgsm", "ossa"]}.items():
        write_manifest(tmp_path, name, [files.scores(attacks)[1]])
    return tmp_path


def lying_in(results):
    return {path for path in (results / "store").rglob("*") if path.is_file()}


def prune(results, *arguments):
    return main(["prune", str(results), *arguments])


def test_what_both_need_stays(results, capsys):
    before = lying_in(results)
    capsys.readouterr()
    assert prune(results, "--keep", "one", "two", "--yes") == 0
    assert lying_in(results) == before
    assert "0 files, 0.0 MB, that one, two need not." in capsys.readouterr().out


def test_just_what_the_other_alone_needs_is_removed(results, capsys):
    """Of the model also its history, and of the detectors the whole folder."""
    before = lying_in(results)
    own = fill(results / "store")
    kept, other = own.scores(["fgsm"]), own.scores(["fgsm", "ossa"])
    surplus = {own.attacks["ossa"], own.features["ossa"], other[1], *other[0].parent.iterdir()}
    assert len(surplus) == 6
    capsys.readouterr()
    assert prune(results, "--keep", "one") == 0
    *listed, count, said = capsys.readouterr().out.splitlines()
    assert {results / "store" / name for name in listed} == surplus
    size = sum(path.stat().st_size for path in surplus) / 1e6
    assert count == f"6 files, {size:.1f} MB, that one need not."
    assert said == "Nothing was removed; --yes removes them."
    assert lying_in(results) == before

    assert prune(results, "--keep", "one", "--yes") == 0
    assert lying_in(results) == before - surplus
    assert own.model.with_suffix(".json").is_file()
    assert {path.name for path in kept[0].parent.iterdir()} == {
        *("fitted.parquet", "split.parquet", "thresholds.parquet")
    }
    assert not other[0].parent.exists()
    assert not own.features["ossa"].parent.exists()


@pytest.mark.parametrize("name", ["three", "store", ".."])
def test_an_unknown_experiment_is_refused(results, capsys, name):
    before = lying_in(results)
    capsys.readouterr()
    assert prune(results, "--keep", "one", name, "--yes") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--keep: {name} is no finished experiment of" in line
    assert "there are: one, two." in line
    assert lying_in(results) == before


def test_a_folder_without_a_store_is_refused(results, capsys):
    capsys.readouterr()
    assert prune(results / "one", "--keep", "one", "--yes") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds no folder store" in line
