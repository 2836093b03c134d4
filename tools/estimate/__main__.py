"""What an experiment will take, before it runs: from a few images, or a smaller one that has run.

python tools/estimate --config experiment=hsu2018
python tools/estimate --from experiment=hsu2018_small --config experiment=hsu2018 --cores 2 16
"""

import argparse
import os
import sys
from pathlib import Path

from snakemake.cli import parse_config
from snakemake_interface_common.exceptions import WorkflowError

BASE = Path(__file__).resolve().parents[2]
# The user's own modules lie where it is called from, as for jobs.
sys.path[:0] = [str(BASE / "src"), str(BASE / "workflow" / "lib"), os.getcwd()]

from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError, one_line
from advdetect.steps.options import positive_integer, positive_number
from differences import other_differences
from estimation import Predictor
from extent import Extent
from forecast import Forecast
from job_list import list_jobs
from learning import try_learning
from measurement import measure, share_sweeps
from pipeline import Pipeline
from preview import preview
from trial import try_methods

SNAKEFILE = BASE / "Snakefile"


def main(argv: list[str] | None = None) -> int:
    """Print the estimate; return the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.run:
            print(estimate(arguments.run, arguments.config, arguments.cores))
        else:
            print(tried(arguments.config, arguments.cores, arguments.seconds))
    except (AdvdetectError, WorkflowError, ValueError) as error:
        print(f"estimate: error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tools/estimate",
        description="Estimate what an experiment will take: without --from, what each training, "
        "fit, attack and feature takes of an image, tried on a few of the data; with --from, jobs, "
        "core time, disk and wall time, from the timings and files of another that has run on this "
        "machine. Then jobs that are done are not counted.",
    )
    parser.add_argument(
        "--from",
        dest="run",
        nargs="+",
        metavar="KEY=VALUE",
        help="the experiment that has run, as its snakemake --config had it",
    )
    parser.add_argument(
        "--seconds",
        type=positive_number,
        default=60.0,
        help="for each method that is tried; what takes longer is cut off (default 60)",
    )
    parser.add_argument(
        "--config",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help="the experiment to estimate, as for snakemake --config (default: the quickstart)",
    )
    parser.add_argument(
        "--cores",
        nargs="+",
        type=positive_integer,
        default=[os.cpu_count() or 1],
        help="numbers of cores to give the wall time for (default: this machine's)",
    )
    return parser


def tried(config: list[str], cores: list[int], seconds: float) -> str:
    """Return what each method of an experiment takes, tried on a few images, as text.

    Args:
        config: The experiment, ``KEY=VALUE`` each as for ``snakemake --config``.
        cores: Numbers of cores to give the wall time for.
        seconds: For each method.

    Raises:
        AdvdetectError: A data set cannot be loaded, or a model not be made.
        ValueError: A text is no ``KEY=VALUE``.
        WorkflowError: The experiment cannot be run.
    """
    pipeline = Pipeline(BASE, parse_config(config))
    settings = pipeline.settings
    device = prepare_torch(settings["device"], settings["threads"])
    learned, not_learned = try_learning(pipeline, seconds, device)
    trials, left = try_methods(pipeline, seconds, device)
    return preview([*learned, *trials], [*not_learned, *left], settings["memory"], cores)


def estimate(run_config: list[str], target_config: list[str], cores: list[int]) -> str:
    """Return the estimate of an experiment from one that has run, as text.

    Args:
        run_config: The experiment that has run, ``KEY=VALUE`` each as for ``snakemake --config``.
        target_config: The experiment to estimate.
        cores: Numbers of cores to give the wall time for.

    Raises:
        AdvdetectError: The first experiment has not run, or a data set cannot be loaded.
        ValueError: A text is no ``KEY=VALUE``.
        WorkflowError: An experiment cannot be run, or Snakemake finds no way to make it.
    """
    configs = [parse_config(texts) for texts in (run_config, target_config)]
    run, target = (Pipeline(BASE, config) for config in configs)
    run_jobs = list_jobs(SNAKEFILE, configs[0], run, finished=True)
    measured = measure(run_jobs)
    if not measured:
        raise AdvdetectError(
            f"{run.results}/logs has no timings of that experiment: run it first, "
            f"{run.command_line}."
        )
    predictor = Predictor(share_sweeps(measured, run.store), Extent(run), Extent(target))
    jobs = list_jobs(SNAKEFILE, configs[1], target, finished=True)
    to_run = list_jobs(SNAKEFILE, configs[1], target, finished=False)
    unfinished = {job.timing for job in to_run}
    predicted = [(job, predictor.predict(job)) for job in to_run]
    forecast = Forecast(
        estimates=[found for _, found in predicted if found],
        unknown=[job for job, found in predicted if not found],
        finished=[job for job in jobs if job.timing not in unfinished],
    )
    lines = [
        forecast.table(),
        "",
        *forecast.sentences(cores),
        f"Measured: {len(measured)} of the {len(run_jobs)} jobs of the other experiment. A range "
        "is from nothing to all of the time in the steps growing by the scale: one run does not "
        "tell how much of it is fixed. Start-up counts as it was there, Snakemake's own time not "
        "at all.",
    ]
    if differing := other_differences(run.experiment, target.experiment):
        lines += [
            "What else differs and is taken as if it did not:",
            *(f"  {d}" for d in differing),
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
