import json
from pathlib import Path

import pytest

from advdetect.evaluation.timings import stage_timings


def test_jobs_are_added_up_by_stage(tmp_path: Path) -> None:
    jobs = [
        ("attack", "a/fgsm", 3.0, 1.0),
        ("attack", "b/fgsm", 2.5, 0.5),
        ("train", "x", 9.0, 8.0),
    ]
    for stage, name, seconds, method in jobs:
        benchmark = tmp_path / "benchmarks" / stage / f"{name}.tsv"
        log = tmp_path / "logs" / stage / f"{name}.json"
        for path in (benchmark, log):
            path.parent.mkdir(parents=True, exist_ok=True)
        benchmark.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:03\t-\n")
        log.write_text(json.dumps({"method_s": method}))
    unfinished = tmp_path / "benchmarks" / "attack" / "c.tsv"
    unfinished.write_text("s\th:m:s\n1.0\t0:00:01\n")
    table = stage_timings(tmp_path / "benchmarks", tmp_path / "logs").set_index("stage")
    assert table.loc["attack"].to_dict() == pytest.approx(
        {"jobs": 2, "seconds": 5.5, "method_seconds": 1.5, "start_up_seconds": 4.0}
    )
    assert table.loc["train", "jobs"] == 1
    assert len(table) == 2
