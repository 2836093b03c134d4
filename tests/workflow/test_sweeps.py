import pytest

from experiment import ConfigurationError
from sweeps import has_number_sweep, sweep_values

SWEEP = {"_target_": "my_module.sweep", "over": ["kappa", "rule"]}
ATTACKS = {
    f"ead,kappa={kappa},rule={rule},beta={beta}": {
        "_target_": "my_module.ead",
        "_sweep_": SWEEP,
        "kappa": kappa,
        "rule": rule,
        "beta": beta,
    }
    for beta in (0.1, 0.2)
    for kappa in (0, 10)
    for rule in ("en", "l1")
}


def test_attacks_that_differ_only_in_what_is_swept_over_share_their_work():
    attacks = {**ATTACKS, "fgsm": {"_target_": "my_module.fgsm", "epsilon": 0.1}}
    shared = {
        f"ead,kappa={kappa},rule={rule},beta=0.1": {"kappa": kappa, "rule": rule}
        for kappa in (0, 10)
        for rule in ("en", "l1")
    }
    for name in shared:
        assert sweep_values(name, attacks) == shared
    assert sweep_values("fgsm", attacks) == {}


def test_another_family_or_a_single_value_shares_nothing():
    name, spec = next(iter(ATTACKS.items()))
    attacks = {name: spec, "copy,kappa=10": spec | {"kappa": 10}}
    assert sweep_values(name, attacks) == {}


@pytest.mark.parametrize(
    ("attacks", "expected"),
    [
        (ATTACKS, True),
        ({"a,kappa=0": {"kappa": 0}, "a,kappa=1.5": {"kappa": 1.5}}, True),
        (
            {"a,epsilon=0.1,n=l2": {"e": 0.1, "n": "l2"}, "a,epsilon=1,n=l1": {"e": 1, "n": "l1"}},
            False,
        ),
        ({"a,rule=l1": {"kappa": 1, "rule": "l1"}, "a,rule=en": {"kappa": 1, "rule": "en"}}, False),
        ({"a,stop=true": {"stop": True}, "a,stop=false": {"stop": False}}, False),
        ({"a": {"kappa": 0}, "b": {"kappa": 1}}, False),
        ({"a,kappa=0": {"kappa": 0}}, False),
    ],
)
def test_a_sweep_of_a_number_is_found(attacks, expected):
    assert has_number_sweep(attacks) is expected


@pytest.mark.parametrize(
    "sweep",
    [
        "my_module.sweep",
        "{over: [strength]}",
        "{_target_: my_module.sweep}",
        "{_target_: my_module.sweep, over: strength}",
        "{_target_: my_module.sweep, over: []}",
        "{_target_: my_module.sweep, over: [stregth]}",
        "{_target_: my_module.sweep, over: [[strength]]}",
        "{_target_: my_module.sweep, over: [strength], more: 1}",
    ],
)
def test_a_sweep_that_is_not_whole_is_refused(load, own_yaml, sweep):
    text = f"_target_: my_module.mine\n_sweep_: {sweep}\nstrength: 2\n"
    own_yaml("attack/mine", text)
    with pytest.raises(ConfigurationError, match=r"^attack\.mine\._sweep_ must have a _target_ "):
        load(attacks=["mine"])
