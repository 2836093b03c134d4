import pytest

from advdetect.errors import AdvdetectError
from advdetect.schemas import problem

NUMBER = {"type": "number", "exclusiveMinimum": 0}


def test_a_right_value_has_no_problem():
    assert (
        problem({"x": [1, 2.5]}, {"properties": {"x": {"type": "array", "items": NUMBER}}}) is None
    )


def test_a_wrong_one_is_named_with_its_place():
    found = problem({"x": [1, -2]}, {"properties": {"x": {"items": NUMBER}}})
    assert found.path == ("x", 1)
    assert found.message == "-2 is less than or equal to the minimum of 0"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("schema", [NUMBER, {}, True])
def test_what_is_not_finite_is_no_number(value, schema):
    assert problem(value, schema).message == f"{value} is not a finite number"
    assert problem({"x": [{"y": value}]}, True).path == ("x", 0, "y")


def test_no_schema_is_fetched(monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("it was fetched"))
    for reference in ("https://example.org/schema.json", "file:///etc/passwd", "other.json"):
        with pytest.raises(AdvdetectError, match="not in it; nothing is fetched"):
            problem(1, {"$ref": reference})
    assert problem(1, {"$ref": "#/$defs/x", "$defs": {"x": NUMBER}}) is None


@pytest.mark.parametrize(
    "schema", [{"type": "intger"}, {"minimum": "a"}, {"pattern": "("}, {"enum": 3}, "text"]
)
def test_a_schema_that_is_none_is_said_to_be(schema):
    value = "x" if isinstance(schema, dict) and "pattern" in schema else 1
    with pytest.raises(AdvdetectError, match="is no JSON Schema"):
        problem(value, schema)
