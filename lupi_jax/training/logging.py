"""Write a run's JSON lines, TensorBoard events and progress."""

import contextlib
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TextIO

import jax
from tensorboardX import SummaryWriter

from lupi_jax.errors import DivergedError, shown, some
from lupi_jax.runtime.files import expand, write_whole
from lupi_jax.runtime.records import read_json_lines
from lupi_jax.runtime.terminal import make_bar, say, stderr_console
from lupi_jax.training.hooks import Hook, Moment
from lupi_jax.training.step import Metrics

METRICS_FILE = "metrics.jsonl"


class RunLog(Hook):
    """Metrics of a run, fetched from the device in windows so that no step waits for the host.

    `<workdir>/metrics.jsonl` holds one JSON object per window, {"step", "split", figure: value}.
    With the split "train" it holds the means over the window's steps and their speed. TensorBoard
    reads the same figures from `<workdir>/tensorboard`.
    """

    def __init__(
        self,
        workdir: Path,
        start: int,
        steps: int,
        every: int,
        batch_size: int,
        writes: bool = True,
        listeners: Sequence[Hook] = (),
    ) -> None:
        """Continue the log of `workdir` at step `start`, and drop all later rows.

        Args:
          workdir: directory of the run.
          start: steps already taken.
          steps: number of the run's last step.
          every: steps per window.
          batch_size: images that one step reads.
          writes: whether this process writes and shows the figures. Every process checks that they
            are finite.
          listeners: hooks that are told of every row that is written.
        """
        self._listeners = listeners
        self._workdir, self._start, self._steps = workdir, start, steps
        self._every, self._batch_size, self._writes = every, batch_size, writes
        self._pending: list[tuple[int, Metrics]] = []
        self._window: dict[str, list[float]] = defaultdict(list)
        self._clock = self._wait_clock = time.perf_counter()
        self._file: TextIO | None = None
        self._events: SummaryWriter | None = None
        self._console = stderr_console(quiet=not writes)
        shown = writes and self._console.is_terminal
        self._progress = make_bar(self._console, disable=not shown)
        self._task = self._progress.add_task("training", total=steps, completed=start)

    def __enter__(self) -> Self:
        if self._writes:
            path = self._workdir / METRICS_FILE
            kept = [row for row in read_metrics(self._workdir) if row["step"] <= self._start]
            write_whole(path, "".join(json.dumps(row) + "\n" for row in kept))
            self._file = path.open("a")
            folder = str(self._workdir / "tensorboard")
            self._events = SummaryWriter(folder, purge_step=self._start + 1)
        if not self._progress.disable:  # else some versions of rich print an empty line
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._progress.disable:
            self._progress.stop()
        for opened in (self._events, self._file):
            if opened is not None:
                opened.close()

    def after(self, now: Moment) -> None:
        """Take the metrics of a step. When a window is over, fetch all except the newest.

        Raises:
          DivergedError: a fetched figure is not finite.
        """
        self._pending.append((now.step, now.metrics))
        self._progress.update(self._task, completed=now.step)
        if now.step % self._every == 1 % self._every:
            self._fetch(len(self._pending) - 1)

    def flush(self) -> None:
        """Wait for all recorded steps, and write them.

        Raises:
          DivergedError: a fetched figure is not finite.
        """
        self._fetch(len(self._pending))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time of this block in the rates."""
        start = time.perf_counter()
        yield
        taken = time.perf_counter() - start
        self._clock += taken
        self._wait_clock += taken

    def compiled(self, seconds: float) -> None:
        """Say how long compilation took, and start measuring rates."""
        self._clock = self._wait_clock = time.perf_counter()
        self._say(f"compiled in {seconds:.1f} s")

    def waited(self, step: int, epoch: float, seconds: float, advice: str = "") -> None:
        """Say which share of the time since the last call was spent waiting for data.

        Args:
          step: number of the step.
          epoch: epochs so far.
          seconds: time spent waiting.
          advice: what to do, shown if the share is above a tenth.
        """
        now = time.perf_counter()
        share = seconds / max(now - self._wait_clock, 1e-9)
        self._wait_clock = now
        mend = f": {advice}" if advice and share > 0.1 else ""
        self._say(
            f"step {step}  epoch {epoch:.1f}  {share:.1%} of the time spent waiting for data{mend}"
        )

    def validation(self, step: int, figures: dict[str, float]) -> None:
        """Write the figures on held-out identities."""
        self._write({"step": step, "split": "validation", **figures})
        text = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self._say(f"step {step}  validation  {text}")

    def _say(self, line: str) -> None:
        """Print a line without markup, because a figure's name may look like markup."""
        self._console.print(shown(line), markup=False, highlight=False, soft_wrap=True)

    def _fetch(self, count: int) -> None:
        ready, self._pending = self._pending[:count], self._pending[count:]
        for step, values in jax.device_get(ready):
            for name, value in sorted(values.items(), key=_blame):
                if not math.isfinite(value):
                    raise DivergedError(
                        f"{name} is {float(value)} at step {step}: lower optimizer.rate or set "
                        "optimizer.clip; the last checkpoint is intact"
                    )
                self._window[name].append(float(value))
            if step % self._every == 0 or step == self._steps:
                self._close_window(step)

    def _close_window(self, step: int) -> None:
        now = time.perf_counter()
        count = len(self._window["loss/total"])
        means = {name: sum(values) / len(values) for name, values in self._window.items()}
        speed = count / (now - self._clock)
        self._clock = now
        self._window.clear()
        rates = {"steps_per_second": speed, "images_per_second": speed * self._batch_size}
        self._write({"step": step, "split": "train", **means, **rates})
        terms = "  ".join(f"{k[5:]} {v:.3f}" for k, v in means.items() if k.startswith("loss/"))
        description = f"loss {means['loss/total']:.3f}, {speed:.2f} steps/s"
        self._progress.update(self._task, description=description)
        if not self._console.is_terminal:
            left = (self._steps - step) / speed
            self._say(
                f"step {step}/{self._steps}  {terms}  accuracy {means['accuracy']:.3f}  "
                f"{speed:.2f} steps/s  {left:.0f} s left"
            )

    def _write(self, row: dict[str, Any]) -> None:
        if self._file is None or self._events is None:
            return
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for name, value in row.items():
            if isinstance(value, float):
                self._events.add_scalar(f"{row['split']}/{name}", value, row["step"])
        for hook in self._listeners:
            hook.logged(row)


def read_metrics(workdir: str | Path) -> list[dict[str, Any]]:
    """Read the rows of a run's metrics file, [] without a file.

    A run that was killed may leave lines that are not rows. They are ignored, and a note says so.

    Raises:
      OSError: the file cannot be read.
    """
    path = expand(workdir) / METRICS_FILE
    if not path.is_file():
        return []
    rows = [_checked(row) for row in read_json_lines(path)]
    wrong = [number for number, row in enumerate(rows, 1) if row is None]
    if wrong:
        say(f"note: {path}: ignored lines that do not hold figures: {some(wrong)}")
    return [row for row in rows if row is not None]


def _checked(row: Any) -> dict[str, Any] | None:
    """Return `row` if it has the form {"step": int, "split": str, figure: number}, else None."""
    if not isinstance(row, dict) or not isinstance(row.get("split"), str):
        return None
    figures = [value for name, value in row.items() if name != "split"]
    numbers = all(type(value) in (int, float) and math.isfinite(value) for value in figures)
    return row if numbers and type(row.get("step")) is int else None


def _blame(figure: tuple[str, Any]) -> tuple[bool, bool, str]:
    """Sort key: the terms of the loss, then their total, then the other figures."""
    name = figure[0]
    return not name.startswith("loss/"), name == "loss/total", name
