"""Classifiers of scikit-learn that answer labels only, against scikit-learn's own predictions."""

import pytest
import torch
import yaml
from sklearn.linear_model import LogisticRegression as ReferenceRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from advdetect.data import digits, mnist
from advdetect.errors import AdvdetectError
from advdetect.inference import to_float
from advdetect.models.guard import check_answers, guard
from advdetect.models.oracles import labels_only
from advdetect.models.oracles.decision_tree import DecisionTree
from advdetect.models.oracles.labels_only import CERTAIN, squared_distances
from advdetect.models.oracles.logistic_regression import LogisticRegression
from advdetect.models.oracles.nearest_neighbors import NearestNeighbors
from advdetect.models.oracles.svm import SVM
from advdetect.models.store import build_model, read_model, write_model

CPU = torch.device("cpu")
SEED = 5
# Each with the estimator of which it must have the answers.
ORACLES = {
    LogisticRegression: ReferenceRegression(max_iter=1000),
    SVM: SVC(),
    DecisionTree: DecisionTreeClassifier(random_state=SEED),
    NearestNeighbors: KNeighborsClassifier(),
}
every_oracle = pytest.mark.parametrize("oracle", ORACLES)


@pytest.fixture(scope="module")
def splits():
    return digits.load(test_fraction=0.4, split_seed=0)


@pytest.fixture(scope="module")
def fitted(splits):
    """Each oracle, fitted to the digits."""
    models = {}
    for oracle in ORACLES:
        models[oracle] = guard(oracle().eval())
        models[oracle].fit(splits["train"].images, splits["train"].labels, seed=SEED)
    return models


def answers_of_scikit_learn(oracle, images, labels, tested):
    """Return the predictions for float images, which scikit-learn gets as float64."""
    estimator = ORACLES[oracle].fit(to_float(images).double().flatten(1), labels)
    return torch.from_numpy(estimator.predict(tested.double().flatten(1)))


@every_oracle
def test_every_answer_is_that_of_scikit_learn(fitted, splits, oracle):
    """On all test images, as they are and with pixels that no file of 8 bits has."""
    train, clean = splits["train"], to_float(splits["test"].images)
    noise = torch.rand(clean.shape, generator=torch.Generator().manual_seed(0))
    tested = torch.cat([clean, 0.7 * clean + 0.3 * noise])
    expected = answers_of_scikit_learn(oracle, train.images, train.labels, tested)
    assert torch.equal(fitted[oracle](tested).argmax(1), expected)
    assert (fitted[oracle](clean).argmax(1) == splits["test"].labels).double().mean() > 0.8


@every_oracle
@pytest.mark.parametrize("kept", [[3, 8], [1, 4, 9]])
def test_classes_without_training_images_are_never_answered(splits, oracle, kept):
    """Of two classes scikit-learn keeps its weights otherwise."""
    train, test = splits["train"], splits["test"]
    rows = torch.isin(train.labels, torch.tensor(kept))
    model = oracle().eval()
    model.fit(train.images[rows], train.labels[rows], seed=SEED)
    tested = to_float(test.images)
    expected = answers_of_scikit_learn(oracle, train.images[rows], train.labels[rows], tested)
    assert torch.equal(model(tested).argmax(1), expected)
    assert set(expected.tolist()) == set(kept)


@every_oracle
def test_on_mnist_too(mnist_root, oracle):
    data = mnist.load(root=str(mnist_root))
    images, labels = data["train"].images[:500], data["train"].labels[:500]
    tested = to_float(data["test"].images[:1000])
    model = oracle().eval()
    model.fit(images, labels, seed=SEED)
    expected = answers_of_scikit_learn(oracle, images, labels, tested)
    assert torch.equal(model(tested).argmax(1), expected)


@every_oracle
def test_the_answer_carries_the_label_alone(fitted, splits, oracle):
    images = to_float(splits["test"].images[:50])
    logits = fitted[oracle](images)
    assert logits.dtype == torch.float32
    assert logits.shape == (50, 10)
    assert torch.equal(logits.sort(1).values[:, :-1], torch.zeros(50, 9))
    assert torch.equal(logits.amax(1), torch.full((50,), CERTAIN))
    assert torch.equal(logits.softmax(1).amax(1), torch.ones(50))
    check_answers(fitted[oracle], images[:16], 10)


@every_oracle
def test_who_asks_for_a_gradient_is_refused(fitted, splits, oracle):
    images = to_float(splits["test"].images[:2]).requires_grad_()
    with pytest.raises(AdvdetectError, match="answers labels only and has no gradient: craft the"):
        fitted[oracle](images)
    with torch.no_grad():
        fitted[oracle](images)


@every_oracle
def test_how_many_images_come_at_a_time_changes_nothing(fitted, splits, oracle, monkeypatch):
    images = to_float(splits["test"].images[:200])
    expected = fitted[oracle](images)
    seen = []
    labels = oracle.labels
    monkeypatch.setattr(oracle, "at_a_time", lambda self: 7)
    monkeypatch.setattr(
        oracle, "labels", lambda self, part: seen.append(len(part)) or labels(self, part)
    )
    monkeypatch.setattr(labels_only, "_REFERENCES", 64 * 11)
    assert torch.equal(fitted[oracle](images), expected)
    assert seen == [7] * 28 + [4]


def test_memory_is_bounded_by_what_is_compared_with():
    model = NearestNeighbors()
    model.images.data = torch.zeros(60_000, 1, dtype=torch.uint8)
    assert 200 < model.at_a_time() < 300  # 2**24 distances
    model.images.data = torch.zeros(2**25, 1, dtype=torch.uint8)
    assert model.at_a_time() == 1


def test_squared_distances_are_those_of_every_pair():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(5, 12, generator=generator)
    references = torch.randint(0, 256, (9, 12), dtype=torch.uint8, generator=generator)
    expected = torch.cdist(
        images.double(),
        to_float(references).double(),
        compute_mode="donot_use_mm_for_euclid_dist",
    )
    torch.testing.assert_close(squared_distances(images, references).sqrt(), expected)


@every_oracle
def test_an_oracle_is_kept_and_read_like_every_model(fitted, splits, oracle, tmp_path):
    """Its sizes are those of the file; there is nothing in it but tensors."""
    path, target = tmp_path / "model.safetensors", f"{oracle.__module__}.{oracle.__name__}"
    write_model(path, fitted[oracle], target, {"num_classes": 10}, {"step": "train"})
    read = read_model(path, {"_target_": target, "arguments": {"num_classes": 10}}, CPU)
    tensors = read.state_dict()
    assert tensors.keys() == fitted[oracle].state_dict().keys()
    for name, values in fitted[oracle].state_dict().items():
        assert torch.equal(tensors[name], values)
        assert tensors[name].dtype == values.dtype
    images = to_float(splits["test"].images)
    assert torch.equal(read(images), fitted[oracle](images))
    assert not any(parameter.requires_grad for parameter in read.parameters())


@every_oracle
def test_fitting_twice_gives_the_same_bits(fitted, splits, oracle):
    again = oracle()
    again.fit(splits["train"].images, splits["train"].labels, seed=SEED)
    expected = fitted[oracle].state_dict()
    assert all(torch.equal(values, expected[name]) for name, values in again.state_dict().items())


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("sk_logistic_regression", {"inverse_regularization": 0.01}),
        ("svm", {"gamma": 0.2}),
        ("svm", {"inverse_regularization": 0.01}),
        ("decision_tree", {"max_depth": 3}),
        ("nearest_neighbors", {"neighbours": 50}),
    ],
)
def test_the_yaml_is_that_of_the_class_and_its_settings_matter(splits, repository, name, changed):
    spec = yaml.safe_load((repository / f"config/model/{name}.yaml").read_text())
    assert spec["_labels_only_"] is True
    answers = []
    for arguments in (spec["arguments"], spec["arguments"] | changed):
        model = build_model(spec["_target_"], arguments | {"num_classes": 10})
        assert model.labels_only
        model.fit(splits["train"].images, splits["train"].labels, seed=SEED)
        answers.append(model(to_float(splits["test"].images)).argmax(1))
    assert not torch.equal(*answers)
