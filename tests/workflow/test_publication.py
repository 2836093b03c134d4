"""What an experiment publishes, what it is made from, and what makes it again."""

import pytest
from snakemake_interface_common.exceptions import WorkflowError

from pipeline import Pipeline

STORE = "results/store/digits"
RUN = f"{STORE}/small_cnn-seed"
SHOWN = {
    "seeds": ["0", "1"],
    "attacks": ["fgsm", "ossa"],
    "features": ["kd", "kd_bu", "fisher_input"],
    "overrides": "evaluation.main_feature=kd",
}
FEATURES = ("kd", "kd_bu", "fisher_input")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("roc", [f"{RUN}{s}/scores/{f}.parquet" for f in FEATURES for s in (0, 1)]),
        ("roc_low", [f"{RUN}{s}/scores/{f}.parquet" for f in FEATURES for s in (0, 1)]),
        ("scores_kd", [f"{RUN}{seed}/scores/kd.parquet" for seed in (0, 1)]),
        ("cross_attack", [f"results/quickstart/metrics/{feature}.csv" for feature in FEATURES]),
        (
            "gallery",
            [f"{RUN}0/attacks/{attack}.safetensors" for attack in ("fgsm", "ossa")]
            + [f"{STORE}/test.safetensors"],
        ),
        (
            "spectra",
            [
                f"{RUN}{seed}/features/{kind}/fisher_input.parquet"
                for kind in ("clean", "fgsm", "ossa")
                for seed in (0, 1)
            ],
        ),
        ("training", [f"{RUN}{seed}/model.json" for seed in (0, 1)]),
    ],
)
def test_a_figure_is_drawn_from_the_files_that_it_shows(pipeline_of, names, name, expected):
    assert sorted(names.inputs(pipeline_of(**SHOWN), f"figure_{name}")) == sorted(expected)


def test_substitutes_have_a_table_made_from_them_and_their_oracles(pipeline_of, names):
    runs = [
        {"name": "told", "model": "svm", "overrides": ["attacks=[fgsm@imitated]"]},
        {"name": "imitated", "training": "substitute", "overrides": ["training.oracle=told"]},
        {"name": "plain"},
    ]
    shown = {"features": ["feature_squeezing"], "defenses": [], "seeds": ["0"], "runs": runs}
    pipeline = pipeline_of(**shown, overrides="dataset.train_count=900")
    assert "substitutes" in tables(pipeline, names)
    made = {run.name: pipeline.store.model(run, 0) for run in pipeline.experiment.runs}
    inputs = names.job(pipeline, "tables").inputs
    assert [file.key for file in inputs["histories"]] == [made["imitated"].key]
    of_models = [file.inputs["model"][0] for file in inputs["clean"]]
    assert of_models == [made["imitated"], made["told"]]
    # What fits itself has no training to show.
    shown = [file.key for file in names.job(pipeline, "figure_training").inputs["inputs"]]
    assert shown == [made["imitated"].key, made["plain"].key]
    assert "substitutes" not in tables(pipeline_of(attacks=["fgsm"]), names)


@pytest.mark.parametrize(
    ("experiment", "temperatures"),
    [
        ("papernot2016_distillation", [1, 2, 5, 10, 20, 50, 100]),
        ("papernot2016_distillation_small", [1, 5, 20, 100]),
    ],
)
def test_masking_is_drawn_of_all_students_over_their_temperatures(
    pipeline_of, names, experiment, temperatures
):
    pipeline = pipeline_of(experiment=experiment, seeds=["0"])
    job = names.job(pipeline, "figure_masking")
    numbers = dict(job.options["spec"]["runs"])
    runs = {run.name: run for run in pipeline.experiment.runs}
    assert list(runs) == ["undistilled", *(f"T{temperature}" for temperature in temperatures)]
    for temperature in temperatures:
        run = runs[f"T{temperature}"]
        assert numbers[run.name] == run.model["training"]["temperature"] == temperature
        assert run.others["teacher"].model["training"]["temperature"] == temperature
        folder = pipeline.store.model(run, 0).folder
        own = [file for file in job.inputs["inputs"] if file.job.startswith(folder)]
        assert len([file for file in own if file.step in ("attack", "transfer")]) == 6
        assert [file.names["feature"] for file in own if file.step == "feature"] == [
            "zero_gradient"
        ]
    # At T = 1 the teacher is the network that is not distilled.
    assert pipeline.store.model(runs["T1"].others["teacher"], 0) is pipeline.store.model(
        runs["undistilled"], 0
    )


LEAST = ["fgsm", "fgm_least", "bim_l2_least"]


def tables(pipeline, names):
    outputs = names.job(pipeline, "tables").outputs["folder"]
    return [path.split("/")[-1].removesuffix(".csv") for path in outputs if path.endswith(".csv")]


def test_least_perturbations_have_a_table_and_figures(pipeline_of, names):
    def figures(**config):
        return set(names.rules(pipeline_of(**config), "figure"))

    least = {"fooling_rate", "eigenvalue_perturbation"}
    assert "least_perturbation" in tables(pipeline_of(attacks=LEAST), names)
    assert least < figures(attacks=LEAST)
    assert "least_perturbation" not in tables(pipeline_of(), names)
    assert not least & figures()
    assert least & figures(attacks=LEAST, features=["kd"]) == {"fooling_rate"}
    assert least & figures(attacks=["bim_l2_least"]) == {"fooling_rate"}


def test_figures_of_least_perturbations_are_drawn_from_attacks(pipeline_of, names):
    pipeline = pipeline_of(seeds=["0"], attacks=LEAST, overrides="attack.fgsm.epsilon=[0.1,0.2]")
    files = [f"{RUN}0/attacks/{attack}.safetensors" for attack in ("fgm_least", "bim_l2_least")]
    sweep = [f"{RUN}0/attacks/fgsm,epsilon={epsilon}.safetensors" for epsilon in (0.1, 0.2)]
    assert names.inputs(pipeline, "figure_fooling_rate") == files + sweep
    assert names.inputs(pipeline, "figure_eigenvalue_perturbation") == [
        files[0],
        f"{RUN}0/features/clean/fisher_input.parquet",
    ]


def test_a_sweep_of_epsilon_alone_has_a_fooling_rate(pipeline_of, names):
    pipeline = pipeline_of(features=["kd"], overrides="attack.fgsm.epsilon=[0.1,0.2]")
    assert "fooling_rate" in names.rules(pipeline, "figure")
    assert "least_perturbation" not in tables(pipeline, names)
    searches = pipeline_of(
        attacks=["bim_l2_least"], features=["kd"], overrides="attack.bim_l2_least.epsilon=[5,10]"
    )
    shown = names.inputs(searches, "figure_fooling_rate")
    assert sorted(shown) == sorted(names.inputs(searches, "tables", "attacks"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fooling_rate", "^The figure fooling_rate needs an attack that looks for"),
        (
            "eigenvalue_perturbation",
            "^The figure eigenvalue_perturbation needs an attack that look",
        ),
        ("defense_accuracy", "^The figure defense_accuracy needs a defence and"),
        ("rok", r"^Unknown figure: rok\. There are: training, roc, "),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_refused(pipeline_of, name, said):
    with pytest.raises(WorkflowError, match=said):
        pipeline_of()._publication._figure(name)


def test_only_chosen_figures_are_drawn_without_being_asked_for(pipeline_of):
    pipeline = pipeline_of(features=["kd", "lid"], overrides="figures=[scores_lid,roc]")
    figures = {job.rule: job.is_wanted for job in pipeline.published if job.step == "figure"}
    wanted = [rule for rule, is_wanted in figures.items() if is_wanted]
    assert wanted == ["figure_roc", "figure_scores_lid"]
    assert figures["figure_gallery"] is figures["figure_scores_kd"] is False


def test_defences_have_a_figure_where_a_number_is_swept(pipeline_of, names, repository):
    pipeline = pipeline_of(experiment="hsu2018_small")
    shown = names.job(pipeline, "figure_defense_accuracy")
    reported = repository / "config" / "reference" / "hsu_2018_defense_accuracy.csv"
    assert pipeline.published_inputs(shown)["reported"] == [str(reported)]
    defenses = list(pipeline.experiment.runs[0].defenses)
    assert [
        path.split("/")[-1] for path in names.inputs(pipeline, "figure_defense_accuracy", "inputs")
    ] == [f"{defense}.parquet" for defense in defenses]
    assert shown.options["spec"]["replicates"] == 1000
    swept = {"attacks": ["cw_l2"], "overrides": "attack.cw_l2.kappa=[0,10]"}
    assert "defense_accuracy" in names.rules(pipeline_of(**swept), "figure")
    assert "defense_accuracy" not in names.rules(pipeline_of(defenses=[], **swept), "figure")
    assert "defense_accuracy" not in names.rules(pipeline_of(), "figure")


def test_there_is_a_spectrum_only_where_the_feature_is(pipeline_of, names):
    assert "spectra" in names.rules(pipeline_of(), "figure")
    assert "spectra" not in names.rules(pipeline_of(features=["kd"]), "figure")


def test_tables_are_those_that_the_step_writes(pipeline_of, names):
    found = tables(pipeline_of(features=["kd", "bu"]), names)
    assert {"detection", "detection_all_8bit", "detectors", "attacks", "paired"} < set(found)
    assert [name for name in found if name.startswith("cross_attack_")] == [
        "cross_attack_kd",
        "cross_attack_bu",
    ]
    assert "paired" not in tables(pipeline_of(features=["kd"]), names)
    unrounded = tables(pipeline_of(features=["kd", "bu"], evaluation={"bits": ["float32"]}), names)
    assert set(found) - set(unrounded) == {"detection_8bit", "detection_all_8bit"}


def test_controls_are_known_by_their_specification(pipeline_of, names):
    controls = names.job(pipeline_of(), "tables").options["controls"]
    assert controls == ["random_scores", "true_labels"]


def test_the_report_shows_the_whole_configuration(pipeline_of, names):
    pipeline = pipeline_of(overrides="activations.max_width=99 activations.layers=[features.0]")
    spec = names.job(pipeline, "report").options["spec"]
    assert spec["settings"]["activations"] == {"layers": ["features.0"], "max_width": 99}
    (run,) = spec["runs"]
    assert (run["dataset"]["name"], run["model"]["name"]) == ("digits", "small_cnn")
    chosen = ["fgsm", "otcm", "bim_l2", "mi_fgsm", "ossa"]
    assert [name for name, _ in run["attacks"]] == chosen


def test_what_resamples_is_done_on_the_cluster(pipeline_of):
    away = {job.step for job in pipeline_of().published if not job.is_local}
    assert away == {"evaluate", "paired"}


def test_features_have_what_they_are_made_from(pipeline_of, names):
    """Their own auxiliary model, one that they borrow, or none."""
    pipeline = pipeline_of(features=["kd", "bu", "mid"], defenses=[])
    fitted = {
        file.names["feature"]: names.plain(model.path for model in file.inputs["fitted"])
        for file in pipeline._files.values()
        if file.step == "feature" and file.names["seed"] == 0
    }
    owner = pipeline.experiment.runs[0].features["mid"]["_fitted_by_"]
    assert fitted == {
        "kd": ["digits/small_cnn-seed0/fitted/kd.safetensors"],
        "bu": [],
        "mid": [f"digits/small_cnn-seed0/fitted/{owner}.safetensors"],
    }


def test_unions_and_sweeps_are_computed_by_their_parts(pipeline_of):
    def computed(**config):
        files = pipeline_of(**config)._files.values()
        return list(dict.fromkeys(f.names["feature"] for f in files if f.step == "feature"))

    assert computed(features=["kd_bu"]) == ["kd", "bu"]
    swept = "feature.kd.bandwidth=[1.5,2.5] feature.bu.passes=[2,3]"
    expected = ["kd,bandwidth=1.5", "kd,bandwidth=2.5", "bu,passes=2", "bu,passes=3", "energy"]
    assert computed(features=["kd", "bu", "energy"], overrides=swept) == expected


# Stamps


BASE = {
    "attacks": ["fgsm", "otcm"],
    "features": ["kd", "bu"],
    "detectors": ["threshold"],
    "seeds": [0],
}
WITH_PAPER = {"experiment": "zhao2019_small", "seeds": [0]}
EVERYTHING = {"metrics_kd", "metrics_bu", "paired", "tables", "report", "figures", "manifest"}


def stamps(pipeline):
    return {job.rule: job.stamp for job in pipeline.published}


def made_again(before, after):
    """Return what has another stamp; all figures together are ``figures``."""
    assert before.keys() == after.keys()
    changed = {rule for rule in before if before[rule] != after[rule]}
    figures = {rule for rule in before if rule.startswith("figure_")}
    return (changed - figures) | {"figures"} if figures <= changed else changed


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"device": "cpu", "threads": 2, "batch_size": 8}, set()),
        ({"overrides": "device=cpu batch_size=8"}, set()),
        ({"overrides": "attack.fgsm.epsilon=0.3"}, EVERYTHING - {"figures"}),
        ({"overrides": "model.training.epochs=2"}, EVERYTHING - {"figures"}),
        ({"overrides": "evaluation.replicates=200"}, {"paired", "tables", "report"}),
        ({"title": "Another"}, {"report"}),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_a_change_makes_again_what_follows_from_it(pipeline_of, change, expected):
    before, after = stamps(pipeline_of(**BASE)), stamps(pipeline_of(**BASE, **change))
    changed = made_again(before, after)
    assert expected <= changed
    if expected in (set(), {"report"}):
        assert changed == expected
    assert all(".stamps/" in stamp for stamp in after.values())


def test_a_title_changes_what_shows_it_and_no_job(make, own_yaml, names):
    config = BASE | {"attacks": ["mine", "fgsm"]}

    def pipeline(title):
        own_yaml("attack/mine", f"_target_: mine.push\n_title_: {title}\n")
        return make(**config)

    first, second = pipeline("One"), pipeline("Two")
    changed = made_again(stamps(first), stamps(second))
    figures = {rule for rule in stamps(first) if rule.startswith("figure_")}
    assert changed == {"tables", "report"} | (figures - {"figure_training"})  # it shows no method
    assert first._files.keys() == second._files.keys()
    assert names.job(second, "tables").options["titles"]["mine"] == "Two"


def test_a_title_of_a_run_changes_what_shows_it_and_no_job(make, names):
    def pipeline(title):
        runs = [
            {"name": "one", "title": title},
            {"name": "two", "overrides": ["model.training.epochs=2"]},
        ]
        attacks = ["fgsm", "fgsm@one"]
        noises = {"overrides": "certification.sigmas=[0.25]"}
        return make(**BASE | {"attacks": attacks} | noises, runs=runs)

    first, second = pipeline("One"), pipeline("Two")
    assert made_again(stamps(first), stamps(second)) == {"tables", "certified", "report", "figures"}
    assert first._files.keys() == second._files.keys()
    for step in ("tables", "certified", "figure_roc", "report"):
        assert names.job(second, step).options["titles"]["@one"] == "Two"
    assert list(names.job(second, "tables").options["runs"].values()) == ["one", "two"]


def test_the_order_of_settings_changes_nothing(pipeline_of):
    first = pipeline_of(**BASE, evaluation={"replicates": 300, "bootstrap_seed": 2})
    second = pipeline_of(**BASE, evaluation={"bootstrap_seed": 2, "replicates": 300})
    one, two = stamps(first), stamps(second)
    # The report shows the command, which is another one.
    assert made_again(one, two) <= {"report"}


def test_code_makes_again_what_it_makes(repository, monkeypatch, empty_folder, composed):
    monkeypatch.chdir(empty_folder)
    monkeypatch.setattr("pipeline.load_experiment", lambda _, config: composed(**config))

    def with_code(changed):
        monkeypatch.setattr(Pipeline, "code", lambda _, step, spec: f"{step}{step == changed}")
        return stamps(Pipeline(repository, BASE))

    before = with_code("")
    assert made_again(before, with_code("tables")) >= {"tables", "report"}
    assert made_again(before, with_code("report")) == {"report"}
    assert made_again(before, with_code("evaluate")) >= {"metrics_kd", "metrics_bu", "tables"}
    assert "paired" not in made_again(before, with_code("evaluate"))
    assert {"metrics_kd", "paired", "manifest"} <= made_again(before, with_code("score"))


@pytest.fixture
def copied(repository, tmp_path, monkeypatch, composed):
    """Make pipelines of a copy of what stamps read of the project."""
    copy = tmp_path / "copy"
    for part in ("config/reference", "src/advdetect/report/templates"):
        (copy / part).mkdir(parents=True)
        for path in (repository / part).iterdir():
            (copy / part / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.load_experiment", lambda _, config: composed(**config))
    return copy, lambda: stamps(Pipeline(copy, WITH_PAPER))


def test_templates_and_reported_values_count(copied):
    copy, now = copied
    before = now()
    template = next((copy / "src/advdetect/report/templates").iterdir())
    template.write_bytes(template.read_bytes() + b" ")
    assert made_again(before, now()) == {"report"}
    before = now()
    reported = copy / "config/reference/zhao_2019_table4_detection_auc.csv"
    reported.write_bytes(reported.read_bytes() + b"\n")
    assert made_again(before, now()) >= {"table_table4", "figure_reproduction_table4", "report"}
    assert "table_table5" not in made_again(before, now())


def test_who_asks_for_a_published_file_asks_for_its_stamp(pipeline_of, names):
    pipeline = pipeline_of()
    folder = pipeline.settings["results"] + "/" + pipeline.settings["name"]
    asked = {f"{folder}/tables/detection.md", "results/mine.txt", "tables"}
    assert pipeline.with_stamps(asked) == asked | {names.job(pipeline, "tables").stamp}
    assert pipeline.with_stamps([]) == set()
    report = names.job(pipeline, "report")
    others = [job for job in pipeline.published if job is not report and job.is_wanted]
    found = pipeline.published_inputs(report)["stamps"]
    assert set(found) == {job.stamp for job in others}
    assert "--stamps" not in pipeline.runtime({}, {"stamps": found}, {}, 1)


def test_the_manifest_is_made_from_all_files_behind_the_experiment(pipeline_of):
    """In an object store it gets no others; of several files of a job the first one is enough."""
    pipeline = pipeline_of()
    (manifest,) = (job for job in pipeline.published if job.rule == "manifest")
    given = {file.path for file in manifest.inputs["files"]}
    expected = {file.path for file in pipeline.store.files.values() if file.suffix != ".json"}
    assert given == expected
    assert len(given) == len(manifest.inputs["files"])
