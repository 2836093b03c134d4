"""Write a page of results: a template whose tables and pictures come from finished runs."""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import jinja2

from advdetect.errors import AdvdetectError, one_line
from advdetect.files.experiment import store_files, timing_files
from advdetect.files.published import read_published
from advdetect.files.texts import write_text
from advdetect.progress import report
from advdetect.report.timings import stage_timings
from advdetect.steps.report import provenance_groups
from advdetect.tables.escaping import escape_markdown

IMAGES = "images"  # folder of the pictures, beside the page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    parser.add_argument(
        "--template",
        required=True,
        help="Markdown with {{ table(run, name) }}, {{ figure(run, name, caption) }}, "
        "{{ timings(run) }}, {{ provenance(run) }} and {{ text(run, file) }}, where run is a "
        "folder of --results; {%% if finished(run) %%} for parts that are left out without it",
    )
    parser.add_argument("--results", default="results", help="folder of the runs (default results)")
    parser.add_argument("--output", required=True, help="Markdown file to write")


def run(arguments: argparse.Namespace) -> None:
    """Render the template and copy the pictures that it shows."""
    template = Path(arguments.template)
    if not template.is_file():
        raise AdvdetectError(f"--template: there is no file {template}.")
    runs = Runs(Path(arguments.results), Path(arguments.output).parent)
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    functions: dict[str, Callable[..., object]] = {
        "finished": runs.finished,
        "table": runs.table,
        "figure": runs.figure,
        "timings": runs.timings,
        "provenance": runs.provenance,
        "text": runs.text,
    }
    try:
        page = environment.from_string(template.read_text(encoding="utf-8")).render(functions)
    except jinja2.TemplateError as error:
        raise AdvdetectError(f"{template} is no template of a page: {one_line(error)}.") from error
    write_text(arguments.output, page)
    report(f"results-page: {arguments.output}")


@dataclass(frozen=True)
class Runs:
    """The finished runs below a folder, as the template sees them.

    Attributes:
        results: Folder that holds a folder for each run.
        page: Folder of the page; pictures are copied to ``images`` in it.
    """

    results: Path
    page: Path

    def finished(self, run: str) -> bool:
        """Return whether a run has come to its end: its report is the last that is made."""
        return (self.results / run / "report.html").is_file()

    def table(self, run: str, name: str) -> str:
        """Return a table as Markdown: its caption, then its rows.

        Raises:
            AdvdetectError: The run has no such table.
        """
        return self._text(run, "tables", f"{name}.md")

    def figure(self, run: str, name: str, caption: str) -> str:
        """Copy a picture beside the page and return the Markdown that shows it.

        The caption is plain text.

        Raises:
            AdvdetectError: The run has no such figure.
        """
        source = self._file(run, "figures", f"{name}.png")
        target = self.page / IMAGES / f"{run}_{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(read_published(source)[0])
        shown = escape_markdown(caption)
        return f"![{shown}]({IMAGES}/{quote(target.name)})\n*{shown}*"

    def timings(self, run: str) -> str:
        """Return what all jobs took, stage by stage, as a Markdown table.

        Raises:
            AdvdetectError: The run has none.
        """
        folder = self.results / run
        stages = stage_timings(timing_files(folder))
        if stages.empty:
            raise AdvdetectError(f"{folder} has no timings of jobs: run the experiment first.")
        shown = stages.drop(columns="start_up_seconds")
        total = shown.agg(dict.fromkeys(shown.columns[1:-1], "sum") | {"peak_mb": "max"})
        lines = [
            "| Stage | Jobs | Seconds | of these in the method | CPU seconds | Peak memory, MB |",
            "|:--|--:|--:|--:|--:|--:|",
        ]
        lines += [
            f"| {stage} | " + " | ".join(f"{value:.0f}" for value in values) + " |"
            for stage, *values in [*shown.to_numpy(), ("all", *total)]
        ]
        return "\n".join(lines)

    def provenance(self, run: str) -> str:
        """Return the software, the hardware and the code of the run as a Markdown list.

        Raises:
            AdvdetectError: The run is not finished.
        """
        files = store_files(self.results / run)
        groups = provenance_groups([str(path) for path in files if path.parent.name == "attacks"])
        return "\n".join(
            f"- {title}: "
            + escape_markdown(", ".join(f"{name} {value}" for name, value in values.items()))
            for title, values in groups.items()
        )

    def text(self, run: str, name: str) -> str:
        """Return a text file of the run as it is, as a Markdown block.

        Raises:
            AdvdetectError: The run has no such file.
        """
        text = self._text(run, name)
        # The fence is longer than any row of backticks, which would end the block.
        fence = "`" * (1 + max([2, *map(len, re.findall("`+", text))]))
        return f"{fence}text\n{text}\n{fence}"

    def _text(self, run: str, *parts: str) -> str:
        return read_published(self._file(run, *parts))[0].decode().strip()

    def _file(self, run: str, *parts: str) -> Path:
        path = self.results.joinpath(run, *parts)
        if not path.is_file():
            raise AdvdetectError(f"There is no file {path}: run the experiment {run} first.")
        return path
