"""What features of each class need."""

from collections.abc import Mapping
from typing import Any

from advdetect.errors import AdvdetectError
from advdetect.requirements.subsets import Images


def check_class(feature: str, least: int, name: object, count: int) -> None:
    """Refuse a class that has fewer training images than a feature needs.

    Args:
        feature: Who asks, for the error.
        least: Images that it needs.
        name: The class, for the error.
        count: Its images.

    Raises:
        AdvdetectError: There are too few.
    """
    if count < least:
        raise AdvdetectError(
            f"The feature {feature} needs at least {least} training images of every class, and "
            f"class {name} has {count}: use more training images or remove the feature {feature}."
        )


def least_for_density(bandwidth: float | str) -> int:
    """Return how many images of a class a kernel density needs: to leave one out, two."""
    return 2 if bandwidth == "auto" else 1


def kd(images: Images, owner: Mapping[str, Any], *, bandwidth: float | str, **_: Any) -> None:
    """Check what `advdetect.features.kd` needs."""
    if images.train is not None and images.classes:
        least = least_for_density(bandwidth)
        # Of so many images and classes one class has at most this many.
        check_class("kd", least, "with the fewest images", images.train // images.classes)
