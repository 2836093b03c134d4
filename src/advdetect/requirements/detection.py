"""What detectors need: images to be fitted on."""

import math

from advdetect.errors import AdvdetectError


def fitting_count(count: int, train_fraction: float) -> int:
    """Return how many source images detectors are fitted on; they are tested on the others.

    Args:
        count: Source images, those that the model gets right.
        train_fraction: Share to fit on, in (0, 1).

    Raises:
        AdvdetectError: One part would be empty.
    """
    fitting = math.floor(count * train_fraction)
    if not 0 < fitting < count:
        raise AdvdetectError(
            f"{count} clean-correct images cannot be split with evaluation.train_fraction="
            f"{train_fraction}, which leaves {fitting} to fit detectors on: use more test images."
        )
    return fitting
