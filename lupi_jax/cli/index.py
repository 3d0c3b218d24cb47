"""`lupi index`: a table of your own images, made from their names."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lupi_jax.cli.console import check_out, print_table, say
from lupi_jax.errors import InputError, plural, some

if TYPE_CHECKING:
    from lupi_jax.data.sources.naming import Named

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
    from lupi_jax.data.sources.naming import read_names
    from lupi_jax.data.sources.tabling import make_naming, require_sound, write_table

    check_out(options.out, (".csv",))
    said = _said(options)
    naming = make_naming(options.pattern, said)
    found = read_names(options.root, naming)
    for note in note_passed_over(options.root, found.passed_over):
        say(f"note: {note}")
    if found.left_out:
        say(f"left out: {plural(found.left_out, 'image')} in {', '.join(naming.without)}")
    if not options.out and found.rows:
        _print(found, options.root)
    require_sound(options.root, found, naming, said, options.skip_unmatched)
    if found.unmatched:
        which = some(found.unmatched, 5)
        count = plural(len(found.unmatched), "image")
        say(f"left out: {count} that --pattern does not match ({which})")
    if options.out:
        write_table(options.out, found)
        zero = " --identity-zero distractor" if naming.distractors else ""
        check = f"lupi check-data --data folder --root {options.root} --index {options.out}{zero}"
        say(f"{options.out}: {plural(len(found.rows), 'image')}; next: {check}")


def _said(options: argparse.Namespace) -> dict[str, str | dict[str, str]]:
    """{column: its value, or {old: new} word} of the columns that have an option."""
    said: dict[str, str | dict[str, str]] = {}
    for name in _OPTIONS:
        text = getattr(options, name)
        if text is not None:
            said[name] = _mapping(name, text) if "=" in text else text
    return said


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
