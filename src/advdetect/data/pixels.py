"""Decoding image files of any mode and depth to 8-bit grey or RGB, with their full range of values.

Pillow's own conversions clip 16-bit values at 255 and show what lies under transparent pixels.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps

from advdetect.errors import AdvdetectError, one_line

#: Never EPS, for which Pillow runs Ghostscript.
_FORMATS = {
    *("PNG", "JPEG", "MPO", "TIFF", "WEBP", "AVIF"),
    *("BMP", "GIF", "PPM", "JPEG2000", "TGA", "QOI"),
}
_EIGHT_BITS = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr")
_WITH_ALPHA = ("LA", "PA", "RGBA", "RGBa")
_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of TIFF
_WHITE_IS_ZERO = 0


def decode(path: str | Path, channels: int) -> Image.Image:
    """Read an image file: upright, 8 bits a channel, with the file's full range of values.

    16-bit (and TIFF's 12-bit) grey is scaled to 0 to 255. What is transparent is shown on white.
    Of an animation or a file of several pages the first is read.

    Args:
        path: The file.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        AdvdetectError: The file cannot be decoded, its values have no known range (32-bit
            integers, floating-point numbers), or it is a TIFF on its side.
    """
    Image.init()
    try:
        with Image.open(path, formats=sorted(_FORMATS & Image.OPEN.keys())) as file:
            if file.format == "TIFF" and file.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:
                # Pillow 13 takes the rows of such a file for columns and mixes up its pixels.
                raise AdvdetectError(
                    f"The image {path} is a TIFF on its side (Orientation in its EXIF), which is "
                    "not read: save it upright."
                )
            file.load()
            image = _in_8_bits(file, path)
    except AdvdetectError:
        raise
    except Exception as error:  # a damaged file can raise anything, SyntaxError for one
        raise AdvdetectError(
            f"The image {path} cannot be decoded ({one_line(error)}): replace it."
        ) from error
    return image.convert("L" if channels == 1 else "RGB")


def _in_8_bits(file: ImageFile.ImageFile, path: str | Path) -> Image.Image:
    """Return what a file shows, of a mode whose conversion to grey or RGB changes no range."""
    upright = ImageOps.exif_transpose(file)
    is_transparent = "transparency" in file.info
    # Pillow holds 16 bits in 32 for some formats, where their range is known.
    is_wide = file.mode == "I" and file.format in ("PNG", "PPM")
    if (file.mode.startswith("I;16") or is_wide) and not is_transparent:
        return _scaled(file, np.asarray(upright))
    if file.mode in _WITH_ALPHA or (file.mode in _EIGHT_BITS and is_transparent):
        shown = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
    if file.mode in _EIGHT_BITS:
        return upright
    if file.mode == "LAB":
        return upright.convert("RGB")  # the only conversion that it has
    raise AdvdetectError(
        f"The image {path} has Pillow's mode {file.mode}"
        f"{' with a transparent value' if is_transparent else ''}, which is not read: save it as "
        "8- or 16-bit grey or as RGB."
    )


def _scaled(file: ImageFile.ImageFile, values: np.ndarray) -> Image.Image:
    """Return 16- or 12-bit values scaled to 8 bits."""
    tags = getattr(file, "tag_v2", {})
    highest = 2 ** tags.get(_BITS_PER_SAMPLE, (16,))[0] - 1
    shares = values.astype(np.float64) / highest
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        shares = 1 - shares
    return Image.fromarray(np.rint(shares * 255).astype(np.uint8))
