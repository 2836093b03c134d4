"""What an attack took: counted at the model, shared among its images, carried on and shown."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from step_methods import toggle
from step_runs import SEED, judged, run

from advdetect.attacks.passes import Passes
from advdetect.steps.crafting import apportioned
from advdetect.steps.tables import summarize_attacks
from advdetect.tables.attack_tables import attack_table
from advdetect.tables.rendering import to_markdown

COLUMNS = ("forward_passes", "backward_passes")
WATCHED = "step_methods.watched"
OSSA = {
    "attack": "advdetect.attacks.ossa.ossa",
    **{"epsilon": 2.0, "steps": 4, "method": "lanczos", "stop_at_success": True},
}
CW = {
    "attack": "advdetect.attacks.cw_l2.cw_l2_sweep",
    **{"search_steps": 2, "iterations": 20, "learning_rate": 0.05},
}


@pytest.fixture(autouse=True)
def _nothing_seen():
    toggle.tallies, toggle.stop_at = [], None


def seen() -> tuple[int, int]:
    """Return what the models have counted themselves."""
    return tuple(sum(getattr(t, way) for t in toggle.tallies) for way in ("forward", "backward"))


def columns(*paths) -> np.ndarray:
    """Return the (2, N) passes of the images of some files."""
    files = [load_file(path) for path in paths]
    return np.stack([np.concatenate([file[name] for file in files]) for name in COLUMNS])


def test_images_share_by_their_iterations():
    steps = [torch.tensor([1, 0, 3]), torch.tensor([2, 4, 0])]
    first, second = apportioned(Passes(forward=50, backward=20), steps)
    assert first["forward_passes"].tolist() == [5, 0, 15]
    assert first["backward_passes"].tolist() == [2, 0, 6]
    assert second["forward_passes"].tolist() == [10, 20, 0]
    (equal,) = apportioned(Passes(forward=3, backward=0), [torch.zeros(4, dtype=torch.int64)])
    assert equal["forward_passes"].tolist() == [0.75] * 4
    assert equal["backward_passes"].tolist() == [0] * 4


@pytest.mark.parametrize("count", [3, 7, 49, 100])
def test_images_that_took_the_same_have_whole_numbers(count):
    (shares,) = apportioned(Passes(5 * count, 3 * count), [torch.full((count,), 2)])
    assert shares["forward_passes"].tolist() == [5] * count
    assert shares["backward_passes"].tolist() == [3] * count


def test_the_iterated_ossa_took_what_the_model_saw(attack):
    path = attack(WATCHED, "--batch-size", "32", **OSSA)
    found = columns(path)
    assert len(toggle.tallies) > 1
    assert found.sum(axis=1) == pytest.approx(seen(), rel=1e-12)
    assert found[1].sum() > load_file(path)["iterations"].sum() * 2
    assert len(set(found[1])) > 2


def test_what_was_done_before_an_interruption_keeps_what_it_took(attack):
    toggle.stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        attack(WATCHED, "--batch-size", "32", "--code", "c0de", **OSSA)
    before, toggle.stop_at = seen(), None
    path = attack(WATCHED, "--batch-size", "32", "--code", "c0de", **OSSA)
    found = columns(path)
    assert found[:, :64].sum(axis=1) == pytest.approx(before, rel=1e-12)
    assert found.sum(axis=1) == pytest.approx(seen(), rel=1e-12)


def test_the_table_shows_what_an_image_took_in_the_mean(attack):
    path = attack(WATCHED, **OSSA)
    text = to_markdown(attack_table(summarize_attacks([str(path)])))
    header, _, row = (line.split("|") for line in text.splitlines() if line.startswith("|"))
    cells = dict(zip(map(str.strip, header), map(str.strip, row), strict=True))
    count = len(load_file(path)["index"])
    for title, total in zip(("Forward passes", "Backward passes"), seen(), strict=True):
        assert cells[title] == f"{total / count:.1f}"


def test_the_values_of_a_sweep_share_what_their_calls_took(chain, tmp_path):
    sweep = {f"cw,kappa={kappa}": {"kappa": kappa} for kappa in (0, 3)}
    paths = [tmp_path / f"{name}.safetensors" for name in sweep]
    spec = {"_target_": WATCHED, "_sweep_": {"_target_": WATCHED, "over": ["kappa"]}, **CW}
    for (name, values), path in zip(sweep.items(), paths, strict=True):
        run(
            *("attack", "--spec", json.dumps({**spec, **values}), "--name", name),
            *("--seed", SEED, "--device", "cpu", "--code", "c0de", "--batch-size", 50),
            *("--sweep", json.dumps(sweep), *judged(chain), "--output", path),
        )
    assert columns(*paths).sum(axis=1) == pytest.approx(seen(), rel=1e-12)
    easy, hard = (columns(path).sum() for path in paths)
    assert easy != hard
    iterations = np.concatenate([load_file(path)["iterations"] for path in paths])
    assert np.corrcoef(columns(*paths)[1], iterations)[0, 1] > 0.9


def test_what_is_judged_on_another_model_keeps_what_it_took(chain, other, tmp_path):
    path, images = tmp_path / "transferred.safetensors", tmp_path / "mine.npz"
    crafted = load_file(chain / "otcm.safetensors")
    np.savez(images, adversarial=crafted["adversarial"], index=crafted["index"])
    for source, known in ((chain / "otcm.safetensors", True), (images, False)):
        run(
            *("transfer", "--spec", "{}", "--name", "otcm@first", "--seed", SEED),
            *("--device", "cpu", "--crafted", source, *judged(other), "--output", path),
        )
        found = columns(path)
        rows = torch.isin(crafted["index"], load_file(path)["index"])
        own = columns(chain / "otcm.safetensors")[:, rows]
        assert found.shape == own.shape
        assert np.array_equal(found, own) if known else np.isnan(found).all()
        text = to_markdown(attack_table(summarize_attacks([str(path)])))
        last = text.strip().splitlines()[-1].split("|")
        assert (last[-2].strip() == "–") is not known
