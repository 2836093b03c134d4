from dataclasses import replace
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from advdetect.detectors.controls import RandomScores, random_scores, true_labels
from advdetect.detectors.estimator import Detector, decision_scores
from advdetect.detectors.fitting import fit_detectors, split_sources
from advdetect.detectors.gaussian import gaussian
from advdetect.detectors.images import AttackedImages
from advdetect.detectors.naive_bayes import naive_bayes
from advdetect.detectors.random_forest import Forest
from advdetect.detectors.scoring import score_attacks
from advdetect.detectors.threshold import threshold
from advdetect.errors import AdvdetectError
from advdetect.files.detector import read_detectors, write_detectors
from advdetect.files.scores import read_cells, write_scores
from advdetect.imports import locate

KEYS = ["detector", "trained_on", "tested_on", "bits", "positives"]
UNSUPERVISED = ["gaussian", "isolation_forest", "one_class_svm", "threshold"]


def images(generator, count, shift):
    """Images of an attack that moves both features by ``shift``; it succeeds on every third."""
    index = np.arange(count)
    table = lambda move: pd.DataFrame(  # noqa: E731
        generator.normal(move, 1, (count, 2)), columns=["x", "y"], index=index
    )
    success = pd.DataFrame({"float32": index % 3 == 0, "8bit": index % 6 == 0}, index=index)
    kinds = {"noisy": 0, "adversarial": shift, "noisy_8bit": 0, "adversarial_8bit": shift}
    return AttackedImages({kind: table(move) for kind, move in kinds.items()}, success)


def make_world():
    """Clean images, attacks, and the images to fit and to test on."""
    generator = np.random.default_rng(0)
    clean = pd.DataFrame(generator.normal(0, 1, (200, 2)), columns=["x", "y"], index=np.arange(200))
    attacks = {"weak": images(generator, 200, 0.5), "strong": images(generator, 200, 3.0)}
    return clean, attacks, *split_sources(np.arange(200), 0.5, 0)


@pytest.fixture
def world():
    """Tables of its own, since tests change them."""
    return make_world()


@pytest.fixture(scope="module")
def world_scores(repository):
    """What every detector says of the world."""
    clean, attacks, fitting, testing = make_world()
    return cross_attack_scores(clean, attacks, every_detector(repository), fitting, testing)


def cross_attack_scores(clean, attacks, detectors, fitting, testing, control=None):
    """Fit, score, write and read."""
    fitted = fit_detectors(clean, attacks, detectors, fitting, control)
    with TemporaryDirectory() as folder:
        path = f"{folder}/scores.parquet"
        with write_scores(path, {}) as append:
            for part in score_attacks(clean, attacks, detectors, fitted, testing, control):
                append(part)
        return read_cells(path)


def every_detector(repository):
    detectors = {}
    for path in sorted((repository / "config" / "detector").glob("*.yaml")):
        spec = yaml.safe_load(path.read_text())
        extra = {"score": {"column": "x", "adversarial": "high"}} if "_needs_score_" in spec else {}
        parameters = {key: value for key, value in spec.items() if not key.startswith("_")}
        parameters |= {"trees": 10} if "trees" in parameters else {}
        make = locate(spec["_target_"])
        detectors[path.stem] = Detector(
            lambda make=make, values=parameters | extra: make(seed=1, **values),
            sees_labels=spec.get("_sees_labels_", False),
            unsupervised=spec.get("_unsupervised_", False),
        )
    return detectors


def test_split_keeps_all_images_once():
    fitting, testing = split_sources(np.arange(10, 31), 0.4, 3)
    assert not fitting & testing
    assert fitting | testing == set(range(10, 31))
    assert len(fitting) == 8
    assert split_sources(np.arange(10, 31), 0.4, 3) == (fitting, testing)
    assert split_sources(np.arange(10, 31), 0.4, 4) != (fitting, testing)


def test_too_few_images_to_split():
    with pytest.raises(AdvdetectError, match=r"1 clean-correct images cannot be split"):
        split_sources(np.arange(1), 0.5, 0)


def test_rows_are_those_of_the_protocol(world, world_scores):
    testing, scores = world[3], world_scores
    assert set(scores["index"]) == testing
    # Five trained on each of two attacks, four on clean images, in four forms; in one of these the
    # five are also trained on all attacks but one.
    assert scores.groupby(KEYS, observed=True).ngroups == (5 * 2 * 2 + 4 * 2) * 4 + 5 * 2
    counts = scores.groupby([*KEYS, "kind"], observed=True).size()
    assert (counts.xs("clean", level="kind") == 100).all()
    assert (counts.xs("noisy", level="kind") == 100).all()
    adversarial = counts.xs("adversarial", level="kind").groupby(["bits", "positives"]).unique()
    assert adversarial["float32", "all"] == [100]
    assert adversarial["float32", "successful"] == [sum(i % 3 == 0 for i in testing)]
    assert adversarial["8bit", "successful"] == [sum(i % 6 == 0 for i in testing)]
    assert not scores["score"].isna().any()


def test_controls_bound_every_cell(world_scores):
    areas = world_scores.groupby(KEYS, observed=True)[["kind", "score"]].apply(
        lambda cell: roc_auc_score(cell["kind"] == "adversarial", cell["score"])
    )
    assert (areas.xs("true_labels") == 1).all()
    assert abs(areas.xs("random_scores").mean() - 0.5) < 0.1
    supervised = ("logistic_regression", "naive_bayes", "random_forest")
    for name in (*supervised, *UNSUPERVISED):
        strong, weak = (
            areas.xs((name, "clean" if name in UNSUPERVISED else attack, attack))
            for attack in ("strong", "weak")
        )
        assert (strong > 0.9).all(), name
        assert (weak < 0.85).all(), name


def test_leaving_one_of_two_attacks_out_is_training_on_the_other(world, repository):
    clean, attacks, fitting, testing = world
    detectors = every_detector(repository)
    del detectors["random_scores"]  # one stream over all rows
    scores = cross_attack_scores(clean, attacks, detectors, fitting, testing)
    keys = ["detector", "bits", "positives", "index", "kind"]
    supervised = scores[~scores["detector"].isin(UNSUPERVISED)]
    for tested, other in (("weak", "strong"), ("strong", "weak")):
        here = supervised[
            (supervised["tested_on"] == tested)
            & (supervised["bits"] == "float32")
            & (supervised["positives"] == "successful")
        ].astype({"trained_on": str})
        one, left_out = (
            here[here["trained_on"] == name].set_index(keys).sort_index()["score"]
            for name in (other, "others")
        )
        assert len(one) > 0
        pd.testing.assert_series_equal(one, left_out)


def test_one_attack_is_not_left_out(world, repository):
    clean, attacks, fitting, testing = world
    one = {"weak": attacks["weak"]}
    scores = cross_attack_scores(clean, one, every_detector(repository), fitting, testing)
    assert set(scores["trained_on"]) == {"weak", "clean"}


def test_the_attack_that_is_left_out_is_not_trained_on(world, repository):
    """Several, since of two the other is all that is left: each clean image counts once.

    Of what is nearest of two attacks, neither is another one.
    """
    clean, attacks, fitting, testing = world
    generator = np.random.default_rng(1)
    attacks["third"] = images(generator, 200, -2.0)
    of = frozenset({"weak", "third"})
    attacks["nearest"] = replace(images(generator, 200, 2.0), origins=of)
    names = list(attacks)
    others_of = {
        "weak": ["strong", "third"],
        "strong": ["weak", "third", "nearest"],
        "third": ["weak", "strong"],
        "nearest": ["strong"],
    }
    fits = []

    class Spy(RandomScores):
        def fit(self, features, is_adversarial):
            fits.append(features.assign(positive=is_adversarial))
            return super().fit(features, is_adversarial)

    detector = {"spy": Detector(lambda: Spy(0))}
    cross_attack_scores(clean, attacks, detector, fitting, testing)
    own, left_out = fits[:4], fits[4:8]  # float32, successful only
    rows = sorted(fitting)
    for name, found in zip(names, left_out, strict=True):
        others = [own[names.index(other)] for other in names if other in others_of[name]]
        expected = pd.concat(table[table["positive"]] for table in others)
        pd.testing.assert_frame_equal(
            found[found["positive"]].reset_index(drop=True), expected.reset_index(drop=True)
        )
        # Clean once, noisy of each.
        assert (~found["positive"]).sum() == len(rows) * (1 + len(others))


def test_unsupervised_detectors_see_clean_images_only(world, repository):
    """Whatever the attacks do, scores of clean images stay, and are those of the density."""
    clean, attacks, fitting, testing = world
    every = every_detector(repository)
    detectors = {name: every[name] for name in UNSUPERVISED}
    assert all(detector.unsupervised for detector in detectors.values())
    before = cross_attack_scores(clean, attacks, detectors, fitting, testing)
    for attack in attacks.values():
        for table in attack.features.values():
            table += 7
    after = cross_attack_scores(clean, attacks, detectors, fitting, testing)
    same = before["kind"] == "clean"
    pd.testing.assert_frame_equal(before[same], after[same])
    assert set(before["trained_on"]) == {"clean"}

    rows = clean.loc[sorted(fitting)]
    density = stats.multivariate_normal(rows.mean(), rows.cov(ddof=0))
    found = before[(before["detector"] == "gaussian") & same].drop_duplicates("index")
    expected = -density.logpdf(clean.loc[found["index"]])
    # The library scores scaled features, whose density differs by the scales.
    offset = np.log(rows.std(ddof=0)).sum()
    np.testing.assert_allclose(found["score"], expected - offset, rtol=1e-4)


def test_permuted_labels_are_not_detected(repository):
    """Features dealt anew to the images tell nothing, whichever detector looks at them."""
    generator = np.random.default_rng(5)
    count = 600
    index = np.arange(count)
    attack = images(generator, count, 3.0)
    attack.success[:] = True
    clean = pd.DataFrame(generator.normal(0, 1, (count, 2)), columns=["x", "y"], index=index)
    tables = [clean, *attack.features.values()]
    values = generator.permutation(np.concatenate([table.to_numpy() for table in tables]))
    clean, *changed = (
        pd.DataFrame(part, columns=["x", "y"], index=index)
        for part in np.split(values, len(tables))
    )
    dealt = AttackedImages(dict(zip(attack.features, changed, strict=True)), attack.success)
    detectors = every_detector(repository)
    del detectors["true_labels"]
    scores = cross_attack_scores(clean, {"dealt": dealt}, detectors, *split_sources(index, 0.5, 0))
    positive, negative = count / 2, count
    # Of the AUROC under the null hypothesis (Mann and Whitney 1947).
    deviation = np.sqrt((positive + negative + 1) / (12 * positive * negative))
    for key, cell in scores.groupby(KEYS, observed=True):
        area = roc_auc_score(cell["kind"] == "adversarial", cell["score"])
        assert abs(area - 0.5) < 4 * deviation, key


def test_an_unsupervised_detector_refuses_adversarial_images():
    detector = gaussian(seed=0, regularization=1e-6)
    with pytest.raises(ValueError, match="fitted on clean images only"):
        detector.fit(pd.DataFrame({"x": [0.0, 1.0]}), np.array([False, True]))


def test_nothing_of_the_testing_part_is_fitted_on(world, world_scores, repository):
    """Other values in the testing part change no score of an image that stays as it was."""
    clean, attacks, fitting, testing = world
    detectors, before = every_detector(repository), world_scores
    kept = sorted(testing)[0]
    changed = [index for index in sorted(testing) if index != kept]
    for attack in attacks.values():
        for table in attack.features.values():
            table.loc[changed] += 100
    clean.loc[changed] -= 100
    after = cross_attack_scores(clean, attacks, detectors, fitting, testing)
    same = before["index"] == kept
    pd.testing.assert_frame_equal(before[same], after[same])
    assert not before["score"].equals(after["score"])


def test_an_added_attack_leaves_every_other_cell_as_it_was(world, repository):
    clean, attacks, fitting, testing = world
    detectors = every_detector(repository)
    del detectors["random_scores"]  # one stream over all rows; its cells may change
    both = cross_attack_scores(clean, attacks, detectors, fitting, testing)
    one = cross_attack_scores(clean, {"weak": attacks["weak"]}, detectors, fitting, testing)
    kept = both[both["trained_on"].isin(["weak", "clean"]) & (both["tested_on"] == "weak")]
    pd.testing.assert_frame_equal(
        kept.reset_index(drop=True), one, check_categorical=False, check_dtype=False
    )


@pytest.mark.parametrize(
    ("alone", "bits"),
    [
        (True, "float32"),
        (False, "8bit"),
        pytest.param(True, "8bit", marks=pytest.mark.long),
        pytest.param(False, "float32", marks=pytest.mark.long),
    ],
)
def test_an_attack_without_success_has_no_scores_in_that_form(
    world, world_scores, repository, alone, bits
):
    """Supervised detectors trained on it have none; everything else is as if it succeeded."""
    clean, attacks, fitting, testing = world
    detectors, whole = every_detector(repository), world_scores
    if alone:
        attacks = {"weak": attacks["weak"]}
        whole = cross_attack_scores(clean, attacks, detectors, fitting, testing)
    attacks["weak"].success.loc[sorted(fitting), bits] = False
    scores = cross_attack_scores(clean, attacks, detectors, fitting, testing)
    here = (whole["bits"] == bits) & (whole["positives"] == "successful")
    empty = here & (whole["trained_on"] == "weak")
    # All but the strong one are the weak one, whose successes are gone.
    empty |= here & (whole["trained_on"] == "others") & (whole["tested_on"] == "strong")
    assert whole["score"].notna().all()
    assert scores["score"].isna().equals(empty)
    assert set(scores.loc[empty, "detector"]) == set(detectors) - set(UNSUPERVISED)
    rounded = " once rounded to 8 bits" if bits == "8bit" else ""
    reason = f"no successful adversarial image to fit on{rounded}"
    assert scores.loc[empty, "reason"].unique().tolist() == [reason]
    assert (scores.loc[~empty, "reason"] == "").all()
    rest = {"columns": ["score", "reason"]}
    pd.testing.assert_frame_equal(
        scores[~empty].drop(columns="reason"), whole[~empty].drop(columns="reason")
    )
    pd.testing.assert_frame_equal(scores.drop(**rest), whole.drop(**rest))


@pytest.mark.parametrize("kind", ["adversarial", "noisy_8bit"])
def test_a_feature_without_values_for_an_attack_empties_its_cells(
    world, world_scores, repository, kind
):
    clean, attacks, fitting, testing = world
    attacks["weak"].features[kind].iloc[7, 1] = np.inf
    detectors = every_detector(repository)
    scores = cross_attack_scores(clean, attacks, detectors, fitting, testing)
    here = world_scores["bits"] == ("8bit" if "8bit" in kind else "float32")
    is_weak = (world_scores["trained_on"] == "weak") | (world_scores["tested_on"] == "weak")
    empty = here & is_weak
    # All but the strong one are the weak one.
    alone = here & (world_scores["trained_on"] == "others")
    empty |= alone & (world_scores["tested_on"] == "strong")
    assert scores["score"].isna().equals(empty)
    reason = "the feature has no finite value for 1 of 400 images"
    assert set(scores.loc[empty & ~alone, "reason"]) == {reason}
    assert (scores.loc[~empty, "reason"] == "").all()
    kept = ~empty & (scores["detector"] != "random_scores")  # one stream over all rows
    pd.testing.assert_series_equal(scores.loc[kept, "score"], world_scores.loc[kept, "score"])


def test_detectors_that_go_through_a_file_say_the_same(world, world_scores, repository, tmp_path):
    clean, attacks, fitting, testing = world
    detectors = every_detector(repository)
    with write_detectors(tmp_path / "detectors.parquet", {}, ()) as append:
        for fitted in fit_detectors(clean, attacks, detectors, fitting):
            append(fitted)
    kept = read_detectors(tmp_path / "detectors.parquet", ())
    with write_scores(tmp_path / "scores.parquet", {}) as append:
        for part in score_attacks(clean, attacks, detectors, kept, testing):
            append(part)
    pd.testing.assert_frame_equal(read_cells(tmp_path / "scores.parquet"), world_scores)


def test_thresholds_hold_the_false_positive_rate_among_what_was_fitted_on(world):
    """Against the negatives counted by hand, with a threshold detector whose score is x."""
    clean, attacks, fitting, _ = world
    score = {"column": "x", "adversarial": "high"}
    detectors = {
        "threshold": Detector(lambda: threshold(seed=0, score=score)),
        "gaussian": Detector(lambda: gaussian(seed=0, regularization=1e-6), unsupervised=True),
    }
    every = {
        (f.detector, f.trained_on, f.left_out, f.bits, f.positives): f
        for f in fit_detectors(clean, attacks, detectors, fitting)
    }
    rows = sorted(fitting)
    for bits, kind in {"float32": "noisy", "8bit": "noisy_8bit"}.items():
        noisy = [attack.features[kind].loc[rows, "x"] for attack in attacks.values()]
        own = [*clean.loc[rows, "x"], *noisy[0]]
        found = every["threshold", "weak", "", bits, "all"].thresholds
        assert set(found) == {(bits, 0.01), (bits, 0.05)}
        for (_, rate), value in found.items():
            above = np.sum(np.array(own) > value)
            assert above <= rate * len(own) < above + 1
        unsupervised = every["gaussian", "clean", "", "", ""]
        tables = [clean, *(attack.features[kind] for attack in attacks.values())]
        negatives = pd.concat([table.loc[rows] for table in tables])
        above = unsupervised.estimator.decision_function(negatives)
        above = (above > unsupervised.thresholds[bits, 0.05]).sum()
        assert above == 0.05 * len(negatives) == 15


def test_an_attack_whose_every_rounded_image_fails_has_no_positives_to_score_either(
    world, repository
):
    clean, attacks, fitting, testing = world
    attacks["weak"].success["8bit"] = False
    scores = cross_attack_scores(clean, attacks, every_detector(repository), fitting, testing)
    rows = scores[(scores["bits"] == "8bit") & (scores["positives"] == "successful")]
    kinds = rows.groupby("tested_on", observed=True)["kind"].agg(set).to_dict()
    assert kinds == {"weak": {"clean", "noisy"}, "strong": {"clean", "noisy", "adversarial"}}
    assert rows["score"].isna().equals(rows["trained_on"] == "weak")


def test_a_score_that_is_no_number_is_refused(world):
    class Broken(RandomScores):
        def decision_function(self, features):
            return np.full(len(features), np.nan)

    with pytest.raises(AdvdetectError, match="detector mine, trained on weak, returned scores"):
        cross_attack_scores(world[0], world[1], {"mine": Detector(lambda: Broken(0))}, *world[2:])


def test_naive_bayes_ranks_images_whose_probabilities_are_one():
    """Against the log-odds of two normal distributions, written out in float64."""
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"x": np.concatenate([generator.normal(0, 1, 50), 90 + np.arange(50)])})
    detector = naive_bayes(seed=0, variance_smoothing=0.0).fit(table, np.arange(100) >= 50)
    assert len(np.unique(detector.predict_proba(table)[50:, 1])) == 1
    groups = table["x"][:50], table["x"][50:]
    densities = [stats.norm(group.mean(), group.std(ddof=0)).logpdf(table["x"]) for group in groups]
    np.testing.assert_allclose(
        decision_scores(detector, table), densities[1] - densities[0], rtol=1e-9
    )


def test_threshold_follows_the_direction_of_the_paper():
    table = pd.DataFrame({"x": [1.0, 3.0, 2.0], "y": [0.0, 0.0, 0.0]})
    for direction, expected in (("high", [1, 3, 2]), ("low", [-1, -3, -2])):
        detector = threshold(seed=0, score={"column": "x", "adversarial": direction})
        scores = detector.fit(table, np.array([0, 1, 0])).decision_function(table)
        np.testing.assert_array_equal(scores, expected)


def test_controls_without_a_fit_do_not_depend_on_the_features():
    table = pd.DataFrame({"x": [1.0, 2.0], "is_adversarial": [True, False]})
    labels = np.array([True, False])
    oracle = true_labels(seed=0).fit(table, labels)
    np.testing.assert_array_equal(oracle.decision_function(table), [1, 0])
    chance = random_scores(seed=0).fit(table, labels)
    np.testing.assert_array_equal(
        chance.decision_function(table), chance.decision_function(table * 2)
    )


@pytest.mark.parametrize("width", [1, 4])
def test_the_forest_is_that_of_scikit_learn_to_the_last_bit(width):
    generator = np.random.default_rng(width)
    features = pd.DataFrame(generator.normal(size=(300, width))).round(1)  # with ties
    labels = generator.random(300) < 0.3
    labels[features[0] > 0.5] = True
    mine = Forest(trees=30, max_depth=5, random_state=11).fit(features, labels)
    theirs = RandomForestClassifier(n_estimators=30, max_depth=5, random_state=11)
    theirs.fit(features, labels)
    unseen = pd.DataFrame(generator.normal(size=(500, width)))
    np.testing.assert_array_equal(mine.predict_proba(unseen), theirs.predict_proba(unseen))
    np.testing.assert_array_equal(mine.predict(unseen), theirs.predict(unseen))


def control_of(values):
    """Return what took the path of an attack, as the steps hand it on."""
    none, success = values.head(0), pd.DataFrame(True, values.index, ["float32", "8bit"])
    kinds = {"noisy": none, "noisy_8bit": none, "adversarial_8bit": none}
    return AttackedImages({"adversarial": values, **kinds}, success)


def scores_with_control(repository, world, values):
    clean, attacks, *split = world
    detectors, control = every_detector(repository), control_of(values)
    scores = cross_attack_scores(clean, attacks, detectors, *split, control)
    is_control = scores["tested_on"] == "unchanged"
    return {True: scores[is_control], False: scores[~is_control]}


def test_the_control_is_detected_as_it_was_meant_to_be_and_changes_no_other_score(
    repository, world, world_scores
):
    parts = scores_with_control(repository, world, world[0].copy())
    columns = [*KEYS, "index", "kind", "score"]
    others = parts[False].sort_values(columns)[columns].astype(object).reset_index(drop=True)
    before = world_scores.sort_values(columns)[columns].astype(object).reset_index(drop=True)
    pd.testing.assert_frame_equal(others, before)
    cells = parts[True].groupby(KEYS, observed=True)
    assert cells.size().eq(2 * 100).all()  # the testing half, clean and as adversarial
    found = {key[:2] for key in cells.groups}
    supervised = {
        "logistic_regression",
        "naive_bayes",
        "random_forest",
        "random_scores",
    }
    assert found == {
        *((name, "unchanged") for name in supervised), *((name, "clean") for name in UNSUPERVISED)
    }  # fmt: skip
    assert {key[3:] for key in cells.groups} == {("float32", "successful")}


def test_the_control_is_at_chance_where_values_are_the_same_and_found_where_they_are_not(
    repository, world
):
    for moved, expected in ((0.0, lambda auroc: auroc == 0.5), (3.0, lambda auroc: auroc > 0.9)):
        control = scores_with_control(repository, world, world[0] + moved)[True]
        for detector, rows in control.groupby("detector", observed=True):
            auroc = roc_auc_score(rows["kind"] == "adversarial", rows["score"])
            assert expected(auroc) or detector == "random_scores", (detector, moved)
