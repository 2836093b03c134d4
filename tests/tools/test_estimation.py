"""The arithmetic of an estimate, on timings that are made up."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
import torch

from advdetect.errors import AdvdetectError
from advdetect.files.texts import read_json, write_json
from advdetect.io import write_tensors
from advdetect.usage import Usage
from differences import other_differences
from estimation import LIKE, SAME, STEP, Predictor, wall_time
from extent import SIZE_FACTORS, TIME_FACTORS, Extent
from forecast import Forecast, duration, file_size
from job_list import Job
from measurement import measure, share_sweeps
from pipeline import Pipeline

SMALL = ("dataset.train_count=100", "dataset.test_count=20")
LARGE = ("dataset.train_count=300", "dataset.test_count=100")
#: Of a hundred training images nearly all are held out, for the thresholds of the defence.
HELD_OUT = "feature.magnet.held_out=0.99"


def runs(first: Sequence[str], second: Sequence[str]) -> str:
    """Return the override for a run of the small net and one of LeNet-5, each with its own."""
    pairs = {"small_cnn": first, "lenet5": second}
    entries = (f"{{model: {name}, overrides: {json.dumps(own)}}}" for name, own in pairs.items())
    return f"runs=[{', '.join(entries)}]"


class Project:
    """An experiment whose jobs are made up."""

    def __init__(self, base: Path, overrides: tuple[str, ...]) -> None:
        names = {text.partition("=")[0] for text in overrides}
        is_small = "dataset.train_count" in names and not names & {"features", "runs", "experiment"}
        own = [*overrides, HELD_OUT] if is_small else list(overrides)
        self.pipeline = Pipeline(base, {"overrides": own})
        self.made = [*self.pipeline.published, *self.pipeline.store.files.values()]

    def job(self, step: str, output: str = "", inputs=(), threads: int = 1, **names) -> Job:
        """Return the first job of a step that is about something; its files lie right here."""
        made = next(
            made for made in self.made if made.step == step and names.items() <= about(made).items()
        )
        name = made.key
        return Job(made, inputs, (output or f"out/{name}",), f"logs/{name}.json", threads)


def about(made) -> dict[str, object]:
    """Return what a job is about; the rule of what is published, the split of a data set."""
    if hasattr(made, "rule"):
        return {"rule": made.rule}
    split = {"split": made.option("--split")} if made.step == "prepare-data" else {}
    return {**made.names, **split}


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def finish(item: Job, seconds: float, method: float, size: int = 1000) -> Job:
    """Write what a finished job leaves behind."""
    usage = Usage(item.step, method, seconds, cpu_s=1, peak_memory_mb=1, succeeded=True)
    write_json(item.timing, asdict(usage))
    if not Path(item.outputs[0]).exists():
        write(item.outputs[0], "x" * size)
    return item


@cache  # Hydra takes half a second
def composed(base: Path, overrides: tuple[str, ...]) -> Project:
    return Project(base, overrides)


@pytest.fixture
def project(repository, tmp_path, monkeypatch):
    """Compose an experiment from overrides of the quickstart; the current folder is empty."""
    monkeypatch.chdir(tmp_path)
    return lambda *overrides: composed(repository, overrides)


@pytest.fixture
def small(project) -> Project:
    return project(*SMALL)


@pytest.fixture
def large(project) -> Project:
    return project(*LARGE)


def predictor(run: Project, target: Project, *jobs: Job) -> Predictor:
    """Make the predictor of an experiment from another of which some jobs are finished."""
    measured = measure(jobs)
    assert len(measured) == len(jobs)
    shared = share_sweeps(measured, run.pipeline.store)
    return Predictor(shared, Extent(run.pipeline), Extent(target.pipeline))


def test_the_start_up_stays_and_the_method_grows(project, small, large):
    fgsm = finish(small.job("attack", attack="fgsm"), 5, 2, size=1000)
    found = predictor(small, large, fgsm).predict(large.job("attack", attack="fgsm", seed=1))
    assert (found.basis, found.start_up) == (SAME, 3)
    assert found.fixed == 2
    assert found.scaled == pytest.approx(2 * 5)  # 20 test images, then 100
    assert found.size == pytest.approx(1000 * 5)
    assert (found.least, found.most) == (5, pytest.approx(13))
    short = project(*LARGE, "model.training.epochs=4")
    trained = finish(small.job("train"), 5, 2)
    assert predictor(small, short, trained).predict(short.job("train")).least == pytest.approx(
        3 + 2 * 3 / 10
    )


TEN = "attacks=[fgsm,otcm,bim_l2,mi_fgsm,ossa,fgm,jsma,ead,opt,lbfgs]"


@pytest.mark.parametrize(
    ("step", "names", "changes", "time", "size"),
    [
        ("prepare-data", {"split": "train"}, [], 1, 3),
        ("prepare-data", {"split": "test"}, [], 1, 5),
        ("train", {}, ["model.training.epochs=80"], 3 * 2, 1),  # of 40
        ("classify", {}, [], 5, 5),
        ("feature", {"attack": "held_out"}, [], 3, 3),
        ("feature", {"attack": "clean"}, [], 5, 5),
        ("feature", {"attack": "fgsm"}, [], 5, 5),
        ("sensitivity", {}, ["sensitivity.examples=6"], 3, 3),
        ("fit-detectors", {}, [TEN], 5 * 4, 20),
        ("score", {}, [TEN], 5 * 4, 20),
        ("score", {}, ["detectors=[threshold,random_forest]"], 5 * 2 / 8, 5 * 2 / 8),
        ("defend", {}, ["attacks=[fgsm]"], 5 / 5, 5 / 5),
        # 8 detectors on 5 attacks in four forms, and 25 pairs; with one attack 32 and 1.
        ("evaluate", {}, ["attacks=[fgsm]", "seeds=[0]"], 5 / 2 * 33 / 185, 1 / 50),
        ("evaluate", {}, ["evaluation.replicates=1000"], 5 * 2, 1),
        ("paired", {}, ["features=[kd,bu]"], 5 * 2 / 10, 4 / 100),
        ("tables", {}, ["seeds=[0,1,2,3]"], 5 * 2, 1),
        ("figure", {"rule": "figure_roc"}, ["seeds=[0,1,2,3]"], 5 * 2, 1),
        ("figure", {"rule": "figure_cross_attack"}, ["seeds=[0,1,2,3]"], 5 * 2, 1),
        ("report", {}, [], 5, 1),
    ],
)
def test_a_step_grows_with_its_factors(project, small, step, names, changes, time, size):
    target = project(*LARGE, *changes)
    done = finish(small.job(step, **names), 4, 3, size=600)
    found = predictor(small, target, done).predict(target.job(step, **names))
    assert found.scaled == pytest.approx(3 * time)
    assert found.size == pytest.approx(600 * size)


def test_a_fit_grows_with_the_epochs_of_all_its_models(project, small):
    """Two models of 60 epochs each in the quickstart, then one of 30 and one that names none."""
    models = "[{kind: alpha_gan, epochs: 30}, {kind: alpha_gan}]"
    target = project(*LARGE, f"feature.magnet.autoencoders={models}", "feature.magnet.epochs=10")
    output = "fitted/magnet.safetensors"
    write_features(output, (7, 3))
    fit = finish(small.job("fit-feature", output, feature="magnet"), 4, 3)
    found = predictor(small, target, fit).predict(target.job("fit-feature", feature="magnet"))
    assert found.scaled == pytest.approx(3 * 3 * 40 / 120)
    assert found.size == Path(output).stat().st_size  # a net has its size whatever it is fitted on


def write_features(path: str, shape: tuple[int, ...]) -> None:
    write_tensors(path, {"features": torch.zeros(shape)}, {})


@pytest.mark.parametrize(
    ("feature", "change", "rows", "kept"),
    [
        ("kd", [], 100, 3),
        ("kd", [], 7, 1),  # holds something else than the training images
        ("lid", [], 100, 3),  # at most 300 of them
        ("lid", ["feature.lid.reference=150"], 100, 1.5),
    ],
)
def test_a_feature_that_keeps_training_images_meets_each_with_each(
    project, feature, change, rows, kept
):
    run, target = project(*SMALL, *change), project(*LARGE, *change)
    output = "fitted/model.safetensors"
    write_features(output, (rows, 2))
    fit = finish(run.job("fit-feature", output, feature=feature), 1, 0.5)
    use = finish(run.job("feature", feature=feature, attack="fgsm"), 2, 1)
    made = predictor(run, target, fit, use)
    found = made.predict(target.job("feature", feature=feature, attack="fgsm"))
    assert found.scaled == pytest.approx(5 * kept)
    fitted = made.predict(target.job("fit-feature", feature=feature))
    assert fitted.scaled == pytest.approx(0.5 * 3)
    assert fitted.size == pytest.approx(Path(output).stat().st_size * kept)


def test_what_the_run_does_not_have_is_taken_from_the_nearest(small, large):
    jobs = [
        finish(small.job("feature", attack="fgsm", feature="bu"), 4, 1),
        finish(small.job("feature", attack="otcm", feature="bu"), 6, 3),
        finish(small.job("feature", attack="fgsm", feature="mid"), 20, 10),
    ]
    made = predictor(small, large, *jobs)
    for names, basis, start_up, method in (
        ({"attack": "fgsm", "feature": "bu"}, SAME, 3, 1),
        ({"attack": "ossa", "feature": "bu"}, LIKE, 3, 2),
        ({"attack": "ossa", "feature": "max_probability"}, STEP, 16 / 3, 14 / 3),
    ):
        found = made.predict(large.job("feature", **names))
        assert found.basis == basis
        assert found.start_up == pytest.approx(start_up)
        assert found.scaled == pytest.approx(5 * method)
    assert made.predict(large.job("defend", defense="magnet")) is None
    # A part of the training images: what the others took tells nothing of it.
    held_out = large.job("feature", attack="held_out", feature="mid")
    assert made.predict(held_out) is None
    assert held_out.kind == "feature held_out"


def test_a_fit_in_epochs_is_not_predicted_from_one_without(small, large):
    output = "fitted/lid.safetensors"
    write_features(output, (100, 2))
    fit = finish(small.job("fit-feature", output, feature="lid"), 4, 1)
    made = predictor(small, large, fit)
    assert made.predict(large.job("fit-feature", feature="magnet")) is None
    assert made.predict(large.job("fit-feature", feature="mahalanobis")).basis == STEP


def write_passes(item: Job, passes: float) -> Job:
    """Write of an attack's file what its images took."""
    each = torch.full((4,), passes / 8, dtype=torch.float64)
    write_tensors(item.outputs[0], {"forward_passes": each, "backward_passes": each.clone()}, {})
    return item


def test_the_values_of_a_sweep_share_by_their_passes_what_all_of_them_took(project):
    """The first value did the work of the three; a fourth costs as much as they do in the mean."""
    run = project(*SMALL, "attacks=[cw_l2]", "attack.cw_l2.kappa=[0,10,20]")
    target = project(*LARGE, "attacks=[cw_l2]", "attack.cw_l2.kappa=[0,5,20]")
    kappas = [f"cw_l2,kappa={kappa}" for kappa in (0, 10, 20)]
    costs = ((30, 100), (1, 400), (2, 600))  # seconds and passes
    jobs = [
        finish(write_passes(run.job("attack", attack=name), passes), 4 + method, method)
        for name, (method, passes) in zip(kappas, costs, strict=True)
    ]
    made = predictor(run, target, *jobs)
    for name, basis, seconds in (
        (kappas[0], SAME, 33 * 100 / 1100),
        (kappas[2], SAME, 33 * 600 / 1100),
        ("cw_l2,kappa=5", LIKE, 33 / 3),
    ):
        found = made.predict(target.job("attack", attack=name))
        assert (found.basis, found.start_up) == (basis, 4)
        assert found.scaled == pytest.approx(5 * seconds)


def test_the_sweeps_of_two_seeds_share_nothing(project):
    run = project(*SMALL, "attacks=[cw_l2]", "attack.cw_l2.kappa=[0,10]")
    jobs = [
        finish(
            write_passes(run.job("attack", attack=f"cw_l2,kappa={kappa}", seed=seed), 80),
            30,
            method,
        )
        for kappa, seed, method in ((0, 0, 10), (10, 0, 2), (0, 1, 20), (10, 1, 4))
    ]
    shared = share_sweeps(measure(jobs), run.pipeline.store)
    assert [item.method for item in shared] == [6, 6, 12, 12]


def test_a_sweep_that_shares_nothing_keeps_its_times(project, large):
    names = [f"bim_l2,epsilon={epsilon}" for epsilon in (0.5, 1)]
    sweep = ("attacks=[bim_l2]", "attack.bim_l2.epsilon=[0.5,1.0]")
    run, target = project(*SMALL, *sweep), project(*LARGE, *sweep)
    jobs = [finish(run.job("attack", attack=name), 9, i + 1) for i, name in enumerate(names)]
    made = predictor(run, target, *jobs)
    assert [made.predict(target.job("attack", attack=name)).fixed for name in names] == [1, 2]


def test_the_jobs_of_each_run_grow_with_what_that_run_has(project):
    """The second run has test images, epochs and attacks of its own."""
    kd = ("features=[kd]", "evaluation.main_feature=kd", "defenses=[]")
    few = ["attacks=[fgsm]", SMALL[0], "dataset.test_count=40", "model.training.epochs=5"]
    more = ["attacks=[fgsm,otcm]", LARGE[0], "dataset.test_count=400", "model.training.epochs=20"]
    run = project(*kd, runs(SMALL, few))
    target = project(*kd, runs(LARGE, more))
    cnn, lenet = {"model": "small_cnn"}, {"model": "lenet5"}
    jobs = [
        finish(run.job("train", **cnn), 9, 2),
        finish(run.job("train", **lenet), 9, 3),
        finish(run.job("attack", attack="fgsm", **cnn), 9, 1),
        finish(run.job("attack", attack="fgsm", **lenet), 9, 4),
        finish(run.job("attack", attack="otcm", **cnn), 9, 6),
        finish(run.job("score", feature="kd", **lenet), 9, 0.5),
        finish(run.job("evaluate", rule="metrics_kd"), 9, 7),
    ]
    made = predictor(run, target, *jobs)
    for step, names, expected in (
        ("train", cnn, 2 * 3),
        ("train", lenet, 3 * 3 * 4),
        ("attack", {"attack": "fgsm", **cnn}, 1 * 5),
        ("attack", {"attack": "fgsm", **lenet}, 4 * 10),
        ("attack", {"attack": "otcm", **lenet}, 6 * 400 / 20),  # known of the other model only
        ("score", {"feature": "kd", **lenet}, 0.5 * 10 * 4),
        # Cells of 8 detectors: on 5 attacks four times and 25 pairs, on 1 and 1, on 2 and 4.
        ("evaluate", {}, 7 * (100 * 185 + 400 * 68) / (20 * 185 + 40 * 33)),
    ):
        found = made.predict(target.job(step, **names))
        assert found.basis == SAME
        assert found.scaled == pytest.approx(expected)


def test_what_is_published_of_one_run_grows_with_that_run(project):
    both, bu = "features=[kd,bu]", "features=[bu]"
    other = ("evaluation.main_feature=bu", "defenses=[]")
    run = project(*other, runs([*SMALL, both], [*SMALL, bu]))
    target = project(*other, runs([*LARGE, both], [LARGE[0], "dataset.test_count=700", bu]))
    done = finish(run.job("evaluate", rule="metrics_kd"), 9, 2)
    found = predictor(run, target, done).predict(target.job("evaluate", rule="metrics_kd"))
    assert found.scaled == pytest.approx(2 * 5)


@pytest.mark.parametrize("missing", ["timing", "output"])
def test_what_is_not_whole_is_not_measured(small, missing):
    whole = finish(small.job("train"), 4, 3)
    assert len(measure([whole])) == 1
    paths = {"timing": whole.timing, "output": whole.outputs[0]}
    Path(paths[missing]).unlink()
    assert measure([whole]) == []


@pytest.mark.parametrize(
    "text", ["", "{}", "[1", '{"method_s": 1, "wall_s": null}', '{"method_s": 1, "wall_s": 2}']
)
def test_a_damaged_time_is_named(small, text):
    whole = finish(small.job("train"), 4, 3)
    write(whole.timing, text)
    with pytest.raises(AdvdetectError, match=whole.timing):
        measure([whole])


def test_a_failed_job_is_not_measured(small):
    failed = finish(small.job("train"), 4, 3)
    write_json(failed.timing, read_json(failed.timing) | {"succeeded": False})
    assert measure([failed]) == []


def test_wall_time_waits_for_inputs_and_cores(small):
    job = small.job
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


def test_images_are_counted_where_the_configuration_sets_none(project):
    pipeline = project("dataset.test_count=50").pipeline
    train, test = (pipeline.store.split(pipeline.experiment.runs[0], n) for n in ("train", "test"))
    # scikit-learn's digits: 1,797 images, 0.4 of them for testing.
    assert [Extent(pipeline).images(split) for split in (train, test)] == [1078, 50]
    file = f"results/store/{train.path}"
    write_tensors(file, {"images": torch.zeros(9, 1, 2, 2), "labels": torch.zeros(9)}, {})
    assert [Extent(pipeline).images(split) for split in (train, test)] == [9, 50]


def test_validation_images_are_counted_among_the_training_images(project):
    pipeline = project("evaluate_on=validation").pipeline
    splits = [pipeline.store.split(pipeline.experiment.runs[0], n) for n in ("train", "test")]
    counts = [Extent(pipeline).images(split) for split in splits]
    assert sum(counts) == 1078
    assert counts[1] == pytest.approx(1078 / 6, abs=10)  # of each class a sixth, rounded


def test_the_table_has_what_is_known_and_what_is_not(small, large):
    known = finish(small.job("attack", attack="fgsm"), 61, 1, size=10**6)
    made = predictor(small, large, known)
    unknown, done = large.job("defend", defense="magnet"), large.job("train")
    forecast = Forecast([made.predict(large.job("attack", attack="fgsm"))], [unknown], [done])
    lines = [" ".join(line.split()) for line in forecast.table().splitlines()]
    rows = dict(line.split(" ", 1) for line in lines)
    assert rows["attack"] == "1 0 1.0 min to 1.1 min 5.0 MB 5 test images"
    assert rows["defend"].startswith("1 0 unknown unknown ")
    assert rows["train"].startswith("0 1 ")
    assert rows["all"] == "2 1 1.0 min to 1.1 min + unknown 5.0 MB + unknown"
    assert forecast.sentences([1, 4]) == [
        "Wall time on 1 core: 1.0 min to 1.1 min.",
        "Wall time on 4 cores: 1.0 min to 1.1 min.",
        "Unknown and in no sum, since the other experiment has no such job: defend.",
    ]


def test_sentences_say_what_an_estimate_was_taken_from(small, large):
    done = finish(small.job("feature", attack="fgsm", feature="bu"), 4, 1)
    metrics = finish(small.job("evaluate", rule="metrics_bu"), 4, 1)
    made = predictor(small, large, done, metrics)
    wanted = [
        large.job("feature", attack="otcm", feature="bu"),
        large.job("feature", attack="ossa", feature="bu"),
        large.job("feature", attack="ossa", feature="mid"),
        large.job("evaluate", rule="metrics_kd"),
    ]
    assert Forecast([made.predict(item) for item in wanted], [], []).sentences([]) == [
        "Not in the other experiment and taken from others of their method: feature bu (2 jobs).",
        "Not in the other experiment and taken from the mean of their step: feature mid, "
        "metrics_kd.",
    ]


def test_units():
    assert [duration(s) for s in (0, 47.4, 90, 7200)] == ["0 s", "47 s", "1.5 min", "2.0 h"]
    assert [file_size(b) for b in (0, 12345, 3.2e6, 7e9)] == ["0 kB", "12 kB", "3.2 MB", "7.0 GB"]


def test_other_differences_are_those_that_no_factor_counts(project):
    run = project("attacks=[fgsm,cw_l2]", "attack.cw_l2.iterations=100", "dataset.test_count=20")
    target = project("attacks=[cw_l2,bim_l2]", "device=cuda", "model.training.epochs=3")
    run, target = run.pipeline.experiment, target.pipeline.experiment
    assert other_differences(run, target) == [
        "device: auto → cuda (runtime)",
        "iterations: 100 → 1000 (attack cw_l2)",
    ]
    assert other_differences(run, run) == []


def test_runs_are_compared_each_with_its_like(project):
    """The one of the same model, or the only one that there is."""
    weak, strong = ([f"attack.fgsm.epsilon={epsilon}"] for epsilon in (0.1, 0.3))
    first = project(runs([], weak)).pipeline.experiment
    other = runs([], strong).replace("small_cnn", "carlini_wagner")
    second = project(other).pipeline.experiment
    assert other_differences(first, second) == [
        "the run carlini_wagner: the other experiment has none like it",
        "epsilon: 0.1 → 0.3 (attack fgsm of lenet5)",
    ]
    only = project("attack.fgsm.epsilon=0.3").pipeline.experiment
    assert other_differences(first, only) == ["epsilon: 0.2 → 0.3 (attack fgsm)"]
    lines = other_differences(only, first)
    assert "epsilon: 0.3 → 0.1 (attack fgsm of lenet5)" in lines
    assert "epsilon: 0.3 → 0.2 (attack fgsm of small_cnn)" in lines
    assert "name: small_cnn → lenet5 (model of lenet5)" in lines
    assert not [line for line in lines if "model of small_cnn" in line]


def test_every_step_of_a_rule_has_its_factors(project):
    """All steps: a paper's tables and figures, and attacks from another model or from others."""
    made = [
        *project("attacks=[fgsm,fgsm@lenet5,best_of]").made,
        *project("experiment=zhao2019_small").made,
        *project("certification.sigmas=[0.25]").made,
        *project("experiment=szegedy2013_small").made,
    ]
    assert {each.step for each in made} == set(TIME_FACTORS) == set(SIZE_FACTORS)


def test_the_images_that_are_unused_are_those_that_the_training_split_leaves_out(project):
    made = project(*SMALL, "training=substitute", "training.oracle=svm")
    split = made.job("prepare-data", split="unused").made
    count = json.loads(split.option("--spec"))["count"]
    extent, train = Extent(made.pipeline), made.job("train", model="small_cnn").made
    assert extent.images(split) == 1078 - count
    # However many there are, a substitute takes as many as its kind says.
    assert extent.product(train, TIME_FACTORS["train"]) == 40
