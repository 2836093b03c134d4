"""Above so many classes ``auto`` is the affordable form, said once; up to them the exact one."""

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from advdetect.attacks.deepfool import deepfool
from advdetect.attacks.ossa import ossa
from advdetect.attacks.passes import counted_passes
from advdetect.features.fisher_weights import fisher_weights
from advdetect.many_classes import MANY_CLASSES, by_classes, choices, described
from advdetect.randomness import SampleGenerator
from advdetect.steps.tables import with_remarks
from advdetect.tables.rendering import to_latex, to_markdown, to_text
from advdetect.tables.table import Table

COUNT = 3


def streams() -> SampleGenerator:
    return SampleGenerator(0, range(COUNT))


def net(classes: int) -> nn.Module:
    torch.manual_seed(classes)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Softplus(), nn.Linear(12, classes))
    return layers.double().eval()


def shown(model: nn.Module) -> tuple[Tensor, Tensor]:
    images = torch.rand(COUNT, 1, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    return images, model(images).argmax(dim=1)


def test_what_is_said_holds_for_any_number_of_classes() -> None:
    for classes in (2, 1000):
        with choices("attack mine") as chosen:
            assert by_classes("rows", 7, classes, few=1, many=2) == 7
        assert chosen == {}


def test_auto_is_the_one_up_to_the_number_and_the_other_above() -> None:
    assert by_classes("rows", "auto", MANY_CLASSES, few=1, many=2) == 1
    assert by_classes("rows", "auto", MANY_CLASSES + 1, few=1, many=2) == 2


def test_who_runs_it_says_once_what_was_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    with choices("attack mine") as chosen:
        for _ in range(2):
            by_classes("rows", "auto", 1000, few=1, many=2)
        by_classes("rows", "auto", 10, few=1, many=2)
    assert chosen == {"rows": 2, "number_of_classes": 1000}
    assert capsys.readouterr().err.splitlines() == [
        "attack mine: rows auto is 2, since the model has 1,000 classes"
    ]
    by_classes("rows", "auto", 1000, few=1, many=2)  # nobody asks
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("classes", "walked_to"), [(MANY_CLASSES, 19), (MANY_CLASSES + 1, 10)])
def test_deepfool_walks_to_ten_of_many_classes(classes: int, walked_to: int) -> None:
    model = net(classes)
    images, labels = shown(model)
    with counted_passes(model) as passes, choices("attack deepfool") as chosen:
        result = deepfool(model, images, labels, generator=streams(), iterations=3)
    assert passes.backward == result.iterations.sum() * walked_to
    assert chosen == ({} if walked_to == 19 else {"number_of_classes": classes, "candidates": 10})
    said = deepfool(model, images, labels, generator=streams(), iterations=3, candidates=walked_to)
    assert torch.equal(result.adversarial, said.adversarial)


@pytest.mark.parametrize(
    ("classes", "method"), [(MANY_CLASSES, "exact"), (MANY_CLASSES + 1, "class_lanczos")]
)
def test_ossa_finds_the_eigenvector_in_class_space_of_many_classes(
    classes: int, method: str
) -> None:
    model = net(classes)
    images, labels = shown(model)
    found = ossa(model, images, labels, generator=streams(), epsilon=0.1)
    said = ossa(model, images, labels, generator=streams(), epsilon=0.1, method=method)
    assert torch.equal(found.adversarial, said.adversarial)


@pytest.mark.parametrize(
    ("block", "classes", "approximation"),
    [
        ("none", MANY_CLASSES, "none"),
        ("none", MANY_CLASSES + 1, "top_k"),
        ("tensor", MANY_CLASSES + 1, "none"),  # blocks have no other form
    ],
)
def test_the_weight_fisher_forms_are_approximated_of_many_classes(
    block: str, classes: int, approximation: str
) -> None:
    model = net(classes)
    images, _ = shown(model)
    found = fisher_weights(model, images, generator=streams(), block=block)
    said = fisher_weights(
        model, images, generator=streams(), block=block, approximation=approximation
    )
    assert all(torch.equal(found[name], said[name]) for name in found)
    exact = fisher_weights(model, images, generator=streams(), block=block, approximation="none")
    is_exact = torch.equal(found["log10_trace"], exact["log10_trace"])
    assert is_exact == (approximation == "none")
    torch.testing.assert_close(found["log10_trace"], exact["log10_trace"], rtol=0, atol=0.02)


def test_a_table_says_below_what_the_attacks_that_it_shows_chose() -> None:
    row = {"value": 0.5, "standard_deviation": 0.1, "low": 0.4, "high": 0.6}
    row |= {"interval": "bootstrap", "n_positive": 3, "n_negative": 3}
    cells = pd.DataFrame([{"feature": "kd", "attack": "deepfool", **row}])
    table = Table("mine", "Mine.", "feature", "attack", cells)
    chosen = {
        "deepfool": described({"number_of_classes": 1000, "candidates": 10}),
        "ossa": "not shown",
    }
    said = "DeepFool: candidates 10, of 1,000 classes."
    for render in (to_markdown, to_latex, to_text):
        assert said not in render(table)
        text = render(with_remarks(table, chosen))
        assert said in text
        assert "not shown" not in text
