"""Decodes every image of a data set and looks for duplicates."""

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lupi_jax.data.images import parallel_map, read_image
from lupi_jax.errors import InputError, some
from lupi_jax.runtime.progress import Advance

_DECODED = (16, 8)  # small, since the pixels are not used


class Use(NamedTuple):
    """What an image is used for.

    Attributes:
      trial: RegDB's trial, else None.
      side: "train" or "test".
      identity: number of the person.
      modality: "visible" or "infrared".
      person: False for junk and distractors.
    """

    trial: int | None
    side: str
    identity: int
    modality: str
    person: bool = True


def look_at_images(
    root: Path,
    uses: dict[str, list[Use]],
    workers: int,
    progress: Advance,
) -> Iterator[tuple[Path, str]]:
    """(file, fault) of the images that cannot be decoded, or that are there twice.

    Two files may be the same image, byte for byte, unless their uses exclude each other. One file
    must not have two names. Neither rule applies to images that show no person.

    Args:
      root: directory of the data set.
      uses: {path of an image below `root`: its uses}.
      workers: number of images decoded at the same time.
      progress: called with the number of images decoded so far and the number of all images.
    """
    same = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of files that it then reads
        looks = parallel_map(lambda path: _look(root / path), iter(uses), workers, 8 * workers)
        for done, (path, (digest, fault)) in enumerate(zip(uses, looks, strict=True), 1):
            if fault:
                yield root / path, fault
            else:
                same[digest].append(path)
            progress(done, len(uses))
    for first, *others in same.values():
        every = [use for path in (first, *others) for use in uses[path]]
        if not (others and any(use.person for use in every)):
            continue
        reasons = _exclusive(every)
        if len({os.path.realpath(root / path) for path in (first, *others)}) <= len(others):
            reasons.append("one file under several names")
        if reasons:
            what = f"{root / first} and {some(others)} are the same image, {', '.join(reasons)}"
            yield root / first, f"{what}: keep one"


def _look(file: Path) -> tuple[str, str]:
    """(SHA-256 of an image's bytes, what is wrong with the image); one of them is ""."""
    try:
        read_image(file, _DECODED)
        return hashlib.sha256(file.read_bytes()).hexdigest(), ""
    except (InputError, OSError) as error:
        return "", str(error)


def _exclusive(uses: list[Use]) -> list[str]:
    """The uses of one image that exclude each other, in words."""
    faults = []
    trained, tested = ({u.trial for u in uses if u.side == side} for side in ("train", "test"))
    if trained & tested:
        faults.append("in train and in test")
    identities = sorted({use.identity for use in uses})
    if len(identities) > 1:
        faults.append(f"of the identities {some(identities)}")
    if len({use.modality for use in uses}) > 1:
        faults.append("visible and infrared")
    return faults
