"""What the jobs of a cluster ask for beyond memory and time, and which are submitted together."""

from typing import Any

from advdetect.protocol import CLEAN, HELD_OUT, UNCHANGED
from pipeline import Pipeline
from published import Published

#: Steps that run where Snakemake is called, are about all attacks of a model, or take long.
ALONE = ("prepare-data", "defend", "certify")


class Submission:
    """How jobs are submitted.

    Args:
        pipeline: The pipeline.
        in_groups: Whether jobs are submitted in groups.
    """

    def __init__(self, pipeline: Pipeline, in_groups: bool) -> None:
        self._pipeline, self._in_groups = pipeline, in_groups

    @property
    def gres(self) -> str | None:
        """One GPU as SLURM's generic resource, which a group's jobs share; unset without CUDA."""
        return "gpu:1" if self._pipeline.gpu else None

    def group(self, wildcards: Any) -> str | None:
        """Return the group of a job of the store, None where it is submitted by itself.

        A model goes with what is computed of its clean images, an attack with what is computed of
        its images, the detectors of a feature with what they say. No group has jobs with and jobs
        without a GPU: Snakemake wants the same generic resource of all.
        """
        file = self._pipeline.store.files[wildcards.job]
        if not self._in_groups or file.step in ALONE:
            return None
        if file.step in ("fit-detectors", "score"):
            return _detection(file.names["feature"])
        attack = file.names.get("attack", CLEAN)
        images = "model" if attack in (CLEAN, HELD_OUT, UNCHANGED) else attack
        return "{dataset}-{model}-seed{seed}-{images}".format(images=images, **file.names)

    def published_group(self, job: Published) -> str | None:
        """Return the group of what is published, None where it is made by itself."""
        is_grouped = self._in_groups and job.step == "evaluate"
        return _detection(job.options["name"]) if is_grouped else None


def _detection(feature: str) -> str:
    return f"detection-{feature}"
