from advdetect.files.texts import read_json
from advdetect.stamp import write_stamp


def test_a_stamp_takes_the_place_of_that_of_another_key(tmp_path):
    """And of no other file's, be its name the beginning of this one or longer."""
    kept = [
        tmp_path / f"{name}.c0ffee000000.json" for name in ("figure", "figure.kd,k=0.5", "tables")
    ]
    for path in (*kept, tmp_path / "figure.kd.c0ffee000000.json"):
        write_stamp(path, ["figure"])
    new = tmp_path / "figure.kd.c0ffee000001.json"
    write_stamp(new, ["figure", "--spec", "{}"])
    assert set(tmp_path.iterdir()) == {*kept, new}
    assert read_json(new) == {"command": ["figure", "--spec", "{}"]}


def test_a_stamp_that_is_there_is_written_again(tmp_path):
    path = tmp_path / "new" / "tables.c0ffee000000.json"
    for command in (["tables"], ["tables", "--paired"]):
        write_stamp(path, command)
        assert list(path.parent.iterdir()) == [path]
    assert read_json(path)["command"] == ["tables", "--paired"]
