"""Makes and writes a table of one's own images, or says why their names do not suffice."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lupi_jax.data.sources.files import read_bytes
from lupi_jax.data.sources.naming import GROUPS, NAMINGS, Named, Naming, read_names, table_text
from lupi_jax.data.sources.table import CHOICES, ROLE
from lupi_jax.errors import InputError, shorten, some
from lupi_jax.runtime.files import expand, write_whole

Values = str | int | Mapping[str, str]
"""What a column of a table says: one value for paths that lack the group, or {old: new} words."""


def make_table(
    root: str | os.PathLike[str],
    pattern: str,
    out: str | os.PathLike[str] | None = None,
    *,
    identity: Values | None = None,
    camera: Values | None = None,
    modality: Values | None = None,
    split: Values | None = None,
    role: Values | None = None,
    skip_unmatched: bool = False,
) -> Named:
    """Make a table of one's own images from their names, and write it if `out` is given.

    For example `lupi_jax.make_table(root, "market1501", "market.csv")`. No image is opened.

    Args:
      root: directory of the images.
      pattern: regular expression for an image's whole path below the root, with named groups
        identity, camera, modality, split and role; or the name of a ready pattern, "market1501" or
        "query-gallery".
      out: table to write, `.csv`. An existing file with other content is not replaced.
      identity: the identity of images whose path lacks this group; or {old: new}, which renames
        what the group matches.
      camera: the same for the camera.
      modality: the same for the modality, "visible" or "infrared".
      split: the same for the split, "train", "val" or "test".
      role: the same for the role, "query", "gallery" or "" for both.
      skip_unmatched: whether to leave out images whose path does not match.

    Returns:
      The rows (path, identity, camera, modality, split, role), sorted by path, and what was left
      out.

    Raises:
      InputError: names do not match or have values out of range, or the table cannot be written.
      OSError: a directory cannot be read.
    """
    given = zip(GROUPS, (identity, camera, modality, split, role), strict=True)
    said = {name: value for name, value in given if value is not None}
    place = None if out is None else expand(out)
    if place and place.suffix.lower() != ".csv":
        raise InputError(f"{place}: name a file that ends in .csv")
    naming = make_naming(pattern, said)
    found = read_names(expand(root), naming)
    require_sound(expand(root), found, naming, said, skip_unmatched)
    if place:
        write_table(place, found)
    return found


def make_naming(pattern: str, said: Mapping[str, Values]) -> Naming:
    """A ready pattern or another, with the values of `said`, {group: value or {old: new}}."""
    naming = NAMINGS.get(pattern) or Naming(pattern)
    constants, values = dict(naming.constants), dict(naming.values)
    for name, value in said.items():
        if isinstance(value, Mapping):
            values[name] = value
        else:
            constants[name] = str(value)
    return dataclasses.replace(naming, constants=constants, values=values)


def require_sound(
    root: Path, found: Named, naming: Naming, said: Mapping[str, Values], skip_unmatched: bool
) -> None:
    """Refuse names that do not match or have values out of range, and constants without use.

    Raises:
      InputError: names cannot be used; the message says which, and what to do.
    """
    matched, unmatched = len(found.rows) + len(found.faults), len(found.unmatched)
    if unmatched and not (skip_unmatched and matched):
        skip = ", or leave them out with --skip-unmatched" if matched else ""
        raise InputError(
            f"{root}: --pattern does not match {unmatched} of {matched + unmatched} images "
            f"({some(found.unmatched, 5)}): correct it{skip}"
        )
    if found.foreign:
        raise InputError(f"{root}: {'; '.join(_foreign(found, naming))}")
    if found.faults:
        more = f" (and {len(found.faults) - 1} more like it)" if len(found.faults) > 1 else ""
        raise InputError(f"{found.faults[0]}{more}")
    for name in GROUPS:
        value = said.get(name)
        if isinstance(value, str | int) and name not in found.defaulted:
            raise InputError(
                f"--{name} {value}: every path has the group {name}: leave out --{name}"
            )


def _foreign(found: Named, naming: Naming) -> Iterator[str]:
    """What to do about words in columns that may not hold them."""
    for name, foreign in found.foreign.items():
        words = sorted(foreign)
        *most, last = [*CHOICES[name], *(["empty (both)"] if name == ROLE else [])]
        choices = f"{', '.join(most)} or {last}"
        said = f"{name} is {some([shorten(word, 80) for word in words])}"
        if set(words) == {naming.constants.get(name)}:
            yield f"{said}: give --{name} as {choices}"
        else:
            pairs = _pairs(words, naming.values.get(name, {}))
            yield f"{said}: translate with --{name} {pairs}, where NEW is {choices}"


def _pairs(words: Sequence[str], given: Mapping[str, str]) -> str:
    """OLD=NEW pairs that translate `words`; those given already stay."""
    pairs = [f"{old}={'NEW' if new in words else new}" for old, new in given.items()]
    direct = [shorten(word, 80) for word in words if word not in given.values()]
    pairs += [f"{word}=NEW" for word in direct[:10]]
    return ",".join(pairs) + (",..." if len(direct) > 10 else "")


def write_table(out: Path, found: Named) -> None:
    """Write a table, unless a file is there already; the same table may be there.

    Raises:
      InputError: a file with other content is there.
      OSError: the file cannot be written.
    """
    text = table_text(found.rows)
    if os.path.lexists(out):
        if read_bytes(out, "") != text.encode():
            raise InputError(
                f"--out {out}: a file with other content is there: delete it, or give another name"
            )
    else:
        write_whole(out, text)
