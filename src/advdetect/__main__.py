"""Command line: ``python -m advdetect <stage> --help``."""

if __name__ == "__main__":  # first of all: where it succeeds, nothing else is imported here
    from advdetect.warm.client import hand_over

    hand_over()

import argparse
import importlib
import os
import sys
import traceback

from advdetect.errors import AdvdetectError, explain_os_error
from advdetect.files.atomic import recorded
from advdetect.files.published import write_stamp
from advdetect.progress import replace_unprintable
from advdetect.usage import measured

STAGES = {
    "prepare-data": "download or find a data set; write one of its splits",
    "train": "train a classifier, or take your own weights",
    "classify": "which test images the model gets right",
    "attack": "craft adversarial images",
    "transfer": "judge adversarial images of another model, or your own",
    "best-of": "the nearest success of each image over several attacks",
    "fit-feature": "fit a feature's auxiliary model on training images",
    "feature": "compute a feature of clean, noisy and adversarial images",
    "eigenvalue-path": "the largest eigenvalue along the perturbations of a few images",
    "units": "single units of a hidden layer beside random directions in it",
    "sensitivity": "maps of the Fisher information sensitivity of a few images",
    "fit-detectors": "fit detectors on each attack",
    "score": "score every attack's images with fitted detectors",
    "defend": "apply a defence: which images it flags, which it mends",
    "certify": "count the classes of images under noise, for certificates",
    "evaluate": "metrics of one feature's detectors with bootstrap intervals",
    "paired": "paired tests between all features",
    "tables": "detection and cross-attack tables: CSV, Markdown, LaTeX",
    "certified": "the table of certified accuracy: CSV, Markdown, LaTeX",
    "reproduce": "a paper's table: reported values beside ours",
    "figure": "a plot: ROC, scores, heat maps, gallery, spectra and the like",
    "manifest": "which files of the store stand behind an experiment and its cells",
    "report": "the HTML report",
    "results-page": "a page of results from a template and finished runs",
    "compare": "which cells of the tables of two results folders changed beyond their intervals",
    "prune": "remove from the store what no named experiment needs",
}


def main(argv: list[str] | None = None) -> int:
    """Run one stage; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="python -m advdetect",
        description="Run one stage of the pipeline by hand. The whole chain: snakemake --cores all",
    )
    commands = parser.add_subparsers(dest="stage", required=True, metavar="stage")
    for stage, help_text in STAGES.items():
        command = commands.add_parser(stage, help=help_text, description=help_text.capitalize())
        # Only the stage that is asked for is imported: torch alone costs more than a second.
        if argv and argv[0] == stage:
            step = importlib.import_module(f"advdetect.steps.{stage.replace('-', '_')}")
            step.add_arguments(command)
            command.add_argument("--timing", help="file to write: what the job took")
            command.add_argument("--stamp", help=argparse.SUPPRESS)  # of the workflow
            command.set_defaults(run=step.run)
    arguments = parser.parse_args(argv)
    replace_unprintable()
    try:
        with measured(arguments.timing, arguments.stage), recorded() as written:
            arguments.run(arguments)
            if arguments.stamp:
                write_stamp(arguments.stamp, argv, written)
    except (AdvdetectError, OSError) as error:
        if os.environ.get("ADVDETECT_TRACEBACK"):
            traceback.print_exc()
        said = explain_os_error(error) if isinstance(error, OSError) else error
        print(f"advdetect {arguments.stage}: error: {said}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
