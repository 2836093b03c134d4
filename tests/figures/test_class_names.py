import pytest

from advdetect.figures.class_names import short_names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # Of synonyms the first; a name that fits is kept.
        (["tench, Tinca tinca", "goldfish, Carassius auratus"], ["tench", "goldfish"]),
        (["Apple Golden 1", "Apple Golden 2"], ["Apple Golden 1", "Apple Golden 2"]),
        # Cut between words, and within a word only where there is no other place.
        (["black-footed ferret of Mexico"], ["black-footed…"]),
        (["greater_airport_terminal"], ["greater_airport…"]),
        (["Donaudampfschifffahrtsgesellschaft"], ["Donaudampfschifff…"]),
        # What tells them apart: the last word, the rest of the name, the number of the class.
        (
            ["Apple Crimson Snow Deluxe 1", "Apple Crimson Snow Deluxe 2"],
            ["Apple Crimson… 1", "Apple Crimson… 2"],
        ),
        (
            ["American red big fox dog", "American red big cat dog"],
            ["American red big fox dog", "American red big cat dog"],
        ),
        (["maillot", "maillot, tank suit"], ["maillot", "maillot, tank suit"]),
        (["cardigan", "Cardigan, Welsh corgi"], ["cardigan", "Cardigan, Welsh corgi"]),
        (["crane", "tench", "crane"], ["crane (0)", "tench", "crane (2)"]),
        ([], []),
    ],
)
def test_names_are_shortened_and_stay_apart(names: list[str], expected: list[str]) -> None:
    assert short_names(names, width=18) == expected


def test_ten_thousand_alike_names_stay_apart() -> None:
    names = [f"a very long beginning of a name, {n % 5000} ({n % 7})" for n in range(10_000)]
    assert len(set(short_names(names))) == 10_000
