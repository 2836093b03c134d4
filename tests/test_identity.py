import pandas as pd
import pytest
import torch

from advdetect import provenance
from advdetect.errors import AdvdetectError
from advdetect.identity import check_output, key_in_name, make_key
from advdetect.io import (
    read_arrays,
    read_provenance,
    read_table,
    read_tensors,
    write_table,
    write_tensors,
)

SPEC = {"_target_": "package.attack", "epsilon": 0.1}


def key(spec=SPEC, **facts):
    return make_key("attack", spec, "c0de", **{"seed": 0, "inputs": {"model": "a"}, **facts})


@pytest.mark.parametrize(
    "spec",
    [
        {"epsilon": 0.1, "_target_": "package.attack"},
        SPEC | {"_title_": "An attack"},
        SPEC | {"_schema_": {"epsilon": {"type": "number"}}},
    ],
)
def test_the_order_of_names_and_words_are_in_no_key(spec):
    assert key(spec) == key()


def test_equal_numbers_have_equal_keys():
    assert key(SPEC | {"epsilon": 1.0}) == key(SPEC | {"epsilon": 1}) != key()
    assert key(seed=1.0) == key(seed=1) != key(seed=0)


def test_everything_that_a_file_depends_on_is_in_its_key():
    keys = [
        key(),
        key(SPEC | {"epsilon": 0.2}),
        key(SPEC | {"_target_": "package.other"}),
        key(seed=1),
        key(inputs={"model": "b"}),
        key(inputs={"clean": "a"}),
        make_key("attack", SPEC, "other", seed=0, inputs={"model": "a"}),
        make_key("feature", SPEC, "c0de", seed=0, inputs={"model": "a"}),
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("store/mnist.3fa9c1c0ffee/test.77aa11c0ffee.safetensors", "77aa11c0ffee"),
        ("store/mnist.3fa9c1c0ffee/train.safetensors", "3fa9c1c0ffee"),
        ("attacks/fgm,epsilon=0.5.77aa11c0ffee.safetensors", "77aa11c0ffee"),
        ("attacks/fgm,epsilon=0.5.safetensors", None),
        ("mine.safetensors", None),
    ],
)
def test_the_key_is_read_off_the_name_or_the_folder(path, found):
    assert key_in_name(path) == found


@pytest.mark.parametrize("suffix", [".safetensors", ".parquet"])
def test_a_file_under_another_name_is_refused_by_every_reader(tmp_path, suffix):
    path = tmp_path / f"fgsm.77aa11c0ffee{suffix}"
    facts = {"key": "77aa11c0ffed", "step": "attack"}
    if suffix == ".parquet":
        write_table(path, pd.DataFrame({"a": [1]}), facts)
        readers = [read_provenance, read_table]
    else:
        write_tensors(path, {"a": torch.zeros(1)}, facts)
        readers = [read_provenance, read_tensors, lambda path: read_arrays(path, ["a"])]
    for read in readers:
        with pytest.raises(AdvdetectError, match="another file than its name says"):
            read(path)


#: What makes a file, where it is not called like that.
STEPS = {"test": "prepare-data", "model": "train", "clean": "classify", "scores": "score"}


def made(folder, name, inputs, **facts):
    """Write a file that was made from others; return its path."""
    path = folder / f"{name}.safetensors"
    what = name.partition("_")[0]
    described = provenance.describe(
        STEPS.get(what, what), {}, "", inputs=inputs, outputs=[path], keyed={"of": name}, **facts
    )
    write_tensors(path, {"a": torch.zeros(1)}, described)
    return path


@pytest.fixture
def chain(tmp_path):
    """A test split, two models, and an attack on the first."""
    test = made(tmp_path, "test", {})
    models = [made(tmp_path, f"model_{name}", {}) for name in "ab"]
    attack = made(tmp_path, "attack", {"model": models[0], "test": test})
    return tmp_path, test, models, attack


def test_an_attack_on_another_model_is_refused(chain):
    folder, test, models, attack = chain
    made(folder, "feature_a", {"model": models[0], "test": test, "attack": attack})
    with pytest.raises(AdvdetectError, match=r"do not belong together.*a different model"):
        made(folder, "feature_b", {"model": models[1], "test": test, "attack": attack})


def test_features_of_two_models_are_refused(chain):
    folder, test, models, attack = chain
    other = made(folder, "attack_b", {"model": models[1], "test": test})
    features = [
        made(folder, f"feature_{name}", {"model": model, "test": test, "attack": its})
        for name, model, its in zip("ab", models, (attack, other), strict=True)
    ]
    with pytest.raises(AdvdetectError, match="do not belong together"):
        made(folder, "scores", {"features": features})


def test_an_output_that_is_named_as_another_is_refused():
    named = "attacks/fgsm.77aa11c0ffee.safetensors"
    check_output(["attacks/mine.safetensors", named], "77aa11c0ffee")
    with pytest.raises(AdvdetectError, match="which make 000000000000"):
        check_output([named], "0" * 12)


def test_a_run_is_handed_on(tmp_path):
    clean = made(tmp_path, "clean", {}, run="r1")
    attack = made(tmp_path, "attack", {"clean": clean})
    assert read_provenance(attack)["run"] == "r1"
    assert read_provenance(attack)["inputs"] == {"clean": read_provenance(clean)["key"]}


def test_images_of_another_model_may_be_judged_but_not_those_of_another_split(chain):
    folder, test, models, attack = chain
    made(folder, "transfer_a", {"model": models[1], "test": test, "crafted": attack})
    other = made(folder, "test_b", {})
    with pytest.raises(AdvdetectError, match="a different test"):
        made(folder, "transfer_b", {"model": models[1], "test": other, "crafted": attack})
