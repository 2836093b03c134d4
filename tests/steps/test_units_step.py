"""Units of a stored model, beside random directions, and the same of the untrained network."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from step_runs import SEED, model_of, run, stored_model

from advdetect.__main__ import main
from advdetect.io import read_provenance
from advdetect.models.small_cnn import SmallCNN
from advdetect.seeding import derive_seed


@pytest.fixture(scope="module")
def found(chain, tmp_path_factory):
    path = tmp_path_factory.mktemp("units") / "units.parquet"
    run(
        *("units", "--spec", '{"images": 4, "permutations": 200}', "--device", "cpu"),
        *(*model_of(chain), "--test", chain / "test.safetensors", "--output", path),
    )
    return path


def penultimate(model, images):
    seen = []
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    hook = linear[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(images)
    hook.remove()
    return seen[0].numpy()


def untrained(chain):
    made = read_provenance(chain / "model.safetensors")["model"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(int(SEED), "train"))
        return SmallCNN(**made["arguments"]).eval()


def test_each_unit_has_the_images_that_excite_it_most(found, chain):
    table, data = pd.read_parquet(found), load_file(chain / "test.safetensors")
    images = data["images"].float() / 255
    for network, model in {"trained": stored_model(chain), "untrained": untrained(chain)}.items():
        hidden = penultimate(model, images)
        own = table[(table["network"] == network) & (table["direction"] == "unit")]
        assert own["number"].tolist() == list(range(hidden.shape[1]))
        index = own[[f"image_{place}" for place in range(4)]].to_numpy()
        along = np.take_along_axis(hidden.T, index, axis=1)
        np.testing.assert_allclose(along, -np.sort(-hidden.T, axis=1)[:, :4], rtol=1e-5)
        commonest = [np.bincount(row).max() / 4 for row in data["labels"].numpy()[index]]
        np.testing.assert_allclose(own["purity"], commonest)


def test_the_tests_are_of_all_units_and_as_many_directions(found):
    table, tests = pd.read_parquet(found), read_provenance(found)["tests"]
    for network, rows in table.groupby("network"):
        means = rows.groupby("direction")[["purity", "entropy"]].mean()
        assert (rows["direction"].value_counts() == len(rows) / 2).all()
        for quantity in ("purity", "entropy"):
            test = tests[network][quantity]
            for kind in ("unit", "random"):
                assert test[kind] == pytest.approx(means.loc[kind, quantity])
            assert test["difference"] == pytest.approx(test["unit"] - test["random"])
            assert 1 / 201 <= test["p"] <= 1


def test_the_figures_are_drawn(found, chain, config, tmp_path):
    for kind in ("unit_images", "unit_purity"):
        run(
            *("figure", "--spec", config / f"figure/{kind}.yaml", "--inputs", found),
            *("--data", chain / "test.safetensors", "--output", tmp_path / f"{kind}.svg"),
        )
        assert (tmp_path / f"{kind}.png").is_file()


def test_more_images_than_there_are_cannot_be_shown(chain, tmp_path, capsys):
    arguments = ["units", "--spec", '{"images": 101, "permutations": 9}', *model_of(chain)]
    arguments += ["--test", chain / "test.safetensors", "--output", tmp_path / "u.parquet"]
    assert main(list(map(str, arguments))) == 1
    assert "there are only 100 test images" in capsys.readouterr().err
