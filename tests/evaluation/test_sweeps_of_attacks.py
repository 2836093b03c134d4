import pytest

from advdetect.evaluation.sweeps import Sweep, number_of, number_sweeps, without
from advdetect.naming import split_name


@pytest.mark.parametrize(
    ("name", "epsilon"),
    [
        ("fgm,epsilon=0.1", 0.1),
        ("bim,steps=3,epsilon=2", 2),
        ("bim,epsilon=1e-05,steps=3", 1e-5),
        ("fgm", None),
        ("x,kappa=1", None),
        ("x,epsilon=auto", None),
    ],
)
def test_the_epsilon_of_an_instance_of_a_sweep(name, epsilon):
    assert number_of(name, "epsilon") == epsilon


def test_a_name_is_read_and_shortened():
    name = "ead,kappa=10,layers=[a,b],rule=l1"
    assert split_name(name) == ("ead", {"kappa": "10", "layers": "[a,b]", "rule": "l1"})
    assert without(name, "kappa") == "ead,layers=[a,b],rule=l1"
    assert without("ead", "kappa") == "ead"


def test_sweeps_of_a_number_are_found():
    """One for each rule; a sweep of names only, and a single value, are none."""
    names = [
        *("cw_l2,kappa=10", "cw_l2,kappa=0", "cw_l2,kappa=5"),
        *(f"ead,beta={b},kappa={k},rule=l1" for b in (0.1, 0.2) for k in (0, 40)),
        *("fgsm", "otcm,target=next", "otcm,target=random", "fgm,epsilon=0.1"),
        *("bim,epsilon=2,norm=l2", "bim,epsilon=1,norm=l2"),
    ]
    assert number_sweeps(names) == [
        Sweep("cw_l2", "kappa", {0: "cw_l2,kappa=0", 5: "cw_l2,kappa=5", 10: "cw_l2,kappa=10"}),
        *(
            Sweep(
                f"ead,beta={beta},rule=l1",
                "kappa",
                {kappa: f"ead,beta={beta},kappa={kappa},rule=l1" for kappa in (0, 40)},
            )
            for beta in (0.1, 0.2)
        ),
        Sweep("bim,norm=l2", "epsilon", {1: "bim,epsilon=1,norm=l2", 2: "bim,epsilon=2,norm=l2"}),
    ]
