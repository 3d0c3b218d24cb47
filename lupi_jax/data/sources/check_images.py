"""Every image of a data set decoded, and all of them compared."""

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from lupi_jax.data.images import parallel_map, read_image
from lupi_jax.errors import InputError, some

_DECODED = (16, 8)  # nobody looks at the pixels


class Use(NamedTuple):
    """What an image is used for; the side is "train" or "test", the trial RegDB's.

    `person` is False where the identity is nobody's.
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
    progress: Callable[[int, int], None] | None,
) -> Iterator[tuple[Path, str]]:
    """(file, what is wrong with it) of images that cannot be decoded, or are there twice.

    One image, byte for byte, may have two paths, but not two names for one file, nor uses that
    exclude each other; images of nobody may be there as often as they like. `uses` are those of
    each image, by its path below `root`.
    """
    same = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of what it can read after all
        looks = parallel_map(lambda path: _look(root / path), iter(uses), workers, 8 * workers)
        for done, (path, (digest, fault)) in enumerate(zip(uses, looks, strict=True), 1):
            if fault:
                yield root / path, fault
            else:
                same[digest].append(path)
            if progress is not None:
                progress(done, len(uses))
    for first, *others in same.values():
        every = [use for path in (first, *others) for use in uses[path]]
        if not (others and any(use.person for use in every)):  # nobody may be there twice
            continue
        reasons = _exclusive(every)
        if len({os.path.realpath(root / path) for path in (first, *others)}) <= len(others):
            reasons.append("one file under several names")
        if reasons:
            what = f"{root / first} and {some(others)} are the same image, {', '.join(reasons)}"
            yield root / first, f"{what}: keep one"


def _look(file: Path) -> tuple[str, str]:
    """(digest of its bytes, what is wrong with it) of an image."""
    try:
        read_image(file, _DECODED)
        return hashlib.sha256(file.read_bytes()).hexdigest(), ""
    except (InputError, OSError) as error:
        return "", str(error)


def _exclusive(uses: list[Use]) -> list[str]:
    """What one image may not be at once, and is."""
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
