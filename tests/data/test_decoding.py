"""One file of every kind that people bring: the picture that a viewer shows, or one clear line."""

import struct
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageCms

from lupi_jax.data import read_image
from lupi_jax.data.decoding import DECODING, FORMATS, decode, decodes_as_before
from lupi_jax.errors import InputError

RED, GREEN, BLUE = (204, 51, 51), (51, 153, 51), (0, 0, 153)


def corners() -> Image.Image:
    """32 high, 16 wide: red in the upper left, green in the upper right, blue below."""
    pixels = np.empty((32, 16, 3), np.uint8)
    pixels[:] = BLUE
    pixels[:16, :8], pixels[:16, 8:] = RED, GREEN
    return Image.fromarray(pixels)


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


# Where the corners of the picture lie in the file, by the standard: (row 0, column 0) of the file
# is the picture's top left in 1, top right in 2, bottom right in 3, bottom left in 4; in 5 to 8
# rows are columns: left top, right top, right bottom, left bottom.
STORED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[:, ::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_an_image_is_turned_as_its_orientation_says(tmp_path, orientation, suffix):
    upright = np.asarray(corners())
    file = tmp_path / f"phone{suffix}"
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    stored.save(file, exif=exif(orientation), lossless=True)
    np.testing.assert_array_equal(read_image(file, (32, 16)), upright)
    assert decode(file, file).size == (16, 32)
    if suffix != ".tif":  # Pillow turned these itself
        assert decodes_as_before(file) == (orientation == 1)


def test_a_turned_photograph_is_its_upright_copy(tmp_path):
    image = corners().resize((160, 320))
    image.save(tmp_path / "upright.jpg", quality=95)
    image.transpose(Image.Transpose.ROTATE_90).save(
        tmp_path / "turned.jpg", quality=95, exif=exif(6)
    )
    upright, turned = (
        read_image(tmp_path / f"{name}.jpg", (64, 32)).astype(int) for name in ("upright", "turned")
    )
    assert np.abs(upright - turned).mean() < 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "damage", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"no EXIF at all"]
)
def test_damaged_exif_is_ignored(tmp_path, damage):
    corners().save(tmp_path / "a.jpg", exif=damage)
    corners().save(tmp_path / "b.jpg")
    expected = read_image(tmp_path / "b.jpg", (32, 16))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg", (32, 16)), expected)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_what_is_transparent_shows_white(tmp_path, suffix):
    """Half transparent red over white by hand: 255 - (255 - 204) / 2."""
    image = corners().convert("RGBA")
    alpha = np.full((32, 16), 255, np.uint8)
    alpha[:16, :8], alpha[16:] = 128, 0
    image.putalpha(Image.fromarray(alpha))
    file = tmp_path / f"cut out{suffix}"
    image.save(file, lossless=True, exact=True)
    pixels = read_image(file, (32, 16)).astype(int)
    assert pixels[5, 2] == pytest.approx((229, 153, 153), abs=1)
    assert tuple(pixels[5, 12]) == GREEN
    assert tuple(pixels[20, 2]) == (255, 255, 255)
    assert not decodes_as_before(file)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("P", ".png"), ("P", ".gif"), ("L", ".png"), ("RGB", ".png")]
)
def test_one_transparent_colour_shows_white(tmp_path, mode, suffix):
    file = tmp_path / f"key{suffix}"
    if mode == "P":
        image = Image.new("P", (16, 32), 0)
        image.putpalette([*BLUE, *RED])
        image.paste(1, (0, 0, 8, 32))
        image.save(file, transparency=0)
        opaque = RED
    else:
        image = Image.new(mode, (16, 32), 0 if mode == "L" else BLUE)
        image.paste(90 if mode == "L" else RED, (0, 0, 8, 32))
        image.save(file, transparency=0 if mode == "L" else BLUE)
        opaque = (90, 90, 90) if mode == "L" else RED
    pixels = read_image(file, (32, 16))
    assert tuple(pixels[5, 2]) == opaque
    assert tuple(pixels[5, 12]) == (255, 255, 255)


def test_an_opaque_alpha_changes_nothing(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (32, 16, 3), np.uint8)
    Image.fromarray(noise).convert("RGBA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (32, 16)), noise)


def profile(primaries: tuple[tuple[float, float, float], ...], gamma: float = 2.2) -> bytes:
    """A display's ICC profile, byte by byte: its primaries (XYZ under D50) and one gamma."""

    def fixed(x: float) -> bytes:
        return struct.pack(">i", round(x * 65536))

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    white = (0.9642, 1.0, 0.8249)
    space = b"RGB " if primaries else b"GRAY"
    parts = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(xyz, primaries), strict=False))
    curves = (b"rTRC", b"gTRC", b"bTRC") if primaries else (b"kTRC",)
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(79)
    tags = {b"desc": text, b"wtpt": xyz(white), **parts, **dict.fromkeys(curves, curve)}
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    header = struct.pack(
        ">I4sI4s4s4s", start + len(body), b"test", 0x02400000, b"mntr", space, b"XYZ "
    )
    header += bytes(12) + b"acsp" + bytes(28) + b"".join(map(fixed, white))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


ADOBE_RGB = profile(
    ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
)
SRGB = profile(
    ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141))
)


def test_a_wide_colour_space_is_taken_to_srgb(tmp_path):
    """In Adobe RGB, sRGB's pure green is (144, 255, 60): published figures."""
    file = tmp_path / "camera.png"
    Image.new("RGB", (16, 32), (144, 255, 60)).save(file, icc_profile=ADOBE_RGB)
    assert tuple(read_image(file, (32, 16))[0, 0].astype(int)) == pytest.approx((0, 255, 0), abs=12)
    assert not decodes_as_before(file)
    grey = tmp_path / "grey.png"
    Image.new("RGB", (16, 32), (128, 128, 128)).save(grey, icc_profile=ADOBE_RGB)
    assert tuple(read_image(grey, (32, 16))[0, 0].astype(int)) == pytest.approx((128,) * 3, abs=2)


@pytest.mark.parametrize("given", ["sRGB", "damaged", "of CMYK", "empty"])
def test_srgb_and_profiles_that_do_not_fit_change_no_bit(tmp_path, given):
    content = {
        "sRGB": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "damaged": ADOBE_RGB[:200],
        "of CMYK": ADOBE_RGB[:16] + b"CMYK" + ADOBE_RGB[20:],
        "empty": b"",
    }[given]
    noise = np.random.default_rng(0).integers(0, 256, (32, 16, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png", icc_profile=content)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (32, 16)), noise)
    assert decodes_as_before(tmp_path / "a.png")


def test_a_grey_profile_keeps_grey_grey(tmp_path):
    """Linear light: 188 of 255 in sRGB is half the light, 128 of 255."""
    ramp = Image.frombytes("L", (256, 1), bytes(range(256)))
    ramp.save(tmp_path / "a.png", icc_profile=profile((), 1.0))
    pixels = read_image(tmp_path / "a.png", (1, 256)).astype(int)
    assert (pixels == pixels[..., :1]).all()
    assert pixels[0, 128, 0] == pytest.approx(188, abs=1)


def test_lab_is_read(tmp_path):
    lab = ImageCms.profileToProfile(
        corners(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    lab.save(tmp_path / "a.tif")
    pixels = read_image(tmp_path / "a.tif", (32, 16)).astype(int)
    assert pixels[5, 2] == pytest.approx(RED, abs=4)
    assert pixels[20, 2] == pytest.approx(BLUE, abs=14)  # which LAB has in 8 bits


def deep_png(colour: int, channels: int) -> bytes:
    """A PNG of 16 bits per channel, which Pillow itself writes in grey only."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    rows = (b"\0" + b"\x12\x34" * channels * 16) * 32
    header = struct.pack(">IIBBBBB", 16, 32, 16, colour, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_more_than_8_bits_are_refused_in_png(tmp_path, colour, channels):
    file = tmp_path / "deep.png"
    file.write_bytes(deep_png(colour, channels))
    with pytest.raises(
        InputError, match=r"deep\.png: more than 8 bits per channel; convert it to 8"
    ):
        read_image(file, (32, 16))


def test_more_than_8_bits_are_refused_in_tiff(tmp_path):
    for name, values in (("16", np.uint16), ("32", np.int32), ("float", np.float32)):
        file = tmp_path / f"{name}.tif"
        Image.fromarray(np.full((32, 16), 200, values)).save(file)
        with pytest.raises(InputError, match=rf"{name}\.tif: more than 8 bits per channel"):
            read_image(file, (32, 16))
    # 16 bits a colour: the header of 8 bits, and as many bytes again.
    Image.new("RGB", (16, 32), RED).save(tmp_path / "8.tif")
    with Image.open(tmp_path / "8.tif") as image:
        assert image.tag_v2[258] == (8, 8, 8)  # type: ignore[attr-defined]
    content = (tmp_path / "8.tif").read_bytes()
    assert content.count(struct.pack("<HHH", 8, 8, 8)) == 1
    content = content.replace(struct.pack("<HHH", 8, 8, 8), struct.pack("<HHH", 16, 16, 16))
    (tmp_path / "deep.tif").write_bytes(content + bytes(16 * 32 * 3))
    with pytest.raises(InputError, match=r"deep\.tif: more than 8 bits per channel"):
        read_image(tmp_path / "deep.tif", (32, 16))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_several_pictures_in_a_file_are_refused(tmp_path, suffix):
    file = tmp_path / f"film{suffix}"
    corners().save(file, save_all=True, append_images=[corners().rotate(90 * n) for n in (1, 2)])
    message = rf"film\{suffix}: 3 pictures in one file; save the right one as a file of its own"
    with pytest.raises(InputError, match=message):
        read_image(file, (32, 16))


def test_the_first_picture_of_a_phones_mpo_is_read(tmp_path):
    preview = Image.new("RGB", (16, 32), GREEN)
    first = Image.new("RGB", (16, 32), RED)
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview])
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "MPO"
    pixels = read_image(tmp_path / "a.jpg", (32, 16)).astype(int)
    assert pixels[0, 0] == pytest.approx(RED, abs=3)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_accepted_format_is_read(tmp_path, suffix):
    corners().save(tmp_path / f"a{suffix}", lossless=True)
    pixels = read_image(tmp_path / f"a{suffix}", (32, 16)).astype(int)
    assert pixels[5, 2] == pytest.approx(RED, abs=10)
    assert pixels[28, 12] == pytest.approx(BLUE, abs=10)


def test_the_content_says_what_a_file_is(tmp_path):
    corners().save(tmp_path / "a.jpg", "PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg", (32, 16)), np.asarray(corners()))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"8BPS\0\1" + bytes(30), "a PSD file"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC or AVIF file, or a film"),
        (b"%PDF-1.7\n", "a PDF file"),
        *((b"P%d\n16 32\n" % n + bytes(512), "a PBM, PGM, PPM or PAM file") for n in range(1, 8)),
    ],
)
def test_a_foreign_format_is_named(tmp_path, content, what):
    file = tmp_path / "photo.jpg"
    file.write_bytes(content)
    message = f"{file}: {what}; save it as JPEG, PNG, BMP, GIF, TIFF or WEBP"
    with pytest.raises(InputError) as caught:
        read_image(file, (32, 16))
    assert str(caught.value) == message


def test_no_program_is_started_for_an_eps_file(tmp_path, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("started"))
    corners().save(tmp_path / "a.eps")
    for name in ("a.jpg", "b.png"):
        (tmp_path / "a.eps").with_name(name).write_bytes((tmp_path / "a.eps").read_bytes())
        with pytest.raises(InputError, match="an EPS file; save it as"):
            read_image(tmp_path / name, (32, 16))


def test_ordinary_files_decode_as_before(tmp_path):
    assert DECODING == 2
    for suffix in (".jpg", ".png", ".bmp"):
        corners().save(tmp_path / f"a{suffix}")
        assert decodes_as_before(tmp_path / f"a{suffix}")
    corners().convert("CMYK").save(tmp_path / "cmyk.jpg")
    assert decodes_as_before(tmp_path / "cmyk.jpg")


def test_a_long_and_narrow_image_is_refused_before_it_is_decoded(tmp_path):
    """1 x 70,000 pixels are few, but 1 x 64 million would take 1.6 GB."""
    file = tmp_path / "line.png"
    Image.new("L", (1, 70_000)).save(file)
    with pytest.raises(InputError, match=r"line\.png: 1 x 70000 pixels are too many"):
        read_image(file, (32, 16))


def test_a_device_is_no_image(tmp_path):
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"zero\.jpg: a pipe or a device, no image"):
        read_image(tmp_path / "zero.jpg", (32, 16))


def test_a_directory_is_no_image(tmp_path):
    with pytest.raises(InputError) as caught:
        read_image(tmp_path, (32, 16))
    assert str(caught.value) == f"{tmp_path}: is a directory; give image files"
