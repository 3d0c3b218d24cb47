"""What a row of the table is: a fault done to a command, and what of it would be wrong."""

import dataclasses
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.faults.process import NOBODY, End, Start
from experiments.faults.world import COMMANDS, TRAIN, Command, digests
from lupi_jax.errors import shorten, shown

READING: Mapping[str, Command] = {
    "check-data": Command("check-data --data folder --root people"),
    "check-data sysu": Command("check-data --data sysu --root sysu"),
    "train on": Command(f"{TRAIN} --config.data.root=people --workdir run --config.steps=5"),
    "train prepared": Command(
        f"{TRAIN} --config.data.root=people --config.data.prepared=prepared --workdir out/run"
    ),
    "search npz": Command(
        "search --workdir run --query people/test/infrared --gallery gallery.npz --out out/x.png"
    ),
}
"""Commands of the table beside those that write anew."""

KEPT = {
    "evaluate": "test-step4.json",
    "export .npz": "features.npz",
    "export .safetensors": "features.safetensors",
    "search": "ranking.png",
    "search features": "ranking.png",
    "compare": "curves.png",
    "report": "report.html",
}
"""The file that a command replaces."""

SECONDS, MEGABYTES = 120.0, 2000
"""What no command may take, whatever it is given."""


class SkipError(Exception):
    """This machine cannot do it to a command; says why."""


@dataclasses.dataclass
class Case:
    """A command about to be started in a directory of its own.

    Attributes:
      command: the command's name.
      folder: the directory, which holds the world by links.
      world: what the links lead to.
      words: the command line's words.
      start: further arguments of `process.Start`.
      beside: other commands that start at the same moment and must end in the same way.
      after: called when all have ended.
    """

    command: str
    folder: Path
    world: Path
    words: list[str]
    start: dict[str, Any] = dataclasses.field(default_factory=dict)
    beside: list[Start] = dataclasses.field(default_factory=list)
    after: list[Callable[[], object]] = dataclasses.field(default_factory=list)

    @property
    def out(self) -> Path:
        """Where it writes."""
        return self.folder / "out"

    def own(self, name: str) -> Path:
        """A copy of a part of the world that may be broken."""
        place = self.folder / name
        if place.is_symlink():
            place.unlink()
            copy = shutil.copytree if (self.world / name).is_dir() else shutil.copyfile
            copy(self.world / name, place)
        return place

    def set(self, option: str, value: object) -> None:
        """Give an option, as `--out` or `--config.steps`, another value, or give it at all."""
        if option in self.words:
            self.words[self.words.index(option) + 1] = str(value)
            return
        self.words = [word for word in self.words if not word.startswith(f"{option}=")]
        self.words.append(f"{option}={value}")

    def keep_old(self) -> None:
        """Put an old result where the command writes."""
        if name := KEPT.get(self.command):
            (self.out / name).write_bytes(b"an old result\n")


@dataclasses.dataclass(frozen=True)
class Fault:
    """One fault, and what commands should do under it.

    Attributes:
      name: the fault's name.
      commands: names out of `COMMANDS` and `READING`.
      prepare: applies the fault to a case; raises SkipError.
      status: the expected exit status, or several.
      line: a pattern that the last line on stderr must contain.
      here: whether a test can run it in its own process, in little time.
      saves: whether a command writes its files even if it does not exit with 0.
    """

    name: str
    commands: tuple[str, ...]
    prepare: Callable[[Case], object]
    status: int | tuple[int, ...] = 2
    line: str = ""
    here: bool = False
    saves: bool = False

    @property
    def statuses(self) -> tuple[int, ...]:
        """The exit statuses that are right."""
        return self.status if isinstance(self.status, tuple) else (self.status,)

    @property
    def expected(self) -> str:
        """What is right, in words."""
        statuses = " or ".join(map(str, self.statuses))
        return f"{statuses}: {self.line}" if self.line else statuses


def make_case(world: Path, folder: Path, command: str) -> Case:
    """A directory for one command: links to the world, and somebody's thesis where it writes."""
    folder.mkdir()
    for part in world.iterdir():
        if not part.name.startswith(".") and part.name != "out":
            (folder / part.name).symlink_to(part)
    (folder / "out").mkdir()
    (folder / "out" / "thesis.tex").write_text("years of work")
    return Case(command, folder, world, {**COMMANDS, **READING}[command].line())


def start_of(case: Case) -> Start:
    """How to start a case."""
    return Start(case.words, case.folder, **case.start)


def wrong(fault: Fault, case: Case, end: End, before: Mapping[str, str]) -> list[str]:
    """What was not right, given the digests of `case.out` before.

    Whatever the fault: no traceback, no control characters, one line that says what it was, no
    file of others changed, no old result lost, no half-written file left, no waste of time and
    memory.
    """
    found = []
    lines = [shown(line) for line in end.lines]
    last = lines[-1] if lines else ""
    if end.status not in fault.statuses:
        found.append(f"status {end.status}")
    if not re.search(fault.line, last):
        found.append("the last line says something else")
    if end.status and end.status > 0 and "2>" not in case.start.get("shell", ""):
        found += ["no line that begins with lupi:"] * (not last.startswith("lupi"))
    if b"Traceback" in end.err:
        found.append("a traceback")
    if re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", end.out + end.err):
        found.append("control characters")
    if end.busy > SECONDS or end.megabytes > MEGABYTES:
        found.append(f"{end.busy:.0f} s, {end.megabytes} MB")
    return found + _files(case, end, before, end.status in (0, 3) or fault.saves)


def _files(case: Case, end: End, before: Mapping[str, str], made: bool) -> list[str]:
    now = digests(case.out)
    grows = case.command.startswith(("train", "prepare", "make-synthetic"))
    own = set() if not made else {KEPT.get(case.command, ""), *now.keys() - before.keys()}
    found = [f"{name} was changed" for name in before if now.get(name) != before[name]]
    found = [text for text in found if text.split(" was")[0] not in own]
    left = [name for name in now.keys() - before.keys() if not made]
    if end.status is not None and end.status >= 0 and not grows:
        found += [f"{name} was left" for name in left]
    return found + [f"{name} was left" for name in now if "lupi-partial" in name and made]


def said(case: Case, end: End) -> str:
    """The last line on stderr, without this machine's places."""
    last = end.lines[-1] if end.lines else ""
    return shorten(shown(last).replace(f"{case.folder}/", ""), 240)


def give_to_nobody(case: Case) -> None:
    """Have a case run as nobody, whom permissions bind, in a directory of nobody's."""
    import os

    if os.geteuid():
        return  # permissions bind this user as well
    for place in (case.folder, *case.folder.rglob("*")):
        os.chown(place, NOBODY, NOBODY, follow_symlinks=False)
    case.start["nobody"] = True
