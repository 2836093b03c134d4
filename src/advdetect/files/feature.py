"""The file of a feature: Parquet with a row per image and kind of image.

Columns: ``index``, int64 position in the data split; ``kind``, such as ``clean`` or ``noisy_8bit``;
and those of the feature, finite floating-point numbers. Where an attack changed no image, there is
no row and no column of the feature.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from advdetect.errors import AdvdetectError
from advdetect.io import write_table

#: Of the images of one kind: their (N,) positions, and (N,) values by column.
Values = tuple[Tensor, Mapping[str, Tensor]]


def checked(columns: Any, count: int, who: str) -> dict[str, Tensor]:
    """Return what a feature returned, on the CPU, if it is sound.

    Args:
        columns: What it returned: (N,) finite values by column.
        count: N.
        who: Whose it is, as the error begins.

    Raises:
        AdvdetectError: It is not that.
    """
    if not isinstance(columns, Mapping) or not columns:
        raise AdvdetectError(
            f"{who} returned {'nothing' if columns == {} else type(columns).__name__}: it must "
            f"return a dict of tensors, one number per image by name of the column."
        )
    for column, values in columns.items():
        if not isinstance(values, Tensor) or values.shape != (count,):
            is_tensor = isinstance(values, Tensor)
            found = f"of shape {tuple(values.shape)}" if is_tensor else type(values).__name__
            raise AdvdetectError(
                f"{who} returned '{column}' {found} for {count} images: every column must be a "
                f"tensor with one number per image."
            )
        if not values.isfinite().all():
            raise AdvdetectError(
                f"{who} returned values of '{column}' that are infinite or not a number: detectors "
                f"cannot be fitted on them; mend the feature."
            )
    return {column: values.detach().cpu() for column, values in columns.items()}


def write_feature(path: str | Path, kinds: Mapping[str, Values], facts: Mapping[str, Any]) -> None:
    """Write a feature.

    Args:
        path: The file.
        kinds: Positions and values of each kind of image that there are images of, on the CPU.
        facts: The provenance.
    """
    tables = []
    for kind, (index, columns) in kinds.items():
        arrays = {column: values.numpy() for column, values in columns.items()}
        tables.append(pd.DataFrame({"index": index.numpy(), "kind": kind, **arrays}))
    none = pd.DataFrame({"index": np.empty(0, np.int64), "kind": np.empty(0, str)})
    write_table(path, pd.concat(tables or [none], ignore_index=True), facts)
