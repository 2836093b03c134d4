"""Models that are made from other models of the experiment, and images crafted on runs."""

import json
from types import SimpleNamespace

import pytest
from snakemake_interface_common.exceptions import WorkflowError

from experiment import ConfigurationError

SMALL = {"experiment": "quickstart"}
STUDENT = {"name": "student", "training": "distillation"}


def test_a_student_without_a_named_teacher_has_one_like_itself(composed):
    (run,) = composed(**SMALL, training="distillation", overrides="training.temperature=50").runs
    teacher = run.others["teacher"]
    assert teacher.model["training"]["_target_"] == "advdetect.training.standard.Standard"
    assert teacher.model["training"]["temperature"] == 50
    assert teacher.model["training"]["epochs"] == run.model["training"]["epochs"] == 40
    assert teacher.model["arguments"] == run.model["arguments"]
    assert (teacher.dataset, dict(teacher.others)) == (run.dataset, {})


@pytest.mark.parametrize("name", ["master", "lenet5"])
def test_a_teacher_is_a_run_or_a_model(composed, name):
    overrides = [f"training.teacher={name}"]
    runs = [{"name": "master", "model": "lenet5"}, STUDENT | {"overrides": overrides}]
    experiment = composed(**SMALL, runs=runs)
    master, student = experiment.runs
    assert student.others["teacher"] is master


def test_a_teacher_may_be_a_model_that_no_run_has(composed):
    overrides = "training.teacher=softmax_regression"
    (run,) = composed(**SMALL, training="distillation", overrides=overrides).runs
    assert run.others["teacher"].model_name == "softmax_regression"


def test_a_student_is_made_from_the_file_of_its_teacher(pipeline_of):
    pipeline = pipeline_of(**SMALL, training="distillation", seeds=["3"])
    (run,) = pipeline.experiment.runs
    student = pipeline.store.model(run, 3)
    (teacher,) = student.inputs["others"]
    assert teacher.names["seed"] == 3
    assert "teacher" not in json.loads(student.option("--spec"))["training"]
    words = pipeline.command(SimpleNamespace(job=student.job))
    assert words.count("--others-spec") == 1
    # The same student of another teacher is another run.
    other = pipeline_of(
        **SMALL, training="distillation", seeds=["3"],
        overrides="training.teacher=softmax_regression",
    )  # fmt: skip
    assert other.store.model(other.experiment.runs[0], 3).option("--spec") == student.option(
        "--spec"
    )
    assert other.store.model(other.experiment.runs[0], 3).key != student.key
    assert other.store.run_id(other.experiment.runs[0]) != pipeline.store.run_id(run)


def test_a_substitute_is_made_from_images_that_its_oracle_was_not_trained_on(pipeline_of):
    overrides = "training.oracle=svm dataset.train_count=900"
    pipeline = pipeline_of(**SMALL, training="substitute", overrides=overrides)
    (run,) = pipeline.experiment.runs
    substitute = pipeline.store.model(run, 0)
    ((unused,), (oracle,)) = (substitute.inputs[role] for role in ("unused", "others"))
    assert oracle.names["model"] == "svm"
    assert not oracle.inputs["unused"]
    assert unused.option("--split") == "unused"
    assert json.loads(unused.option("--spec"))["count"] == 900
    (train,) = oracle.inputs["train"]
    assert unused.folder == train.folder
    assert (unused.option("--spec"), unused.job) != (train.option("--spec"), train.job)
    inputs = pipeline.inputs(SimpleNamespace(job=substitute.job))
    assert [path.rpartition("/")[2].partition(".")[0] for path in inputs["unused"]] == ["unused"]


def test_a_teacher_that_is_a_run_is_trained_once(pipeline_of):
    runs = [{"name": "master"}, STUDENT | {"overrides": ["training.teacher=master"]}]
    pipeline = pipeline_of(**SMALL, runs=runs)
    master, student = pipeline.experiment.runs
    (teacher,) = pipeline.store.model(student, 0).inputs["others"]
    assert teacher is pipeline.store.model(master, 0)


def test_images_may_be_crafted_on_a_run(pipeline_of):
    runs = [
        {"name": "plain", "overrides": ["attacks=[fgsm@robust]"]},
        {"name": "robust", "training": "noise"},
    ]
    pipeline = pipeline_of(**SMALL, runs=runs)
    plain, robust = pipeline.experiment.runs
    transferred = pipeline.store.attack(plain, 0, "fgsm@robust")
    (crafted,) = transferred.inputs["crafted"]
    assert crafted.inputs["model"] == [pipeline.store.model(robust, 0)]
    assert transferred.inputs["model"] == [pipeline.store.model(plain, 0)]


def test_the_weights_of_a_teacher_must_be_there(make, tmp_path):
    runs = [STUDENT | {"overrides": ["training.teacher=mine"]}, {"name": "other"}]
    (tmp_path / "config/model").mkdir(parents=True)
    (tmp_path / "config/model/mine.yaml").write_text(
        "_target_: advdetect.models.small_cnn.SmallCNN\nweights: none.safetensors\n"
    )
    with pytest.raises(WorkflowError, match=r"model.weights: the file none.safetensors does not"):
        make(**SMALL, runs=runs)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (
            [STUDENT | {"overrides": ["training.teacher=student"]}, {"name": "other"}],
            "training: a model would be made from itself: student from student",
        ),
        (
            [
                STUDENT | {"overrides": ["training.teacher=b"]},
                STUDENT | {"name": "b", "overrides": ["training.teacher=student"]},
            ],
            "made from itself: student from b from student",
        ),
        (
            [STUDENT | {"overrides": ["training.teacher=nobody"]}, {"name": "other"}],
            "Unknown model: nobody",
        ),
        (
            [
                {"name": "a", "model": "lenet5", "overrides": ["attacks=[fgsm@small_cnn]"]},
                {"name": "b", "training": "noise"},
                {"name": "c"},
            ],
            "@small_cnn: the runs b, c have the model small_cnn: name one of the runs",
        ),
        (
            [STUDENT | {"overrides": ["training.teacher=3"]}, {"name": "o"}],
            "training.teacher: 3 is",
        ),
    ],
)
def test_models_that_cannot_be_made_are_refused(composed, runs, said):
    with pytest.raises(ConfigurationError, match=said):
        composed(**SMALL, runs=runs)
