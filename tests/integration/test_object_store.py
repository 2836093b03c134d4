"""A run whose files lie in an object store: in S3, by a server of moto in this process."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from snakemake_project import Project, plain_name

from advdetect.files.texts import read_json

pytestmark = pytest.mark.integration

#: A part of the tiny experiment, whose files of the store are the same.
CHOSEN = [
    *("attacks=[fgsm]", "features=[max_probability]", "detectors=[random_forest]"),
    "figures=[gallery]",
]
JOBS = {
    **dict.fromkeys(("prepare-data", "attack"), 2),
    **dict.fromkeys(("train", "classify", "fit-detectors", "score"), 1),
    "feature": 3,
    **dict.fromkeys(("evaluate", "paired", "tables", "manifest"), 1),
    "figure": 1,
}


@dataclass(frozen=True)
class Stored:
    """A project whose results lie in a bucket."""

    project: Project
    bucket: Any
    options: list[str]

    def run(self, *config: str) -> str:
        return self.project.run(*self.options, config=[*CHOSEN, *config])

    def plan(self) -> set[str]:
        return self.project.plan(*self.options, config=CHOSEN)

    def contents(self, prefix: str = "") -> dict[str, bytes]:
        """Return what lies in the bucket by its path below the results."""
        items = self.bucket.objects.filter(Prefix=f"mine/results/{prefix}")
        return {item.key.removeprefix("mine/results/"): item.get()["Body"].read() for item in items}

    @property
    def report(self) -> str:
        (page,) = self.contents("tiny/report.html").values()
        return page.decode()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    reason = "moto and the S3 plugin of Snakemake are in the extra test"
    pytest.importorskip("snakemake_storage_plugin_s3", reason=reason)
    moto = pytest.importorskip("moto.server", reason=reason)
    running = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(scope="module")
def run(server, first_run, tmp_path_factory) -> tuple[Stored, str]:
    """A run, called from a folder that holds nothing, and what it printed."""
    import boto3

    options = [
        *("--shared-fs-usage", "none", "--default-storage-provider", "s3"),
        *("--default-storage-prefix", "s3://bucket/mine"),
        *("--storage-s3-endpoint-url", server, "--storage-s3-region", "us-east-1"),
        *("--storage-s3-access-key", "any", "--storage-s3-secret-key", "any"),
    ]
    secrets = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    service = boto3.resource("s3", "us-east-1", endpoint_url=server, **secrets)
    project = Project(
        tmp_path_factory.mktemp("caller"), snakefile=first_run[0].folder / "Snakefile"
    )
    stored = Stored(project, service.create_bucket(Bucket="bucket"), options)
    return stored, stored.run()


@pytest.fixture(scope="module")
def contents(run) -> dict[str, bytes]:
    """What lies in the bucket after the run."""
    return run[0].contents()


def test_the_results_are_those_of_a_run_on_files(contents, first_run):
    expected = {
        name: content
        for name, content in first_run[0].contents().items()
        if name.startswith("store/") and name in contents
    }
    assert {plain_name(name.removeprefix("store/")) for name in expected} == {
        *("train", "test", "model", "model.json", "clean"),
        *("attacks/fgsm", "attacks/unchanged"),
        *(f"features/{images}/max_probability" for images in ("clean", "fgsm", "unchanged")),
    }
    assert {name: contents[name] for name in expected} == expected


def test_the_metrics_are_those_of_a_run_on_files(contents, first_run):
    """A detector's on its own attack do not depend on what else is there."""
    made = pd.read_csv(BytesIO(contents["tiny/metrics/max_probability.csv"]))
    whole = pd.read_csv(first_run[0].results / "metrics" / "max_probability.csv")
    rows = (whole["detector"] == "random_forest") & (whole["trained_on"] == "fgsm")
    expected = whole[rows & (whole["tested_on"] == "fgsm")].reset_index(drop=True)
    assert len(expected) > 10
    assert_frame_equal(made, expected, check_exact=True)


def test_the_manifest_lists_all_of_the_store(contents, tmp_path):
    (tmp_path / "manifest.json").write_bytes(contents["tiny/manifest.json"])
    stored = {name.removeprefix("store/") for name in contents if name.startswith("store/")}
    others = {name for name in stored if re.search(r"/(split|thresholds)\.|\.json$", name)}
    assert set(read_json(tmp_path / "manifest.json")["files"]) == stored - others


def test_it_ends_with_the_main_table_and_the_address_of_the_report(run, contents):
    _, printed = run
    table = contents["tiny/tables/detection.txt"].decode()
    assert f"\n{table}\nReport: s3://bucket/mine/results/tiny/report.html\n" in printed


def test_nothing_is_left_where_it_was_called_but_logs(run):
    folder: Path = run[0].project.folder
    assert not (folder / "results").exists()
    copies = [path for path in (folder / ".snakemake" / "storage").rglob("*") if path.is_file()]
    assert all("/results/logs/" in str(path) for path in copies)


def jobs(page: str) -> dict[str, int]:
    """Return how many jobs of each stage the timings of a report count."""
    section = page[page.index('<section id="timings">') : page.index('<section id="provenance">')]
    rows = re.findall(r"<t[dh][^>]*>([a-z-]+)</t[dh]>\s*<td[^>]*>(\d+)</td>", section)
    return {stage: int(count) for stage, count in rows}


@pytest.mark.long
def test_a_report_is_made_again_after_a_change_and_its_change_back(run):
    """It has the timings of all jobs, of whose logs the caller has none any more."""
    stored, _ = run
    first = stored.report
    assert jobs(first) == JOBS
    shutil.rmtree(stored.project.folder / ".snakemake" / "storage")
    stored.run("title=Another title")
    second = stored.report
    assert "Another title" in second
    assert "Another title" not in first
    assert jobs(second) == JOBS
    assert stored.plan() == {"report"}
