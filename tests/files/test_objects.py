import json

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from advdetect.files.objects import decode, encode


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), KNeighborsClassifier(n_neighbors=3)),
        make_pipeline(FunctionTransformer(np.abs), SVC()),
        GradientBoostingClassifier(n_estimators=3, random_state=np.random.RandomState(0)),
    ],
)
def test_estimators_of_scikit_learn_say_the_same(estimator):
    generator = np.random.default_rng(0)
    features = pd.DataFrame(generator.normal(size=(60, 2)), columns=["x", "y"])
    estimator.fit(features, features["x"] > generator.normal(size=60))
    again = decode(*encode(estimator))
    say = "decision_function" if hasattr(estimator, "decision_function") else "predict_proba"
    np.testing.assert_array_equal(getattr(again, say)(features), getattr(estimator, say)(features))


def test_values_keep_their_types_and_their_order_in_memory():
    by_columns = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    records = np.array([(1, 2.5)], dtype=[("a", "i1"), ("b", "f8")])
    value = {1: (by_columns, records, np.float32(0.1)), "x": [None, np.inf, np.empty((0, 2))]}
    again = decode(*encode(value))
    assert again[1][0].flags.f_contiguous
    assert not again[1][0].flags.c_contiguous
    np.testing.assert_array_equal(again[1][0], by_columns)
    assert again[1][1].dtype == records.dtype
    assert again[1][1].tolist() == records.tolist()
    assert type(again[1][2]) is np.float32
    assert again["x"][:2] == [None, np.inf]
    assert again["x"][2].shape == (0, 2)


@pytest.mark.parametrize(
    "make",
    [
        "os:system",
        "builtins:eval",
        "advdetect.io:write_text",
        "sklearn.datasets._base:shutil.rmtree",
        "advdetect.errors:Path",  # a class, of another module
    ],
)
def test_a_file_can_call_nothing_but_what_makes_objects(make, tmp_path):
    path = str(tmp_path / "written")
    call = {"type": "object", "make": make, "arguments": [path, "x"]}
    with pytest.raises(TypeError, match=make):
        decode(json.dumps(call | {"state": None, "items": [], "pairs": []}), b"")
    assert not list(tmp_path.iterdir())


def test_what_would_not_be_read_back_is_not_written():
    with pytest.raises(TypeError, match="it holds pathlib:"):
        encode({"path": __import__("pathlib").Path("x")})
    itself: list = []
    itself.append(itself)
    with pytest.raises(TypeError, match="holds itself"):
        encode(itself)
