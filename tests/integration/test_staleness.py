"""What a change makes stale: that and what follows from it, and nothing else (dry runs)."""

from collections.abc import Callable

import pytest
from snakemake_project import (
    AFTER_ATTACKS,
    ATTACKED,
    ATTACKS,
    COMPUTED,
    FEATURES,
    FROM_ACTIVATIONS,
    PUBLISHED,
    Project,
    attack_files,
    detection_files,
    feature_files,
    score_files,
)

pytestmark = pytest.mark.integration

TINY = "config/experiment/tiny.yaml"
PACKAGE = "src/advdetect"
CODE = "\nEDITED = 1\n"


def edit_what_changes_nothing(project: Project) -> None:
    """Comments and docstrings, what is not used, and the order of keys."""
    project.append(f"{PACKAGE}/attacks/otcm.py", "\n# a remark\n")
    project.replace(f"{PACKAGE}/attacks/otcm.py", '"""One-step', '"""A one-step')
    project.append(f"{PACKAGE}/features/fisher_input.py", "# a remark\n")
    project.write("README.md", "# Another text\n")
    project.replace("config/attack/fgm.yaml", "epsilon: 2.0", "epsilon: 2.5")
    project.replace("config/experiment/mnist_small.yaml", "seeds: [0, 1, 2]", "seeds: [3]")
    project.append(f"{PACKAGE}/attacks/ossa.py", CODE)
    project.append(f"{PACKAGE}/data/mnist.py", CODE)
    project.write(
        "config/attack/bim_l2.yaml",
        """\
_schema_:
  stop_at_success: {enum: [false]}
  step_size: {exclusiveMinimum: 0, type: [number, "null"]}
  steps: {type: integer, minimum: 1}
  norm: {enum: [l2]}
  epsilon: {type: number, exclusiveMinimum: 0}
_title_: BIM (L2)
step_size: null
stop_at_success: false
steps: 10
norm: l2
epsilon: 2.0
_target_: advdetect.attacks.bim.bim
""",
    )
    project.replace(
        TINY, "{train_count: 300, test_count: 120}", "{test_count: 120, train_count: 300}"
    )


def edit_two_attacks(project: Project) -> None:
    """One in its own YAML, the other in the experiment's."""
    project.replace("config/attack/bim_l2.yaml", "epsilon: 2.0", "epsilon: 2.5")
    project.replace(TINY, "fgsm: {epsilon: 0.4}", "fgsm: {epsilon: 0.5}")


def edit_the_code_of_two_features(project: Project) -> None:
    """The second has an auxiliary model and is a part of a union."""
    project.append(f"{PACKAGE}/features/max_probability.py", CODE)
    project.append(f"{PACKAGE}/features/kd.py", CODE)


def edit_the_page_of_the_report(project: Project) -> None:
    project.append(f"{PACKAGE}/report/templates/report.html.j2", "<!-- more -->\n")
    project.append(f"{PACKAGE}/report/templates/sort_tables.js", "// more\n")


def add_features(project: Project) -> None:
    """By themselves, from activations, with a model that is there or not, a part of a union."""
    text = "_target_: advdetect.features.kd.kd\n_fitted_by_: kd\n_activations_: true\n"
    project.write("config/feature/borrower.yaml", text)
    added = "[fisher_weights, energy, borrower, mid, bu, max_probability,"
    project.replace(TINY, "[max_probability,", added)


NOTHING: set[str] = set()
EDITS: dict[str, tuple[Callable[[Project], None], set[str]]] = {
    "what changes nothing": (edit_what_changes_nothing, NOTHING),
    "the parameters of two attacks": (
        edit_two_attacks,
        attack_files("bim_l2", "fgsm") | AFTER_ATTACKS,
    ),
    "an attack's code": (
        lambda project: project.append(f"{PACKAGE}/attacks/otcm.py", CODE),
        attack_files("otcm") | AFTER_ATTACKS,
    ),
    "code that all attacks share": (
        lambda project: project.append(f"{PACKAGE}/attacks/gradient.py", CODE),
        attack_files(*ATTACKS) | AFTER_ATTACKS,
    ),
    "the code of two features": (
        edit_the_code_of_two_features,
        {"fitted/kd"}
        | feature_files("max_probability", "kd")
        | detection_files("max_probability", "kd", "kd_bu"),
    ),
    "what is kept of the hidden layers": (
        lambda project: project.append(TINY, "activations: {max_width: 64}\n"),
        {"fitted/kd"}
        | feature_files(*FROM_ACTIVATIONS)
        | detection_files(*FROM_ACTIVATIONS, "kd_bu"),
    ),
    "the code that collects activations": (
        lambda project: project.append(f"{PACKAGE}/models/activations.py", CODE),
        {"fitted/kd", "figure_spectra"} | feature_files(*COMPUTED) | detection_files(*FEATURES),
    ),
    "a detector's parameter": (
        lambda project: project.replace(TINY, "trees: 5", "trees: 6"),
        detection_files(*FEATURES),
    ),
    "a detector's code": (
        lambda project: project.append(f"{PACKAGE}/detectors/random_forest.py", CODE),
        detection_files(*FEATURES),
    ),
    "the model's code": (
        lambda project: project.append(f"{PACKAGE}/models/small_cnn.py", CODE),
        {"model", "clean", "fitted/kd", "figure_training"}
        | feature_files(*COMPUTED)
        | attack_files(*ATTACKED)
        | AFTER_ATTACKS,
    ),
    "the page of the report": (edit_the_page_of_the_report, {"report"}),
    "an added attack": (
        lambda project: project.replace(TINY, "[fgsm, otcm,", "[fgm, fgsm, otcm,"),
        attack_files("fgm") | AFTER_ATTACKS,
    ),
    "an attack that is left out": (
        lambda project: project.replace(TINY, "[fgsm, otcm,", "[otcm,"),
        AFTER_ATTACKS,
    ),
    "added features": (
        add_features,
        {f"sensitivity/{attack}" for attack in ATTACKS}
        | {"figure_sensitivity", "fitted/magnet"}
        | feature_files("fisher_weights", "energy", "borrower", "mid")
        | detection_files("fisher_weights", "energy", "borrower", "mid", "bu"),
    ),
    "an added seed": (
        lambda project: project.replace(TINY, "seeds: [0]", "seeds: [0, 1]"),
        {
            f"small_cnn-seed1/{name}"
            for name in (
                {"model", "clean", "fitted/kd"}
                | feature_files(*COMPUTED)
                | attack_files(*ATTACKED)
                | score_files(*FEATURES)
            )
        }
        # The gallery shows the first seed only.
        | (PUBLISHED - {"figure_gallery"}),
    ),
    # Snakemake makes it again as soon as something needs it.
    "a file between the stages that is deleted": (
        lambda project: project.file("attacks/otcm").unlink(),
        NOTHING,
    ),
}


@pytest.mark.parametrize("change", EDITS)
def test_a_change_makes_stale_what_follows_from_it(finished, change):
    edit, expected = EDITS[change]
    edit(finished)
    assert finished.plan() == expected


def test_how_it_is_computed_makes_nothing_stale(first_run):
    assert first_run[0].plan(config=["device=auto", "threads=2", "batch_size=32"]) == set()
