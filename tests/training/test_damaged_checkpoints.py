"""A checkpoint that has been damaged is never used."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import optax
import pytest
from twelve_steps import (
    STEPS,
    assert_same,
    contents,
    train,
)

from lupi_jax.cli import main
from lupi_jax.errors import InputError
from lupi_jax.training import seal
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.step import TrainState


def _data_file(checkpoint: Path, item: str) -> Path:
    """The file in which most of an item's arrays are."""
    return max((checkpoint / item).rglob("d/*"), key=lambda file: file.stat().st_size)


def _flip(checkpoint: Path) -> None:
    file = _data_file(checkpoint, "variables")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _truncate(checkpoint: Path) -> None:
    file = _data_file(checkpoint, "variables")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def _remove(checkpoint: Path) -> None:
    _data_file(checkpoint, "optimizer").unlink()


def _empty(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def _another_run(checkpoint: Path) -> None:
    """One letter, after which it still is JSON of a run: of other people, steps or layers."""
    file = checkpoint / "run" / "metadata"
    text = file.read_text()
    assert text.count('"num_classes": 8') == 1
    file.write_text(text.replace('"num_classes": 8', '"num_classes": 9'))


# Which checkpoint is damaged how: all but the oldest, newest first.
DAMAGE = {12: _flip, 11: _truncate, 10: _remove, 9: _empty, 8: _another_run}


def _record(**fields: Any) -> dict[str, Any]:
    """What a checkpoint may say of its run, with the right checksum: anybody can work that out."""
    return seal.make_record({"steps": 3, "identities": [1, 2], **fields}, {"mean_ap": 0.5}, {})


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"steps": "3"}, "its steps is not of type int"),
        ({"num_classes": True}, "its num_classes is not of type int"),
        ({"config": []}, "its config is not of type dict"),
        ({"identities": [1, None]}, "one of its identities is not a whole number"),
        ({"files": [["a.png", "long", 0, ""]]}, "its files are not"),
    ],
)
def test_a_record_of_wrong_values_is_not_used(fields: dict[str, Any], fault: str) -> None:
    seal.check_record(_record(), Path("3"))
    with pytest.raises(ValueError, match=fault):
        seal.check_record(_record(**fields), Path("3"))


@pytest.mark.parametrize("content", [None, "[" * 100_000, '{"format": 2, "rate": NaN}', "[]"])
def test_a_record_without_an_end_or_depth_is_damage(tmp_path: Path, content: str | None) -> None:
    state = TrainState(
        jnp.int32(3), {"w": jnp.zeros(2)}, {}, optax.identity().init({"w": jnp.zeros(2)})
    )
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, {"steps": 3}, {})
    file = tmp_path / "checkpoints/3/run/metadata"
    file.unlink()
    if content is None:
        file.symlink_to("/dev/zero")
    else:
        file.write_text(content)
    with (
        Checkpoints(tmp_path, read_only=True) as checkpoints,
        pytest.raises(InputError, match=r"checkpoint .*/3 is damaged \(.*: give another") as error,
    ):
        checkpoints.run(3)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def damaged(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(whole, workdir)
    for step, damage in DAMAGE.items():
        damage(workdir / "checkpoints" / str(step))
    return workdir


@pytest.mark.parametrize("step", [s for s in DAMAGE if s != 10])  # its network is whole
def test_a_damaged_checkpoint_is_not_evaluated(
    damaged: Path, step: int, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(damaged)
    assert main(["evaluate", "--workdir", str(damaged), "--checkpoint", str(step)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"lupi: checkpoint {damaged}/checkpoints/{step} is damaged (")
    assert err.endswith("sets it aside and uses an older one\n")
    assert err.count("\n") == 1
    assert contents(damaged) == before


def test_what_is_damaged_is_set_aside_and_trained_anew(
    people: Path, whole: Path, damaged: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(damaged, workdir)
    assert main(train(people, workdir)) == 0
    err = capfd.readouterr().err
    assert "Traceback" not in err
    named = [line for line in err.splitlines() if "is damaged" in line]
    for line, step in zip(named, DAMAGE, strict=True):
        assert line.startswith(f"checkpoint {workdir}/checkpoints/{step} is damaged (")
        assert line.endswith(f": moved it to {workdir}/damaged/{step}-0, and going on without it")
        assert contents(workdir / f"damaged/{step}-0") == contents(damaged / f"checkpoints/{step}")
    assert f"going on from step 7 of {STEPS}" in err
    assert_same(workdir, whole)


def test_a_newer_format_is_refused_by_name_and_left_alone(
    people: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    made = json.loads((workdir / "checkpoints/12/run/metadata").read_text())
    monkeypatch.setattr(seal, "FORMAT", made["format"] - 1)
    before = contents(workdir)
    for command in (train(people, workdir), ["evaluate", "--workdir", str(workdir)]):
        assert main(command) == 2
        err = capfd.readouterr().err
        assert err == (f"lupi: {workdir}/checkpoints/12 was made by a newer lupi_jax: upgrade\n")
    assert contents(workdir) == before
