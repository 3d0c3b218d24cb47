"""Decodes image files to RGB pixels as a viewer shows them; no other module decodes files."""

import io
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageCms, UnidentifiedImageError

from lupi_jax.errors import InputError
from lupi_jax.runtime.files import is_endless

FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
"""The accepted file formats, by suffix. A file's content decides its format, not its suffix."""

IMAGE_SUFFIXES = tuple(FORMATS)

SUFFIX_PATTERN = r"\.(?:" + "|".join(suffix[1:] for suffix in FORMATS) + ")"
"""The suffixes as a regular expression in lower case."""

MAX_PIXELS = 64_000_000
MAX_SIDE = 2**16 - 1
"""JPEG's limit. Pillow keeps some bytes per row, so a long and narrow image takes many times the
memory of its pixels."""

DECODING = 2
"""Version of the decoder, increased whenever a file may give other pixels than before. Version 1
ignored orientation, transparency and colour profiles."""

KINDS = tuple(dict.fromkeys(FORMATS.values()))
_SAVE = f"save it as {', '.join(KINDS[:-1])} or {KINDS[-1]}"
_FOREIGN = {
    b"%!PS": "an EPS file",
    b"\xc5\xd0\xd3\xc6": "an EPS file",
    b"%PDF": "a PDF file",
    b"8BPS": "a PSD file",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 file",
    **dict.fromkeys(
        (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7"), "a PBM, PGM, PPM or PAM file"
    ),
}  # by their first bytes
_ORIENTATION, _BITS = 0x0112, 258  # tags of EXIF and of TIFF
_PNG_HEADER = 25  # bytes; the last one is the number of bits per channel
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SRGB_STEPS = 2  # of 255; a profile that changes no colour by more counts as sRGB


def decode(file: Path | bytes, name: object) -> Image.Image:
    """The picture in a file, or in a file's bytes, in mode RGB and sRGB, at its own size.

    The picture looks as in a viewer. It is turned by its EXIF orientation, transparent parts lie
    over white, and its colour profile is converted to sRGB. A profile or EXIF data that cannot be
    read are ignored, as viewers do. The header is checked before anything is decoded.

    Args:
      file: path of a file, or the bytes of one.
      name: what an error message calls the file.

    Raises:
      InputError: the file is missing or damaged, has a format that is not in `FORMATS`, more than
        64 megapixels, a side above `MAX_SIDE` pixels or more than 8 bits per channel, or holds
        several pictures.
    """
    try:
        if isinstance(file, Path) and file.is_dir():
            raise InputError(f"{name}: is a directory; give image files")
        if isinstance(file, Path) and is_endless(file):
            raise InputError(f"{name}: a pipe or a device, no image; replace or remove it")
        source = io.BytesIO(file) if isinstance(file, bytes) else file
        # Pillow would hand some other formats to outside programs (EPS to Ghostscript).
        with Image.open(source, formats=KINDS) as image:
            return as_shown(image, name)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file; replace or remove it") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: too many pixels; make it smaller") from error
    except UnidentifiedImageError as error:
        what = _foreign(file)
        advice = f"{what}; {_SAVE}" if what else "unreadable image; replace or remove it"
        raise InputError(f"{name}: {advice}") from error
    except Exception as error:
        # Pillow's parsers raise a dozen different types on damaged bytes.
        raise InputError(f"{name}: unreadable image; replace or remove it") from error


def as_shown(image: Image.Image, name: object) -> Image.Image:
    """An opened image as `decode` gives it; error messages call it `name`.

    Raises:
      InputError: the image is too large, has more than 8 bits per channel, or its file holds
        several pictures.
      Exception: its file is damaged; Pillow raises a dozen different types.
    """
    if fault := _fault(image):
        raise InputError(f"{name}: {fault}")
    image.load()
    return _upright(_as_rgb(image), _orientation(image))


def decodes_as_before(file: Path) -> bool:
    """Whether decoder version 1 gave the same pixels for a file, judged by its header."""
    try:
        with Image.open(file, formats=KINDS) as image:
            turned = _orientation(image) in _UPRIGHT
            return not (turned or image.has_transparency_data or _fault(image) or _change(image))
    except Exception:
        return False  # decoding will raise the error


def _fault(image: Image.Image) -> str:
    """Why an image is refused, judged by its header; "" if it is not."""
    if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
        return f"{image.width} x {image.height} pixels are too many; make it smaller"
    if _is_deep(image):
        return "more than 8 bits per channel; convert it to 8 bits first"
    # A camera's MPO file may hold previews after the first picture. Viewers show the first.
    frames = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    if frames > 1:
        return f"{frames} pictures in one file; save the right one as a file of its own"
    return ""


def _is_deep(image: Image.Image) -> bool:
    """Whether channels have more than 8 bits; Pillow would drop the lower bits of colours."""
    if image.mode.startswith(("I", "F")):
        return True
    if image.format == "PNG":
        return _png_bits(image) > 8
    tags = getattr(image, "tag_v2", {})  # only TIFF images have it
    return max(tags.get(_BITS, (1,))) > 8


def _png_bits(image: Image.Image) -> int:
    """Bits per channel in the header of an opened PNG file; once loaded, the image has 8."""
    if any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())):
        return 16
    try:
        if isinstance(name := getattr(image, "filename", ""), str | Path) and name:
            with Path(name).open("rb") as file:
                start = file.read(_PNG_HEADER)
        else:
            file = image._fp  # pyright: ignore[reportAttributeAccessIssue]  # kept when loaded
            place = file.tell()
            file.seek(0)
            start = file.read(_PNG_HEADER)
            file.seek(place)
    except (AttributeError, OSError, ValueError):
        return 8  # the file is gone, and the loaded image has 8
    return start[24] if start.startswith(b"\x89PNG") and len(start) == _PNG_HEADER else 8


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # the parser raises many types on damaged EXIF data
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image.Image) -> Image.Image:
    """The image in sRGB, with transparent parts over white."""
    change = _change(image)
    if not image.has_transparency_data:
        return change.apply(image) if change else image.convert("RGB")
    mask = image.convert("RGBA")
    over = Image.new("RGB", image.size, "white")
    over.paste(change.apply(mask) if change else mask.convert("RGB"), mask=mask.getchannel("A"))
    return over


class _Change(NamedTuple):
    """A change of colours from a profile to sRGB, for images of mode `mode`."""

    mode: str
    transform: ImageCms.ImageCmsTransform

    def apply(self, image: Image.Image) -> Image.Image:
        plain = image if image.mode == self.mode else image.convert(self.mode)
        return self.transform.apply(plain)


def _change(image: Image.Image) -> _Change | None:
    """How an image's colours become sRGB; None if they are sRGB, or without a profile."""
    mode = {"L": "L", "LA": "L", "CMYK": "CMYK", "LAB": "LAB"}.get(image.mode, "RGB")
    profile = image.info.get("icc_profile") or b""
    return _change_of(mode, profile) if profile or mode == "LAB" else None


@lru_cache(maxsize=32)
def _change_of(mode: str, profile: bytes) -> _Change | None:
    try:
        given = ImageCms.ImageCmsProfile(
            ImageCms.createProfile("LAB") if mode == "LAB" else io.BytesIO(profile)
        )
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(given, srgb, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None  # the profile is damaged, or belongs to another kind of image
    change = _Change(mode, transform)
    if mode not in ("L", "RGB"):
        return change
    cube = Image.frombytes(mode, (16**3, 1), _CUBE[: 16**3 * len(mode)])
    before, after = cube.convert("RGB").tobytes(), change.apply(cube).tobytes()
    moved = max(abs(a - b) for a, b in zip(before, after, strict=True))
    return change if moved > _SRGB_STEPS else None


_CUBE = bytes(17 * level for n in range(16**3) for level in (n // 256, n // 16 % 16, n % 16))


def _foreign(file: Path | bytes) -> str:
    """The kind of a file that is not accepted, by its first bytes; "" if they do not tell."""
    if isinstance(file, bytes):
        start = file[:16]
    else:
        with file.open("rb") as content:
            start = content.read(16)
    if start[4:8] == b"ftyp":
        return "a HEIC or AVIF file, or a film"
    return next((what for magic, what in _FOREIGN.items() if start.startswith(magic)), "")
