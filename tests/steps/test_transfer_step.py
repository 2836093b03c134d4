"""Images of another model's attack and a user's own: judged, and kept in the same format."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file
from step_runs import SEED, judged, read_noisy, run, stored_model

from advdetect.__main__ import main
from advdetect.figures import gallery
from advdetect.io import read_provenance
from advdetect.runs import RunFiles
from advdetect.tables.names import display_name


@pytest.fixture(scope="module")
def other_model(other):
    return other / "model.safetensors"


@pytest.fixture
def judge(other, tmp_path):
    """Judge images on the second model; return the arguments, the last of which is the output."""

    def judge(crafted, *options, folder=other):
        return [
            *("transfer", "--spec", "{}", "--name", "otcm@first", "--seed", SEED),
            *("--device", "cpu", "--crafted", str(crafted), *map(str, judged(folder)), *options),
            *("--output", str(tmp_path / "transferred.safetensors")),
        ]

    return judge


@pytest.fixture
def data(chain):
    return load_file(chain / "test.safetensors")


def classes(path, images):
    with torch.no_grad():
        return stored_model(path.parent)(images).argmax(1)


def test_an_attack_goes_over_to_another_model(chain, other_model, judge, data):
    crafted = load_file(chain / "otcm.safetensors")
    arguments = judge(chain / "otcm.safetensors", "--batch-size", "13")
    assert main(arguments) == 0
    found, clean = load_file(arguments[-1]), data["images"].float() / 255

    right = [
        classes(path, clean) == data["labels"]
        for path in (chain / "model.safetensors", other_model)
    ]
    both = (right[0] & right[1]).nonzero().flatten()
    assert len(both) < len(crafted["index"])  # so that the test can tell
    assert torch.equal(found["index"], both)
    rows = torch.isin(crafted["index"], both)
    for name in ("adversarial", "label", "target", "l2", "linf", "iterations", "changed"):
        assert torch.equal(found[name], crafted[name][rows]), name
    assert torch.equal(found["crafted_success"], crafted["success"][rows])

    prediction = classes(other_model, found["adversarial"])
    assert torch.equal(found["prediction"], prediction)
    assert torch.equal(found["success"], prediction != found["label"])
    assert not torch.equal(found["success"], found["crafted_success"])
    rounded = torch.round(found["adversarial"] * 255) / 255
    assert torch.equal(found["success_8bit"], classes(other_model, rounded) != found["label"])
    noisy = read_noisy(arguments[-1], chain / "test.safetensors")
    moved = (noisy - clean[both]).double().flatten(1).norm(dim=1)
    torch.testing.assert_close(moved, found["l2"], rtol=1e-5, atol=0)

    facts = read_provenance(arguments[-1])
    source = read_provenance(chain / "otcm.safetensors")
    assert facts["step"] == "transfer"
    assert facts["name"] == "otcm@first"
    assert facts["spec"] == source["spec"]
    assert facts["crafted_on"] == source["crafted_on"] == source["judged_on"]
    assert facts["judged_on"]["key"] == read_provenance(other_model)["key"]
    assert facts["judged_on"] != facts["crafted_on"]


def test_what_the_model_gets_wrong_when_clean_is_counted_apart(chain, other_model, judge, data):
    arguments = judge(chain / "otcm.safetensors")
    assert main(arguments) == 0
    crafted, found = load_file(chain / "otcm.safetensors"), load_file(arguments[-1])
    left_out = read_provenance(arguments[-1])["left_out"]
    others = ~torch.isin(crafted["index"], found["index"])
    assert left_out["index"] == crafted["index"][others].tolist() != []
    wrong = classes(other_model, crafted["adversarial"]) != crafted["label"]
    assert left_out["success"] == wrong[others].tolist()
    assert left_out["crafted_success"] == crafted["success"][others].tolist()


def test_on_its_own_model_an_attack_is_what_it_was(chain, judge):
    arguments = judge(chain / "otcm.safetensors", folder=chain)
    assert main(arguments) == 0
    found, crafted = load_file(arguments[-1]), load_file(chain / "otcm.safetensors")
    assert not any(read_provenance(arguments[-1])["left_out"].values())
    for name in crafted.keys() - {"noise_scale"}:  # its noise is another
        assert torch.equal(found[name], crafted[name]), name


def test_features_are_computed_of_it_like_of_any(chain, judge, config, other, tmp_path):
    arguments = judge(chain / "otcm.safetensors")
    assert main(arguments) == 0
    output = tmp_path / "bu.parquet"
    run(
        *("feature", "--spec", config / "feature/bu.yaml", "--set", "passes=2", "--name", "bu"),
        *("--seed", SEED, "--device", "cpu", *judged(other)),
        *("--attack", arguments[-1], "--output", output),
    )
    table = pd.read_parquet(output)
    assert table["kind"].nunique() == 4
    assert read_provenance(output)["attack"] == "otcm@first"


def test_a_gallery_may_leave_out_what_was_crafted_on_another_model(chain, judge):
    arguments = judge(chain / "otcm.safetensors")
    assert main(arguments) == 0
    paths = (str(chain / "otcm.safetensors"), arguments[-1])
    files = RunFiles("", paths, data=str(chain / "test.safetensors"))
    for own, attacks in ((False, 2), (True, 1)):
        (axis,) = gallery.draw(files, examples=3, own=own).axes
        assert len(axis.images) == attacks * 3 * 3
    # From the first success to the last, since the images may be in the order of their classes.
    attack, images = load_file(chain / "otcm.safetensors"), load_file(files.data)["images"]
    rows = attack["success"].nonzero().flatten()
    for picture, row in ((axis.images[0], rows[0]), (axis.images[6], rows[-1])):
        shown = np.unique(picture.get_array())
        clean = np.unique(images[attack["index"][row]] / np.float32(255))
        assert len(clean) > 3
        np.testing.assert_allclose(shown, clean, atol=1e-6)


def test_a_gallery_of_many_attacks_shows_some_and_says_so(chain, judge):
    arguments = judge(chain / "otcm.safetensors")
    assert main(arguments) == 0
    paths = [str(chain / "otcm.safetensors")] * 4 + [arguments[-1]]
    files = RunFiles("", tuple(paths), data=str(chain / "test.safetensors"))
    (axis,) = gallery.draw(files, examples=1, most=2).axes
    texts = [text.get_text() for text in axis.texts]
    assert texts[0] == display_name("otcm")
    assert texts[4] == display_name("otcm@first")  # the last of five
    assert texts[-1].startswith("2 of 5 attacks")
    assert len(axis.images) == 2 * 3


@pytest.fixture
def own(data):
    """A user's images: those of the first forty in reversed order, brightened."""
    index = np.arange(40)[::-1].copy()
    images = data["images"].numpy()[index]
    return {
        "adversarial": np.minimum(images.astype(int) + 90, 255).astype(np.uint8),
        "index": index,
    }


@pytest.mark.parametrize("form", ["uint8.npz", "float.npz", "float.safetensors"])
def test_images_of_a_user_are_taken(judge, own, data, other_model, tmp_path, capsys, form):
    path = tmp_path / f"my_images.{form}"
    exact = own["adversarial"].astype(np.float32) / np.float32(255)
    arrays = own if form.startswith("uint8") else {**own, "adversarial": exact}
    np.savez(path, **arrays) if form.endswith("npz") else save_file(arrays, path)
    arguments = judge(path)
    assert main(arguments) == 0
    found = load_file(arguments[-1])
    right = classes(other_model, data["images"][:40].float() / 255) == data["labels"][:40]
    kept = right.nonzero().flatten()
    assert 0 < len(kept) < 40
    assert torch.equal(found["index"], kept)
    np.testing.assert_array_equal(found["adversarial"], exact[::-1][kept])
    assert torch.equal(
        found["success"], classes(other_model, found["adversarial"]) != found["label"]
    )
    assert found["crafted_success"].all()
    assert (found["target"] == -1).all()
    assert read_provenance(arguments[-1])["crafted_on"] is None
    said = f"transfer otcm@first: {40 - len(kept)} of 40 images are left out"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"index": None}, "has no array 'index': it must hold"),
        ({"adversarial": np.zeros((40, 1, 8, 9))}, "adversarial is of shape (40, 1, 8, 9)"),
        ({"adversarial": np.zeros((40, 64))}, "so it must be (N, 1, 8, 8)"),
        ({"adversarial": np.zeros((40, 1, 8, 8), int)}, "it must be uint8, or float in [0, 1]"),
        ({"adversarial": np.full((40, 1, 8, 8), 1.01)}, "pixels outside [0, 1] or not a number"),
        ({"adversarial": np.full((40, 1, 8, 8), np.nan)}, "pixels outside [0, 1] or not a number"),
        ({"index": np.arange(40.0)}, "index is float64 (40,), not one whole number for each of 40"),
        ({"index": np.arange(39)}, "index is int64 (39,)"),
        ({"index": np.arange(61, 101)}, "goes from 61 to 100, but the split has 100 images"),
        ({"index": np.arange(-1, 39)}, "goes from -1 to 38"),
        ({"index": np.zeros(40, int)}, "index names an image twice"),
    ],
)
def test_what_cannot_be_adversarial_images_is_refused(judge, own, tmp_path, capsys, change, said):
    path = tmp_path / "my_images.npz"
    np.savez(path, **{name: value for name, value in (own | change).items() if value is not None})
    capsys.readouterr()
    arguments = judge(path)
    assert main(arguments) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"advdetect transfer: error: {path}")
    assert said in line
    assert not (tmp_path / "transferred.safetensors").exists()


def test_other_files_are_refused(judge, chain, tmp_path, capsys):
    (tmp_path / "text.npz").write_text("no archive")
    for path, said in {
        tmp_path / "text.npz": "cannot be read",
        tmp_path / "none.npz": "does not exist",
        chain / "model.safetensors": "has no array 'adversarial'",
    }.items():
        assert main(judge(path)) == 1
        assert said in capsys.readouterr().err.splitlines()[-1]


def test_an_attack_on_another_split_is_refused(judge, chain, three_classes, capsys):
    arguments = judge(chain / "otcm.safetensors", "--test", str(three_classes))
    assert main(arguments) == 1
    assert "was not made of the images of this data split" in capsys.readouterr().err
