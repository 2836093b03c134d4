"""Attacks that are nearest of others: which ones, and what is refused before any job."""

import pytest

from best_of import with_parts
from experiment import ConfigurationError

FGSM = {"_target_": "a.fgsm"}
OF = {"_best_of_": True, "attacks": None, "norm": "l2"}
ATTACKS = {"fgsm": FGSM, "cw,kappa=0": FGSM, "cw,kappa=5": FGSM, "fgsm@wide": FGSM, "mine": FGSM}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, list(ATTACKS)),
        (["mine", "fgsm@wide"], ["mine", "fgsm@wide"]),
        (["cw", "fgsm"], ["cw,kappa=0", "cw,kappa=5", "fgsm"]),
        (["cw,kappa=5", "cw"], ["cw,kappa=5", "cw,kappa=0"]),
        (["second"], ["second"]),
    ],
)
def test_it_names_single_attacks(given, expected):
    second = OF | {"attacks": ["fgsm"]}
    found = with_parts(ATTACKS | {"best": OF | {"attacks": given}, "second": second})
    assert found["best"]["attacks"] == expected
    assert {name: found[name] for name in ATTACKS} == ATTACKS


@pytest.mark.parametrize(
    ("attacks", "said"),
    [
        ({"best": OF}, "attack.best: no other attack is chosen: choose some."),
        (
            {"fgsm": FGSM, "best": OF | {"attacks": ["ddn"]}},
            "attack.best.attacks: ddn is not among the attacks of this experiment (fgsm): choose",
        ),
        (
            {"fgsm": FGSM, "best": OF | {"attacks": ["fgsm", "best"]}},
            "attack.best.attacks: it would be made from itself: best from best.",
        ),
        (
            {"a": OF | {"attacks": ["b"]}, "b": OF | {"attacks": ["a"]}},
            "attack.a.attacks: it would be made from itself: a from b from a.",
        ),
        (
            {"fgsm": FGSM, "best@wide": OF | {"_crafted_on_": "wide"}},
            "it crafts nothing, so leave out @wide; its attacks may be crafted there, as in",
        ),
        ({"fgsm": FGSM, "best": {"_best_of_": True}}, "attack.best: _best_of_ needs attacks and n"),
    ],
)
def test_what_cannot_be_is_refused(attacks, said):
    with pytest.raises(ConfigurationError) as error:
        with_parts(attacks)
    assert said in str(error.value)


def test_it_is_made_from_the_files_of_its_attacks(pipeline_of):
    store = pipeline_of(
        dataset="mnist", attacks=["fgsm", "fgsm@lenet5", "best_of"], features=["kd"]
    ).store
    (run,) = store._experiment.runs
    best = store.attack(run, 1, "best_of")
    parts = [store.attack(run, 1, name) for name in ("fgsm", "fgsm@lenet5")]
    assert best.step == "best-of"
    assert best.inputs["parts"] == parts
    assert best.inputs["clean"] == [store.clean(run, 1)]
    assert "model" not in best.inputs
    assert best in store.feature(run, 1, "best_of", "kd").inputs["attack"]
