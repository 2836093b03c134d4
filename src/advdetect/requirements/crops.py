"""What cutting squares out of images needs."""

from advdetect.errors import AdvdetectError


def shorter_side(image_size: int, resize: int | None) -> int:
    """Return what the shorter side of an image is scaled to before its central square is cut out.

    Args:
        image_size: Side of the square in pixels.
        resize: What is asked for; None means that of the square.

    Raises:
        AdvdetectError: The square would be larger than the image.
    """
    if resize is not None and resize < image_size:
        raise AdvdetectError(
            f"resize={resize} is below image_size={image_size}: scale the shorter side to at least "
            "the square that is cut out, or set resize to null, which scales it to the square."
        )
    return resize or image_size
