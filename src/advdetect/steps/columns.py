"""What a feature returns, checked, as one table with a row per image and kind."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from advdetect.errors import AdvdetectError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def feature_table(
    kinds: Mapping[str, tuple["np.ndarray", Mapping[str, "np.ndarray"]]], name: str
) -> "pd.DataFrame":
    """Return the columns ``index``, ``kind`` and those of the feature.

    Args:
        kinds: For each kind the (N,) positions of its images, and (N,) values by column.
        name: The feature's name.

    Raises:
        AdvdetectError: A column does not hold one finite number per image.
    """
    import pandas as pd

    tables = []
    for kind, (index, columns) in kinds.items():
        _check(columns, len(index), name)
        tables.append(pd.DataFrame({"index": index, "kind": kind, **columns}))
    return pd.concat(tables, ignore_index=True)


def _check(columns: Mapping[str, "np.ndarray"], count: int, name: str) -> None:
    for column, values in columns.items():
        if values.shape != (count,):
            raise AdvdetectError(
                f"The feature {name} returned '{column}' of shape {values.shape} for {count} "
                f"images: every column must hold one number per image."
            )
        if not (abs(values) < float("inf")).all():
            raise AdvdetectError(
                f"The feature {name} returned values of '{column}' that are infinite or not a "
                f"number: detectors cannot be fitted on them; mend the feature."
            )
