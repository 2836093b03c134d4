import struct

import numpy as np
import pytest
from PIL import Image

from advdetect.data.pixels import decode
from advdetect.errors import AdvdetectError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
WIDE = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
PALETTE = [value for value in range(256) for _ in range(3)]


def grey(mode):
    """Return the ramp in a mode that is made of grey or colours."""
    image = Image.fromarray(RAMP)
    if mode == "P":
        image = Image.fromarray(RAMP)
        image.putpalette(PALETTE)
        return image
    return image.convert(mode) if mode != "LAB" else image.convert("RGB").convert("LAB")


def tiff(values, bits, white_is_zero=False, order="<"):
    """Write a TIFF of one strip by hand."""
    entries = [
        *[(256, 4, values.shape[1]), (257, 4, values.shape[0]), (258, 3, bits), (259, 3, 1)],
        *[(262, 3, 0 if white_is_zero else 1), (273, 4, 8), (277, 3, 1)],
        *[(278, 4, values.shape[0]), (279, 4, values.size * bits // 8)],
    ]
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        first, second = pairs.T
        data = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1)
        data = data.astype(np.uint8).tobytes()
    else:
        data = values.astype(f"{order}u2").tobytes()
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, value in entries:
        shown = struct.pack(f"{order}{'HH' if kind == 3 else 'I'}", *([value, 0][: 5 - kind]))
        directory += struct.pack(f"{order}HHI", tag, kind, 1) + shown
    header = b"II*\0" if order == "<" else b"MM\0*"
    return header + struct.pack(f"{order}I", 8 + len(data)) + data + directory + b"\0\0\0\0"


@pytest.mark.parametrize(
    ("mode", "suffix", "tolerance"),
    [
        *[("L", f"x.{suffix}", 0) for suffix in ("png", "bmp", "gif", "pgm", "tif", "tga", "jp2")],
        *[("RGB", f"x.{suffix}", 0) for suffix in ("png", "bmp", "ppm", "tiff", "tga", "qoi")],
        *[("L", "x.jpg", 6), ("RGB", "x.jpg", 6), ("CMYK", "x.jpg", 6), ("RGB", "x.webp", 20)],
        *[("P", "x.png", 0), ("P", "x.gif", 0), ("P", "x.tif", 0), ("P", "x.bmp", 0)],
        *[("LA", "x.png", 0), ("RGBA", "x.png", 0), ("PA", "x.tif", 0), ("RGBA", "x.tif", 0)],
        *[("CMYK", "x.tif", 0), ("YCbCr", "x.tif", 1), ("LAB", "x.tif", 3), ("RGBX", "x.tif", 0)],
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_keeps_its_range(tmp_path, mode, suffix, tolerance, channels):
    path = tmp_path / suffix
    options = {"quality": 100} if suffix.endswith(("jpg", "webp")) else {}
    grey(mode).save(path, **options)
    found = np.asarray(decode(path, channels)).astype(int).reshape(16, 16, channels)
    assert abs(found - RAMP[..., None]).max() <= tolerance


def test_one_bit_is_black_and_white(tmp_path):
    Image.fromarray(RAMP > 127).save(tmp_path / "x.png")
    np.testing.assert_array_equal(decode(tmp_path / "x.png", 1), np.where(RAMP > 127, 255, 0))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_stretched(tmp_path, bits):
    values = RAMP >> (8 - bits)
    image = Image.fromarray(values)
    image.putpalette([round(v * 255 / (2**bits - 1)) for v in range(2**bits) for _ in range(3)])
    image.save(tmp_path / "x.png", bits=bits)
    expected = np.rint(values * (255 / (2**bits - 1)))
    np.testing.assert_array_equal(decode(tmp_path / "x.png", 1), expected)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm", "jp2"])
def test_sixteen_bits_keep_their_range(tmp_path, suffix):
    Image.fromarray(WIDE).save(tmp_path / f"x.{suffix}")
    for channels in (1, 3):
        found = np.asarray(decode(tmp_path / f"x.{suffix}", channels)).reshape(16, 16, channels)
        np.testing.assert_array_equal(found, np.repeat(RAMP[..., None], channels, 2))


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_of_either_order_of_bytes(tmp_path, order):
    (tmp_path / "x.tif").write_bytes(tiff(WIDE, 16, order=order))
    np.testing.assert_array_equal(decode(tmp_path / "x.tif", 1), RAMP)


def test_sixteen_bits_where_white_is_zero(tmp_path):
    (tmp_path / "x.tif").write_bytes(tiff(65535 - WIDE, 16, white_is_zero=True))
    np.testing.assert_array_equal(decode(tmp_path / "x.tif", 1), RAMP)


def test_twelve_bits(tmp_path):
    values = np.linspace(0, 4095, 256).round().astype(np.uint16).reshape(16, 16)
    (tmp_path / "x.tif").write_bytes(tiff(values, 12))
    np.testing.assert_array_equal(decode(tmp_path / "x.tif", 1), RAMP)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_transparent_is_shown_on_white(tmp_path, mode):
    image = Image.new("L", (16, 16), 100)
    image = image.convert(mode)
    image.putalpha(Image.fromarray(RAMP))
    image.save(tmp_path / "x.png")
    share = RAMP / 255
    expected = 100 * share + 255 * (1 - share)
    assert abs(np.asarray(decode(tmp_path / "x.png", 1)) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_a_transparent_colour_is_white(tmp_path, mode):
    key = (7, 7, 7) if mode == "RGB" else 7
    grey(mode).save(tmp_path / "x.png", transparency=key)
    np.testing.assert_array_equal(decode(tmp_path / "x.png", 1), np.where(RAMP == 7, 255, RAMP))


@pytest.mark.parametrize(
    ("suffix", "orientation"),
    [
        *[(suffix, turn) for suffix in ("jpg", "png", "webp") for turn in range(1, 9)],
        *[("tif", turn) for turn in range(1, 5)],
    ],
)
def test_images_are_upright(tmp_path, suffix, orientation):
    left_black = np.full((16, 24), 255, np.uint8)
    left_black[:4, :8] = 0  # above left
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(left_black).save(tmp_path / f"x.{suffix}", exif=exif)
    found = np.asarray(decode(tmp_path / f"x.{suffix}", 1)) < 128
    # Where EXIF says that the first row and the first column of the file are.
    rows, columns = "ttbblrrl"[orientation - 1], "lrrlttbb"[orientation - 1]
    tall, wide = (8, 4) if orientation > 4 else (4, 8)
    expected = np.zeros_like(found)
    expected[
        slice(tall) if "t" in rows + columns else slice(-tall, None),
        slice(wide) if "l" in rows + columns else slice(-wide, None),
    ] = True
    assert found.shape == ((24, 16) if orientation > 4 else (16, 24))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("orientation", range(5, 9))
def test_a_tiff_on_its_side_is_refused(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RAMP).save(tmp_path / "x.tif", exif=exif)
    with pytest.raises(AdvdetectError, match=r"x\.tif is a TIFF on its side"):
        decode(tmp_path / "x.tif", 1)


def test_sixteen_bits_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(WIDE).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "x.png", 1), RAMP[::-1, ::-1])


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        (WIDE.astype(np.float32) / 65535, "F"),
        (WIDE.astype(np.int32) * 1000, "I"),
    ],
)
def test_values_of_an_unknown_range_are_refused(tmp_path, values, mode):
    Image.fromarray(values).save(tmp_path / "x.tif")
    with pytest.raises(
        AdvdetectError, match=rf"x\.tif has Pillow's mode {mode}, which is not read"
    ):
        decode(tmp_path / "x.tif", 1)


def test_sixteen_bits_with_a_transparent_value_are_refused(tmp_path):
    Image.fromarray(WIDE).save(tmp_path / "x.png", transparency=7)
    with pytest.raises(AdvdetectError, match="I;16 with a transparent value, which is not read"):
        decode(tmp_path / "x.png", 1)


@pytest.mark.parametrize("kept", [0, 10, 30, 60, 200])
def test_damaged_files_are_named(tmp_path, kept):
    path = tmp_path / "x.png"
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(AdvdetectError, match=r"x\.png cannot be decoded \(.*\): replace it"):
        decode(path, 3)


def test_what_pillow_would_run_a_program_for_is_not_opened(tmp_path):
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(AdvdetectError, match="cannot identify image file"):
        decode(tmp_path / "x.png", 3)
