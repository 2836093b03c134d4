"""What an image takes in a model, and how many fit into a budget."""

from argparse import Namespace
from itertools import chain
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from advdetect.imports import locate
from advdetect.memory import MOST, Row, images_within, measured_row
from advdetect.requirements.memory import Need, nearest_classes, ossa, target_classes
from advdetect.steps.batches import MEMORY, images_at_a_time
from advdetect.steps.options import parameters

CONFIG = Path(__file__).parents[1] / "config"
IMAGE = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def net(*, inplace: bool = False) -> nn.Module:
    layers = (nn.Conv2d(1, 2, 3), nn.ReLU(inplace), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 5))
    return nn.Sequential(*layers).eval().requires_grad_(False)


def test_what_is_held_are_the_outputs_and_what_goes_back_through_them() -> None:
    """By hand: maps of 2·4·4, and again by ReLU, pools of 2·2·2, where they came from, logits."""
    outputs = 4 * (32 + 32 + 8 + 5)
    indices = 8 * 8
    row = measured_row(net(), IMAGE)
    assert (row.image, row.classes) == (4 * 36, 5)
    assert row.held in (outputs + indices, outputs + indices + row.image)  # of some versions
    assert measured_row(net(inplace=True), IMAGE).held == row.held - 4 * 32


def test_weights_and_the_batch_do_not_count() -> None:
    wide = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).requires_grad_(False)
    assert measured_row(wide, IMAGE).held <= 4 * (36 + 3)


def test_a_model_is_left_as_it_was() -> None:
    model = net()
    before = model(IMAGE)
    measured_row(model, IMAGE)
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(model(IMAGE), before)


def test_a_model_that_answers_labels_only_is_measured_without_a_gradient() -> None:
    class Labels(nn.Module):
        labels_only = True

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert not images.requires_grad
            return images.flatten(1)[:, :4].round()

    assert measured_row(Labels(), IMAGE).held == 4 * 4


@pytest.mark.parametrize(
    ("budget", "expected"), [(3299, 0), (3300, 1), (33_000, 10), (35_000, 10), (1e12, MOST)]
)
def test_so_many_images_fit(budget: float, expected: int) -> None:
    row = Row(held=1000, image=100, classes=10)
    each = row.bytes(Need(rows=2, copies=3))  # 1.5 · 2 · 1000 + 300
    assert images_within(budget, each) == expected


@pytest.mark.parametrize(
    ("batch_size", "memory", "expected", "said"),
    [
        (7, 1e-9, 7, ""),
        ("auto", 2.0, MOST, ""),
        ("auto", 1e-5, 2, "attack a: 2 images at a time, of 4.2e-06 GB each (memory=1e-05)"),
        (
            "auto",
            1e-7,
            1,
            "attack a: warning: an image takes about 4.2e-06 GB, more than memory=1e",
        ),
    ],
)
def test_a_step_says_what_does_not_fit(
    batch_size: object,
    memory: float,
    expected: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = Row(held=2000, image=144, classes=5)  # 1.5 · 2000 + 8 · 144 = 4152 bytes
    monkeypatch.setattr("advdetect.steps.batches.measured_row", lambda model, image: row)
    given = Namespace(batch_size=batch_size, memory=memory)
    assert images_at_a_time(given, "attack a", net(), IMAGE, {}) == expected
    lines = capsys.readouterr().err
    assert lines.startswith(said) if said else not lines


def test_methods_take_rows_for_the_classes_that_there_are() -> None:
    assert target_classes(1000, target_classes=9).rows == 9
    assert target_classes(5, target_classes=9).rows == 4
    assert nearest_classes(1000, candidates=3, ranked=None, starts=2) == Need(6, 48 + 999)
    assert ossa(10, method="auto") == ossa(10, method="exact")
    assert ossa(1000, method="auto") == ossa(1000, method="class_lanczos")


def test_every_function_takes_what_its_yaml_says() -> None:
    paths = chain((CONFIG / "attack").glob("*.yaml"), (CONFIG / "feature").glob("*.yaml"))
    texts = {path.stem: path.read_text(encoding="utf-8") for path in paths}
    named = {name: yaml.safe_load(text) for name, text in texts.items() if MEMORY in text}
    assert {"fab_l2", "ossa_least", "fisher_input"} <= named.keys()
    for spec in named.values():
        few, many = (locate(spec[MEMORY])(count, **parameters(spec)) for count in (2, 1000))
        assert 0 < few.rows <= many.rows
        assert 0 < few.copies <= many.copies
