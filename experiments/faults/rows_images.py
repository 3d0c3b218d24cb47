"""Faults of images: foreign formats, bombs, damage, links to devices."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from experiments.faults.fault import Case, Fault

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 48\n(pwned) (w) file closefile\n"
PPM = b"P6\n24 48\n255\n" + bytes(24 * 48 * 3)
PSD = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 48, 24, 8, 3) + bytes(64)
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"


def _png(width: int, height: int) -> bytes:
    """A PNG that declares a size but holds only the first rows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000 * (1 + (width + 7) // 8)))
    parts = chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def replaced(content: bytes | Callable[[], bytes]) -> Callable[[Case], None]:
    """The bytes of one image of the gallery are others."""

    def prepare(case: Case) -> None:
        image(case).write_bytes(content if isinstance(content, bytes) else content())

    return prepare


def image(case: Case) -> Path:
    """The image to break: a test image, or a training image for commands that train."""
    split = "train" if case.command.startswith("train") else "test"
    return next(iter(sorted((case.own("people") / split / "visible").rglob("*.jpg"))))


def linked(target: str) -> Callable[[Case], None]:
    """An image is a link to a device."""

    def prepare(case: Case) -> None:
        file = image(case)
        file.unlink()
        file.symlink_to(target)

    return prepare


def pipe(case: Case) -> None:
    """An image is a pipe that nobody writes to."""
    file = image(case)
    file.unlink()
    os.mkfifo(file)


def animation(case: Case) -> None:
    """An image is a film of a thousand pictures."""
    frames = [Image.new("L", (24, 48), n % 256) for n in range(300)]
    frames[0].save(image(case), "GIF", save_all=True, append_images=frames[1:])


def deep(case: Case) -> None:
    """An image has 16 bits in each channel."""
    Image.new("I;16", (24, 48), 60000).save(image(case), "PNG")


def cut(case: Case) -> None:
    """An image ends in its middle."""
    file = image(case)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


BROKEN: dict[str, tuple[Callable[[Case], None], str]] = {
    "PostScript under .jpg": (replaced(POSTSCRIPT), "an EPS file; save it as"),
    "a PSD file under .jpg": (replaced(PSD), "a PSD file; save it as"),
    "a PPM file under .jpg": (replaced(PPM), "PPM .*file; save it as"),
    "an SVG file under .jpg": (replaced(SVG), "unreadable image"),
    "a PNG of 1 x 64M pixels": (replaced(lambda: _png(1, 64_000_000)), "pixels are too many"),
    "a PNG of 60000 x 60000 pixels": (replaced(lambda: _png(60_000, 60_000)), "too many"),
    "an image of no bytes": (replaced(b""), "unreadable image"),
    "an image that is cut off": (cut, "unreadable image"),
    "a film under .jpg": (animation, "300 pictures in one file"),
    "16 bits in a channel": (deep, "more than 8 bits per channel"),
    "an image linked to /dev/zero": (
        linked("/dev/zero"),
        "a pipe or a device|not an image file",
    ),
    "an image linked to nowhere": (linked("/nowhere"), "no such file|not an image|nowhere"),
    "an image that is a pipe": (pipe, "a pipe or a device|not an image file"),
}
"""{what is wrong: (how, what is said)}."""


WORST = ("PostScript under .jpg", "a PNG of 1 x 64M pixels", "an image linked to /dev/zero")

FAULTS = (
    *(Fault(w, ("prepare",), prepare, 2, line, True) for w, (prepare, line) in BROKEN.items()),
    *(
        Fault(w, ("check-data",), prepare, 2, "problems?, named above", True)
        for w, (prepare, _) in BROKEN.items()
    ),
    *(Fault(w, ("evaluate", "train"), BROKEN[w][0], 2, BROKEN[w][1]) for w in WORST),
    *(
        Fault(w, ("search",), BROKEN[w][0], 3, "1 image was left out and named above")
        for w in WORST
    ),
)
