"""Counting the classes of images under noise as the command line does it."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from step_runs import SEED, model_of, run, stored_model

from advdetect.__main__ import main
from advdetect.files import counts as counts_file
from advdetect.files.attack import FIELDS, AttackFile, AttackWriter
from advdetect.files.counts import read_counts
from advdetect.seeding import derive_seed
from advdetect.steps import certify

CLEAN = {"sigma": 0.2, "images": 20, "selection": 100, "estimation": 300}
ATTACKED = {"sigma": 0.2, "images": 20, "prediction": 200}


def arguments_for(chain, spec, output, *arguments):
    return (
        *("certify", "--spec", json.dumps(spec), "--name", "sigma=0.2", "--seed", SEED),
        *("--device", "cpu", *model_of(chain), "--test", chain / "test.safetensors"),
        *("--output", output, *arguments),
    )


def certified(chain, spec, output, *arguments):
    run(*arguments_for(chain, spec, output, *arguments))
    return read_counts(output)


@pytest.fixture(scope="module")
def clean(chain, tmp_path_factory):
    return certified(chain, CLEAN, tmp_path_factory.mktemp("certify") / "counts.safetensors")


def spread(chain, count):
    """Return rows of so many test images at equal distances: they may be sorted by class."""
    there = len(load_file(chain / "test.safetensors")["labels"])
    assert there > 2 * count
    return np.arange(count) * there // count


def test_images_spread_over_all_are_counted(chain, clean):
    test, model = load_file(chain / "test.safetensors"), stored_model(chain)
    rows = spread(chain, 20)
    assert clean.images["index"].tolist() == rows.tolist()
    np.testing.assert_array_equal(clean.images["label"], test["labels"][rows])
    images = test["images"][rows] / 255
    np.testing.assert_array_equal(clean.images["prediction"], model(images).argmax(1))
    assert (clean.of("selection").sum(axis=1) == 100).all()
    assert (clean.of("estimation").sum(axis=1) == 300).all()
    seed = derive_seed(int(SEED), "certify", "selection", str(rows[7]))
    noise = 0.2 * torch.randn(100, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    expected = np.bincount(model(images[7] + noise).argmax(1), minlength=10)
    np.testing.assert_array_equal(clean.of("selection")[7], expected)


def test_counts_depend_neither_on_the_batch_nor_on_how_many_images_there_are(
    chain, clean, tmp_path
):
    fewer = certified(
        chain, {**CLEAN, "images": 5}, tmp_path / "c.safetensors", "--batch-size", "37"
    )
    for use in ("selection", "estimation"):
        np.testing.assert_array_equal(fewer.of(use), clean.of(use)[::4])


def test_what_attacks_made_is_counted_in_their_place(chain, tmp_path):
    found = certified(
        chain, ATTACKED, tmp_path / "c.safetensors", "--attacks", chain / "otcm.safetensors"
    )
    attack, model = load_file(chain / "otcm.safetensors"), stored_model(chain)
    chosen = np.isin(attack["index"], spread(chain, 20))
    assert 0 < int(chosen.sum()) < len(chosen)
    for name in ("index", "label", "l2", "prediction"):
        np.testing.assert_array_equal(found.images[name], attack[name][chosen])
    assert found.facts["attacks"] == ["otcm"]
    assert (found.images["attack"] == 0).all()
    index = int(found.images["index"][3])
    generator = torch.Generator().manual_seed(
        derive_seed(int(SEED), "certify", "prediction", str(index))
    )
    noise = [0.2 * torch.randn(100, 1, 8, 8, generator=generator) for _ in range(2)]
    answers = model(attack["adversarial"][chosen][3] + torch.cat(noise)).argmax(1)
    np.testing.assert_array_equal(found.of("prediction")[3], np.bincount(answers, minlength=10))


def test_a_killed_certification_goes_on_where_it_was(chain, clean, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("advdetect.smoothing.counting._CHUNK", 1)
    kept = certify.UnfinishedCounts.keep

    def keep_and_die(self, counts):
        kept(self, counts, seconds=0)
        if counts.blocks == 30:
            raise KeyboardInterrupt

    output = tmp_path / "c.safetensors"
    arguments = list(map(str, arguments_for(chain, CLEAN, output, "--code", "c0de")))
    with monkeypatch.context() as within:
        within.setattr(counts_file.UnfinishedCounts, "keep", keep_and_die)
        with pytest.raises(KeyboardInterrupt):
            main([*arguments, "--batch-size", "200"])
    assert [path.name for path in tmp_path.iterdir()] == [".c.safetensors.partial"]
    assert main([*arguments, "--batch-size", "100"]) == 0
    assert "3000 of 8000 draws were counted before" in capsys.readouterr().err
    np.testing.assert_array_equal(read_counts(output).counts.table(), clean.counts.table())
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_without_code_nothing_unfinished_is_taken_up(chain, tmp_path, capsys):
    output = tmp_path / "c.safetensors"
    (tmp_path / ".c.safetensors.partial").write_bytes(b"of other code")
    certified(chain, {**CLEAN, "images": 1}, output)
    assert "counted before" not in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({**CLEAN, "sigma": 0}, "sigma of the noise must be greater than 0"),
        ({**CLEAN, "images": 0}, "images, selection, estimation must be at least 1"),
        ({**ATTACKED, "prediction": 0}, "is unknown or missing"),
        ({**CLEAN, "clip": True}, "clip is unknown or missing"),
    ],
)
def test_wrong_settings_are_refused(chain, tmp_path, capsys, spec, said):
    assert main(list(map(str, arguments_for(chain, spec, tmp_path / "c.safetensors")))) == 1
    assert said in capsys.readouterr().err


def test_attacks_on_none_of_the_images_are_refused(chain, tmp_path, capsys):
    file = AttackFile(chain / "otcm.safetensors")
    late = np.flatnonzero(~np.isin(file.column("index"), spread(chain, 20)))
    writer = AttackWriter(tmp_path / "late.safetensors", len(late), file.image_shape, file.facts)
    writer.store(range(len(late)), file.adversarial(late))
    names = FIELDS.keys() - {"adversarial"}
    writer.finish_rows(
        range(len(late)), {name: values[late] for name, values in file.columns(*names).items()}
    )
    writer.publish()
    arguments = arguments_for(
        chain, ATTACKED, tmp_path / "c.safetensors", "--attacks", writer.output
    )
    assert main(list(map(str, arguments))) == 1
    assert "none of the 20 images that are counted was attacked" in capsys.readouterr().err
