"""The time that goes by without data, on a clock written by hand."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from lupi_jax.training import data_wait
from lupi_jax.training.hooks import Moment


def quiet() -> Any:
    """A log that says nothing."""
    return SimpleNamespace(waited=lambda *_: None)


def step(number: int, steps: int = 12) -> Moment:
    return Moment(number, steps, cast(Any, None), {})


def test_only_what_devices_wait_for_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    # Asked for and there: 0-1, 2-5, 6-7, 8-12; the last question has no answer.
    clock = iter([0.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0, 12.0, 13.0])
    ended = iter([3.0, 9.0, 7.5])
    monkeypatch.setattr(data_wait, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(data_wait, "_ended", lambda metrics: next(ended))
    with data_wait.DataWait(quiet(), 0, 100, 1, "") as wait:
        seen = []
        for batch in wait.watch(iter([{"labels": n} for n in range(4)])):  # pyright: ignore
            seen.append(batch["labels"])
            if len(seen) < 4:
                wait.after(step(len(seen)))
            if len(seen) == 3:
                # The second batch came 2 after the first step had ended, the third before the
                # second one had; the first had no step before it.
                assert wait.take() == 2.0
        assert wait.take() == 4.0  # the third step was over before the fourth batch was asked for
        assert wait.take() == 0.0
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("start", "every", "expected"),
    [
        (0, 1, [(4, 1.0), (8, 2.0), (10, 2.5)]),
        (5, 4, [(10, 2.5)]),  # the epoch that ends at 8 is three steps after the start
        (0, 5, [(8, 2.0), (10, 2.5)]),
    ],
)
def test_it_is_said_at_the_end_of_epochs_and_of_the_run(
    start: int, every: int, expected: list[tuple[int, float]]
) -> None:
    said: list[tuple[int, float]] = []
    log: Any = SimpleNamespace(waited=lambda step, epoch, *_: said.append((step, epoch)))
    wait = data_wait.DataWait(log, start, 4, every, "")
    for number in range(start + 1, 11):
        wait.after(step(number, 10))
    assert said == expected
