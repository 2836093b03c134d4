"""The numbers of images of the data sets that are always the same."""

import math
from typing import Any

from advdetect.requirements.subsets import Images

_DIGITS = 1797


def digits(*, test_fraction: float, **_: Any) -> Images:
    """Return what `advdetect.data.digits.load` returns, as scikit-learn rounds."""
    test = math.ceil(_DIGITS * test_fraction)
    return Images(train=_DIGITS - test, test=test, classes=10)


def mnist(**_: Any) -> Images:
    """Return what `advdetect.data.mnist.load` returns."""
    return Images(train=60_000, test=10_000, classes=10)
