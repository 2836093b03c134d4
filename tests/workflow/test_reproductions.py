import json

import pytest
from snakemake_interface_common.exceptions import WorkflowError

from trainings import is_trained

RUN = "results/store/digits/small_cnn-seed{}/"
REPORTED = "zhao_2019_table5_cross_attack_auc.csv"  # it names no data set
TABLE = {
    "kind": "detection",
    "title": "A table",
    "reported": REPORTED,
    "rows": ["trained_on"],
    "columns": "tested_on",
    "values": {"auc_percent": "auroc"},
    "methods": {"kd": {"feature": "kd", "detector": "threshold"}},
    "readings": [{"name": "one", "attacks": {"ossa": "ossa", "fgm": "fgsm"}}],
}
FIGURE = {"kind": "fooling_rate", "caption": "A figure", "attacks": ["fgsm"]}
COLUMN = {"feature": "fisher_weights", "column": "log10_trace", "adversarial": "high"}
EXPERIMENTS = [
    *("zhao2019", "zhao2019_cifar10", "zhao2019_imagenet", "zhao2019_transfer"),
    *("martin2019", "martin2019_cifar10", "martin2019_fruits360", "hsu2018", "hsu2018_cifar10"),
    # To compose 37 and 19 runs takes 13 and 6 s.
    *(pytest.param(name, marks=pytest.mark.long) for name in ("papernot2016", "szegedy2013")),
]


@pytest.fixture
def with_table(pipeline_of):
    return lambda **changes: pipeline_of(
        overrides=[f"+reproductions.t={as_hydra(TABLE | changes)}"]
    )


@pytest.fixture
def with_figure(pipeline_of):
    return lambda **changes: pipeline_of(
        overrides=[f"+paper_figures.f={as_hydra(FIGURE | changes)}"]
    )


def as_hydra(value):
    """Write a value in the grammar of overrides, whose keys have no quotes."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{as_hydra(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(as_hydra, value)) + "]"
    return json.dumps(value)


@pytest.fixture
def inputs(names):
    return lambda pipeline: names.inputs(pipeline, "table_t", "inputs")


def test_a_table_of_detectors_needs_their_scores_only(with_table, inputs, names):
    pipeline = with_table()
    assert inputs(pipeline) == [RUN.format(seed) + "scores/kd.parquet" for seed in (0, 1)]
    assert names.rules(pipeline, "table") == ["t"]
    assert "reproduction_t" in names.rules(pipeline, "figure")


def test_a_table_of_columns_needs_the_feature_and_the_attacks_that_it_names(with_table, inputs):
    files = ["attacks/fgsm.safetensors", "attacks/ossa.safetensors"]
    files += [f"features/{name}/fisher_weights.parquet" for name in ("clean", "fgsm", "ossa")]
    expected = [RUN.format(seed) + file for file in files for seed in (0, 1)]
    assert sorted(inputs(with_table(methods={"trace": COLUMN}))) == sorted(expected)


def test_a_table_of_norms_needs_attacks_only(with_table, inputs):
    pipeline = with_table(
        kind="least_perturbation", methods={"unused": COLUMN}, columns="tested_on"
    )
    files = inputs(with_table(kind="norm_at_rate", rate=0.9, methods={"u": COLUMN}))
    assert all("/attacks/" in file or "/features/" in file for file in files)
    assert inputs(pipeline) == files


def test_a_table_of_defences_needs_theirs(with_table, inputs):
    reading = {"name": "one", "attacks": {"fgm": "fgsm"}, "defenses": {"magnet": "mid"}}
    pipeline = with_table(kind="defense", readings=[reading])
    assert inputs(pipeline) == [RUN.format(seed) + "defenses/mid.parquet" for seed in (0, 1)]


def test_the_paper_s_order_of_names_survives_canonical_json(with_table, names):
    spec = names.job(with_table(), "table_t").options["spec"]
    assert spec["readings"][0]["attacks"] == [("ossa", "ossa"), ("fgm", "fgsm")]
    assert spec["dataset"] == "digits"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"methods": {"kd": {"feature": "kd", "detector": "svm"}}},
            "the detector svm is not among",
        ),
        ({"methods": {"kd": {"feature": "lead", "detector": "threshold"}}}, "the feature lead is"),
        ({"methods": {"t": COLUMN | {"feature": "lead"}}}, "the feature lead is not among"),
        ({"methods": {"t": COLUMN | {"adversarial": "up"}}}, "adversarial: 'up' is not one of"),
        ({"readings": [{"name": "one", "attacks": {"fgm": "fgm"}}]}, "the attack fgm is not among"),
        ({"readings": [{"name": "a", "attacks": {"f": "fgsm,e={e}"}}]}, "fgsm,e={e} is not among"),
        (
            {"methods": {"t": COLUMN | {"column": "trace"}}},
            "the feature fisher_weights has no column trace; it has: log10_trace, log10_quadratic",
        ),
        (
            {"kind": "defense"}
            | {"readings": [{"name": "a", "attacks": {"f": "{e}"}, "defenses": {"m": "mid"}}]},
            "nothing fills {e} of the attack {e}: rows and columns are trained_on, tested_on",
        ),
        (
            {"readings": [{"name": "a", "attacks": {"f": "{trained_on}"}}]},
            "nothing fills {trained_on} of the attack {trained_on}: only the kind defense fills",
        ),
        ({"reported": "none.csv"}, "t.reported: none.csv is not among config/reference/"),
        ({"rows": ["detector"]}, f"{REPORTED} has no column detector; it has: trained_on, tested"),
        (
            {"reported": "zhao_2019_table4_detection_auc.csv", "rows": ["detector"]}
            | {"columns": "attack"},
            "reports nothing for the data set digits, but for: cifar10, mnist",
        ),
        ({"kind": "defense"}, "'defenses' is a required property"),
        ({"kind": "guess"}, "t.kind: 'guess' is not one of"),
        ({"values": {"auc_percent": "auc"}}, "'auc' is not one of"),
    ],
)
def test_a_table_that_cannot_be_made_is_refused_before_any_job(with_table, changes, said):
    with pytest.raises(WorkflowError) as caught:
        with_table(**changes)
    assert said in str(caught.value)
    assert "reproductions.t" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attacks": ["fgm"]}, "paper_figures.f: the attack fgm is not among"),
        ({"kind": "distribution"}, r"paper_figures\.f\.feature must be set: it has no default"),
        (
            {"kind": "column_roc", "feature": "lead", "columns": {"a": "b"}},
            "the feature lead is not",
        ),
        (
            {"kind": "column_roc", "feature": "fisher_input", "columns": {"a": "trace"}},
            r"paper_figures\.f: the feature fisher_input has no column trace; it has: log10_eigen",
        ),
        ({"kind": "roc", "detector": "svm"}, "the detector svm is not among those of this exper"),
        (
            {"kind": "success_over_runs", "feature": "kd", "columns": {"a": "log_density"}}
            | {"runs": {"one": 1, "two": 2}, "parameter": "x"},
            r"none of the runs one, two is among those of this experiment \(none has a name\)",
        ),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_refused_before_any_job(with_figure, changes, said):
    with pytest.raises(WorkflowError, match=said):
        with_figure(**changes)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("figure.roc.detector=svm", r"figure\.roc\.detector: svm is not among those of this exp"),
        ("units.runs=[wide]", r"units\.runs: wide is not among those .* \(none has a name\)"),
    ],
)
def test_settings_of_figures_name_what_there_is(pipeline_of, override, said):
    with pytest.raises(WorkflowError, match=said):
        pipeline_of(overrides=[override])


def test_a_table_of_a_run_is_that_run_s(pipeline_of, names):
    table = as_hydra(TABLE | {"run": "lenet5"})
    config = {"overrides": [f"+reproductions.t={table}"], "features": ["kd"], "seeds": [0]}
    pipeline = pipeline_of(**config, runs=[{"model": "lenet5"}, {"model": "small_cnn"}])
    found = names.inputs(pipeline, "table_t", "inputs")
    assert found == ["results/store/digits/lenet5-seed0/scores/kd.parquet"]
    with pytest.raises(
        WorkflowError, match=r"^reproductions\.t: the run lenet5 is not among those"
    ):
        pipeline_of(**config)


def test_a_table_asks_each_run_for_what_it_has(pipeline_of, names):
    runs = [{"model": "lenet5", "overrides": ["attacks=[fgsm]"]}, {"model": "small_cnn"}]
    overrides = [f"+reproductions.t={as_hydra(TABLE | {'methods': {'kd': COLUMN}})}"]
    config = {"experiment": "quickstart", "features": ["fisher_weights"], "seeds": [0]}
    found = names.inputs(pipeline_of(**config, runs=runs, overrides=overrides), "table_t", "inputs")
    lenet5 = [path.split("lenet5-seed0/")[1] for path in found if "/lenet5" in path]
    assert lenet5 == [
        "attacks/fgsm.safetensors",
        "features/clean/fisher_weights.parquet",
        "features/fgsm/fisher_weights.parquet",
    ]


def test_a_table_that_was_given_on_the_command_line_is_not_left_out(pipeline_of):
    with pytest.raises(WorkflowError, match=r"^reproductions\.t: the attack ossa is not among"):
        pipeline_of(attacks=["fgsm"], overrides=[f"+reproductions.t={as_hydra(TABLE)}"])


def test_names_that_are_taken_are_refused(pipeline_of):
    with pytest.raises(WorkflowError, match="attacks: there is another table"):
        pipeline_of(overrides=[f"+reproductions.attacks={as_hydra(TABLE)}"])
    with pytest.raises(WorkflowError, match="roc: there is another figure"):
        pipeline_of(overrides=[f"+paper_figures.roc={as_hydra(FIGURE)}"])


def test_a_figure_of_examples_needs_the_first_seed_only(with_figure, names):
    pipeline = with_figure(kind="eigenvalue_path")
    assert names.inputs(pipeline, "figure_f", "inputs") == [RUN.format(0) + "paths/fgsm.parquet"]


@pytest.mark.parametrize(
    ("name", "tables", "figures"),
    [
        ("zhao2019_cifar10", ["table2", "figure2_norm", "table4", "table5"], [1, 2, 3]),
        ("zhao2019_imagenet", ["table2", "figure2_norm"], [1, 2]),
        ("zhao2019_cifar10_table1", [], []),
        ("zhao2019_imagenet_table1", [], []),
    ],
)
def test_an_experiment_leaves_out_what_another_data_set_has_none_of(
    composed, name, tables, figures
):
    photos = {"dataset": {"root": "photos"}} if "imagenet" in name else {}
    settings = composed(experiment=name, **photos).settings
    assert list(settings["reproductions"]) == tables
    assert list(settings["paper_figures"]) == [f"figure{number}" for number in figures]


def test_a_data_set_says_what_papers_call_it(make, own_yaml, names):
    own_yaml("dataset/other", "defaults: [digits, _self_]\n_reported_as_: mnist\n")
    table = TABLE | {"reported": "zhao_2019_table4_detection_auc.csv", "rows": ["detector"]}
    table |= {"columns": "attack"}
    few = {"attacks": ["fgsm", "ossa"], "features": ["kd"], "seeds": [0]}
    pipeline = make(dataset="other", **few, overrides=[f"+reproductions.t={as_hydra(table)}"])
    assert names.job(pipeline, "table_t").options["spec"]["dataset"] == "mnist"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_small_sibling_of_a_paper_has_the_same_tables_on_fewer_images(composed, name):
    photos = {"dataset": {"root": "photos"}} if name.endswith(("imagenet", "fruits360")) else {}
    whole, small = (composed(experiment=each, **photos) for each in (name, f"{name}_small"))
    assert whole.settings["reproductions"] == small.settings["reproductions"] != {}
    counts = [of.runs[0].dataset["test_count"] or 10_000 for of in (whole, small)]
    seeds = [len(of.settings["seeds"]) for of in (whole, small)]
    assert counts[0] > counts[1]
    assert seeds[0] > seeds[1] or not is_trained(whole.runs[0].model)
