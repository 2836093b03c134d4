"""What a run whose files lie in an object store needs beyond the inputs that Snakemake brings.

The report reads the logs, which are nobody's inputs; a job sees no other stamp than its own, which
takes the place of the one before; at the end of a run the local copies are gone.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def use_object_store(workflow: Any, report: str) -> None:
    """Bring what is read without being an input, and take away stamps that will not be true.

    Args:
        workflow: Snakemake's workflow, whose graph is there.
        report: Path of the report.
    """
    if not workflow.storage_settings.default_storage_provider:
        return
    _bring_timings(workflow, report)
    is_run = workflow.executor_plugin is not None and not (workflow.dryrun or workflow.touch)
    if is_run and workflow.is_main_process:
        _take_away_stamps(workflow)


def _take_away_stamps(workflow: Any) -> None:
    """Delete the other stamps of all that is made again: after a change back they would hold."""
    for job in workflow.dag.needrun_jobs():
        stamp = job.output.get("stamp")
        if stamp is None or not hasattr(stamp.storage_object, "s3bucket"):
            continue  # no call lists a folder of every provider
        own = Path(stamp.storage_object.key)
        stored = stamp.storage_object.s3bucket().objects.filter(Prefix=f"{own.parent}/")
        for other, path in ((other, Path(other.key)) for other in stored):
            if path != own and path.with_suffix("").stem == own.with_suffix("").stem:
                other.delete()


def _bring_timings(workflow: Any, reader: str) -> None:
    """Make Snakemake fetch what all jobs say that they took, before the job that reads it."""
    fetch_inputs = workflow.dag.retrieve_storage_inputs

    async def fetch_inputs_and_timings(
        jobs: Sequence[Any], also_missing_internal: bool = False
    ) -> None:
        await fetch_inputs(jobs, also_missing_internal)
        if any(_is(file, reader) for job in jobs for file in job.output):
            logs = {file for job in workflow.dag.jobs for file in job.log}
            stored = [file for file in logs if file.is_storage and file.endswith(".json")]
            async with asyncio.TaskGroup() as group:
                for file in stored:
                    group.create_task(_fetch(file))

    workflow.dag.retrieve_storage_inputs = fetch_inputs_and_timings


async def _fetch(file: Any) -> None:
    """Fetch a file that is not here, if there is one."""
    if not await file.exists_local() and await file.exists_in_storage():
        await file.retrieve_from_storage()


def print_results(table: str, report: str, workflow: Any = None) -> None:
    """Print a table and where a report lies, if both are there.

    Args:
        table: Path of the table.
        report: Path of the report.
        workflow: Snakemake's workflow, after the run; without one the files lie here.
    """
    shown, linked = (_Output(path, workflow) for path in (table, report))
    if shown and linked:
        print(f"\n{shown.text()}\nReport: {linked}")


class _Output:
    """A file that a run has made, here or in an object store."""

    def __init__(self, path: str, workflow: Any = None) -> None:
        self._path = Path(path)
        self._run: Any = None
        self._stored: Any = None
        if workflow and workflow.storage_settings.default_storage_provider:
            prefix = (workflow.storage_settings.default_storage_prefix or "").rstrip("/")
            provider = workflow.storage_registry.default_storage_provider
            self._run, self._stored = workflow.async_run, provider.object(f"{prefix}/{path}")

    def __bool__(self) -> bool:
        """Return whether it is there."""
        if self._stored is None:
            return self._path.is_file()
        return bool(self._run(self._stored.managed_exists()))

    def __str__(self) -> str:
        """Return where it lies: its path or its address."""
        if self._stored is None:
            return str(self._path.resolve())
        return str(self._stored.print_query)

    def text(self) -> str:
        """Return what it holds; a copy that is fetched for it does not stay."""
        if self._stored is None:
            return self._path.read_text(encoding="utf-8")
        copy = self._stored.local_path()
        if copy.exists():
            return copy.read_text(encoding="utf-8")
        self._run(self._stored.managed_retrieve())
        try:
            return copy.read_text(encoding="utf-8")
        finally:
            copy.unlink()


def _is(file: str, path: str) -> bool:
    """Tell whether one of Snakemake's files is that of a path: it lies below an address."""
    return file == path or file.endswith(f"/{path}")
