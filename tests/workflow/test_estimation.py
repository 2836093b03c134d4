"""The arithmetic of an estimate, on timings that are made up."""

import json
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
import torch

from advdetect.errors import AdvdetectError
from advdetect.io import write_tensors
from advdetect.usage import Usage
from composition import load_experiment
from differences import other_differences
from estimation import LIKE, RULE, SAME, Predictor, wall_time
from extent import SIZE_FACTORS, TIME_FACTORS, Extent, count_images
from forecast import Forecast, duration, file_size
from job_list import Job
from measurement import measure, share_sweeps

SMALL = {"train": 100, "test": 20}
LARGE = {"train": 300, "test": 100}


def job(rule: str, output: str = "", inputs: tuple[str, ...] = (), threads: int = 1, **wildcards):
    """A job of a rule; its files lie below the current folder."""
    name = "/".join([rule, *wildcards.values()]) or rule
    return Job(
        rule=rule,
        wildcards={"dataset": "digits", "model": "small_cnn", "seed": "0", **wildcards},
        inputs=inputs,
        outputs=(output or f"out/{name}",),
        timing=f"logs/{name}.json",
        threads=threads,
    )


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def finish(item: Job, seconds: float, method: float, size: int = 1000) -> Job:
    """Write what a finished job leaves behind."""
    usage = Usage(method, seconds, cpu_s=1, peak_memory_mb=1, succeeded=True)
    write(item.timing, json.dumps(asdict(usage)))
    if not Path(item.outputs[0]).exists():
        write(item.outputs[0], "x" * size)
    return item


@cache  # Hydra takes half a second
def composed(config_dir: Path, overrides: tuple[str, ...]):
    return load_experiment(config_dir, {"overrides": list(overrides)})


@pytest.fixture
def load(repository, tmp_path, monkeypatch):
    """Compose an experiment; the current folder is empty."""
    monkeypatch.chdir(tmp_path)
    return lambda *overrides: composed(repository / "config", overrides)


@pytest.fixture
def predictor(load):
    """Make the predictor of the quickstart with more images, of a run of some finished jobs."""

    def make(*jobs: Job, target=(), run=()):
        measured = measure(jobs)
        assert len(measured) == len(jobs)
        small, large = Extent(load(*run), SMALL), Extent(load(*target), LARGE)
        return Predictor(share_sweeps(measured, small.experiment.attacks), small, large)

    return make


def test_the_start_up_stays_and_the_method_grows(predictor):
    found = predictor(finish(job("attack", attack="fgsm"), 5, 2, size=1000)).predict(
        job("attack", attack="fgsm", seed="7")
    )
    assert (found.basis, found.start_up) == (SAME, 3)
    assert found.fixed == 2
    assert found.scaled == pytest.approx(2 * 5)  # 20 test images, then 100
    assert found.size == pytest.approx(1000 * 5)
    assert (found.least, found.most) == (5, pytest.approx(13))
    assert predictor(finish(job("train"), 5, 2), target=["model.training.epochs=4"]).predict(
        job("train")
    ).least == pytest.approx(3 + 2 * 3 / 10)


@pytest.mark.parametrize(
    ("rule", "changes", "time", "size"),
    [
        ("prepare_data", [], 1, 400 / 120),
        ("train", ["model.training.epochs=80"], 3 * 2, 1),  # of 40
        ("feature_held_out", [], 3, 3),
        ("feature_clean", [], 5, 5),
        ("feature", [], 5, 5),
        ("sensitivity", ["sensitivity.examples=6"], 3, 3),
        ("detect", ["attacks=[fgsm,otcm,bim_l2,mi_fgsm,ossa,fgm,jsma,ead,opt,lbfgs]"], 5 * 4, 20),
        ("detect", ["detectors=[threshold,random_forest]"], 5 * 2 / 8, 5 * 2 / 8),
        ("defend", ["attacks=[fgsm]"], 5 / 5, 5 / 5),
        # 8 detectors on 5 attacks and 25 pairs; with one attack 8 and 1.
        ("evaluate", ["attacks=[fgsm]", "seeds=[0]"], 5 / 2 * 9 / 65, 1 / 50),
        ("evaluate", ["evaluation.replicates=1000"], 5 * 2, 1),
        ("tables", ["seeds=[0,1,2,3]"], 5 * 2, 1),
        ("figure", ["seeds=[0,1,2,3]"], 5 * 2, 1),
        ("report", [], 5, 1),
    ],
)
def test_a_rule_grows_with_its_factors(predictor, rule, changes, time, size):
    found = predictor(finish(job(rule), 4, 3, size=600), target=changes).predict(job(rule))
    assert found.scaled == pytest.approx(3 * time)
    assert found.size == pytest.approx(600 * size)


def test_a_fit_grows_with_the_epochs_of_all_its_models(predictor):
    """Two models of 60 epochs each in the quickstart, then one of 30 and one that names none."""
    models = "[{kind: alpha_gan, epochs: 30}, {kind: alpha_gan}]"
    target = [f"feature.magnet.autoencoders={models}", "feature.magnet.epochs=10"]
    output = "fitted/magnet.safetensors"
    write_tensors_at(output, (7, 3))
    fit = finish(job("fit_feature", output, feature="magnet"), 4, 3)
    found = predictor(fit, target=target).predict(job("fit_feature", feature="magnet"))
    assert found.scaled == pytest.approx(3 * 3 * 40 / 120)
    assert found.size == Path(output).stat().st_size  # a net has its size whatever it is fitted on


def write_tensors_at(path: str, shape: tuple[int, ...]) -> None:
    write_tensors(path, {"features": torch.zeros(shape)}, {})


@pytest.mark.parametrize(
    ("feature", "change", "rows", "kept"),
    [
        ("kd", [], 100, 3),
        ("kd", [], 7, 1),  # holds something else than the training images
        ("lid", [], 100, 3),  # at most 1,000 of them
        ("lid", ["feature.lid.reference=150"], 100, 1.5),
    ],
)
def test_a_feature_that_keeps_training_images_meets_each_with_each(
    predictor, feature, change, rows, kept
):
    output = "fitted/model.safetensors"
    write_tensors_at(output, (rows, 2))
    fit = finish(job("fit_feature", output, feature=feature), 1, 0.5)
    use = finish(job("feature", feature=feature, attack="fgsm"), 2, 1)
    made = predictor(fit, use, target=change, run=change)
    assert made.predict(use).scaled == pytest.approx(5 * kept)
    fitted = made.predict(fit)
    assert fitted.scaled == pytest.approx(0.5 * 3)
    assert fitted.size == pytest.approx(Path(output).stat().st_size * kept)


def test_what_the_run_does_not_have_is_taken_from_the_nearest(predictor):
    jobs = [
        finish(job("feature", attack="fgsm", feature="bu"), 4, 1),
        finish(job("feature", attack="otcm", feature="bu"), 6, 3),
        finish(job("feature", attack="fgsm", feature="mid"), 20, 10),
    ]
    made = predictor(*jobs)
    for names, basis, start_up, method in (
        ({"attack": "fgsm", "feature": "bu"}, SAME, 3, 1),
        ({"attack": "ossa", "feature": "bu"}, LIKE, 3, 2),
        ({"attack": "ossa", "feature": "entropy"}, RULE, 16 / 3, 14 / 3),
    ):
        found = made.predict(job("feature", **names))
        assert found.basis == basis
        assert found.start_up == pytest.approx(start_up)
        assert found.scaled == pytest.approx(5 * method)
    assert made.predict(job("defend", defense="magnet")) is None


def test_the_values_of_a_sweep_share_what_all_of_them_took(predictor):
    """The first value did the work of the three; a fourth costs as much as each of them."""
    kappas = [f"cw_l2,kappa={kappa}" for kappa in (0, 10, 20)]
    seconds = (30, 1, 2)
    jobs = [
        finish(job("attack", attack=name), 4 + method, method)
        for name, method in zip(kappas, seconds, strict=True)
    ]
    sweep = ["attacks=[cw_l2]", "attack.cw_l2.kappa=[0,10,20]"]
    made = predictor(*jobs, run=sweep, target=["attacks=[cw_l2]"])
    for name, basis in ((kappas[0], SAME), (kappas[2], SAME), ("cw_l2,kappa=5", LIKE)):
        found = made.predict(job("attack", attack=name))
        assert (found.basis, found.start_up) == (basis, 4)
        assert found.scaled == pytest.approx(5 * 11)


def test_a_sweep_that_shares_nothing_keeps_its_times(predictor):
    names = [f"bim_l2,epsilon={epsilon}" for epsilon in (0.5, 1.0)]
    jobs = [finish(job("attack", attack=name), 9, i + 1) for i, name in enumerate(names)]
    sweep = ["attacks=[bim_l2]", "attack.bim_l2.epsilon=[0.5,1.0]"]
    made = predictor(*jobs, run=sweep)
    assert [made.predict(item).fixed for item in jobs] == [1, 2]


@pytest.mark.parametrize("missing", ["timing", "output"])
def test_what_is_not_whole_is_not_measured(load, missing):
    load()
    whole = finish(job("train"), 4, 3)
    assert len(measure([whole])) == 1
    paths = {"timing": whole.timing, "output": whole.outputs[0]}
    Path(paths[missing]).unlink()
    assert measure([whole]) == []


@pytest.mark.parametrize(
    "text", ["", "{}", "[1", '{"method_s": 1, "wall_s": null}', '{"method_s": 1, "wall_s": 2}']
)
def test_a_damaged_time_is_named(load, text):
    load()
    whole = finish(job("train"), 4, 3)
    write(whole.timing, text)
    with pytest.raises(AdvdetectError, match=whole.timing):
        measure([whole])


def test_a_failed_job_is_not_measured(load):
    load()
    failed = finish(job("train"), 4, 3)
    usage = json.loads(Path(failed.timing).read_text())
    write(failed.timing, json.dumps(usage | {"succeeded": False}))
    assert measure([failed]) == []


def test_wall_time_waits_for_inputs_and_cores():
    a, b = job("train", "a"), job("train", "b")
    c = job("attack", "c", inputs=("a", "not made here"))
    d = job("attack", "d", inputs=("b", "c"))
    jobs, seconds = [a, b, c, d], [4, 3, 2, 1]
    assert wall_time(jobs, seconds, 1) == 10
    assert wall_time(jobs, seconds, 2) == 7  # a, c and d one after another, b beside them
    assert wall_time(jobs, seconds, 100) == 7
    assert wall_time([], [], 2) == 0
    wide = job("train", "e", threads=2)
    assert wall_time([a, b, wide], [4, 3, 5], 2) == 9  # waits for both cores
    assert wall_time([wide], [5], 1) == 5


def test_images_are_counted_where_the_configuration_sets_none(load):
    experiment = load("dataset.test_count=50")
    # scikit-learn's digits: 1,797 images, 0.4 of them for testing.
    assert count_images(experiment, "results/x") == {"train": 1078, "test": 50}
    file = "results/x/data/digits/train.safetensors"
    write_tensors(file, {"images": torch.zeros(9, 1, 2, 2), "labels": torch.zeros(9)}, {})
    assert count_images(experiment, "results/x") == {"train": 9, "test": 50}


def test_the_table_has_what_is_known_and_what_is_not(predictor):
    known = finish(job("attack", attack="fgsm"), 61, 1, size=10**6)
    made = predictor(known)
    unknown, done = job("defend", defense="magnet"), job("train")
    forecast = Forecast([made.predict(known)], [unknown], [done])
    lines = [" ".join(line.split()) for line in forecast.table().splitlines()]
    rows = dict(line.split(" ", 1) for line in lines)
    assert rows["attack"] == "1 0 1.0 min to 1.1 min 5.0 MB 5 test images"
    assert rows["defend"].startswith("1 0 unknown unknown ")
    assert rows["train"].startswith("0 1 ")
    assert rows["all"] == "2 1 1.0 min to 1.1 min + unknown 5.0 MB + unknown"
    assert forecast.sentences([1, 4]) == [
        "Wall time on 1 core: 1.0 min to 1.1 min.",
        "Wall time on 4 cores: 1.0 min to 1.1 min.",
        "Unknown and in no sum, since the other run has no such job: defend.",
    ]


def test_sentences_say_what_an_estimate_was_taken_from(predictor):
    made = predictor(finish(job("feature", attack="fgsm", feature="bu"), 4, 1))
    wanted = [
        job("feature", attack="otcm", feature="bu"),
        job("feature", attack="fgm", feature="bu"),
        job("feature", attack="fgm", feature="mid"),
    ]
    assert Forecast([made.predict(item) for item in wanted], [], []).sentences([]) == [
        "Not in the other run and taken from others of their method: feature bu (2 jobs).",
        "Not in the other run and taken from the mean of their rule: feature mid.",
    ]


def test_units():
    assert [duration(s) for s in (0, 47.4, 90, 7200)] == ["0 s", "47 s", "1.5 min", "2.0 h"]
    assert [file_size(b) for b in (0, 12345, 3.2e6, 7e9)] == ["0 kB", "12 kB", "3.2 MB", "7.0 GB"]


def test_other_differences_are_those_that_no_factor_counts(load):
    run = load("attacks=[fgsm,cw_l2]", "attack.cw_l2.iterations=100", "dataset.test_count=20")
    target = load("attacks=[cw_l2,bim_l2]", "device=cuda", "model.training.epochs=3")
    assert other_differences(run, target) == [
        "device: auto → cuda (runtime)",
        "iterations: 100 → 1000 (attack cw_l2)",
    ]
    assert other_differences(run, run) == []


def test_every_rule_has_its_factors(repository):
    text = "".join(path.read_text() for path in (repository / "workflow/rules").glob("*.smk"))
    rules = re.findall(r"^(?:use rule \w+ as|rule) (\w+)", text, re.MULTILINE)
    assert set(rules) == set(TIME_FACTORS) == set(SIZE_FACTORS)
