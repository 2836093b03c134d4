"""What features of nearest training images need."""

from collections.abc import Mapping
from typing import Any

from advdetect.errors import AdvdetectError
from advdetect.requirements.subsets import Images


def check_neighbours(feature: str, neighbours: int, least: int, reference: int) -> None:
    """Refuse numbers of neighbours that do not exist, or from which nothing can be estimated.

    Args:
        feature: Who asks, for the error.
        neighbours: k.
        least: The smallest k.
        reference: Reference images.

    Raises:
        AdvdetectError: k is impossible.
    """
    if not least <= neighbours <= reference:
        raise AdvdetectError(
            f"The neighbours of the feature {feature} must be from {least} to the number of "
            f"reference images, {reference}, not {neighbours}: lower neighbours or use more "
            "reference images."
        )


def lid(
    images: Images, owner: Mapping[str, Any], *, neighbours: int, reference: int, **_: Any
) -> None:
    """Check what `advdetect.features.lid` needs."""
    _check("lid", images, neighbours, 2, reference)


def nearest_neighbour(
    images: Images,
    owner: Mapping[str, Any],
    *,
    neighbours: int,
    max_reference: int | None,
    **_: Any,
) -> None:
    """Check what `advdetect.features.nearest_neighbour` needs."""
    _check("nearest_neighbour", images, neighbours, 1, max_reference)


def _check(
    feature: str, images: Images, neighbours: int, least: int, reference: int | None
) -> None:
    limits = [limit for limit in (images.train, reference) if limit is not None]
    if limits:
        check_neighbours(feature, neighbours, least, min(limits))
