"""The time that goes by without data, on a clock written by hand."""

from types import SimpleNamespace

import pytest

from lupi_jax.training import waiting


def test_only_what_devices_wait_for_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    # Asked for and there: 0-1, 2-5, 6-7, 8-12; the last question has no answer.
    clock = iter([0.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0, 12.0, 13.0])
    ended = iter([3.0, 9.0, 7.5])
    monkeypatch.setattr(waiting, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(waiting, "_ended", lambda metrics: next(ended))
    with waiting.DataWait() as wait:
        seen = []
        for batch in wait.watch(iter([{"labels": n} for n in range(4)])):  # pyright: ignore
            seen.append(batch["labels"])
            if len(seen) < 4:
                wait.started({})
            if len(seen) == 3:
                # The second batch came 2 after the first step had ended, the third before the
                # second one had; the first had no step before it.
                assert wait.take() == 2.0
        assert wait.take() == 4.0  # the third step was over before the fourth batch was asked for
        assert wait.take() == 0.0
    assert seen == [0, 1, 2, 3]
