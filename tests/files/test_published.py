import shutil

import pandas as pd
import pytest

from advdetect.errors import AdvdetectError
from advdetect.files.atomic import recorded
from advdetect.files.checksums import sha256
from advdetect.files.published import read_csv, read_published, write_stamp
from advdetect.files.texts import read_json, write_text


def test_a_stamp_takes_the_place_of_that_of_another_key(tmp_path):
    """And of no other file's, be its name the beginning of this one or longer."""
    kept = [
        tmp_path / f"{name}.c0ffee000000.json" for name in ("figure", "figure.kd,k=0.5", "tables")
    ]
    for path in (*kept, tmp_path / "figure.kd.c0ffee000000.json"):
        write_stamp(path, ["figure"], [])
    new = tmp_path / "figure.kd.c0ffee000001.json"
    write_stamp(new, ["figure", "--spec", "{}"], [])
    assert set(tmp_path.iterdir()) == {*kept, new}
    assert read_json(new) == {"command": ["figure", "--spec", "{}"], "files": {}}


def test_a_stamp_that_is_there_is_written_again(tmp_path):
    path = tmp_path / "new" / "tables.c0ffee000000.json"
    for command in (["tables"], ["tables", "--paired"]):
        write_stamp(path, command, [])
        assert list(path.parent.iterdir()) == [path]
    assert read_json(path)["command"] == ["tables", "--paired"]


@pytest.fixture
def published(tmp_path):
    """An experiment's folder with two published tables and the report."""
    folder = tmp_path / "results" / "tiny"
    with recorded() as written:
        write_text(folder / "metrics" / "kd.csv", "seed,value\n0,0.25\n1,0.5\n")
        write_text(folder / "report.html", "<p>")
        write_stamp(folder / ".stamps" / "metrics.c0ffee000000.json", ["evaluate"], written)
    with recorded() as written:
        write_text(folder / "metrics" / "bu.csv", "seed,value\n0,0.75\n")
        write_stamp(folder / ".stamps" / "bu.c0ffee000000.json", ["evaluate"], written)
    return folder


def test_a_stamp_holds_the_checksums_of_its_files(published):
    held = read_json(published / ".stamps" / "metrics.c0ffee000000.json")["files"]
    assert held == {
        name: sha256((published / name).read_bytes()) for name in ("metrics/kd.csv", "report.html")
    }


def test_published_tables_are_read(published, monkeypatch):
    expected = pd.DataFrame({"seed": ["0", "1", "0"], "value": [0.25, 0.5, 0.75]})
    paths = [published / "metrics" / name for name in ("kd.csv", "bu.csv")]
    pd.testing.assert_frame_equal(read_csv(*paths), expected, check_dtype=False)
    monkeypatch.chdir(published / "metrics")  # however they are called
    pd.testing.assert_frame_equal(read_csv("kd.csv", "bu.csv"), expected, check_dtype=False)
    assert read_published("../report.html") == [b"<p>"]


@pytest.mark.parametrize("name", ["metrics/kd.csv", "report.html"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-2],
        lambda content: content + b"0",
        lambda content: b"q" + content[1:],
    ],
)
def test_what_is_not_as_it_was_published_is_refused(published, monkeypatch, name, damage):
    path = published / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(AdvdetectError, match=r"its checksum is another.*Delete it and run again"):
        read_published(path)
    monkeypatch.chdir(path.parent)
    with pytest.raises(AdvdetectError, match="its checksum is another"):
        read_published(path.name)


def test_a_damaged_stamp_is_named(published):
    (stamp,) = published.glob(".stamps/metrics.*.json")
    stamp.write_text(stamp.read_text().replace("kd.csv", "kb.csv"))
    with pytest.raises(AdvdetectError, match=r"metrics\.c0ffee000000\.json cannot be read"):
        read_csv(published / "metrics" / "kd.csv")


def test_a_stamp_that_another_job_takes_away_meanwhile_is_of_no_concern(published):
    (published / ".stamps" / "figure_roc.c0ffee000000.json").symlink_to("gone")
    assert read_csv(published / "metrics" / "kd.csv")["seed"].tolist() == ["0", "1"]


def test_tables_without_a_stamp_are_read_as_they_are(published):
    (published / "metrics" / "mine.csv").write_text("seed,value\n7,1\n")
    assert read_csv(published / "metrics" / "mine.csv")["seed"].tolist() == ["7"]
    shutil.rmtree(published / ".stamps")
    (published / "metrics" / "kd.csv").write_text("seed,value\n8,1\n")
    assert read_csv(published / "metrics" / "kd.csv")["seed"].tolist() == ["8"]
