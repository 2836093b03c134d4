"""The nearest success of each image over several attacks, read from their files."""

import json

import pytest
import torch
from safetensors.torch import load_file
from step_runs import SEED, judged, read_noisy, run, stored_model

from advdetect.__main__ import main
from advdetect.io import read_provenance

METHODS = {
    "fgsm": {"_target_": "advdetect.attacks.fgsm.fgsm", "epsilon": 0.12},
    "otcm": {"_target_": "advdetect.attacks.otcm.otcm", "epsilon": 1.2},
}
NAMES = (*METHODS, "otcm@second")
ORDERS = {"l1": 1, "l2": 2, "linf": torch.inf}


def craft(folder, name, output, seed=SEED):
    run(
        *("attack", "--spec", json.dumps(METHODS[name]), "--name", name, "--seed", seed),
        *("--device", "cpu", *judged(folder), "--output", output),
    )
    return output


@pytest.fixture(scope="module")
def parts(chain, other, tmp_path_factory):
    """Files of two attacks, and of one that comes from the second model and lacks images."""
    folder = tmp_path_factory.mktemp("parts")
    files = {name: craft(chain, name, folder / f"{name}.safetensors") for name in METHODS}
    crafted = craft(other, "otcm", folder / "crafted.safetensors")
    files["otcm@second"] = folder / "transferred.safetensors"
    run(
        *("transfer", "--spec", "{}", "--name", "otcm@second", "--seed", SEED),
        *("--device", "cpu", "--crafted", crafted, *judged(chain)),
        *("--output", files["otcm@second"]),
    )
    torch.set_deterministic_debug_mode("default")
    return files


def command(chain, files, output, *, attacks=None, norm="l2", seed=SEED):
    spec = {"_best_of_": True, "_minimal_norm_": True, "attacks": attacks, "norm": norm}
    return [
        *("best-of", "--spec", json.dumps(spec), "--name", "best_of", "--seed", seed),
        *("--parts", *map(str, files), "--test", str(chain / "test.safetensors")),
        *("--clean", str(chain / "clean.safetensors"), "--output", str(output)),
    ]


@pytest.mark.parametrize("norm", ORDERS)
def test_each_image_has_its_nearest_success(chain, parts, tmp_path, norm):
    output = tmp_path / "best.safetensors"
    assert main(command(chain, parts.values(), output, attacks=list(NAMES), norm=norm)) == 0
    found, facts = load_file(output), read_provenance(output)
    data = load_file(chain / "test.safetensors")
    right = load_file(chain / "clean.safetensors")["index"]
    assert torch.equal(found["index"], right)
    tables = [load_file(path) for path in parts.values()]
    assert len(tables[2]["index"]) < len(right)  # so that the test can tell
    won = set()
    for row, index in enumerate(right.tolist()):
        clean = data["images"][index].float() / 255
        there = [(t, int((t["index"] == index).nonzero())) for t in tables if index in t["index"]]
        images = [
            (float((t["adversarial"][i] - clean).double().norm(ORDERS[norm])), number, t, i)
            for number, (t, i) in enumerate(there)
            if t["success"][i]
        ]
        for name in ("forward_passes", "backward_passes", "iterations"):
            assert found[name][row] == sum(t[name][i] for t, i in there)
        if not images:
            assert torch.equal(found["adversarial"][row], clean)
            assert not found["success"][row]
            assert not found["changed"][row]
            assert facts["won_by"][row] == -1
            continue
        _, number, table, i = min(images, key=lambda image: image[0])
        names = {"adversarial", "target", "l2", "linf", "changed", "changed_8bit"}
        for name in names | {"prediction", "prediction_8bit", "success_8bit", "crafted_success"}:
            assert torch.equal(found[name][row], table[name][i]), name
        won.add(facts["attacks"][facts["won_by"][row]])
        if len(there) == len(tables):
            assert facts["won_by"][row] == number
    assert won == set(NAMES)
    assert 0 < found["success"].double().mean() < 1

    with torch.no_grad():
        prediction = stored_model(chain)(found["adversarial"]).argmax(1)
    assert torch.equal(found["success"], prediction != found["label"])
    noisy = read_noisy(output, chain / "test.safetensors")
    moved = (noisy - data["images"][right].float() / 255).double().flatten(1).norm(dim=1)
    torch.testing.assert_close(moved, found["l2"], rtol=1e-5, atol=0)


def test_the_nearest_of_the_nearest_knows_whose_images_it_has(chain, parts, tmp_path, capsys):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    assert main(command(chain, [parts["fgsm"], parts["otcm"]], first)) == 0
    assert main(command(chain, [first, parts["otcm@second"]], second)) == 0
    facts = read_provenance(second)
    assert facts["attacks"] == ["best_of", "otcm@second"]
    assert facts["origins"] == sorted(NAMES)
    assert facts["crafted_on"] is None
    assert facts["judged_on"] == read_provenance(parts["fgsm"])["judged_on"]
    counts = [facts["won_by"].count(number) for number in (0, 1)]
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith(f"nearest of all were best_of {counts[0]}, otcm@second {counts[1]}")


def test_what_does_not_belong_together_is_refused(chain, parts, other, tmp_path, capsys):
    output = tmp_path / "best.safetensors"
    two = [parts["fgsm"], parts["otcm"]]
    elsewhere = craft(other, "fgsm", tmp_path / "elsewhere.safetensors")
    seed = craft(chain, "fgsm", tmp_path / "seed.safetensors", seed="5")
    for files, given, said in (
        (two, {"attacks": ["otcm", "fgsm"]}, "the attacks otcm, fgsm, in this order, not of fgsm,"),
        ([*two, parts["fgsm"]], {}, "the attacks fgsm, otcm, in this order, not of fgsm, otcm, f"),
        (two, {"norm": "l0"}, "The norm must be one of l1, l2, linf, not 'l0'."),
        ([seed, parts["otcm"]], {}, "seed.safetensors is of seed 5, not of seed 4."),
        ([elsewhere, parts["otcm"]], {}, "do not belong together: they were made with a different"),
        ([chain / "model.safetensors"], {}, "is no file of an attack: make one with that stage."),
    ):
        assert main(command(chain, files, output, **given)) == 1
        assert said in capsys.readouterr().err.splitlines()[-1]
    assert not output.exists()
