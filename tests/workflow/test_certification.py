"""Certificates of an experiment: one job for each run, seed and noise, and what is made of them."""

import json

import pytest
from job_commands import jobs, option

from certification import noises

SMALL = {"seeds": ["0", "1"], "attacks": ["fgsm", "bim_l2"], "features": ["kd"]}
NOISES = "certification.sigmas=[0.25,1.0] evaluation.main_feature=kd"


@pytest.fixture
def pipeline(pipeline_of):
    def of(*overrides):
        return pipeline_of(**SMALL, overrides=" ".join([NOISES, *overrides]))

    return of


def by_name(pipeline):
    return {(file.job.split("/")[2], file.names["noise"], file.names["seed"]): file
            for file in jobs(pipeline, "certify")}  # fmt: skip


def paths(pipeline, *steps):
    return {file.path for file in pipeline._files.values() if file.step in steps}


def test_noises_have_names():
    assert noises({"certification": {"sigmas": [0.12, 1.0, 2]}}) == {
        **{"sigma=0.12": 0.12, "sigma=1.0": 1.0, "sigma=2": 2}
    }


def test_each_noise_and_seed_has_a_job_for_clean_images_and_one_for_attacked_ones(pipeline):
    files = by_name(pipeline())
    assert set(files) == {
        (kind, noise, seed)
        for kind in ("certificates", "attacked")
        for noise in ("sigma=0.25", "sigma=1")
        for seed in (0, 1)
    }
    clean, attacked = (files[kind, "sigma=0.25", 1] for kind in ("certificates", "attacked"))
    assert json.loads(option(clean.options, "--spec")) == {
        **{"sigma": 0.25, "images": 500, "selection": 100, "estimation": 100_000}
    }
    assert json.loads(option(attacked.options, "--spec")) == {
        **{"sigma": 0.25, "images": 500, "prediction": 1000}
    }
    assert option(clean.options, "--name") == "sigma=0.25"
    assert option(clean.options, "--seed") == "1"
    assert set(clean.inputs) == {"model", "test"}
    assert [file.names["attack"] for file in attacked.inputs["attacks"]] == ["fgsm", "bim_l2"]


def test_without_a_noise_there_is_nothing_of_it(pipeline_of):
    plain = pipeline_of(**SMALL, overrides="evaluation.main_feature=kd")
    assert not jobs(plain, "certify")
    rules = {job.rule: job for job in plain.published}
    assert not {"certified", "figure_certified_accuracy"} & rules.keys()
    assert not rules["report"].inputs["certified"]


def test_the_table_the_figure_and_the_report_are_made_of_them(pipeline):
    published = {job.rule: job for job in pipeline().published}
    counts = set(by_name(pipeline()).values())
    assert set(published["certified"].inputs["certificates"]) == counts
    assert set(published["figure_certified_accuracy"].inputs["inputs"]) == counts
    folder = "results/quickstart/tables"
    assert f"{folder}/certified.md" in published["certified"].outputs["folder"]
    assert published["report"].inputs["certified"] == [f"{folder}/certified.csv"]
    behind = {file.key for file in published["manifest"].inputs["files"]}
    assert {file.key for file in counts} <= behind


def test_another_alpha_needs_no_new_draws(pipeline):
    first, second = pipeline(), pipeline("certification.alpha=0.05")
    assert paths(first, "certify") == paths(second, "certify")
    stamps = [{job.rule: job.stamp for job in each.published} for each in (first, second)]
    changed = {rule for rule in stamps[0] if stamps[0][rule] != stamps[1][rule]}
    assert changed == {"certified", "figure_certified_accuracy", "report"}


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ("certification.estimation=1000", {"certificates"}),
        ("certification.prediction=500", {"attacked"}),
        ("certification.images=10", {"certificates", "attacked"}),
        ("attack.fgsm.epsilon=0.3", {"attacked"}),
    ],
)
def test_a_change_makes_anew_what_follows_from_it(pipeline, change, kinds):
    new = paths(pipeline(change), "certify") - paths(pipeline(), "certify")
    assert {path.split("/")[2] for path in new} == kinds
    assert len(new) == 4 * len(kinds)


def test_a_noise_more_makes_only_its_own(pipeline, pipeline_of):
    more = pipeline_of(**SMALL, overrides=NOISES.replace("0.25", "0.25,0.5"))
    assert paths(pipeline(), "certify") < paths(more, "certify")
