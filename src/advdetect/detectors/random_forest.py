"""Random forest (Zhao et al. 2019, section 4: depth at most 5, more than 20 trees)."""

from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def random_forest(*, seed: int, trees: int, max_depth: int) -> Pipeline:
    """Make the detector; the scaler is fitted with it, on the training part only."""
    return make_pipeline(
        StandardScaler(),
        RandomForestClassifier(n_estimators=trees, max_depth=max_depth, random_state=seed),
    )
