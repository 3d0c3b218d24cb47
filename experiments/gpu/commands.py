"""Parts that run `lupi` like a user: its start, training end to end, evaluation."""

import os
import signal
import statistics
import time
from collections.abc import Sequence
from typing import Any

from experiments.benchmarks.work import Work, fields
from experiments.gpu.compute import step_rate
from experiments.gpu.figures import Figure, attempt, say
from experiments.gpu.running import (
    Command,
    last_lines,
    phase_seconds,
    phases,
    read_rows,
    reason,
    status_text,
)
from experiments.gpu.setup import Setup, write_config

COLD, WARM = "cold: from the command to step 1", "warm: from the command to step 1"
END_TO_END = "{feed} feed"
"""Name of the figure of a feed's rate."""


def configuration(setup: Setup, work: Work, **data: Any) -> list[str]:
    """The arguments that give `lupi` the network of `work` and the images made on the spot.

    The step is the same as in `benchmarks.ours`, so a program compiled for one serves the other.
    """
    chosen = fields(work)
    chosen["data"].update(
        name="folder",
        root=str(setup.folder),
        feed="memmap",
        workers=os.cpu_count() or 1,
        **data,
    )
    chosen["log"] = {"checkpoint_every": 0, "every": 1}
    path = setup.at(f"{work.backbone}-{work.dtype}{'-prepared' if data else ''}.py")
    write_config(path, chosen)
    return ["--config", str(path)]


def train(setup: Setup, name: str, *overrides: str, **changes: str) -> Command:
    """Start `lupi train` with the paper's batch on prepared images, in a workdir `name`."""
    config = configuration(setup, setup.sizes.work, prepared=str(setup.prepared))
    workdir = ["--workdir", str(setup.at(name))]
    own = [f"--config.{override}" for override in overrides]
    shown = ["--profile", "0"]
    return Command(setup, name, "train", *config, *workdir, *own, *shown, **changes)


def cold_start(setup: Setup) -> None:
    """Seconds from `lupi train` to step 1, with an empty and a filled cache of programs."""
    cold = _say_start(setup, COLD, "cold", 0.6 * setup.seconds, 60)
    if cold is not None:
        _say_start(setup, WARM, "warm", 0.3 * setup.seconds, 15)
    attempt("SIGTERM during compilation", lambda: _say_stop(setup))


def _say_start(
    setup: Setup, name: str, workdir: str, patience: float, target: float
) -> float | None:
    """Train one step. Returns the seconds until its figures are written, None if they are not."""
    command = train(setup, workdir)
    seconds = None
    while seconds is None and command.process.poll() is None and command.seconds() < patience:
        if read_rows(setup.at(workdir)):
            seconds = command.seconds()
            say(Figure(name, seconds, "s", at_most=target))
        time.sleep(0.02)
    if seconds is None and command.process.poll() is None:
        command.process.kill()
        say(Figure(name, None, "s", f"no step within {patience:.0f} s", at_most=target))
        return None
    status = command.wait(patience)
    end = f"{name.partition(':')[0]}: from step 1, the only one, to the end of the command"
    note = "" if status == 0 else f"ended with {status_text(status)}"
    detail = last_lines(command.log) if status else phases(command.log)
    say(Figure(end, command.seconds() - (seconds or 0), "s", note, detail=detail))
    return seconds


def _say_stop(setup: Setup) -> None:
    """Send SIGTERM to a training while it compiles.

    Raises:
      RuntimeError: the training ended before, or with another status than 75.
    """
    empty = str(setup.at("no-programs"))
    command = train(setup, "stopped", JAX_COMPILATION_CACHE_DIR=empty)
    while command.process.poll() is None and not phase_seconds(command.log, "tracing the step"):
        time.sleep(0.02)
    time.sleep(1)
    if command.process.poll() is not None or read_rows(setup.at("stopped")):
        command.wait(0)
        raise RuntimeError("the first step was over within a second")
    command.process.send_signal(signal.SIGTERM)
    sent = command.seconds()
    status = command.wait(40)
    if status != 75:
        raise RuntimeError(f"ended with {status_text(status)}, not 75: {reason(command.log)}")
    name = "from SIGTERM during compilation to the end of the command"
    note = f"sent after {sent:.1f} s, one second into the compilation"
    detail = last_lines(command.log, 5)
    say(Figure(name, command.seconds() - sent, "s", note, at_most=5, detail=detail))


def end_to_end(setup: Setup) -> None:
    """Images/s of `lupi train`, with reading, next to the step alone."""
    alone = step_rate(setup)
    for feed in ("memmap", "device"):
        name = END_TO_END.format(feed=feed)
        attempt(name, lambda feed=feed, name=name: _say_training(setup, feed, name, alone))


def _say_training(setup: Setup, feed: str, name: str, alone: float) -> None:
    steps, every = setup.sizes.trained
    workdir = f"train-{feed}"
    command = train(setup, workdir, f"data.feed={feed}", f"steps={steps}", f"log.every={every}")
    while command.process.poll() is None and not _rates(setup, workdir, steps):
        time.sleep(0.1)
    rates = _rates(setup, workdir, steps)
    steady = rates[2:] if len(rates) > 2 else rates
    if rates:  # before the run is saved, which may take long
        # The log counts the images read; the step's rate counts the images of all three modalities.
        rate = statistics.median(steady) * 3 * setup.sizes.work.rows
        note = f"median of {len(steady)} windows of {every} steps"
        say(Figure(name, rate, "images/s", note, at_least=5600))
        share = f"{name}, share of the step alone"
        say(Figure(share, 100 * rate / alone, "%", f"of {alone:.0f} images/s", at_least=97))
    command.require()
    held = phase_seconds(command.log, "copying a checkpoint")
    if rates and held:
        name = f"{name}, training waits for a save"
        say(Figure(name, held[-1] * statistics.median(steady), "steps", f"{held[-1]:.3f} s"))


def _rates(setup: Setup, workdir: str, steps: int) -> list[float]:
    """Steps per second of each window of a run's log, [] before step `steps` is written."""
    rows = read_rows(setup.at(workdir))
    return [row["steps_per_second"] for row in rows] if rows and rows[-1]["step"] == steps else []


def network(setup: Setup) -> Sequence[str]:
    """The arguments that give `lupi` a network: the cold start's run if that has saved one."""
    if any(setup.at("cold").glob("checkpoints/*")):
        return [
            "--workdir",
            str(setup.at("cold")),
            "--config.data.prepared=",
        ]
    return [*configuration(setup, setup.sizes.work), "--untrained"]


def evaluation(setup: Setup) -> None:
    """Seconds of `lupi evaluate`, with decoding, with an empty cache of programs."""
    people, visible, infrared = setup.sizes.test
    command = Command(
        setup,
        "evaluation",
        *("evaluate", *network(setup), "--out", str(setup.at("figures")), "--profile"),
        JAX_COMPILATION_CACHE_DIR=str(setup.at("evaluation-programs")),
    )
    seconds = command.require()
    note = f"{people * (visible + infrared)} images, JPEG"
    detail = phases(command.log)
    say(Figure("lupi evaluate, cold", seconds, "s", note, at_most=40, detail=detail))


def at_once(setup: Setup) -> None:
    """Several `lupi evaluate` at once on one device.

    If one fails, runs the same alone, and all with a share of the memory each. This tells whether
    the network, the number of processes, or the way of taking memory is the cause.
    """
    sizes = setup.sizes
    config = configuration(setup, sizes.small)
    growing = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    run = str(setup.at("small"))
    begin = ("train", *config, "--workdir", run, "--config.steps=2")
    attempt("training before", lambda: Command(setup, "small-train", *begin, **growing).require())
    if _say_at_once(setup, "at once", sizes.at_once, run, growing):
        return
    _say_at_once(setup, "alone", 1, run, growing)
    share = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.8 / sizes.at_once:.2f}"}
    _say_at_once(setup, "at once, a share of the memory each", sizes.at_once, run, share)


def _say_at_once(setup: Setup, name: str, count: int, run: str, changes: dict[str, str]) -> bool:
    """Run `count` evaluations, and return whether all ended well."""
    commands = [
        Command(
            setup,
            f"{name} {i}",
            *("evaluate", "--workdir", run, "--out", str(setup.at(f"{name} {i} out"))),
            **changes,
        )
        for i in range(count)
    ]
    limit = 0.25 * setup.seconds
    statuses = [command.wait(max(0.0, limit - command.seconds())) for command in commands]
    good = statuses.count(0)
    settings = " ".join(f"{key}={value}" for key, value in changes.items())
    title = f"{count} {name}: evaluations that ended well"
    seconds = max(command.seconds() for command in commands)
    say(Figure(title, good, "", f"{settings}, {seconds:.1f} s", at_least=count))
    for number, (command, status) in enumerate(zip(commands, statuses, strict=True)):
        if status:
            note = f"{status_text(status)}: {reason(command.log)}"
            detail = last_lines(command.log, 80)
            say(Figure(f"{name}, number {number}", status, "", note, detail=detail))
    return good == count
