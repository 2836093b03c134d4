import pytest
import torch
from torch import nn

from advdetect.autoencoders.alpha_gan import AlphaGan
from advdetect.autoencoders.architecture import DenoisingAutoEncoder
from advdetect.autoencoders.fitting import fit, restore, select, split_positions
from advdetect.data import digits
from advdetect.errors import AdvdetectError
from advdetect.inference import to_float
from advdetect.io import read_tensors, write_tensors
from advdetect.training.unfinished import Unfinished

QUICK = [
    {"kind": "denoising", "structure": [3, "average", 2], "epochs": 1},
    {"kind": "alpha_gan", "code_size": 3, "maps": 2},
]


@pytest.fixture(scope="module")
def images():
    return to_float(digits.load(test_fraction=0.4, split_seed=0)["train"].images)


def fitted_on(images, *, seed=0, autoencoders=QUICK, held_out=0.2, **others):
    others = {"batch_size": 64, "epochs": 2} | others
    labels = torch.zeros(len(images), dtype=torch.int64)
    return fit(
        nn.Identity(),
        (images * 255).round().to(torch.uint8),  # as a split has them
        labels,
        seed=seed,
        autoencoders=autoencoders,
        held_out=held_out,
        **others,
    )


@pytest.mark.parametrize(("structure", "share"), [([3], 0.1), ([8, "average", 8], 0.35)])
def test_the_error_falls_far_below_that_of_the_mean_image(images, structure, share):
    history = []
    fitted = fitted_on(
        images,
        autoencoders=[
            {"kind": "denoising", "structure": structure, "batch_size": 32, "learning_rate": 0.02}
        ],
        epochs=15,
        after_epoch=lambda *values: history.append(values),
    )
    assert [values[:2] for values in history] == [(1, epoch) for epoch in range(1, 16)]
    assert history[-1][2] < history[0][2]
    held_out = images[fitted["held_out"]]
    kept = torch.ones(len(images), dtype=torch.bool)
    kept[fitted["held_out"]] = False
    baseline = (held_out - images[kept].mean(dim=0)).square().mean()
    (autoencoder,) = restore(fitted)
    error = (held_out - autoencoder(held_out)).square().mean()
    assert error < share * baseline
    assert float(fitted["held_out_error"]) == pytest.approx(float(error), rel=1e-5)


def test_restored_auto_encoders_are_those_that_were_trained(images, tmp_path):
    fitted = fitted_on(images[:100])
    write_tensors(tmp_path / "fitted.safetensors", fitted, {})
    read, _ = read_tensors(tmp_path / "fitted.safetensors")
    assert set(read) == set(fitted)
    first, second = restore(read)
    assert isinstance(first, DenoisingAutoEncoder)
    assert first.recipe == {"structure": [3, "average", 2], "in_channels": 1, "noise": 0.1}
    assert isinstance(second, AlphaGan)
    for number, autoencoder in enumerate((first, second)):
        assert not autoencoder.training
        assert not any(weight.requires_grad for weight in autoencoder.parameters())
        held_out = images[fitted["held_out"]]
        error = (held_out - autoencoder(held_out)).square().mean()
        assert float(error) == pytest.approx(float(fitted["held_out_error"][number]), rel=1e-5)
    assert select([first, second], 2) is second


def test_is_the_same_for_a_seed_and_leaves_the_global_random_state_alone(images):
    state = torch.get_rng_state()
    first = fitted_on(images[:100])
    restore(first)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    second = fitted_on(images[:100], batch_size=7)
    other = fitted_on(images[:100], seed=1)
    validation = {
        name: fitted.pop("held_out_error") for name, fitted in (("a", first), ("b", second))
    }
    torch.testing.assert_close(validation["a"], validation["b"])
    assert all(torch.equal(first[name], second[name]) for name in first)
    different = {name for name in first if not torch.equal(first[name], other[name])}
    assert "held_out" in different
    assert {name for name in first if name.endswith("weight")} <= different


class KilledError(Exception):
    """What ends a fit in the middle."""


@pytest.mark.parametrize("last", [(1, 2), (2, 1)], ids=["denoising", "alpha_gan"])
def test_a_killed_fit_goes_on_and_ends_with_the_same_bits(images, tmp_path, last):
    autoencoders = [QUICK[0] | {"epochs": 2}, QUICK[1]]
    whole = fitted_on(images[:100], autoencoders=autoencoders)
    unfinished = Unfinished(tmp_path / "fitted.safetensors", {"key": "0"})
    epochs = []

    def killed(number, epoch, error):
        epochs.append((number, epoch))
        if (number, epoch) == last:
            raise KilledError

    common = {"autoencoders": autoencoders, "unfinished": unfinished}
    with pytest.raises(KilledError):
        fitted_on(images[:100], **common, after_epoch=killed)
    resumed = fitted_on(images[:100], **common, after_epoch=lambda *now: epochs.append(now[:2]))
    assert epochs == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    # What depended on anything else is not taken up.
    other = Unfinished(tmp_path / "fitted.safetensors", {"key": "1"})
    assert other.last_part() is None


def test_held_out_images_are_never_trained_on(images):
    first = fitted_on(images[:100])
    held_out, changed = first["held_out"], images[:100].clone()
    changed[held_out] = 1 - changed[held_out]
    second = fitted_on(changed)
    names = [name for name in first if "weights" in name]
    assert names
    assert all(torch.equal(first[name], second[name]) for name in names)
    assert not torch.equal(first["held_out_error"], second["held_out_error"])
    # The same change to an image that is trained on is noticed.
    kept = next(row for row in range(100) if row not in held_out)
    changed = images[:100].clone()
    changed[kept] = 1 - changed[kept]
    third = fitted_on(changed)
    for number in ("1.", "2."):
        own = [name for name in names if name.startswith(number)]
        assert not all(torch.equal(first[name], third[name]) for name in own)


def test_an_auto_encoder_does_not_depend_on_those_beside_it(images):
    both = fitted_on(images[:60])
    alone = fitted_on(images[:60], autoencoders=QUICK[:1])
    names = [name for name in alone if name.startswith("1.")]
    assert all(torch.equal(alone[name], both[name]) for name in names)


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(1000, 0.1, 100), (7, 0.5, 4), (3, 0.2, 1)]
)
def test_positions_are_split_without_overlap(count, share, expected):
    trained, held_out = split_positions(count, share, seed=3)
    assert len(held_out) == expected
    assert sorted(trained.tolist() + held_out.tolist()) == list(range(count))
    assert held_out.tolist() == sorted(held_out.tolist())
    assert torch.equal(held_out, split_positions(count, share, seed=3)[1])


@pytest.mark.parametrize(("count", "share"), [(100, 0.0), (100, 1.0), (3, 0.1), (1, 0.9), (9, -1)])
def test_an_impossible_share_is_refused(count, share):
    with pytest.raises(AdvdetectError, match="held_out"):
        split_positions(count, share, seed=0)


@pytest.mark.parametrize(
    ("autoencoders", "message"),
    [
        ([], "empty"),
        ([{"kind": "vae"}], "vae is unknown"),
        ([{"structure": [3]}], "None is unknown"),
        ([{"kind": "denoising"}], "structure"),
        ([{"kind": "denoising", "structure": [3], "code_size": 2}], "code_size"),
        ([{"kind": "denoising", "structure": ["mean"]}], "structure"),
    ],
)
def test_an_impossible_auto_encoder_is_refused(images, autoencoders, message):
    with pytest.raises(AdvdetectError, match=message):
        fitted_on(images[:20], autoencoders=autoencoders)


def test_what_is_not_there_cannot_be_restored():
    with pytest.raises(AdvdetectError, match="no auto-encoder"):
        restore({"features": torch.zeros(2)})
    for number in (0, 2):
        with pytest.raises(AdvdetectError, match=f"no auto-encoder {number}"):
            select([DenoisingAutoEncoder([3])], number)
