import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from advdetect.errors import AdvdetectError
from advdetect.evaluation.cells import stack_runs
from advdetect.evaluation.comparison import by_size, compare_cells, count_outcomes

NAN = float("nan")


def cells(
    *rows: tuple[str, str, float, float, float], interval: str = "95 % bootstrap"
) -> pd.DataFrame:
    """Tidy cells from feature, attack, value, low and high."""
    table = pd.DataFrame(rows, columns=["feature", "attack", "value", "low", "high"])
    return table.assign(
        interval=interval, standard_deviation=NAN, n_positive=len(rows), n_negative=0
    )


def outcome(first: tuple[float, float, float], second: tuple[float, float, float]) -> str:
    compared = compare_cells(cells(("kd", "fgsm", *first)), cells(("kd", "fgsm", *second)))
    return compared["outcome"].item()


def test_intervals_of_normal_estimates_give_the_two_sided_z_test():
    generator = np.random.default_rng(0)
    z = norm.ppf(0.975)
    deviations = generator.uniform(0.2, 2, size=(2, 4000))
    values = generator.normal(scale=deviations)
    tables = [
        cells(
            *(
                (str(i), "fgsm", value, value - z * deviation, value + z * deviation)
                for i, (value, deviation) in enumerate(zip(*side, strict=True))
            )
        )
        for side in zip(values, deviations, strict=True)
    ]
    beyond = compare_cells(*tables)["outcome"] == "beyond"
    p = 2 * norm.sf(np.abs(values[1] - values[0]) / np.hypot(*deviations))
    assert beyond.tolist() == (p < 0.05).tolist()
    # No cell has changed: five in a hundred, up to four standard deviations of that count.
    assert beyond.mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 4000))


def test_equal_intervals_may_overlap_where_the_change_is_beyond_them():
    half = 0.1
    for factor, expected in ((1.40, "within"), (1.43, "beyond")):  # around √2
        d = factor * half
        assert outcome((0.5, 0.4, 0.6), (0.5 + d, 0.4 + d, 0.6 + d)) == expected
        assert outcome((0.5 + d, 0.4 + d, 0.6 + d), (0.5, 0.4, 0.6)) == expected


def test_the_side_of_an_interval_that_faces_the_other_value_counts():
    assert outcome((0.8, 0.2, 0.82), (0.9, 0.88, 0.99)) == "beyond"
    assert outcome((0.8, 0.78, 0.99), (0.9, 0.88, 0.91)) == "within"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0.5, 0.4, 0.6), (0.5, 0.4, 0.6), "equal"),
        ((0.5, 0.4, 0.6), (0.5, 0.4, 0.61), "within"),
        ((0.5, 0.4, 0.6), (0.5, NAN, NAN), "within"),
        ((0.5, 0.4, 0.6), (np.nextafter(0.5, 1), 0.4, 0.6), "within"),
        ((0.5, NAN, NAN), (0.5, NAN, NAN), "equal"),
        ((0.5, NAN, NAN), (0.51, NAN, NAN), "no_interval"),
        ((0.5, 0.4, 0.6), (0.9, NAN, NAN), "no_interval"),
        ((NAN, NAN, NAN), (NAN, NAN, NAN), "equal"),
        ((0.5, 0.4, 0.6), (NAN, NAN, NAN), "only_first"),
        ((NAN, NAN, NAN), (0.5, NAN, NAN), "only_second"),
        ((1.0, 1.0, 1.0), (0.99, 0.98, 1.0), "within"),
        ((1.0, 1.0, 1.0), (0.98, 0.97, 0.99), "beyond"),
    ],
)
def test_outcome_of_a_cell(first, second, expected):
    assert outcome(first, second) == expected


def test_cells_are_matched_by_their_keys_in_any_order():
    first = cells(("kd", "fgsm", 0.5, 0.4, 0.6), ("kd", "otcm", 0.7, 0.6, 0.8))
    second = first[::-1][["high", "attack", *first.columns.drop(["high", "attack"])]]
    assert count_outcomes(compare_cells(first, second))["equal"] == 2
    added = pd.concat([second, cells(("bu", "otcm", 0.7, 0.6, 0.8))])
    compared = compare_cells(first, added)
    assert compared[["row", "column", "outcome"]].to_numpy().tolist() == [
        ["kd", "fgsm", "equal"],
        ["kd", "otcm", "equal"],
        ["bu", "otcm", "only_second"],
    ]


def test_names_that_look_like_numbers_are_names():
    first = cells(("kd", "1", 0.5, 0.4, 0.6))
    second = first.assign(attack=1)
    assert compare_cells(first, second)["outcome"].item() == "equal"


def test_a_table_of_one_run_only():
    table = cells(("kd", "fgsm", 0.5, 0.4, 0.6), ("kd", "otcm", NAN, NAN, NAN))
    assert compare_cells(table, None)["outcome"].tolist() == ["only_first", "equal"]
    assert compare_cells(None, table)["outcome"].tolist() == ["only_second", "equal"]


def test_a_range_over_attacks_is_no_interval():
    first = cells(("kd", "gaussian", 0.5, 0.1, 0.9), interval="range over attacks")
    second = cells(("kd", "gaussian", 0.51, 0.1, 0.9), interval="range over attacks")
    assert compare_cells(first, second)["outcome"].item() == "no_interval"


def test_the_largest_change_comes_first():
    first = cells(*((name, "fgsm", 0.5, 0.49, 0.51) for name in "abcd"))
    values = {"a": 0.6, "b": 0.1, "c": 0.5, "d": 0.8}
    second = cells(*((name, "fgsm", v, v - 0.01, v + 0.01) for name, v in values.items()))
    changed = by_size(compare_cells(first, second))
    assert changed["row"].tolist() == ["b", "d", "a"]
    assert changed["difference"].tolist() == pytest.approx([-0.4, 0.3, 0.1])


def test_tables_that_cannot_be_matched_are_refused():
    table = cells(("kd", "fgsm", 0.5, 0.4, 0.6))
    with pytest.raises(AdvdetectError, match="named by feature, attack and by feature, detector"):
        compare_cells(table, table.rename(columns={"attack": "detector"}))
    with pytest.raises(AdvdetectError, match="two or more names, the same in both"):
        compare_cells(table, table.assign(seed=0))
    with pytest.raises(AdvdetectError, match="two or more names, the same in both"):
        compare_cells(table.drop(columns="attack"), table.drop(columns="attack"))
    with pytest.raises(AdvdetectError, match="the cell kd, fgsm stands in it twice"):
        compare_cells(table, pd.concat([table, table]))


def test_cells_may_have_three_names_and_facts_that_are_not_compared():
    table = cells(("kd", "fgsm", 0.5, 0.4, 0.6))
    first = table.assign(reading="one", reported=0.4, verdict="above")
    second = first.assign(reported=0.6, verdict=float("nan"))
    (row,) = compare_cells(first, second).to_dict("records")
    assert (row["row"], row["column"], row["outcome"]) == ("kd", "fgsm, one", "equal")
    assert set(compare_cells(first, first.assign(reading="two"))["outcome"]) == {
        "only_first",
        "only_second",
    }


def test_cells_are_matched_within_their_run():
    before = {
        "A": cells(("kd", "fgsm", 0.9, 0.8, 1.0), ("kd", "ossa", 0.5, 0.4, 0.6)),
        "B": cells(("kd", "fgsm", 0.1, 0.0, 0.2)),
    }
    after = {
        "B": cells(("kd", "fgsm", 0.9, 0.8, 1.0)),
        "A": cells(("kd", "fgsm", 0.9, 0.8, 1.0), ("kd", "ossa", 0.55, 0.4, 0.6)),
    }
    both = compare_cells(
        stack_runs(before, pd.DataFrame.copy), stack_runs(after, pd.DataFrame.copy)
    )
    for run, own in before.items():
        here = both[both["run"] == run].drop(columns="run").reset_index(drop=True)
        alone = compare_cells(own, after[run]).drop(columns="run")
        pd.testing.assert_frame_equal(here, alone)
    assert both["outcome"].tolist() == ["equal", "within", "beyond"]
