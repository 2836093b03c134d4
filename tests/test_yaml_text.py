"""The reader against OmegaConf's own, which is what Hydra reads with."""

import math

import pytest
from omegaconf import OmegaConf

from advdetect.errors import AdvdetectError
from advdetect.yaml_text import read_yaml, read_yaml_file

TEXTS = [
    *("1", "-1", "0x1f", "1_000", "0.5", ".5", "5.", "1e3", "1e-3", "1E+3", "1.5e3"),
    *(".5e-3", ".inf", "-.inf", "null", "~", "true", "on", "off", "no", "yes", "y", "1:30"),
    *("2024-11-05", "2024-11-05 10:00:00", "e3", "1e", "-e3", "1.2.3", "0.26", "'1e3'", "''"),
    *("[1e3, a, null]", "{a: 1e-3, b: {c: [on]}}", "a: &x 1\nb: *x\n", "{κ: 'ü'}"),
]


@pytest.mark.parametrize("text", TEXTS)
def test_values_are_those_of_hydra(text):
    whole = text if "\n" in text else f"value: {text}"
    expected, found = OmegaConf.to_container(OmegaConf.create(whole)), read_yaml(whole, "it")
    assert found == expected
    assert type(found.get("value")) is type(expected.get("value"))


def test_a_number_may_begin_with_its_point():
    """Hydra reads a text there."""
    assert read_yaml("-.5e-3", "it") == -0.0005


def test_not_a_number_is_read_as_such():
    assert math.isnan(read_yaml(".nan", "it"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb:\t- 2\n\t- 3\n", r"^it is no valid YAML \(line 2, column "),
        ("a: [1", r"line 2, column 1: did not find expected ',' or ']'|line 1"),
        ("a: 1\na: 2\n", r"^it is no valid YAML \(line 1, column 1: a stands there twice\)"),
        ("a: {b: 1, b: 2}", "b stands there twice"),
        ("a: \x07", "no valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: *nowhere", "undefined alias"),
    ],
)
def test_what_is_no_yaml_is_said_in_one_sentence(text, said):
    with pytest.raises(AdvdetectError, match=said) as caught:
        read_yaml(text, "it")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xef\xbb\xbfa: 1\n", "begins with a byte-order mark"),
        ("a: ü\n".encode("latin-1"), r"is no UTF-8 text \(byte 4\)"),
        ("a: 1\n".encode("utf-16"), "is no UTF-8 text"),
        (b"a: [", "no valid YAML"),
    ],
)
def test_what_is_no_text_is_said_in_one_sentence(tmp_path, content, said):
    path = tmp_path / "it.yaml"
    path.write_bytes(content)
    with pytest.raises(AdvdetectError, match=f"it.yaml {said}|it.yaml is {said}"):
        read_yaml_file(path)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(AdvdetectError, match=r"it\.yaml cannot be read \(No such file"):
        read_yaml_file(tmp_path / "it.yaml")
