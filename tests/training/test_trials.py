"""A network for each split of RegDB, by one call and by the command."""

from pathlib import Path
from typing import Any

import pytest

import lupi_jax as lupi
from lupi_jax.cli import main
from lupi_jax.training import trials

CONFIG = Path(__file__).parents[2] / "configs/regdb.py"
FIELDS = {"steps": "2", "data.root": "RegDB"}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `train` is asked for."""
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(trials, "train", lambda *of, **how: asked.append((*of, how)))
    return asked


def test_each_split_is_trained_in_its_own_directory(trained: Any, tmp_path: Path) -> None:
    config, hook = lupi.load_config(CONFIG, {**FIELDS, "data.trial": 7}), lupi.Hook()
    places = lupi.train_trials(config, tmp_path, [2, 5], fetch=True, hooks=[hook])
    assert places == [tmp_path / "trial-2", tmp_path / "trial-5"]
    how = {"fetch": True, "profile": 0, "loss": None, "hooks": [hook]}
    expected = [lupi.load_config(CONFIG, {**FIELDS, "data.trial": n}) for n in (2, 5)]
    assert trained == [(c, p, how) for c, p in zip(expected, places, strict=True)]
    assert len(lupi.train_trials(config, tmp_path)) == 10


def test_the_command_trains_the_same(
    trained: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lupi.train_trials(lupi.load_config(CONFIG, FIELDS), tmp_path, (1, 2, 4))
    called = [*trained]
    trained.clear()
    fields = [f"--config.{name}={value}" for name, value in FIELDS.items()]
    command = ["train", "--config", str(CONFIG), "--workdir", str(tmp_path), *fields]
    assert main([*command, "--trials", "1..2,4"]) == 0
    assert trained == called
    said = capfd.readouterr().err
    assert [line for line in said.splitlines() if line.startswith("split")][3:] == [
        f"split {n} of RegDB:" for n in (1, 2, 4)
    ]
    assert said.endswith(f"next: lupi evaluate --workdir {tmp_path} --trials 1..2,4\n")


@pytest.mark.parametrize(
    ("name", "which", "message"),
    [
        ("regdb", [1, 11], "must be from 1 to 10"),
        ("regdb", [], "no split is given"),
        ("sysu", [1], "applies only to RegDB"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_first(
    trained: Any, tmp_path: Path, name: str, which: list[int], message: str
) -> None:
    config = lupi.load_config(CONFIG.with_name(f"{name}.py"), FIELDS)
    with pytest.raises(lupi.InputError, match=message):
        lupi.train_trials(config, tmp_path, which)
    assert trained == []
