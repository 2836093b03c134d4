from dataclasses import asdict
from pathlib import Path

import pytest

from advdetect.files.texts import write_json
from advdetect.report.timings import stage_timings
from advdetect.usage import Usage


def test_jobs_are_added_up_by_stage(tmp_path: Path) -> None:
    jobs = [
        Usage("train", 8.0, 9.0, 20.0, 300.0, True),
        Usage("attack", 1.0, 3.0, 2.5, 450.0, True),
        Usage("attack", 0.5, 2.5, 2.0, 500.0, True),
        Usage("attack", 7.0, 7.0, 7.0, 700.0, False),
    ]
    for number, usage in enumerate(jobs):
        write_json(tmp_path / f"{number}.json", asdict(usage))
    table = stage_timings(tmp_path.iterdir()).set_index("stage")
    assert table.loc["attack"].to_dict() == pytest.approx(
        {
            **{"jobs": 2, "seconds": 5.5, "method_seconds": 1.5, "start_up_seconds": 4.0},
            **{"cpu_seconds": 4.5, "peak_mb": 500.0},
        }
    )
    assert table.loc["train", "jobs"] == 1
    assert list(table.index) == ["attack", "train"]


def test_a_run_without_measurements_has_no_stages() -> None:
    assert stage_timings([]).empty
