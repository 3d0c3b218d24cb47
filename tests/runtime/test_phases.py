"""That a command says where its time goes."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lupi_jax.cli import main
from lupi_jax.config import parse_config
from lupi_jax.runtime import backend, phases

LINE = re.compile(r"\[ *([0-9]+\.[0-9]{2}) s\] ([^:]+): ([0-9]+\.[0-9]{2}) s")


def read(text: str) -> tuple[list[str], list[float]]:
    found = [match.groups() for line in text.splitlines() if (match := LINE.fullmatch(line))]
    return [name for _, name, _ in found], [float(age) for age, _, _ in found]


def test_a_phase_that_fails_is_timed_as_well(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "lupi_jax.phases"):
        with pytest.raises(ZeroDivisionError), phases.phase("dividing"):
            _ = 1 / 0
        phases.record_phase("waiting", 1.234)
    first, second = (record.getMessage() for record in caplog.records)
    assert first == "dividing: 0.00 s"
    assert second == "waiting: 1.23 s"


def test_evaluate_prints_its_phases_in_order_where_asked(
    people: Path,
    save_run: Callable[..., None],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(phases, "_LOGGER", phases.logging.Logger("of this test"))
    monkeypatch.setattr(phases.atexit, "register", lambda leave: None)
    config = {"steps": 3, "data": {"root": str(people), "image_size": (32, 32)},
              "model": {"backbone": "thin", "non_local": False}}  # fmt: skip
    save_run(tmp_path, parse_config(config), 3, 3)
    capfd.readouterr()
    assert main(["evaluate", "--workdir", str(tmp_path)]) == 0
    assert read(capfd.readouterr().err) == ([], [])
    monkeypatch.setattr(backend, "_started", False)
    assert main(["evaluate", "--workdir", str(tmp_path), "--profile"]) == 0
    names, ages = read(capfd.readouterr().err)
    assert names == [
        "looking for other processes",
        "imports",
        "starting JAX",
        "restoring",
        "reading the index",
        "compiling, and embedding the first batch",
        "compiling, and embedding the first batch",
        "embedding the images",
        "measuring",
        "drawing the pictures",
        "the whole command",
    ]
    assert ages == sorted(ages)
    assert ages[0] > 0
