"""An experiment grows: an added attack leaves everything that was there as it was."""

from io import BytesIO

import pandas as pd
import pytest
from snakemake_project import ATTACKS

pytestmark = pytest.mark.integration

KEY = ["feature", "detector", "trained_on", "tested_on", "bits", "positives", "metric", "seed"]


def read_metrics(content: bytes) -> pd.DataFrame:
    """Read metrics as text, every digit."""
    return pd.read_csv(BytesIO(content), dtype=str, keep_default_na=False).set_index(KEY)


def test_an_added_attack_changes_no_existing_file_and_no_existing_cell(finished):
    before = finished.state()
    finished.replace("config/experiment/tiny.yaml", "[fgsm, otcm,", "[fgsm, fgm, otcm,")
    names = ("max_probability", "kd_bu")
    finished.run(*(f"results/tiny/metrics/{name}.csv" for name in names))
    after = finished.state()

    run = "digits/small_cnn/seed0"
    added = {f"{run}/attacks/fgm.safetensors"}
    added |= {f"{run}/features/fgm/{part}.parquet" for part in ("max_probability", "kd", "bu")}
    assert after.keys() - before.keys() == added
    made_anew = {f"{run}/scores/{name}.parquet" for name in names}
    made_anew |= {f"metrics/{name}.csv" for name in names}
    assert {name for name in before if after[name] != before[name]} == made_anew

    for name in names:
        file = f"metrics/{name}.csv"
        old, new = read_metrics(before[file][0]), read_metrics(after[file][0])
        assert set(new.index.get_level_values("tested_on")) == {*ATTACKS, "fgm"}
        # The random scores are drawn row by row over all attacks, so this control alone may change.
        old = old.drop("random_scores", level="detector")
        pd.testing.assert_frame_equal(new.loc[old.index], old)
