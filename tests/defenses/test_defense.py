import itertools

import jsonschema
import pytest
import torch
import yaml
from torch import nn

from advdetect.autoencoders.fitting import fit, restore
from advdetect.defenses.defense import Defense, defend, detector_scores, held_out_thresholds
from advdetect.errors import AdvdetectError
from advdetect.features.magnet import magnet
from advdetect.features.mid import mid
from advdetect.imports import locate
from advdetect.randomness import SampleGenerator
from composition import load_experiment

COUNT = 40
DETECTORS = [
    {"feature": "f", "column": "up", "adversarial": "high", "false_positive_rate": 0.1},
    {"feature": "g", "column": "down", "adversarial": "low", "false_positive_rate": 0.2},
]


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 3, bias=False)).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(COUNT, 1, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def fitted(model, images):
    specs = [{"kind": "denoising", "structure": [3], "batch_size": 8, "learning_rate": 0.05}] * 2
    stored = (images * 255).round().to(torch.uint8)
    return fit(model, stored, None, batch_size=9, seed=0, autoencoders=specs, epochs=20)


def features(count: int, seed: int) -> dict:
    generator = torch.Generator().manual_seed(seed)
    up, down = torch.randn(2, count, generator=generator, dtype=torch.float64)
    return {"f": {"up": up, "unused": up}, "g": {"down": down}}


@pytest.fixture(scope="module")
def defense(model, images, fitted):
    return defend(
        model,
        images,
        features=features(COUNT, 2),
        limits=held_out_thresholds(features(99, 3), DETECTORS),
        fitted=fitted,
        batch_size=7,
        detectors=DETECTORS,
        reformer=2,
    )


def test_an_image_is_flagged_beyond_a_threshold_in_the_adversarial_direction(defense):
    shown, held_out = features(COUNT, 2), features(99, 3)
    upper = held_out["f"]["up"].sort().values[-10]  # 9 of 99 above, (9 + 1)/(99 + 1) = 0.1
    lower = held_out["g"]["down"].sort().values[19]
    limits = held_out_thresholds(held_out, DETECTORS)
    assert limits == {"f.up": float(upper), "g.down": -float(lower)}
    assert torch.equal(defense.flagged_by["f.up"], shown["f"]["up"] > upper)
    assert torch.equal(defense.flagged_by["g.down"], shown["g"]["down"] < lower)
    assert torch.equal(defense.flagged, (shown["f"]["up"] > upper) | (shown["g"]["down"] < lower))
    for flagged in (*defense.flagged_by.values(), defense.flagged):
        assert 0 < int(flagged.sum()) < COUNT


def test_the_reformer_is_the_auto_encoder_of_that_number(model, images, fitted, defense):
    with torch.no_grad():
        expected = [model(reformer(images)).argmax(dim=1) for reformer in restore(fitted)]
    assert not torch.equal(*expected)
    assert torch.equal(defense.reformed_class, expected[1])


def test_accuracies_match_a_loop_over_all_cases():
    cases = list(itertools.product([False, True], [False, True], [0, 1, 2], [0, 1, 2]))
    first, second, reformed, labels = (torch.tensor(values) for values in zip(*cases, strict=True))
    defense = Defense({"a": first, "b": second}, first | second, reformed)
    for row, (by_first, by_second, answer, label) in enumerate(cases):
        detected = by_first or by_second
        assert bool(defense.defended(labels)[row]) == (detected or answer == label)
        assert bool(defense.accepted(labels)[row]) == (not detected and answer == label)
    # Of 36 cases 27 are flagged, and 3 of the others are right.
    assert float(defense.defended(labels).double().mean()) == pytest.approx(30 / 36)
    assert float(defense.accepted(labels).double().mean()) == pytest.approx(3 / 36)


@pytest.mark.parametrize(
    ("detectors", "message"),
    [
        ([], "empty"),
        ([*DETECTORS, DETECTORS[0]], "f.up is listed twice"),
        ([DETECTORS[0] | {"column": "left"}], "no f.left; there are: f.up, f.unused, g.down"),
        ([DETECTORS[0] | {"feature": "h"}], "no h.up"),
    ],
)
def test_impossible_detectors_are_refused(detectors, message):
    with pytest.raises(AdvdetectError, match=message):
        detector_scores(features(5, 0), detectors)


def test_too_few_held_out_images_and_a_missing_reformer_are_refused(model, images, fitted):
    with pytest.raises(AdvdetectError, match="at least 9,"):
        held_out_thresholds(features(8, 0), DETECTORS)
    with pytest.raises(AdvdetectError, match="no auto-encoder 3"):
        defend(
            model,
            images,
            features=features(COUNT, 2),
            limits=held_out_thresholds(features(99, 0), DETECTORS),
            fitted=fitted,
            batch_size=9,
            detectors=DETECTORS,
            reformer=3,
        )


def test_impossible_detectors_in_the_configuration_are_refused(repository):
    schema = yaml.safe_load((repository / "config/defense/magnet.yaml").read_text())["_schema_"]
    wrong = [DETECTORS[0] | {"false_positive_rate": 0}]
    assert not jsonschema.Draft202012Validator(schema["detectors"]).is_valid(wrong)


@pytest.mark.parametrize(
    ("name", "errors", "third"),
    [
        ("magnet", (1, 2), []),
        ("magnet_ii", (2,), []),
        ("mid", (1, 2), ["mid.jaccard"]),
        ("mid_ii", (2,), ["mid.jaccard"]),
        ("mid_mixture", (1, 2), ["mid_mixture.mutual_information"]),
        ("mid_samples", (1, 2), ["mid_samples.mutual_information"]),
    ],
)
def test_the_configuration_is_possible_and_runs(
    name, errors, third, repository, model, images, fitted
):
    experiment = load_experiment(
        repository / "config", {"experiment": "mnist_small", "defenses": [name]}
    )
    (chosen,) = experiment.runs
    spec = chosen.defenses[name]
    parameters = {key: value for key, value in spec.items() if not key.startswith("_")}
    features = chosen.computed_features

    def columns(shown):
        common = {"generator": SampleGenerator(0, range(len(shown))), "fitted": fitted}
        shown_features = {"magnet": magnet(model, shown, **common)}
        for feature in {item["feature"] for item in spec["detectors"]} - {"magnet"}:
            own = {key: features[feature][key] for key in ("estimator", "draws", "autoencoder")}
            shown_features[feature] = mid(model, shown, **common, **own)
        return shown_features

    clean = torch.rand(999, 1, 6, 6, generator=torch.Generator().manual_seed(5))
    limits = held_out_thresholds(columns(clean), parameters["detectors"])
    common = {"fitted": fitted, "batch_size": 16}
    defense = locate(spec["_target_"])(
        model, images, features=columns(images), limits=limits, **common, **parameters
    )
    detectors = [*(f"magnet.reconstruction_error_{number}" for number in errors), *third]
    assert list(limits) == list(defense.flagged_by) == detectors
    assert {value["false_positive_rate"] for value in parameters["detectors"]} == {0.001}
