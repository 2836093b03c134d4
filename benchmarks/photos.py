"""What a run on photos takes, and on twice as many: time and memory of each kind of job.

Run ``python benchmarks/photos.py --help``; README.md in this folder explains the table.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from advdetect.usage import read_usage

SNAKEFILE = Path(__file__).resolve().parents[1] / "Snakefile"
_KEY = re.compile(r"\.[0-9a-f]{12}(?=[./]|$)")
_HEADER = ("jobs", "CPU s", "of twice", "ratio", "peak MB", "of twice", "ratio")


@dataclass(frozen=True)
class Cost:
    """What the jobs of a kind took.

    Attributes:
        cpu: CPU seconds of all of them.
        peak: The most resident memory of one, in 10⁶ bytes.
    """

    cpu: float
    peak: float


def main() -> None:
    """Run both experiments and print what they took."""
    arguments = _parser().parse_args()
    counts = (arguments.count, 2 * arguments.count)
    costs = []
    for count in counts:
        results = arguments.results / str(count)
        run(results, count, arguments.cores, arguments.overrides)
        costs.append(costs_in(results / "logs"))
    print(table(costs))
    print(summary(costs, counts, arguments.of))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--count", type=int, default=8, help="photos of the smaller run")
    parser.add_argument("--of", type=int, default=200, help="photos to say the time for")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--results", type=Path, default=Path("results/photos"))
    parser.add_argument("overrides", nargs="+", help="of the experiment, without test_count")
    return parser


def run(results: Path, count: int, cores: int, overrides: Sequence[str]) -> None:
    """Run the experiment on so many photos, anew.

    Args:
        results: An empty folder, or none.
        count: Photos.
        cores: That Snakemake has.
        overrides: What the experiment is.
    """
    if results.exists():
        sys.exit(f"{results} is there already, and what it holds would not run again: delete it.")
    chosen = " ".join([*overrides, f"dataset.test_count={count}"])
    config = ["name=photos", f"results={results}", f"overrides={chosen}"]
    command = ["snakemake", "--snakefile", str(SNAKEFILE), "--cores", str(cores), "--quiet", "all"]
    subprocess.run([*command, "--config", *config], check=True)


def costs_in(logs: Path) -> dict[str, Cost]:
    """Return what jobs took by kind: features of all attacks together, and so on."""
    found: dict[str, Cost] = {}
    for path in sorted(logs.rglob("*.json")):
        usage = read_usage(path)
        method = re.fullmatch(
            r"(attacks|features|fitted)/(?:[^/]+/)*([^/]+)", _within_run(path, logs)
        )
        kind = " ".join(method.groups()).replace("s ", " ", 1) if method else usage.stage
        before = found.get(kind, Cost(0, 0))
        found[kind] = Cost(before.cpu + usage.cpu_s, max(before.peak, usage.peak_memory_mb))
    return found


def _within_run(path: Path, logs: Path) -> str:
    """Return what a log is called, without keys, data set and model."""
    parts = _KEY.sub("", str(path.relative_to(logs).with_suffix(""))).split("/")
    return "/".join(parts[2:])


def table(costs: Sequence[Mapping[str, Cost]]) -> str:
    """Return a line for each kind of job, the dearest first."""
    once, twice = costs
    rows = []
    for kind in sorted(twice, key=lambda kind: -twice[kind].cpu):
        a, b = once.get(kind, Cost(0, 0)), twice[kind]
        ratios = [f"{y / x:.2f}" if x else "" for x, y in ((a.cpu, b.cpu), (a.peak, b.peak))]
        numbers = f"{a.cpu:.0f}", f"{b.cpu:.0f}", f"{a.peak:.0f}", f"{b.peak:.0f}"
        rows.append((kind, *numbers[:2], ratios[0], *numbers[2:], ratios[1]))
    return tabulate(rows, _HEADER, tablefmt="github", disable_numparse=True)


def summary(costs: Sequence[Mapping[str, Cost]], counts: Sequence[int], of: int) -> str:
    """Say what so many photos would take: what grows from run to run, and what does not."""
    totals = [sum(cost.cpu for cost in run.values()) for run in costs]
    each = (totals[1] - totals[0]) / (counts[1] - counts[0])
    fixed = totals[0] - each * counts[0]
    hours = (fixed + each * of) / 3600
    peaks = [max(cost.peak for cost in run.values()) for run in costs]
    return (
        f"{totals[0]:.0f} and {totals[1]:.0f} CPU s of {counts[0]} and {counts[1]} photos: "
        f"{fixed:.0f} s, and {each:.1f} s a photo. {of} photos: {hours:.1f} h of one core. "
        f"Largest job: {peaks[0]:.0f} and {peaks[1]:.0f} MB."
    )


if __name__ == "__main__":
    main()
