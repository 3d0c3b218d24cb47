"""What is saved, kept, found to be damaged, and read: of a state of 700 numbers."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import SingleDeviceSharding
from twelve_steps import ITEMS

from lupi_jax.errors import InputError
from lupi_jax.runtime import hosts
from lupi_jax.training import seal
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.network import abstract
from lupi_jax.training.step import TrainState


def tiny(step: int = 0) -> TrainState:
    """A state of 700 numbers: what takes long is not what is tested."""
    params = {"a": {"w": jnp.arange(600.0).reshape(20, 30) + step}, "b": jnp.ones(97)}
    variables = {"params": params, "batch_stats": {"mean": jnp.full(3, float(step))}}
    state = TrainState.create(variables, optax.sgd(0.1, momentum=0.9))
    return state.replace(step=jnp.int32(step))


def like() -> TrainState:
    return abstract(tiny, SingleDeviceSharding(jax.devices()[0]))


RUN = {"config": {"seed": 3}, "identities": [1, 2], "steps": 9}


def save_tiny(workdir: Path, *steps: int, keep: int = 2, **figures: float) -> None:
    with Checkpoints(workdir, keep) as checkpoints:
        for step in steps:
            checkpoints.save(tiny(step), RUN, figures)
        checkpoints.wait()


def _ways(file: Path) -> Iterator[bytes | None]:
    """The file with another bit in its middle, half of it, nothing of it."""
    data = file.read_bytes()
    middle = len(data) // 2
    yield data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    yield data[:middle]
    yield None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as _quieten
def test_any_damage_to_any_file_is_harmless_or_found(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_tiny(tmp_path / "saved", 2, 4, mean_ap=0.5)
    newest = tmp_path / "saved/checkpoints/4"
    found = set()
    for number, file in enumerate(sorted(f for f in newest.rglob("*") if f.is_file())):
        for way, data in enumerate(_ways(file)):
            workdir = tmp_path / f"{number}-{way}"
            shutil.copytree(tmp_path / "saved", workdir)
            copy = workdir / "checkpoints/4" / file.relative_to(newest)
            if data is None:
                copy.unlink()
            else:
                copy.write_bytes(data)
            runs: list[dict[str, Any]] = []
            with Checkpoints(workdir) as checkpoints:
                state = checkpoints.resume(runs.append, like)
                assert checkpoints.best in (2, 4)
            assert state is not None
            lost = (workdir / "damaged").exists()
            for leaf, expected in zip(
                jax.tree.leaves(state), jax.tree.leaves(tiny(2 if lost else 4)), strict=True
            ):
                np.testing.assert_array_equal(leaf, expected)
            assert runs[-1] == RUN
            assert (workdir / "damaged/4-0").is_dir() == lost
            assert (
                f"checkpoint {workdir}/checkpoints/4 is damaged" in capfd.readouterr().err
            ) == lost
            found |= {(file.relative_to(newest).parts[0], way)} if lost else set()
            shutil.rmtree(workdir)
    # Not everything is harmless: of each part the damage that cannot be.
    assert found >= {(part, way) for part in (*ITEMS, "run") for way in range(3)}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as _quieten
def test_a_file_that_cannot_be_read_is_not_damage(tmp_path: Path) -> None:
    """The checkpoint is sound: it stays, and training does not go on without it."""
    save_tiny(tmp_path, 2, 4)
    newest = tmp_path / "checkpoints/4"
    refused = 0
    for file in [f for f in newest.rglob("*") if f.is_file()]:
        kept = file.with_name("kept")
        file.rename(kept)
        file.symlink_to(file.name)  # leads to itself: the system refuses to open it
        with Checkpoints(tmp_path, 2) as checkpoints:
            try:
                resumed = checkpoints.resume(lambda run: None, like)
                assert resumed is not None  # not every file is needed
                assert int(resumed.step) == 4
            except InputError as error:
                assert f"cannot read {file} (" in str(error)  # noqa: PT017
                refused += 1
        file.unlink()
        kept.rename(file)
    assert refused > 4
    assert not (tmp_path / "damaged").exists()
    with Checkpoints(tmp_path, 2) as checkpoints:
        resumed = checkpoints.resume(lambda run: None, like)
    assert resumed is not None
    assert int(resumed.step) == 4


@pytest.mark.parametrize(
    "error", [MemoryError("an array of 9 GiB"), RuntimeError("RESOURCE_EXHAUSTED: Out of memory")]
)
def test_too_little_memory_is_not_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def digest(tree: Any) -> str:
        raise error

    save_tiny(tmp_path, 4)
    monkeypatch.setattr(seal, "digest", digest)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(type(error), match=str(error)):
        checkpoints.resume(lambda run: None, like)
    assert not (tmp_path / "damaged").exists()


def test_a_best_checkpoint_that_cannot_be_read_stays(tmp_path: Path) -> None:
    save_tiny(tmp_path, 2, mean_ap=0.9)
    save_tiny(tmp_path, 4, 6, mean_ap=0.1)
    record = tmp_path / "checkpoints/2/run/metadata"
    record.rename(tmp_path / "record")
    record.symlink_to(record.name)  # leads to itself: the system refuses to open it
    save_tiny(tmp_path, 8, 10)
    record.unlink()
    (tmp_path / "record").rename(record)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.best == 2


@pytest.mark.parametrize("here", [True, False])
def test_processes_vote_before_one_of_them_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    """The others wait in the vote for a process that cannot read the checkpoint."""
    votes = []

    def all_agree(yes: bool) -> bool:
        votes.append(yes)
        return False

    def refuse(run: Any) -> Any:
        raise InputError("cannot read the disk")

    save_tiny(tmp_path, 4)
    monkeypatch.setattr(hosts, "all_agree", all_agree)
    if here:
        monkeypatch.setattr(seal, "run_of", refuse)
    message = "cannot read the disk" if here else "another process cannot read .*/checkpoints/4"
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(InputError, match=message):
        checkpoints.resume(lambda run: None, like)
    assert votes == ([False, False] if here else [True, True])
    assert not (tmp_path / "damaged").exists()


def test_a_checkpoint_damaged_twice_is_kept_twice(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        save_tiny(tmp_path, 4)
        (tmp_path / "checkpoints/4/run/metadata").write_bytes(content)
        with Checkpoints(tmp_path) as checkpoints:
            assert checkpoints.resume(lambda run: None, like) is None
    kept = [(tmp_path / f"damaged/4-{n}/run/metadata").read_bytes() for n in (0, 1)]
    assert kept == [b"first", b"second"]


def test_hashing_holds_up_no_step_and_sees_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, go_on, digest = set(), threading.Event(), seal.digest

    def slow_digest(tree: Any) -> str:
        threads.add(threading.get_ident())
        assert go_on.wait(60)
        return digest(tree)

    replace = jax.jit(lambda state: jax.tree.map(lambda x: 0 * x - 1, state), donate_argnums=0)
    saved = jax.device_get(tiny(4))
    monkeypatch.setattr(seal, "digest", slow_digest)
    with Checkpoints(tmp_path) as checkpoints:
        state = jax.tree.map(jnp.array, tiny(4))
        checkpoints.save(state, RUN, {})  # a minute where hashing is waited for
        jax.block_until_ready(replace(state))  # as the next step does, in the same memory
        go_on.set()
        checkpoints.wait()
        monkeypatch.undo()
        found = checkpoints.state(4, like())
    assert threading.get_ident() not in threads
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(found), saved)


def test_a_run_of_any_length_keeps_few_checkpoints(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for step in range(1, 21):
            figures = {"mean_ap": 0.9 if step == 7 else step / 100}
            checkpoints.save(tiny(step), RUN, figures if step % 2 else {})
        checkpoints.wait()
        assert checkpoints.best == 7
    with Checkpoints(tmp_path, keep=3) as checkpoints:  # as another process finds them
        assert checkpoints.figures(7) == {"mean_ap": 0.9}
        assert checkpoints.figures(20) == {}
        checkpoints.save(tiny(21), RUN, {})
        checkpoints.wait()
    names = [entry.name for entry in (tmp_path / "checkpoints").iterdir()]
    assert sorted(names) == ["19", "20", "21", "7"]


def test_checkpoints_are_not_opened_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint under"):
        Checkpoints(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()


def test_a_directory_that_orbax_cannot_save_to_is_refused_at_once(tmp_path: Path) -> None:
    workdir = tmp_path / os.fsdecode(b"run\xff")
    with pytest.raises(InputError, match=r"the directory of a run cannot have \\xff in its path"):
        Checkpoints(workdir)
    assert not workdir.exists()


def test_reading_a_run_is_no_news_in_a_program_of_ones_own(tmp_path: Path) -> None:
    """As in a notebook, where no command has quietened Orbax."""
    save_tiny(tmp_path, 3)
    program = f"""
from absl import logging as absl_logging
from lupi_jax.training.checkpoints import Checkpoints
with Checkpoints({str(tmp_path)!r}, read_only=True) as checkpoints:
    assert checkpoints.run(3)["steps"] == 9
absl_logging.warning("still heard")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "WARNING:absl:still heard\n"
