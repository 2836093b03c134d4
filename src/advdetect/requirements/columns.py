"""What columns features have whose parameters decide on them.

A feature's YAML says its columns as ``_columns_``: a list, or one of these functions, which gets
what a requirement gets and returns None where it cannot know. So a column that a defence, a figure
or a table of a paper names is looked for before any job. Tests hold them equal to what the features
return.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from advdetect.requirements.subsets import Images


def eigenvalues(
    images: Images, owner: Mapping[str, Any], *, top_k: int, **_: Any
) -> list[str] | None:
    """Return those of a spectrum: of C classes at most C − 1 eigenvalues are not zero."""
    if images.classes is None:
        return None
    return [f"log10_eigenvalue_{rank:02d}" for rank in range(1, min(top_k, images.classes - 1) + 1)]


def feature_squeezing(
    images: Images, owner: Mapping[str, Any], *, bits: int | None, median: int | None, **_: Any
) -> list[str]:
    """Return those of `advdetect.features.feature_squeezing`."""
    squeezers = {"l1_bits": bits, "l1_median": median}
    return [*(name for name, value in squeezers.items() if value is not None), "l1_max"]


def magnet(
    images: Images,
    owner: Mapping[str, Any],
    *,
    autoencoders: Sequence[Any],
    temperatures: Sequence[float],
    **_: Any,
) -> list[str]:
    """Return those of `advdetect.features.magnet`."""
    errors = [f"reconstruction_error_{number}" for number in range(1, len(autoencoders) + 1)]
    return [*errors, *(f"jensen_shannon_{temperature:g}" for temperature in temperatures)]
