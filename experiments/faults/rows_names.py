"""Faults of places: outputs that are inputs, what is others', names that any file system allows."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from experiments.faults.fault import Case, Fault

HOSTILE = {
    "a line break": b"two\nlines",
    "an escape sequence": b"\x1b[31mred\x1b[0m\x07",
    "markup and mathtext": b"$\\frac{$ [bold]<b>&amp; {0} %s '\"",
    "bytes that are no UTF-8": b"\xff\xfe name",
    "a space, a dash and a star": b"- * ?.x y",
}
"""Names that a file system allows, by what is odd about them."""


def place(folder: Path, name: bytes) -> Path:
    """A path below a directory, whatever its bytes."""
    return folder / os.fsdecode(name)


def named_image(name: bytes) -> Callable[[Case], None]:
    """One of the images has such a name."""

    def prepare(case: Case) -> None:
        file = next((case.own("people") / "test/visible").rglob("*.jpg"))
        file.rename(file.with_name(os.fsdecode(name) + ".jpg"))

    return prepare


def named_data(name: bytes) -> Callable[[Case], None]:
    """The data set lies in a directory of such a name."""

    def prepare(case: Case) -> None:
        root = place(case.folder, name)
        root.symlink_to(case.world / "people")
        case.set("--config.data.root" if "train" in case.words else "--root", root.name)

    return prepare


def named_run(name: bytes) -> Callable[[Case], None]:
    """The run lies in a directory of such a name."""

    def prepare(case: Case) -> None:
        if case.command != "train":
            case.own("run").rename(place(case.folder, name))
        case.set("--workdir", os.fsdecode(name))

    return prepare


def named_output(name: bytes) -> Callable[[Case], None]:
    """The command is to write to such a name."""

    def prepare(case: Case) -> None:
        option = next(o for o in ("--stablehlo", "--out", "--workdir") if o in case.words)
        ending = Path(case.words[case.words.index(option) + 1]).suffix
        case.set(option, f"out/{os.fsdecode(name)}{ending}")

    return prepare


def output(*parts: str) -> Callable[[Case], None]:
    """The command is to write to a place that holds something else."""

    def prepare(case: Case) -> None:
        case.own(parts[0])
        case.set("--stablehlo" if "--stablehlo" in case.words else "--out", "/".join(parts))

    return prepare


def output_at_query(case: Case) -> None:
    """The picture is to be drawn in place of a query."""
    query = next((case.own("people") / "test/infrared").rglob("*.jpg"))
    case.set("--out", query.relative_to(case.folder))


def foreign(case: Case) -> None:
    """A thesis, with its history, lies where the command is to write a directory."""
    option = "--stablehlo" if "--stablehlo" in case.words else "--out"
    folder = case.folder / case.words[case.words.index(option) + 1]
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main")
    for name in ("artefact.json", "made_by.json", "thesis.tex"):
        (folder / name).write_text('{"format": "a thesis"}')


def long_name(length: int, depth: int = 1) -> Callable[[Case], None]:
    """The command is to write to a name, or a path, that no file system takes."""
    return named_output("/".join(["x" * length] * depth).encode())


def linked_directories(case: Case) -> None:
    """A directory of images that holds itself."""
    root = case.own("people")
    (root / "test/visible/again").symlink_to(root / "test")


def deep_directories(case: Case) -> None:
    """An image lies 600 directories deep."""
    place = case.own("people") / "test/visible"
    image = next(place.rglob("*.jpg"))
    deepest = place.joinpath(*["d"] * 600)
    deepest.mkdir(parents=True)
    image.rename(deepest / image.name)


def file_where_a_directory_goes(case: Case) -> None:
    """The directory that the command is to write in is a file."""
    shutil.rmtree(case.out)
    case.out.mkdir()
    (case.out / "sub").write_text("a file")
    option = next(o for o in ("--stablehlo", "--out", "--workdir") if o in case.words)
    name = Path(case.words[case.words.index(option) + 1]).name
    case.set(option, f"out/sub/{name}")


WRITERS = ("evaluate", "export .npz", "export directory", "export network", "search", "compare")
WRITERS = (*WRITERS, "report", "prepare", "make-synthetic")


ALL = b"\x1b[31m $\\frac{$ [bold]<b>&amp; {0} %s \xff two\nlines"

FAULTS = (
    *(Fault(f"an image named {k}", ("search",), named_image(n), 0) for k, n in HOSTILE.items()),
    Fault("an image named all of that", ("check-data",), named_image(ALL), (0, 2)),
    Fault("an image named all of that", ("evaluate", "report"), named_image(ALL), (0, 2)),
    Fault("a data set named all of that", ("check-data", "train"), named_data(ALL), (0, 2)),
    Fault("an output named all of that", WRITERS, named_output(ALL), 0),
    Fault("a run named all of that", ("train", "evaluate"), named_run(ALL), 2, "cannot have .* in"),
    Fault(
        "the output is a query image",
        ("search",),
        output_at_query,
        2,
        "this would overwrite .*, which is read",
        here=True,
    ),
    Fault(
        "the output is the data set",
        ("prepare",),
        output("people"),
        2,
        "not empty",
        True,
    ),
    Fault(
        "the output is a run",
        ("export directory", "export network", "prepare", "make-synthetic"),
        output("run"),
        2,
        "something else is there|not empty",
        True,
    ),
    Fault(
        "the output is the run's figures",
        ("report", "compare", "search"),
        output("run", "metrics.jsonl"),
        2,
        "name a file that ends in",
        True,
    ),
    Fault(
        "the output is a directory",
        ("report", "compare", "search", "export .npz"),
        output("run"),
        2,
        "name a file|something else is there|not",
        True,
    ),
    Fault(
        "the output directory is a thesis",
        ("export directory", "export network", "prepare", "make-synthetic"),
        foreign,
        2,
        "something else is there|not empty",
        True,
    ),
    Fault(
        "a file where a directory goes",
        (*WRITERS, "train"),
        file_where_a_directory_goes,
        2,
        "directory|exists",
        True,
    ),
    Fault(
        "a name of 300 characters", (*WRITERS, "train"), long_name(300), 2, "[Nn]ame too long", True
    ),
    Fault(
        "a path of 8000 characters",
        (*WRITERS, "train"),
        long_name(200, 40),
        2,
        "[Nn]ame too long",
        True,
    ),
    Fault("an image in 600 directories", ("search",), deep_directories, 0),
    Fault("a directory of images that holds itself", ("search",), linked_directories, 0),
)
