"""Kill every command that writes, at moments drawn at random, and see that nothing is lost.

A command's life ends by SIGKILL: at a moment drawn uniformly over the time of a whole life, or,
two times in three, in the midst of its writing, at a change of a file that is drawn, or up to
50 ms after it. After each kill every file below its name is the old one or the new one, whole;
what belongs to others is untouched; what is half-written has a hidden name. After three kills at
most the same command is left to its end, and has then left just what it leaves undisturbed, and
nothing beside it.
"""

import argparse
import dataclasses
import json
import shutil
import signal
import sys
from pathlib import Path

import numpy as np

from experiments.faults import process
from experiments.faults.results import machine, table, write_results
from experiments.faults.world import COMMANDS, Command, Facts, digests, make_world
from lupi_jax.errors import some
from lupi_jax.runtime.files import write_whole

FOREIGN = {"thesis.tex": "years of work", ".git/HEAD": "ref: refs/heads/main"}
LIVES = 3
"""Kills in a row, before the command is left to its end."""
OVER = ("nothing", "an old result", "what a kill had left")


@dataclasses.dataclass(frozen=True)
class Kill:
    """One life that was cut off.

    Attributes:
      command: its name.
      over: what stood where it writes, one of `OVER`.
      moment: "anywhere", or the change of a file at which it was killed.
      delay: seconds from that change to the kill.
      seconds: that it lived.
      written: whether files had changed by then.
    """

    command: str
    over: str
    moment: str
    delay: float
    seconds: float
    written: bool


@dataclasses.dataclass(frozen=True)
class Whole:
    """A command undisturbed: what it leaves, its seconds, and how many times it changes a file."""

    facts: Facts
    seconds: float
    events: int


def undisturbed(world: Path, command: Command) -> Whole:
    """Run a command twice: the first time compiles, the second says how long it takes."""
    out = world / "out"
    for _ in range(2):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        end = process.run(process.Start(command.line(), world, watched=out))
        if end.status:
            raise RuntimeError(f"{' '.join(command.line())} failed: {' / '.join(end.lines[-5:])}")
    return Whole(command.facts(out), end.seconds, end.events)


def age(out: Path, whole: Whole, command: Command) -> None:
    """Put an old result where the command writes: the new one, each file longer by a byte."""
    for name in whole.facts:
        with (out / name).open("ab") as file:
            file.write(b"\n")
    if command.marker:
        (out / command.marker).with_name("notes.txt").write_text("not ours")


def check_killed(command: Command, out: Path, old: Facts, new: Facts) -> list[str]:
    """What a kill has broken, given what stood there before and what should stand there after."""
    now, found = command.facts(out), []
    foreign = [*FOREIGN, *(name for name in old if name.endswith("notes.txt"))]
    found += [f"{name} was touched" for name in foreign if now.get(name) != old[name]]
    if command.facts is not digests:  # a run, which goes on from its newest checkpoint
        return found + check_run(old, now)
    own = {name: fact for name, fact in now.items() if not _is_hidden(name) and name not in foreign}
    is_new = {name: fact == new.get(name) for name, fact in own.items()}
    half = [name for name, fact in own.items() if not is_new[name] and fact != old.get(name)]
    found += [f"{name} is neither old nor new" for name in half]
    if command.marker in own and (len(set(is_new.values())) > 1 or own.keys() != new.keys()):
        found.append(f"{command.marker} says that a mixture is whole")
    if not command.grows:
        gone = old.keys() - own.keys() - {*foreign}
        found += [f"{name} is lost" for name in gone if old[name] not in now.values()]
    return found


def check_run(old: Facts, now: Facts) -> list[str]:
    """Whether a killed run has lost its newest checkpoint, or taken one for damaged."""
    before, after = (
        [int(Path(name).name) for name in facts if "/checkpoints/" in name and _is_step(name)]
        for facts in (old, now)
    )
    lost = max(before, default=0) > max(after, default=0)
    damaged = any("/damaged/" in name for name in now)
    found = ["the newest checkpoint is lost"] * lost
    return found + ["a checkpoint was taken for damaged"] * damaged


def check_whole(command: Command, out: Path, foreign: Facts, new: Facts) -> list[str]:
    """What the last life left otherwise than an undisturbed one."""
    now, wanted = command.facts(out), {**new, **foreign}
    found = [f"{name} differs" for name in now.keys() & wanted.keys() if now[name] != wanted[name]]
    found += [f"{name} is missing" for name in wanted.keys() - now.keys()]
    return found + [f"{name} was left" for name in now.keys() - wanted.keys()]


def _is_hidden(name: str) -> bool:
    """Whether a name says that what it holds is not whole."""
    parts = Path(name).parts
    return any(part.startswith(".") for part in parts) or parts[-1].endswith(".partial.json")


def _is_step(name: str) -> bool:
    return Path(name).name.isdecimal()


class Chain:
    """Kills of one command in a row, and the life that is left to its end."""

    def __init__(self, world: Path, name: str, whole: Whole, aged: bool) -> None:
        """Begin over nothing, or, `aged`, over what a whole life has just left, made old."""
        self.name, self.command, self.whole = name, COMMANDS[name], whole
        self.world, self.out = world, world / "out"
        if aged:
            age(self.out, whole, self.command)
        else:
            shutil.rmtree(self.out)
            self.out.mkdir()
        for file, text in FOREIGN.items():
            (self.out / file).parent.mkdir(exist_ok=True)
            (self.out / file).write_text(text)
        self.old = self.command.facts(self.out)
        self.foreign = {name: fact for name, fact in self.old.items() if name not in whole.facts}
        self.over = "an old result" if aged else "nothing"

    def kill(self, rng: np.random.Generator) -> Kill | None:
        """End one life; None where it ended before the moment came.

        Raises:
          RuntimeError: something was broken.
        """
        within = rng.random() < 2 / 3
        event = int(rng.integers(1, self.whole.events + 1)) if within else 0
        delay = round(float(rng.uniform(0, 0.05)), 4) if within and rng.random() < 0.5 else 0.0
        moment = float("inf") if within else rng.uniform(0, self.whole.seconds)
        start = process.Start(
            self.command.line(), self.world, event=event, delay=delay, watched=self.out
        )
        end = process.run(start, lambda seconds: seconds > moment)
        self._require(end, 0, -signal.SIGKILL)
        at = f"change {event} of {self.whole.events}" if within else "anywhere"
        kill = Kill(self.name, self.over, at, delay, end.seconds, end.events > 0)
        self._refuse(kill, check_killed(self.command, self.out, self.old, self.whole.facts))
        self.over = "what a kill had left"
        if self.command.facts is not digests:
            self.old |= self.command.facts(self.out)
        return kill if end.status else None

    def finish(self) -> None:
        """Leave the command to its end.

        Raises:
          RuntimeError: it left something else than undisturbed.
        """
        self._require(process.run(process.Start(self.command.line(), self.world)), 0)
        faults = check_whole(self.command, self.out, self.foreign, self.whole.facts)
        self._refuse("after the last life", faults)

    def _require(self, end: process.End, *statuses: int) -> None:
        if end.status not in statuses:
            said = " / ".join(end.lines[-5:])
            raise RuntimeError(f"{self.name} ended with {end.status}: {said}")

    def _refuse(self, when: object, faults: list[str]) -> None:
        if faults:
            raise RuntimeError(f"{self.name}, {when}: {some(faults, 20)}")


def kill_command(world: Path, name: str, count: int, rng: np.random.Generator) -> list[Kill]:
    """Kill one command `count` times, over nothing and over old results in turn."""
    whole = undisturbed(world, COMMANDS[name])
    kills: list[Kill] = []
    aged = COMMANDS[name].ages
    while len(kills) < count:
        chain = Chain(world, name, whole, aged)
        for _ in range(min(LIVES, count - len(kills))):
            kill = chain.kill(rng)
            if kill is None:
                break
            print(kill, file=sys.stderr)
            kills.append(kill)
        chain.finish()
        aged = not aged and COMMANDS[name].ages
    return kills


def report(options: argparse.Namespace, kills: list[Kill]) -> str:
    """Markdown: what was killed, and what came of it."""
    rows = []
    for name in options.commands:
        own = [kill for kill in kills if kill.command == name]
        rows.append(
            (
                f"`{name}`",
                len(own),
                sum(kill.moment != "anywhere" for kill in own),
                sum(kill.written for kill in own),
                *(sum(kill.over == over for kill in own) for over in OVER),
            )
        )
    rows.append(("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    headings = ("command", "kills", "at a change of a file", "after the first change", *OVER)
    return f"""# Commands killed at random moments

    python -m experiments.faults kills --workdir runs/faults --kills {options.kills} \
--seed {options.seed}

{machine()}

{table(headings, rows)}

Nothing was lost. After each of the {len(kills)} kills every file was the old one or the new one, \
whole; what was half-written had a hidden name; a directory of several files was taken for whole \
only where it was; and what belongs to others was as before, beside the results and among them. \
After at most {LIVES} kills in a row the same command was left to its end, and had then left what \
it leaves undisturbed, byte for byte (a run: its arrays and figures), and nothing else. The \
columns "{OVER[0]}" to "{OVER[2]}" say what stood where a killed command was to write.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kills`."""
    add = parser.add_argument
    add("--kills", type=int, default=100, help="kills over all commands (100)")
    add("--seed", type=int, default=0, help="seed of the moments (0)")
    add(
        "--commands",
        nargs="*",
        default=[*COMMANDS],
        choices=[*COMMANDS],
        metavar="COMMAND",
        help="commands whose share of the kills is done (all)",
    )


def main(options: argparse.Namespace) -> int:
    """Kill, check, and write the table; commands that were done before are not done again."""
    folder = options.workdir.absolute()
    world, kills = make_world(folder), []
    try:
        for name in options.commands:
            number = [*COMMANDS].index(name)
            count = len(range(number, options.kills, len(COMMANDS)))
            known = folder / f"kills-{options.seed}-{count}-{name.replace(' ', '_')}.json"
            if not known.is_file():
                own = kill_command(
                    world, name, count, np.random.default_rng([options.seed, number])
                )
                write_whole(known, json.dumps([dataclasses.asdict(kill) for kill in own]))
            kills += [Kill(**kill) for kill in json.loads(known.read_text())]
    except RuntimeError as error:
        print(f"faults: {error}", file=sys.stderr)
        return 1
    result = {"seed": options.seed, "kills": [dataclasses.asdict(kill) for kill in kills]}
    write_results(options.results, "faults", result, report(options, kills))
    return 0
