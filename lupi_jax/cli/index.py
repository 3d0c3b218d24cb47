"""`lupi index`: a table of your own images, made from their names."""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lupi_jax.cli.console import check_out, print_table, say
from lupi_jax.errors import InputError, plural, shorten, some

if TYPE_CHECKING:
    from lupi_jax.data.sources.naming import Named, Naming

SUMMARY = "make a table of your own images from their names"
EXAMPLE = """lupi index --root DATA --out images.csv --split train \\
      --pattern '(?P<modality>rgb|ir)/p(?P<identity>[0-9]+)_c(?P<camera>[0-9]+)_.*' \\
      --modality rgb=visible,ir=infrared
  lupi index --root Market-1501-v15.09.15 --pattern market1501 --out market.csv

Without --out the command prints the first rows and the counts, and writes nothing."""
NEEDS = ("data",)
SAVED = "nothing was written"

FIRST = 10
"""Number of rows that are printed."""

_OPTIONS = ("identity", "camera", "modality", "split", "role")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lupi index`."""
    add = parser.add_argument
    add("--root", type=Path, required=True, help="directory of the images (required)")
    add(
        "--pattern",
        required=True,
        metavar="REGEX",
        help="Python regular expression for an image's whole path below the root, with groups "
        "(?P<identity>...), camera, modality, split and role; or market1501 (also DukeMTMC's "
        "names); or query-gallery, for paths {train,query,gallery}/[visible/ or infrared/] and "
        "then <identity>_c<camera>_... or <identity>/c<camera>_... (required)",
    )
    says = {
        "identity": "a whole number, or -1 for junk",
        "camera": "a whole number",
        "modality": "visible or infrared",
        "split": "train, val or test",
        "role": "query or gallery; empty for both",
    }
    for name in _OPTIONS:
        text = f"{name} of images whose path lacks this group: {says[name]}"
        renaming = f"{text}; OLD=NEW renames what the group matches"
        add(f"--{name}", metavar="VALUE|OLD=NEW,...", help=renaming)
    text = "leave out images whose path does not match, instead of stopping"
    add("--skip-unmatched", action="store_true", help=text)
    text = "table to write, .csv; an existing file with other content is not replaced"
    add("--out", type=Path, metavar="FILE", help=text)


def run(options: argparse.Namespace) -> None:
    """Print what the names of images say, or write it as a table."""
    from lupi_jax.data.sources.folder import note_passed_over
    from lupi_jax.data.sources.naming import read_names, table_text

    check_out(options.out, (".csv",))
    naming = _naming(options)
    found = read_names(options.root, naming)
    for note in note_passed_over(options.root, found.passed_over):
        say(f"note: {note}")
    if found.left_out:
        say(f"left out: {plural(found.left_out, 'image')} in {', '.join(naming.without)}")
    if not options.out and found.rows:
        _print(found, options.root)
    _require_sound(found, options, naming)
    if options.out:
        _write(options.out, table_text(found.rows))
        zero = " --identity-zero distractor" if naming.distractors else ""
        check = f"lupi check-data --data folder --root {options.root} --index {options.out}{zero}"
        say(f"{options.out}: {plural(len(found.rows), 'image')}; next: {check}")


def _naming(options: argparse.Namespace) -> "Naming":
    """The pattern that was asked for, with the values that other options add."""
    from lupi_jax.data.sources.naming import NAMINGS, Naming

    naming = NAMINGS.get(options.pattern) or Naming(options.pattern)
    constants, values = dict(naming.constants), dict(naming.values)
    for name in _OPTIONS:
        text = getattr(options, name)
        if text is not None and "=" in text:
            values[name] = _mapping(name, text)
        elif text is not None:
            constants[name] = text
    return dataclasses.replace(naming, constants=constants, values=values)


def _mapping(name: str, text: str) -> dict[str, str]:
    pairs = [part.rpartition("=") for part in text.split(",")]
    mapping = {old: new for old, _, new in pairs}
    if len(mapping) < len(pairs) or not all(middle for _, middle, _ in pairs):
        raise InputError(
            f"--{name} {text}: separate OLD=NEW pairs by commas and give each OLD once, such as "
            "rgb=visible,ir=infrared"
        )
    return mapping


def _print(found: "Named", root: Path) -> None:
    from lupi_jax.data.index import JUNK

    names = ("path", *_OPTIONS)
    kept = len(names) if found.has_roles else -1
    count = len(found.rows)
    which = f"the first {FIRST} of {count} images" if count > FIRST else plural(count, "image")
    print_table(f"{root}: {which}", names[:kept], [row[:kept] for row in found.rows[:FIRST]])
    groups: dict[tuple[str, ...], list[str]] = {}
    for _, identity, _, modality, split, role in found.rows:
        groups.setdefault((split, modality, role or "both"), []).append(identity)
    table = [
        [*group, len(set(people) - {str(JUNK)}), len(people)]
        for group, people in sorted(groups.items())
    ]
    print_table(f"{root}: counts", ("split", "modality", "role", ">identities", ">images"), table)


def _require_sound(found: "Named", options: argparse.Namespace, naming: "Naming") -> None:
    """Refuse names that do not match or have values out of range, and constants without use."""
    matched, unmatched = len(found.rows) + len(found.faults), len(found.unmatched)
    if unmatched and not (options.skip_unmatched and matched):
        skip = ", or leave them out with --skip-unmatched" if matched else ""
        raise InputError(
            f"{options.root}: --pattern does not match {unmatched} of {matched + unmatched} images "
            f"({some(found.unmatched, 5)}): correct it{skip}"
        )
    if found.foreign:
        said = [_foreign(name, sorted(words), naming) for name, words in found.foreign.items()]
        raise InputError(f"{options.root}: {'; '.join(said)}")
    if found.faults:
        more = f" (and {len(found.faults) - 1} more like it)" if len(found.faults) > 1 else ""
        raise InputError(f"{found.faults[0]}{more}")
    for name in _OPTIONS:
        text = getattr(options, name)
        if text is not None and "=" not in text and name not in found.defaulted:
            raise InputError(
                f"--{name} {text}: every path has the group {name}: leave out --{name}"
            )
    if unmatched:
        which = some(found.unmatched, 5)
        say(f"left out: {plural(unmatched, 'image')} that --pattern does not match ({which})")


def _foreign(name: str, words: Sequence[str], naming: "Naming") -> str:
    """What to do about words in the column `name` that it may not hold."""
    from lupi_jax.data.sources.table import CHOICES, ROLE

    *most, last = [*CHOICES[name], *(["empty (both)"] if name == ROLE else [])]
    choices = f"{', '.join(most)} or {last}"
    found = f"{name} is {some([shorten(word, 80) for word in words])}"
    if set(words) == {naming.constants.get(name)}:
        return f"{found}: give --{name} as {choices}"
    # The pairs given already stay, because the option is given once.
    given = naming.values.get(name, {})
    pairs = [f"{old}={'NEW' if new in words else new}" for old, new in given.items()]
    direct = [shorten(word, 80) for word in words if word not in given.values()]
    pairs += [f"{word}=NEW" for word in direct[:10]]
    more = ",..." if len(direct) > 10 else ""
    return f"{found}: translate with --{name} {','.join(pairs)}{more}, where NEW is {choices}"


def _write(out: Path, text: str) -> None:
    """Write a table, unless a file is there already; the same table may be there.

    Raises:
      InputError: a file with other content is there.
    """
    from lupi_jax.data.sources.files import read_bytes
    from lupi_jax.runtime.files import write_whole

    if os.path.lexists(out):
        if read_bytes(out, "") != text.encode():
            raise InputError(
                f"--out {out}: a file with other content is there: delete it, or give another name"
            )
    else:
        write_whole(out, text)
