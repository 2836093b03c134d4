import contextlib
import json
import os
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from job_commands import jobs, option, runtime, wildcards
from snakemake.io import is_flagged
from snakemake_interface_common.exceptions import WorkflowError

from advdetect.identity import canonical_json
from pipeline import file_options

ODD = 'it\'s a "$HOME" `x` {y} <z>; true'


def test_a_configuration_that_cannot_be_run_is_a_workflow_error(make):
    with pytest.raises(WorkflowError, match=r"^Unknown attack: fsgm\. config/attack/ has: "):
        make(attacks=["fsgm"])


def test_a_job_that_the_experiment_does_not_need_is_refused(pipeline_of):
    with pytest.raises(WorkflowError, match=r"^a/b\.0 is no file of this experiment: its name ho"):
        pipeline_of().command(SimpleNamespace(job="a/b.0"))


# Commands


def test_specifications_are_canonical_json_without_words(pipeline_of):
    for file in pipeline_of()._files.values():
        words = shlex.split(pipeline_of().command(wildcards(file)))
        assert words[0] == file.step
        spec = option(words, "--spec")
        assert spec == canonical_json(json.loads(spec))
        assert "_schema_" not in spec
        assert "_title_" not in spec
        assert len(option(words, "--code")) == 16


def test_models_are_built_from_the_specification_that_they_were_trained_from(pipeline_of):
    pipeline = pipeline_of()
    trained = json.loads(jobs(pipeline, "train")[0].option("--spec"))
    for file in jobs(pipeline, "attack"):
        words = shlex.split(pipeline.command(wildcards(file)))
        spec = json.loads(option(words, "--model-spec"))
        assert spec == {name: trained[name] for name in ("_target_", "arguments")}


@pytest.mark.parametrize(
    ("step", "options"),
    [
        ("prepare-data", ["--split", "--evaluate-on", "--source-files"]),
        ("train", ["--seed"]),
        ("classify", []),
        ("attack", ["--name", "--seed"]),
        ("fit-feature", ["--seed"]),
        ("feature", ["--name", "--seed"]),
        ("defend", ["--name", "--bits"]),
        ("fit-detectors", ["--name", "--seed"]),
        ("score", ["--name", "--seed"]),
    ],
)
def test_each_step_has_its_options(pipeline_of, step, options):
    files = jobs(pipeline_of(), step)
    assert files
    for file in files:
        words = shlex.split(pipeline_of().command(wildcards(file)))
        found = [word for word in words if word.startswith("--")]
        # Features that are made from hidden layers are told what to collect of them.
        collected = "_activations_" in json.loads(option(words, "--spec"))
        more = ["--activations"] if collected else []
        has_forms = file.names.get("attack") not in ("clean", "held_out", "unchanged")
        more += ["--bits"] if step == "feature" and has_forms else []
        more += ["--model-spec"] if "model" in file.inputs else []
        assert found == ["--spec", "--code", *options, *more]


@pytest.mark.parametrize(
    ("step", "options"),
    [
        ("prepare-data", []),
        ("train", ["--threads", "--device", "--batch-size", "--memory"]),
        ("attack", ["--threads", "--device", "--batch-size", "--memory", "--sweep"]),
        ("feature", ["--threads", "--device", "--batch-size", "--memory"]),
        ("fit-detectors", []),
        ("score", []),
    ],
)
def test_machines_are_told_to_the_steps_that_use_them(pipeline_of, step, options):
    pipeline = pipeline_of(device="cuda", batch_size=8, memory=0.5)
    words = runtime(pipeline, jobs(pipeline, step)[0], train="a b", features=["c", "d"])
    assert words[:5] == ["--train", "a b", "--features", "c", "d"]
    assert [word for word in words[5:] if word.startswith("--")] == options
    given = {"--threads": "3", "--device": "cuda", "--batch-size": "8", "--memory": "0.5"}
    for name, value in given.items():
        assert name not in options or option(words, name) == value


def test_inputs_are_the_options_that_are_named_like_them(pipeline_of):
    pipeline = pipeline_of()
    file = next(file for file in jobs(pipeline, "feature") if file.names["attack"] == "fgsm")
    inputs = pipeline.inputs(wildcards(file))
    assert list(inputs)[:4] == ["model", "test", "clean", "attack"]
    assert all(
        str(path).startswith("results/store/") for paths in inputs.values() for path in paths
    )
    assert file_options({"held_out": "a", "other": ["b", "c"]}) == [
        *("--held-out", "a", "--other", "b", "c")
    ]


def test_a_step_that_writes_tables_gets_the_folder_in_which_snakemake_expects_them(pipeline_of):
    """Below the prefix of a module, or where files of an object store are copied to."""
    pipeline = pipeline_of(experiment="hsu2018_small")
    for rule in ("tables", "table_accuracy"):
        (job,) = (job for job in pipeline.published if job.rule == rule)
        (folder,) = {os.path.dirname(path) for path in job.outputs["folder"]}
        assert folder == "results/hsu2018_small/tables"
        moved = {"folder": [f"moved/{path}" for path in job.outputs["folder"]], "also": ["x"]}
        words = [*job.words, *file_options(moved)]
        assert option(words, "--output") == f"moved/{folder}"
        assert words.count("--output") == 1


def test_only_what_comes_with_the_project_is_no_file_of_an_object_store(pipeline_of, repository):
    pipeline = pipeline_of(experiment="hsu2018_small")
    inputs = [
        path
        for job in pipeline.published
        for paths in pipeline.published_inputs(job).values()
        for path in paths
    ]
    kept = {str(path) for path in inputs if is_flagged(path, "local")}
    reference = repository / "config" / "reference"
    assert kept == {str(path) for path in inputs if not path.startswith("results/")}
    assert kept
    assert all(reference in Path(path).parents for path in kept)


def test_values_survive_the_shell(make, tmp_path):
    (tmp_path / "my data").mkdir()
    pipeline = make(
        attacks=["fgsm"],
        features=["kd"],
        seeds=[0],
        title=ODD,
        activations={"layers": [ODD]},
        dataset={"root": ODD},
        overrides="dataset=mnist",
    )
    _ = pipeline.published
    (fitted,) = jobs(pipeline, "fit-feature")
    words = shlex.split(pipeline.command(wildcards(fitted)))
    assert json.loads(option(words, "--activations"))["layers"] == [ODD]
    for split in jobs(pipeline, "prepare-data"):
        assert runtime(pipeline, split) == [f"--root={ODD}"]
    report = next(job for job in pipeline.published if job.rule == "report")
    words = shlex.split(pipeline.published_command(report)(None))
    assert json.loads(option(words, "--spec"))["settings"]["title"] == ODD


def test_attacks_that_share_their_work_are_told_of_each_other(pipeline_of):
    pipeline = pipeline_of(
        attacks=["cw_l2", "fgsm"], features=["kd"], overrides="attack.cw_l2.kappa=[0,5]"
    )
    swept = {
        file.names["attack"]: json.loads(option(runtime(pipeline, file), "--sweep"))
        for file in jobs(pipeline, "attack")
    }
    values = {"cw_l2,kappa=0": {"kappa": 0}, "cw_l2,kappa=5": {"kappa": 5}}
    alone: dict = {"fgsm": {}, "unchanged": {}}
    assert swept == {"cw_l2,kappa=0": values, "cw_l2,kappa=5": values, **alone}


# Code


def test_the_code_of_every_step_and_method_has_a_fingerprint_of_its_own(pipeline_of):
    pipeline = pipeline_of()
    fgsm = {"_target_": "advdetect.attacks.fgsm.fgsm"}
    otcm = {"_target_": "advdetect.attacks.otcm.otcm"}
    codes = [pipeline.code("attack", fgsm), pipeline.code("attack", otcm)]
    codes += [pipeline.code(step, fgsm) for step in ("feature", "train")]
    codes += [
        pipeline.code(step, {})
        for step in ("prepare-data", "evaluate", "paired", "tables", "figure", "reproduce")
    ]
    assert len(set(codes)) == len(codes)
    assert pipeline.code("attack", fgsm) == codes[0]
    assert pipeline.code("attack", fgsm | {"epsilon": 0.2}) == codes[0]  # parameters are no code


def test_code_in_the_working_directory_counts(repository, empty_folder, pipeline_of):
    target = "advdetect.attacks.least_perturbation.least_perturbation"
    code = pipeline_of().code
    with contextlib.ExitStack() as files:
        for name in ("my_attack.py", "my_helper.py", "my_direction.py"):
            files.callback((empty_folder / name).unlink)
        (empty_folder / "my_attack.py").write_text("import my_helper\n")
        helper = empty_folder / "my_helper.py"
        direction = empty_folder / "my_direction.py"
        helper.write_text("x = 1\n")
        direction.write_text("x = 1\n")
        for file, spec, again in (
            (helper, {"_target_": "my_attack.mine"}, {"_target_": "my_attack.other"}),
            (
                direction,
                {"_target_": target, "direction": {"_target_": "my_direction.mine"}},
                {"_target_": target, "direction": {"_target_": "my_direction.other"}},
            ),
        ):
            before = code("attack", spec)
            assert code("attack", again) == before
            file.write_text("x = 22\n")
            pipeline_of()._code_of_json.cache_clear()
            assert code("attack", spec) != before


def test_a_syntax_error_names_the_file_and_the_line(pipeline_of, empty_folder):
    (empty_folder / "broken.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(WorkflowError, match=r"broken\.py, line 2: invalid syntax"):
        pipeline_of().code("attack", {"_target_": "broken.f"})


# What Snakemake and its user see


@pytest.mark.parametrize(
    ("config", "values"),
    [
        ({}, []),
        ({"experiment": "mnist_small"}, ["experiment=mnist_small"]),
        (
            {"overrides": "dataset=mnist dataset.root='my data'"},
            ["overrides=dataset=mnist dataset.root='my data'"],
        ),
        ({"seeds": ["0", "1"]}, ['seeds=["0", "1"]']),
        (
            {"device": "cpu", "threads": "2", "batch_size": "8", "memory": "3"},
            [],
        ),  # changes no result
        ({"overrides": "device=cpu threads=2"}, []),
        ({"overrides": "device=cpu seeds=[3]"}, ["overrides=seeds=[3]"]),
    ],
)
def test_the_command_makes_the_experiment(pipeline_of, config, values):
    words = shlex.split(pipeline_of(**config).command_line)
    assert words == ["snakemake", "--cores", "all", *(["--config", *values] if values else [])]


def test_a_gpu_is_asked_for_only_with_cuda(pipeline_of):
    assert pipeline_of().gpu is None
    assert pipeline_of(device="cpu", threads="2", batch_size="8").gpu is None
    assert pipeline_of(device="cuda", batch_size=8).gpu == 1


def test_the_outcome_is_printed_where_there_is_one(pipeline_of, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pipeline_of().print_outcome()
    assert capsys.readouterr().out == ""
    results = tmp_path / "results" / "quickstart"
    (results / "tables").mkdir(parents=True)
    (results / "tables" / "detection.txt").write_text("AUROC …\n")
    (results / "report.html").touch()
    pipeline_of().print_outcome()
    assert capsys.readouterr().out == f"\nAUROC …\n\nReport: {results / 'report.html'}\n"


def test_jobs_run_this_source_with_this_python(pipeline_of, repository, monkeypatch):
    source = str(repository / "src")
    monkeypatch.setenv("PYTHONPATH", f"/elsewhere:{source}")
    monkeypatch.setenv("PATH", "/usr/bin")
    pipeline_of().use_this_source()
    pipeline_of().use_this_source()  # Snakemake may read the Snakefile more than once
    assert os.environ["PYTHONPATH"] == f"{source}:/elsewhere"
    assert os.environ["PATH"].endswith(":/usr/bin")
    assert os.environ["PATH"].count(":") == 1
