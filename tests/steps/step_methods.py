"""Methods for the steps, most of which do something wrong; found by their import path."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from advdetect.attacks.bisection import bisect_smallest
from advdetect.attacks.result import AttackResult
from advdetect.data.split import ImageSplit
from advdetect.imports import locate
from counting_model import CountingModel


def _result(adversarial: Tensor, success: Tensor, labels: Tensor) -> AttackResult:
    return AttackResult(adversarial, success, None, torch.ones_like(labels))


def stay(model, images, labels, *, generator):
    """Change nothing and claim success for every image."""
    return _result(images.clone(), torch.ones_like(labels, dtype=torch.bool), labels)


def invert(model, images, labels, *, generator, claim):
    """Return the negative images; claim success for all or for none."""
    return _result(1 - images, torch.full_like(labels, claim, dtype=torch.bool), labels)


def invert_some(model, images, labels, *, generator):
    """Return the negative of every second image, the others unchanged; claim success for all."""
    adversarial = images.clone()
    adversarial[::2] = 1 - images[::2]
    return _result(adversarial, torch.ones_like(labels, dtype=torch.bool), labels)


def stop_at_the_boundary(model, images, labels, *, generator):
    """Move to where the model errs, towards the negative image, but not once that is rounded.

    Where there is no such point the image stays as it is, a failure of a minimal-norm attack.
    """

    def moved(share):
        return images + share.view(-1, 1, 1, 1) * (1 - 2 * images)

    def fools(shown):
        return model(shown).argmax(1) != labels

    share, _ = bisect_smallest(lambda s: fools(moved(s)), torch.ones(len(images)), steps=20)
    near = moved(share).clamp(0, 1)
    success = fools(near) & ~fools(torch.round(near * 255) / 255)
    return _result(torch.where(success.view(-1, 1, 1, 1), near, images), success, labels)


def brighten(model, images, labels, *, generator, levels):
    """Add some levels of 8 bits to every pixel."""
    adversarial = (images + levels / 255).clamp(0, 1)
    return _result(adversarial, torch.ones_like(labels, dtype=torch.bool), labels)


def leave_the_box(model, images, labels, *, generator, shift):
    return _result(images + shift, torch.ones_like(labels, dtype=torch.bool), labels)


def write_into_images(model, images, labels, *, generator):
    """Return the images that were given, brighter; the labels that were given are lost."""
    images += 0.25
    images.clamp_(0, 1)
    result = _result(images, torch.ones_like(labels, dtype=torch.bool), labels * 0)
    labels.zero_()
    return result


def write_into_the_model(model, images, labels, *, generator):
    """Invert the images, and let the model forget a layer."""
    next(model.parameters()).data.zero_()
    return _result(1 - images, torch.ones_like(labels, dtype=torch.bool), labels)


def leave_training(model, images, labels, *, generator):
    model.train()
    return _result(1 - images, torch.ones_like(labels, dtype=torch.bool), labels)


def break_one_pixel(model, images, labels, *, generator):
    adversarial = images.clone()
    adversarial[0, 0, 0, 0] = torch.nan
    return _result(adversarial, torch.ones_like(labels, dtype=torch.bool), labels)


def not_a_number(model, images, *, generator):
    values = torch.zeros(len(images), dtype=torch.float64)
    values[-1] = torch.nan
    return {"broken": values}


def sum_and_spoil(model, images, *, generator, fitted):
    """Distance from the mean that `fit_mean` fitted, after which neither is what it was."""
    values = {"distance": (images.double() - fitted["mean"]).flatten(1).norm(dim=1)}
    images.zero_()
    fitted["mean"].zero_()
    return values


def fail(*arguments, **named):
    raise KeyError("missing")


def fit_a_list(model, images, labels, *, batch_size, seed, after_epoch, unfinished):
    return {"mean": [1.0]}


def fit_nan(model, images, labels, *, batch_size, seed, after_epoch, unfinished):
    return {"mean": torch.tensor(torch.nan)}


def one_class(**settings):
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    split = ImageSplit(images, torch.zeros(4, dtype=torch.int64), ("a", "b"))
    return {"train": split, "test": split}


def no_dict(model, images, *, generator):
    return torch.zeros(len(images))


def no_column(model, images, *, generator):
    return {}


def no_tensor(model, images, *, generator):
    return {"list": [0.0] * len(images)}


def infinite(model, images, *, generator):
    return {"fine": torch.zeros(len(images)), "endless": torch.full((len(images),), torch.inf)}


def two_per_image(model, images, *, generator):
    return {"pair": torch.zeros(len(images), 2)}


def one_for_all(model, images, *, generator):
    return {"single": torch.zeros(1)}


def fit_mean(model, images, labels, *, batch_size, seed, after_epoch, unfinished):
    """Fit the mean training image."""
    return {"mean": (images / 255).double().mean(0)}


def keep_activations(activations, labels):
    """Keep all that there is."""
    return {"labels": labels, **activations}


def sums(model, images, *, generator, activations):
    """Return the sum and the number of all values of each layer."""
    columns = {}
    for layer, values in activations.items():
        columns[f"sum_{layer}"] = values.double().sum(dim=1)
        columns[f"width_{layer}"] = torch.full((len(images),), values.shape[1])
    return columns


def distance(model, images, *, generator, fitted):
    """Return the distance to the mean training image."""
    return {"distance": (images - fitted["mean"]).flatten(1).norm(dim=1).cpu()}


class ThreeLogits(nn.Module):
    """A model for three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :3] * self.weight


class FlattenedByView(nn.Module):
    """A network that relies on the strides of what its convolution returns."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)
        self.top = nn.Linear(256, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.top(self.convolution(images).view(len(images), -1))


# What the attacks below were called with and took, and the call at which they are interrupted.
toggle = SimpleNamespace(calls=[], stop_at=None, tallies=[])


def fade(model, images, labels, *, generator, strength, offset):
    """Fade to the negative image, with noise; stop at the call that ``toggle`` says."""
    variants = [{"strength": strength}]
    return fade_sweep(model, images, labels, generator=generator, variants=variants, offset=offset)[
        0
    ]


def fade_sweep(model, images, labels, *, generator, variants, offset):
    if len(toggle.calls) == toggle.stop_at:
        raise KeyboardInterrupt
    noise = offset * generator.uniform(*images.shape[1:])
    toggle.calls.append((len(images), [variant["strength"] for variant in variants]))
    results = []
    for variant in variants:
        adversarial = (images + variant["strength"] * (1 - 2 * images) + noise).clamp(0, 1)
        fooled = model(adversarial).argmax(1) != labels
        results.append(_result(adversarial.detach(), fooled, labels))
    return results


def watched(model, images, labels, *, attack, **arguments):
    """Run an attack on the model behind a gate that counts, in ``toggle.tallies``."""
    if len(toggle.tallies) == toggle.stop_at:
        raise KeyboardInterrupt
    counting = CountingModel(model)
    toggle.tallies.append(counting.tally)
    return locate(attack)(counting, images, labels, **arguments)


def too_few(model, images, labels, *, generator, variants, offset):
    return fade_sweep(
        model, images, labels, generator=generator, variants=variants[1:], offset=offset
    )


def misshapen(model, images, labels, *, generator, field, value):
    """Return a field that is not what it must be."""
    fields = vars(invert(model, images, labels, generator=generator, claim=True))
    wrong = {
        "double": lambda tensor: tensor.double(),
        "one less": lambda tensor: tensor[1:],
        "none": lambda tensor: None,
    }
    return AttackResult(**{**fields, field: wrong[value](fields[field])})


def nothing(model, images, labels, *, generator):
    return None


def brightness(model, images, *, generator):
    """The mean pixel."""
    return {"mean": images.double().flatten(1).mean(1)}


_calls: list[int] = []


def brightness_since_the_start(model, images, *, generator):
    """The mean pixel, moved by what came before: code that treats one path unlike the other."""
    _calls.append(len(images))
    return {"mean": images.double().flatten(1).mean(1) + len(_calls)}
