"""Faults of the machine: disks, streams, signals, permissions, settings of libraries."""

import os
import signal
import subprocess
from collections.abc import Callable

from experiments.faults import process
from experiments.faults.fault import Case, Fault, SkipError, give_to_nobody
from experiments.faults.world import COMMANDS

WRITERS = tuple(COMMANDS)
SEVERAL = ("train", "evaluate", "export .npz", "search", "report", "prepare", "make-synthetic")
PRINTING = ("evaluate", "search", "compare", "check-data")
QUICK = ("search", "prepare", "make-synthetic")
DIRECTORIES = ("export directory", "export network", "prepare", "make-synthetic")
SIGNALLED = ("evaluate", "export .npz", "export directory")


def full_disk(case: Case) -> None:
    """Put a disk of one page, and that taken, where the command writes."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(case.out)]
    if subprocess.run(mount, capture_output=True).returncode:
        raise SkipError("only root may mount a small disk")
    case.after.append(lambda: subprocess.run(["umount", str(case.out)], check=True))
    (case.out / "thesis.tex").write_text("years of work")
    case.keep_old()
    with (case.out / "filling").open("wb") as file:
        try:
            while True:
                file.write(bytes(4096))
                file.flush()
        except OSError:
            os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size - 4096)


def short_files(case: Case) -> None:
    """As after `ulimit -f`: no file may grow beyond 2000 bytes."""
    case.keep_old()
    if case.command == "make-synthetic":
        case.set("--height", 288)  # larger pictures than the world's
    case.start["file_bytes"] = 2000
    case.start["environment"] = {"JAX_ENABLE_COMPILATION_CACHE": "0"}


def shell(text: str) -> Callable[[Case], None]:
    """What a shell adds behind the command."""

    def prepare(case: Case) -> None:
        case.start["shell"] = text

    return prepare


def signalled(number: signal.Signals) -> Callable[[Case], None]:
    """The command gets a signal as it begins to write."""

    def prepare(case: Case) -> None:
        case.keep_old()
        event = 60 if case.command == "train" else 3  # it has trained by then
        case.start.update(number=number, event=event, watched=case.out)

    return prepare


def read_only(case: Case) -> None:
    """The directory may not be written to."""
    give_to_nobody(case)
    case.out.chmod(0o555)


def forbid(part: str, pattern: str) -> Callable[[Case], None]:
    """A file of the world may not be read."""

    def prepare(case: Case) -> None:
        file = next(file for file in sorted(case.own(part).glob(pattern)) if file.is_file())
        give_to_nobody(case)
        file.chmod(0)

    return prepare


def variables(**values: str) -> Callable[[Case], None]:
    """Environment variables."""

    def prepare(case: Case) -> None:
        case.start.update(fresh=True, environment=values)

    return prepare


def matplotlibrc(content: bytes) -> Callable[[Case], None]:
    """A user's settings of Matplotlib."""

    def prepare(case: Case) -> None:
        (case.folder / "matplotlibrc").write_bytes(content)
        case.start.update(fresh=True, environment={"MATPLOTLIBRC": str(case.folder)})

    return prepare


def two_at_once(case: Case) -> None:
    """The same command is started twice, at the same moment."""
    folder = case.folder / "second"
    folder.mkdir()
    for part in case.folder.iterdir():
        if part != folder:
            (folder / part.name).symlink_to(part)
    case.beside.append(process.Start(case.words, folder))


NO_ROOM = r"No space left|make room|free space"
TOO_LARGE = r"File too large|too large"
MATPLOTLIB_NAMED = r"refuses its settings .*matplotlibrc"

FAULTS = (
    Fault("a full disk", WRITERS, full_disk, 2, NO_ROOM),
    Fault("ulimit -f", SEVERAL, short_files, 2, TOO_LARGE),
    Fault("stdout closed", PRINTING, shell(">&-"), 0),
    Fault("stderr closed", ("evaluate", "check-data"), shell("2>&-"), 0),
    Fault("all streams closed", QUICK, shell("<&- >&- 2>&-"), 0),
    Fault(
        "a pipe whose reader has gone",
        PRINTING,
        shell("| true"),
        2,
        "was closed before everything",
        saves=True,
    ),
    Fault("a full disk behind stdout", PRINTING, shell("> /dev/full"), 2, "make room", saves=True),
    Fault("messages that nobody reads", ("train", "evaluate"), shell("2> >(head -c 1 >&2)"), 0),
    Fault("SIGINT", SIGNALLED, signalled(signal.SIGINT), 130, "interrupted; "),
    Fault("SIGTERM", SIGNALLED, signalled(signal.SIGTERM), -signal.SIGTERM),
    Fault("SIGHUP", SIGNALLED, signalled(signal.SIGHUP), -signal.SIGHUP),
    Fault("SIGINT", ("train",), signalled(signal.SIGINT), 75, "run the same command to resume"),
    Fault("SIGTERM", ("train",), signalled(signal.SIGTERM), 75, "run the same command to resume"),
    Fault("SIGHUP", ("train",), signalled(signal.SIGHUP), 75, "run the same command to resume"),
    Fault(
        "SIGINT",
        ("prepare", "make-synthetic"),
        signalled(signal.SIGINT),
        130,
        "run the same command to continue",
    ),
    Fault("a directory that may not be written", SEVERAL, read_only, 2, "[Pp]ermission"),
    Fault(
        "a checkpoint that may not be read",
        ("evaluate", "export .npz", "report", "train on"),
        forbid("run", "checkpoints/*/variables/manifest.ocdbt"),
        2,
        "Permission denied.*the checkpoint stays where it is",
    ),
    Fault(
        "an image that may not be read",
        ("evaluate", "prepare", "check-data"),
        forbid("people", "test/visible/*/*.jpg"),
        2,
        "Permission denied|problem, named above|replace or remove",
    ),
    Fault(
        "an image that may not be read", ("search",), forbid("people", "test/visible/*/*.jpg"), 3
    ),
    Fault(
        "metrics.jsonl that may not be read",
        ("report", "train on"),
        forbid("run", "metrics.jsonl"),
        2,
        "metrics.jsonl: Permission denied",
    ),
    Fault(
        "features that may not be read",
        ("search features",),
        forbid("gallery", "pooled.npy"),
        2,
        "pooled.npy|Permission denied",
    ),
    Fault(
        "JAX_ENABLE_X64=banana",
        ("evaluate", "train"),
        variables(JAX_ENABLE_X64="banana"),
        2,
        "a library refuses its settings .*JAX_",
    ),
    Fault(
        "JAX_PLATFORMS=banana",
        ("evaluate", "train"),
        variables(JAX_PLATFORMS="banana"),
        2,
        "banana",
    ),
    Fault("COLUMNS=0", ("evaluate", "check-data"), variables(COLUMNS="0"), 0),
    Fault(
        "LC_ALL=C",
        ("search",),
        variables(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
        0,
    ),
    Fault("HOME is nowhere", QUICK, variables(HOME="/nowhere"), 0),
    Fault("TMPDIR is nowhere", QUICK, variables(TMPDIR="/nowhere"), 0),
    Fault(
        "text.usetex in matplotlibrc",
        ("evaluate", "search", "report"),
        matplotlibrc(b"text.usetex: True\nfont.family: nothing\nfigure.dpi: 9000\n"),
        0,
    ),
    Fault(
        "an unknown backend in matplotlibrc",
        ("evaluate",),
        matplotlibrc(b"backend: banana\n"),
        0,
    ),
    Fault(
        "matplotlibrc that is not UTF-8",
        ("evaluate", "compare"),
        matplotlibrc(b"font.family: \xff\n"),
        2,
        MATPLOTLIB_NAMED,
    ),
    Fault("the same output twice at once", ("evaluate", "export .npz"), two_at_once, 0),
    Fault("the same output twice at once", DIRECTORIES, two_at_once, (0, 2), saves=True),
)
