"""The images of each kind, some rows at a time."""

import pytest
import torch
from safetensors.torch import load_file
from step_runs import read_noisy

from advdetect.data.split import ImageSplit
from advdetect.data.store import read_split
from advdetect.errors import AdvdetectError
from advdetect.files.attack import AttackFile
from advdetect.protocol import CLEAN
from advdetect.steps.images import changed_images, read_correct, split_images


@pytest.fixture(scope="module")
def data(chain):
    return read_split(chain / "test.safetensors")


@pytest.mark.parametrize("method", ["invert_some", "brighten"])
def test_each_kind_is_the_same_however_it_is_cut(attack, chain, data, method):
    path = attack(f"step_methods.{method}", **({"levels": 60} if method == "brighten" else {}))
    stored = load_file(path)
    whole = {
        "adversarial": stored["adversarial"],
        "noisy": read_noisy(path, chain / "test.safetensors"),
    }
    whole |= {f"{name}_8bit": torch.round(x * 255) / 255 for name, x in whole.items()}
    kinds = changed_images(AttackFile(path), data)
    assert kinds.keys() == whole.keys()
    for name, kind in kinds.items():
        changed = stored["changed_8bit" if name.endswith("8bit") else "changed"]
        assert torch.equal(kind.index, stored["index"][changed])
        for size in (1, 7, 1000):
            parts = [kind.images(slice(i, i + size)) for i in range(0, len(kind.index), size)]
            assert torch.equal(torch.cat(parts), whole[name][changed]), (name, size)


def test_what_a_reader_does_to_images_is_not_seen_by_the_next(chain, data):
    kinds = changed_images(AttackFile(chain / "otcm.safetensors"), data)
    kinds[CLEAN] = split_images(data, read_correct(chain / "clean.safetensors"))
    for kind in kinds.values():
        before = kind.images(slice(3)).clone()
        kind.images(slice(3)).zero_()
        assert torch.equal(kind.images(slice(3)), before)


def test_noise_is_not_drawn_for_another_split(chain, data):
    file = AttackFile(chain / "otcm.safetensors")
    others = [
        ImageSplit(data.images, data.labels.roll(1), data.class_names),
        ImageSplit(data.images[:50], data.labels[:50], data.class_names),
        ImageSplit(data.images[..., :7], data.labels, data.class_names),
    ]
    for other in others:
        with pytest.raises(AdvdetectError, match="was not made of the images of this data split"):
            changed_images(file, other)
