import json
from dataclasses import asdict
from pathlib import Path

import pytest

from advdetect.evaluation.timings import stage_timings
from advdetect.usage import Usage


def test_jobs_are_added_up_by_stage(tmp_path: Path) -> None:
    jobs = [
        ("train", "x", Usage(8.0, 9.0, 20.0, 300.0, True)),
        ("attack", "a/fgsm", Usage(1.0, 3.0, 2.5, 450.0, True)),
        ("attack", "b/fgsm", Usage(0.5, 2.5, 2.0, 500.0, True)),
        ("attack", "c/fgsm", Usage(7.0, 7.0, 7.0, 700.0, False)),
    ]
    for stage, name, usage in jobs:
        path = tmp_path / stage / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(usage)))
        path.with_suffix(".log").write_text("what it said")
    table = stage_timings(tmp_path).set_index("stage")
    assert table.loc["attack"].to_dict() == pytest.approx(
        {
            **{"jobs": 2, "seconds": 5.5, "method_seconds": 1.5, "start_up_seconds": 4.0},
            **{"cpu_seconds": 4.5, "peak_mb": 500.0},
        }
    )
    assert table.loc["train", "jobs"] == 1
    assert list(table.index) == ["attack", "train"]


def test_a_run_without_measurements_has_no_stages(tmp_path: Path) -> None:
    assert stage_timings(tmp_path).empty
