"""What `check_data` notes about a data set that is not wrong: what its images can be used for."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lupi_jax.config import SourceConfig
from lupi_jax.data.feeds.sampler import too_few_identities
from lupi_jax.data.index import DISTRACTOR, JUNK, alone
from lupi_jax.data.sources.counts import Part
from lupi_jax.data.sources.files import SPLITS, ZERO
from lupi_jax.data.sources.manifest import is_generated
from lupi_jax.data.sources.reading import has_distractors
from lupi_jax.errors import plural
from lupi_jax.modality import Modality

CAMERAS = (Modality.VISIBLE, Modality.INFRARED)
"""The modalities that files may have."""

SHIPPED_IDENTITIES = {"folder": 16, "synthetic": 16, "sysu": 8, "regdb": 8, "llcm": 8}
"""`batch.identities` in `configs/NAME.py`, for each kind of data set."""


def may_lack(source: SourceConfig, split: str, parts: Sequence[Part]) -> bool:
    """Whether a split that could not be read may be missing, given the splits that were read.

    Only a folder or a table of one's own may lack one, as a folder of gallery images does.
    """
    if not parts or not _is_own(source):
        return False
    # Whatever is wrong with a table has been reported, also if it leaves a split without images.
    return bool(source.index) or not os.path.lexists(Path(source.root) / split)


def only_modality(source: SourceConfig, parts: Sequence[Part]) -> Modality | None:
    """The modality of all images of one's own data; None if there are two, or data of others."""
    found = [m for m in CAMERAS if any(part.index.count(m) for part in parts)]
    return found[0] if len(found) == 1 and _is_own(source) else None


def _is_own(source: SourceConfig) -> bool:
    """Whether it is not known which splits and modalities the data set should have."""
    return source.name == "folder" and (bool(source.index) or not is_generated(Path(source.root)))


def use_notes(source: SourceConfig, parts: Sequence[Part]) -> Iterator[str]:
    """Lines about what a data set without a modality or a split cannot be used for."""
    there = {part.split for part in parts}
    if only := only_modality(source, parts):
        other = next(m for m in CAMERAS if m != only)
        yield (
            f"no {other} image: nothing can be trained or evaluated across modalities; use "
            f"{alone(only)}"
        )
    for split in SPLITS:
        if split not in there and may_lack(source, split, parts):
            what = "trained on" if split == "train" else "evaluated, except with another --split"
            yield f"no image of split {split}: these data cannot be {what}"


def batch_notes(source: SourceConfig, parts: Sequence[Part]) -> Iterator[str]:
    """A line if the data set lacks the identities for a batch of its shipped configuration."""
    found = [len(part.index.classes) for part in parts if part.split == "train"]
    wanted = SHIPPED_IDENTITIES[source.name]
    if found and 1 < (few := min(found)) < wanted:
        yield f"in configs/{source.name}.py {too_few_identities(wanted, few)}"


def people_notes(source: SourceConfig, parts: Sequence[Part]) -> Iterator[str]:
    """Lines about junk and distractors, and about identity 0 if other splits have junk."""
    with_junk, with_zero = [], []
    for part in parts:
        junk = int(np.sum(part.index.identities == JUNK))
        zeros = int(np.sum(part.index.identities == DISTRACTOR))
        with_junk += [part.name] * bool(junk)
        with_zero += [part.name] * bool(zeros)
        counted = [f"{plural(junk, 'junk image')} (-1)"] * bool(junk)
        if part.index.distractors and zeros:
            counted.append(f"{plural(zeros, 'distractor image')} (0)")
        if counted:
            yield f"split {part.name}: {' and '.join(counted)}"
    if with_junk:
        yield "junk is not trained on, and is neither a query nor in a gallery"
    if has_distractors(source) and with_zero:
        yield "distractors are in galleries, but are neither trained on nor queries"
    apart = not set(with_junk) & set(with_zero)  # otherwise `require_zero` has reported it
    if source.identity_zero == "auto" and with_junk and with_zero and apart:
        yield (
            f"identity 0 (split {', '.join(with_zero)}) counts as a person, and split "
            f"{', '.join(with_junk)} has junk: if 0 is a distractor, as in Market-1501, set {ZERO}"
        )
