"""An experiment grows: an added attack leaves everything that was there as it was."""

import hashlib
import shutil
from collections.abc import Iterable
from io import BytesIO

import pandas as pd
import pytest
import yaml
from snakemake_project import ATTACKS, Project, plain_name

pytestmark = pytest.mark.integration

KEY = [
    *("run", "feature", "detector", "trained_on", "tested_on"),
    *("bits", "positives", "metric", "seed"),
]


def read_metrics(content: bytes) -> pd.DataFrame:
    """Read metrics as text, every digit."""
    return pd.read_csv(BytesIO(content), dtype=str, keep_default_na=False).set_index(KEY)


@pytest.mark.long
def test_an_added_attack_changes_no_existing_file_and_no_existing_cell(finished):
    before = finished.state()
    finished.replace("config/experiment/tiny.yaml", "[fgsm, otcm,", "[fgsm, fgm, otcm,")
    file, control = "tiny/metrics/kd_bu.csv", "tiny/control/kd_bu.csv"
    finished.run(f"results/{file}")
    after = finished.state()

    added = {"attacks/fgm", "features/fgm/kd", "features/fgm/bu", "scores/kd_bu"}
    # What depends on all attacks has another key.
    added |= {f"detectors/kd_bu/{part}" for part in ("fitted", "split", "thresholds")}
    assert stored(after.keys() - before.keys()) == added
    gone = before.keys() - after.keys()
    assert all("/.stamps/metrics_" in name for name in gone)
    changed = {name for name in before.keys() - gone if after[name] != before[name]}
    assert changed == {file, control}  # one job makes both
    assert after[control][0] == before[control][0]

    old, new = read_metrics(before[file][0]), read_metrics(after[file][0])
    assert set(new.index.get_level_values("tested_on")) == {*ATTACKS, "fgm"}
    trained_on = set(new.index.get_level_values("trained_on"))
    assert trained_on == {*ATTACKS, "fgm", "others", "clean"}
    # All attacks but one are other attacks now.
    old = old.drop("others", level="trained_on")
    # The random scores are drawn row by row over all attacks, so this control alone may change.
    old = old.drop("random_scores", level="detector")
    pd.testing.assert_frame_equal(new.loc[old.index], old)


def stored(paths: Iterable[str]) -> set[str]:
    """Return the names of files of the store without keys, of paths below the results."""
    return {plain_name(path[6:]) for path in paths if path.startswith("store/")}


def fitted(project: Project) -> dict[str, str]:
    """Return the checksum of every auxiliary model."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for name, file in project.files().items()
        if name.startswith("fitted/")
    }


@pytest.mark.long
def test_every_auxiliary_model_is_the_same_file_whichever_attack_is_evaluated(finished, tmp_path):
    """Of each feature that has one; nothing of an attack may be in it."""
    specs = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((finished.folder / "config" / "feature").glob("*.yaml"))
    }
    names = [name for name, spec in specs.items() if "_fit_" in spec]
    assert {"kd", "lid", "magnet"} < set(names)

    def config(*attacks: str) -> list[str]:
        overrides = "feature.magnet.epochs=1 evaluation.main_feature=kd"
        chosen = [f"attacks=[{','.join(attacks)}]", f"features=[{','.join(names)}]"]
        return [*chosen, f"overrides={overrides}"]

    shutil.rmtree(finished.file("fitted/kd").parent)
    other = finished.copy(tmp_path / "other")
    for project, attack in ((finished, "otcm"), (other, "fgm")):
        planned = project.outputs("--forceall", config=config(attack))
        models = [planned[f"fitted/{name}"] for name in names]
        project.run(*models, config=config(attack))
    assert {plain_name(name) for name in fitted(finished)} == set(names)
    assert fitted(other) == fitted(finished)

    before = finished.state()
    planned = finished.outputs("--forceall", config=config("otcm", "fgm"))
    features = [planned[f"features/fgm/{name}"] for name in names]
    finished.run(*features, config=config("otcm", "fgm"))
    after = finished.state()
    assert {name: after[name] for name in before} == before
    added = {f"features/fgm/{name}" for name in names} | {"attacks/fgm"}
    assert stored(after.keys() - before.keys()) == added
