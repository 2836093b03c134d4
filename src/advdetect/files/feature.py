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


def write_feature(
    path: str | Path, kinds: Mapping[str, Values], name: str, facts: Mapping[str, Any]
) -> None:
    """Check what a feature returned and write it.

    Args:
        path: The file.
        kinds: Positions and values of each kind of image that there are images of, on the CPU.
        name: The feature's name.
        facts: The provenance.

    Raises:
        AdvdetectError: A column does not hold one finite number per image.
    """
    tables = []
    for kind, (index, columns) in kinds.items():
        _check(columns, len(index), name)
        arrays = {column: values.numpy() for column, values in columns.items()}
        tables.append(pd.DataFrame({"index": index.numpy(), "kind": kind, **arrays}))
    none = pd.DataFrame({"index": np.empty(0, np.int64), "kind": np.empty(0, str)})
    write_table(path, pd.concat(tables or [none], ignore_index=True), facts)


def _check(columns: Mapping[str, Tensor], count: int, name: str) -> None:
    for column, values in columns.items():
        if values.shape != (count,):
            raise AdvdetectError(
                f"The feature {name} returned '{column}' of shape {tuple(values.shape)} for "
                f"{count} images: every column must hold one number per image."
            )
        if not values.isfinite().all():
            raise AdvdetectError(
                f"The feature {name} returned values of '{column}' that are infinite or not a "
                f"number: detectors cannot be fitted on them; mend the feature."
            )
