"""What happens beside a step, and in which order."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lupi_jax.errors import DivergedError
from lupi_jax.training import logging, loop
from lupi_jax.training.hooks import Moment
from lupi_jax.training.logging import RunLog, read_metrics
from lupi_jax.training.step import TrainState

STATE = TrainState.create({"params": {"w": jnp.ones(2)}, "batch_stats": {}}, optax.identity())


class Beside:
    """A log, checkpoints and a validation that note what is asked of them."""

    def __init__(self, broken_at: int = 0) -> None:
        self.order: list[Any] = []
        self.broken_at, self.step = broken_at, 0

    def flush(self) -> None:
        if self.step == self.broken_at:
            raise DivergedError
        self.order.append("flush")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        self.order.append("pause")
        yield
        self.order.append("go on")

    def validation(self, step: int, figures: dict[str, float]) -> None:
        self.order.append(("log", step, figures))

    def save(self, state: TrainState, run: dict[str, Any], figures: dict[str, float]) -> None:
        self.order.append(("save", self.step, figures))

    def judge(self, variables: Any) -> dict[str, float]:
        self.order.append(("judge", variables["params"]["w"].tolist()))
        return {"mean_ap": 0.5}

    def take(self, steps: range, validate_every: int, save_every: int, stop_at: int = 0) -> None:
        """What the loop does with the hooks that judge and save."""
        both: Any = self
        asked = SimpleNamespace(after=lambda step, asked: asked or step == stop_at)
        hooks = [
            loop._Validate(both.judge, both, validate_every),
            loop._Stop(asked),
            loop._Save(both, lambda whole: {}, both, save_every),
        ]
        for self.step in steps:
            now = Moment(self.step, 9, STATE, {})
            for hook in hooks:
                hook.after(now)
            assert now.stop == (self.step == stop_at)


def test_a_validation_pauses_the_clock_and_is_saved_with_its_state() -> None:
    beside = Beside()
    beside.take(range(1, 5), validate_every=4, save_every=3)
    figures = {"mean_ap": 0.5}
    assert beside.order == [
        *("flush", ("save", 3, {})),
        *("flush", "pause", ("judge", [1.0, 1.0]), "go on", ("log", 4, figures)),
        *("flush", ("save", 4, figures)),
    ]


def test_after_the_last_step_and_before_a_stop_the_state_is_saved() -> None:
    beside = Beside()
    beside.take(range(1, 10), validate_every=0, save_every=0, stop_at=2)
    assert [x for x in beside.order if x[0] == "save"] == [
        ("save", 2, {}),
        ("save", 9, {"mean_ap": 0.5}),
    ]


@pytest.mark.parametrize("validate_every", [0, 3])
def test_a_state_whose_figures_are_not_finite_is_neither_judged_nor_saved(
    validate_every: int,
) -> None:
    beside = Beside(broken_at=3)
    with pytest.raises(DivergedError):
        beside.take(range(1, 5), validate_every, save_every=1)
    assert beside.order == ["flush", ("save", 1, {}), "flush", ("save", 2, {})]


def test_the_time_of_a_validation_is_in_no_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(logging, "time", SimpleNamespace(perf_counter=lambda: now))
    metrics: Any = {"loss/total": np.float32(0.5), "accuracy": np.float32(1)}
    with RunLog(tmp_path, 0, steps=4, every=2, batch_size=8) as log:
        for step in range(1, 5):
            now += 0.5
            log.after(Moment(step, 4, STATE, metrics))
            if step == 3:
                with log.paused():
                    now += 1000
        log.flush()
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows] == [2, 4]
    # The first window is fetched as the third step is recorded, 1.5 s after the start.
    assert rows[0]["steps_per_second"] == pytest.approx(2 / 1.5)
    assert rows[1]["steps_per_second"] == pytest.approx(2 / 0.5)
    assert rows[1]["images_per_second"] == pytest.approx(8 * 2 / 0.5)
