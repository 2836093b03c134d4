import json
import os
import re
import shlex
import shutil
from copy import deepcopy
from types import SimpleNamespace

import pytest
from snakemake_interface_common.exceptions import WorkflowError

from composition import canonical_json, load_experiment
from pipeline import Pipeline

RUN = "results/quickstart/digits/small_cnn/seed"
SPECS = [
    ("attack", lambda p: p.attack_spec("fgsm")),
    ("attack", lambda p: p.attack_spec("otcm")),
    ("attack", lambda p: p.attack_spec("bim_l2")),
    ("feature", lambda p: p.feature_spec("kd")),
    ("feature", lambda p: p.feature_spec("bu")),
    ("fit_feature", lambda p: p.feature_spec("kd")),
    ("detect", lambda p: p.detection_spec("kd")),
    ("train", lambda p: p.model_spec),
    ("prepare_data", lambda p: p.dataset_spec),
    ("report", lambda p: p.report_spec),
]


@pytest.fixture(scope="module")
def compose_once():
    """Composes each configuration once, which takes most of the time."""
    composed = {}

    def load(config_dir, workflow_config):
        key = (config_dir, json.dumps(workflow_config, sort_keys=True))
        if key not in composed:
            composed[key] = load_experiment(config_dir, workflow_config)
        return deepcopy(composed[key])

    return load


@pytest.fixture
def make(repository, tmp_path, monkeypatch, compose_once):
    """Make the pipeline of a configuration; the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.load_experiment", compose_once)
    return lambda **config: Pipeline(repository, config)


@pytest.fixture
def quickstart(make):
    return make()


def figure(name):
    return SimpleNamespace(figure=name)


def test_a_configuration_that_cannot_be_run_is_a_workflow_error(make):
    with pytest.raises(WorkflowError, match=r"^Unknown attack: fsgm\. config/attack/ has: "):
        make(attacks=["fsgm"])


@pytest.mark.parametrize("of", [of for _, of in SPECS])
def test_specifications_are_canonical_json_without_schemas(quickstart, of):
    spec = of(quickstart)
    assert spec == canonical_json(json.loads(spec))
    assert "_schema_" not in spec


def test_the_data_may_lie_anywhere(make):
    here, there = (
        make(experiment="mnist_small", overrides=f"dataset.root={root}") for root in ("a", "b/c")
    )
    assert here.dataset_spec == there.dataset_spec
    assert (here.data_root, there.data_root) == ("a", "b/c")
    assert make().data_root == ""


def test_detectors_keep_the_order_of_the_configuration(make):
    names = ["true_labels", "random_forest", "threshold"]
    spec = json.loads(make(detectors=names).detection_spec("kd"))
    assert [name for name, _ in spec["detectors"]] == names
    assert spec["score"] == {"column": "log_density", "adversarial": "low"}
    assert spec["train_fraction"] == 0.5
    assert json.loads(make().detection_spec("kd_bu"))["score"] is None


def test_the_code_of_every_step_and_method_has_a_fingerprint_of_its_own(quickstart):
    codes = [quickstart.code(step, of(quickstart)) for step, of in SPECS]
    codes += [
        quickstart.code(step)
        for step in ("evaluate", "paired", "tables", "figures", "reproduce", "paper_figure")
    ]
    assert len(set(codes)) == len(codes)
    again = [quickstart.code(step, of(quickstart)) for step, of in SPECS]
    assert codes[: len(again)] == again


def test_parameters_are_no_code(make):
    weak, strong = (make(overrides=f"attack.fgsm.epsilon={value}") for value in (0.1, 0.2))
    assert weak.attack_spec("fgsm") != strong.attack_spec("fgsm")
    assert weak.code("attack", weak.attack_spec("fgsm")) == strong.code(
        "attack", strong.attack_spec("fgsm")
    )


def test_code_in_the_working_directory_counts(quickstart, tmp_path):
    spec = json.dumps({"_target_": "my_attack.mine"})
    module = tmp_path / "my_attack.py"
    module.write_text("import my_helper\n")
    (tmp_path / "my_helper.py").write_text("x = 1\n")
    # The folder of a module is searched anew by each Pipeline, hence for each run.
    before = quickstart.code("attack", spec)
    (tmp_path / "my_helper.py").write_text("x = 22\n")
    assert quickstart.code("attack", spec) != before


def test_a_syntax_error_names_the_file_and_the_line(quickstart, tmp_path):
    (tmp_path / "broken.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(WorkflowError, match=r"broken\.py, line 2: invalid syntax"):
        quickstart.code("attack", json.dumps({"_target_": "broken.f"}))


def test_images_of_a_tracked_folder_have_a_fingerprint(make, tmp_path):
    folder = tmp_path / "my images"
    (folder / "train" / "cat").mkdir(parents=True)
    (folder / "train" / "cat" / "1.png").write_bytes(b"1")

    def source_files():
        pipeline = make(dataset="image_folder", overrides=["dataset.root='my images'"])
        return pipeline.source_files

    before = source_files()
    assert source_files() == before != ""
    added = folder / "train" / "cat" / "2.png"
    added.write_bytes(b"2")
    assert source_files() != before
    added.rename(folder / "train" / "cat" / "3.png")
    with_another_name = source_files()
    added.with_name("3.png").write_bytes(b"33")
    assert source_files() != with_another_name
    added.with_name("3.png").unlink()
    assert source_files() == before
    assert make().source_files == ""


def test_a_missing_folder_of_images_is_refused(make):
    pipeline = make(dataset="image_folder", overrides="dataset.root=nowhere")
    with pytest.raises(WorkflowError, match=r"^dataset\.root: the folder nowhere does not exist"):
        _ = pipeline.source_files


def test_own_weights_are_an_input(make, tmp_path):
    assert make().own_weights == []
    pipeline = make(overrides="model.weights=mine.safetensors")
    with pytest.raises(WorkflowError, match=r"^model\.weights: the file mine\.safetensors does"):
        _ = pipeline.own_weights
    (tmp_path / "mine.safetensors").touch()
    assert pipeline.own_weights == ["mine.safetensors"]
    assert "training" in make().figures
    assert "training" not in pipeline.figures


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("roc", "roc", [f"{RUN}{s}/scores/{f}.parquet" for f in ("kd", "kd_bu") for s in (0, 1)]),
        (
            "roc_low",
            "roc_low",
            [f"{RUN}{s}/scores/{f}.parquet" for f in ("kd", "kd_bu") for s in (0, 1)],
        ),
        ("scores_kd", "scores", [f"{RUN}{seed}/scores/kd.parquet" for seed in (0, 1)]),
        (
            "cross_attack",
            "cross_attack",
            [f"results/quickstart/metrics/{feature}.csv" for feature in ("kd", "kd_bu")],
        ),
        (
            "gallery",
            "gallery",
            [f"{RUN}0/attacks/{attack}.safetensors" for attack in ("fgsm", "ossa")]
            + ["results/quickstart/data/digits/test.safetensors"],
        ),
        (
            "spectra",
            "spectra",
            [
                f"{RUN}{seed}/features/{kind}/fisher_input.parquet"
                for kind in ("clean", "fgsm", "ossa")
                for seed in (0, 1)
            ],
        ),
        ("training", "training", [f"{RUN}{seed}/metrics.json" for seed in (0, 1)]),
    ],
)
def test_a_figure_is_drawn_from_the_files_that_it_shows(make, name, kind, expected):
    pipeline = make(
        seeds=["0", "1"],
        attacks=["fgsm", "ossa"],
        features=["kd", "kd_bu"],
        overrides="evaluation.main_feature=kd",
    )
    assert pipeline.figure_kind(figure(name)) == kind
    assert sorted(pipeline.figure_inputs(figure(name))) == sorted(expected)


LEAST = ["fgsm", "fgm_least", "bim_l2_least"]


def test_least_perturbations_have_a_table_and_figures(make, quickstart):
    pipeline = make(attacks=LEAST)
    assert pipeline.minimal_norm_attacks == ["fgm_least", "bim_l2_least"]
    assert "least_perturbation" in pipeline.tables
    assert {"fooling_rate", "eigenvalue_perturbation"} < set(pipeline.figures)
    assert "least_perturbation" not in quickstart.tables
    assert not {"fooling_rate", "eigenvalue_perturbation"} & set(quickstart.figures)
    without_spectrum = make(
        attacks=LEAST, features=["kd"], overrides="evaluation.main_feature=kd"
    ).figures
    assert "fooling_rate" in without_spectrum
    assert "eigenvalue_perturbation" not in without_spectrum
    iterated_only = make(attacks=["bim_l2_least"]).figures
    assert "fooling_rate" in iterated_only
    assert "eigenvalue_perturbation" not in iterated_only


def test_figures_of_least_perturbations_are_drawn_from_attacks(make):
    pipeline = make(seeds=["0"], attacks=LEAST, overrides="attack.fgsm.epsilon=[0.1,0.2]")
    files = [f"{RUN}0/attacks/{attack}.safetensors" for attack in ("fgm_least", "bim_l2_least")]
    sweep = [f"{RUN}0/attacks/fgsm,epsilon={epsilon}.safetensors" for epsilon in (0.1, 0.2)]
    assert pipeline.figure_inputs(figure("fooling_rate")) == files + sweep
    assert pipeline.figure_inputs(figure("eigenvalue_perturbation")) == [
        files[0],
        f"{RUN}0/features/clean/fisher_input.parquet",
    ]


def test_a_sweep_of_epsilon_alone_has_a_fooling_rate(make):
    pipeline = make(overrides="attack.fgsm.epsilon=[0.1,0.2]")
    assert "fooling_rate" in pipeline.figures
    assert "least_perturbation" not in pipeline.tables
    searches = make(attacks=["bim_l2_least"], overrides="attack.bim_l2_least.epsilon=[5,10]")
    assert searches.minimal_norm_attacks == searches.attacks
    assert searches.epsilon_sweeps == []


@pytest.mark.parametrize("name", ["fooling_rate", "eigenvalue_perturbation"])
def test_a_figure_without_its_attacks_is_refused(quickstart, name):
    with pytest.raises(WorkflowError, match=rf"^The figure {name} needs an attack that looks for"):
        quickstart.figure_inputs(figure(name))


def test_defences_have_a_figure_where_a_number_is_swept(make, quickstart, repository):
    assert "defense_accuracy" not in quickstart.figures
    assert quickstart.figure_options(figure("roc")) == []
    sweep = {"attacks": ["cw_l2"], "overrides": "attack.cw_l2.kappa=[0,10]"}
    pipeline = make(seeds=["0", "1"], reported="hsu_2018_defense_accuracy.csv", **sweep)
    assert "defense_accuracy" in pipeline.figures
    shown = figure("defense_accuracy")
    assert pipeline.figure_kind(shown) == "defense_accuracy"
    assert pipeline.figure_inputs(shown) == [
        f"{RUN}{seed}/defenses/{defense}.parquet"
        for defense in ("magnet", "mid")
        for seed in (0, 1)
    ]
    reported = repository / "config" / "reference" / "hsu_2018_defense_accuracy.csv"
    assert pipeline.figure_reported(shown) == [str(reported)]
    assert pipeline.figure_reported(figure("roc")) == []
    options = ["--dataset=digits", "--replicates=500", "--bootstrap-seed=0"]
    assert pipeline.figure_options(shown) == options
    assert "defense_accuracy" not in make(defenses=[], **sweep).figures
    with pytest.raises(WorkflowError, match=r"^The figure defense_accuracy needs a defence and"):
        quickstart.figure_inputs(shown)


def test_the_code_of_a_direction_counts(make, tmp_path):
    target = "advdetect.attacks.least_perturbation.least_perturbation"
    module = tmp_path / "my_direction.py"
    spec = json.dumps({"_target_": target, "direction": {"_target_": "my_direction.mine"}})
    module.write_text("x = 1\n")
    before = make().code("attack", spec)
    module.write_text("x = 22\n")
    assert make().code("attack", spec) != before


def test_an_unknown_figure_is_refused_with_those_that_exist(quickstart):
    with pytest.raises(WorkflowError, match=r"^Unknown figure: rok\. There are: training, roc, "):
        quickstart.figure_inputs(figure("rok"))


def test_there_is_a_spectrum_only_where_the_feature_is(make):
    assert "spectra" in make().figures
    assert "spectra" not in make(features=["kd"], overrides="evaluation.main_feature=kd").figures


def test_tables_are_those_that_the_step_writes(make):
    tables = make(features=["kd", "bu"], overrides="evaluation.main_feature=kd").tables
    assert {"detection", "detection_all_8bit", "detectors", "attacks"} < set(tables)
    assert [name for name in tables if name.startswith("cross_attack_")] == [
        "cross_attack_kd",
        "cross_attack_bu",
    ]


def fitted(pipeline, feature):
    names = {"dataset": "digits", "model": "small_cnn", "seed": "7"}
    return pipeline.fitted(SimpleNamespace(feature=feature, **names))


def test_a_fit_is_asked_for_where_the_feature_has_one(quickstart):
    assert fitted(quickstart, "kd") == [f"{RUN}7/fitted/kd.safetensors"]
    assert fitted(quickstart, "bu") == []


@pytest.fixture
def borrowing(repository, tmp_path, monkeypatch):
    """The pipeline of a feature of images that borrows the model of another."""
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "copy"
    shutil.copytree(repository / "config", base / "config")
    (base / "src").symlink_to(repository / "src")
    (base / "config" / "feature" / "mine.yaml").write_text(
        "_target_: advdetect.features.bu.bu\n_fitted_by_: kd\npasses: 5\n"
    )
    overrides = "defenses=[] evaluation.main_feature=mine"
    return Pipeline(base, {"features": ["mine", "energy"], "overrides": overrides})


def test_a_feature_asks_for_the_model_that_it_borrows(borrowing):
    assert fitted(borrowing, "mine") == [f"{RUN}7/fitted/kd.safetensors"]
    assert fitted(borrowing, "energy") == []
    # The model's owner is fitted by its own rule, though the feature itself is not computed.
    assert json.loads(borrowing.feature_spec("kd"))["_fit_"] == "advdetect.features.kd.fit"
    assert matching(borrowing.feature_names, ["mine", "kd", "energy", "lid"]) == [
        *("mine", "kd", "energy")
    ]


def matching(pattern, names):
    return [name for name in names if re.fullmatch(pattern, name)]


def test_every_computed_feature_has_a_rule(make):
    sweeps = "feature.kd.bandwidth=[1.5,2.5] feature.bu.passes=[2,3]"
    overrides = f"defenses=[] evaluation.main_feature=energy {sweeps}"
    pipeline = make(features=["kd", "bu", "energy"], overrides=overrides)
    names = ["kd,bandwidth=1.5", "bu,passes=2", "kd,bandwidth=2.5", "bu,passes=3", "energy"]
    others = ["kd", "bu", "kd,bandwidth=1", "kd,bandwidth=1x5", "energyy", "energy|", "", "lid"]
    assert matching(pipeline.feature_names, names + others) == names


def test_unions_have_no_rule_of_features(make):
    overrides = "defenses=[] evaluation.main_feature=kd_bu"
    pipeline = make(features=["kd_bu"], overrides=overrides)
    assert matching(pipeline.feature_names, ["kd", "bu", "kd_bu"]) == ["kd", "bu"]


def options(pipeline, feature):
    return pipeline.feature_options(SimpleNamespace(feature=feature))


def test_what_is_kept_of_the_hidden_layers_is_for_the_features_made_from_them(make):
    pipeline = make(overrides="activations.max_width=99 activations.layers=[features.0]")
    expected = {"layers": ["features.0"], "max_width": 99}
    assert options(pipeline, "bu") == []
    (option,) = options(pipeline, "kd")
    assert json.loads(option.removeprefix("--activations=")) == expected
    assert json.loads(pipeline.report_spec)["settings"]["activations"] == expected
    (option,) = options(make(), "kd")
    assert option == '--activations={"layers": null, "max_width": 256}'


def test_controls_are_known_by_their_specification(quickstart):
    assert quickstart.controls == ["random_scores", "true_labels"]


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
        ({"device": "cpu", "threads": "2", "batch_size": "8"}, []),  # changes no result
    ],
)
def test_the_command_makes_the_experiment(make, config, values):
    words = shlex.split(make(**config).command)
    assert words == ["snakemake", "--cores", "all", *(["--config", *values] if values else [])]


def test_a_gpu_is_asked_for_only_with_cuda(make):
    assert make().gpu is None
    assert make(device="cpu").gpu is None
    assert make(device="cuda").gpu == 1


def test_the_outcome_is_printed_where_there_is_one(quickstart, tmp_path, capsys):
    quickstart.print_outcome()
    assert capsys.readouterr().out == ""
    results = tmp_path / "results" / "quickstart"
    (results / "tables").mkdir(parents=True)
    (results / "tables" / "detection.txt").write_text("AUROC …\n")
    (results / "report.html").touch()
    quickstart.print_outcome()
    assert capsys.readouterr().out == f"\nAUROC …\n\nReport: {results / 'report.html'}\n"


def test_jobs_run_this_source_with_this_python(quickstart, repository, monkeypatch):
    source = str(repository / "src")
    monkeypatch.setenv("PYTHONPATH", f"/elsewhere:{source}")
    monkeypatch.setenv("PATH", "/usr/bin")
    quickstart.use_this_source()
    quickstart.use_this_source()  # Snakemake may read the Snakefile more than once
    assert os.environ["PYTHONPATH"] == f"{source}:/elsewhere"
    assert os.environ["PATH"].endswith(":/usr/bin")
    assert os.environ["PATH"].count(":") == 1
