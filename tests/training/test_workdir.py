"""One run at a time has a workdir, and a refused one leaves none behind."""

import errno
import os
import signal
import socket
from pathlib import Path

import filelock
import pytest
from twelve_steps import Life, contents, later, steps_saved, train

from lupi_jax.cli import main
from lupi_jax.errors import InputError
from lupi_jax.training import workdir as module
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.logging import read_metrics
from lupi_jax.training.workdir import HOLDER, held


def test_the_second_run_is_told_who_is_there_and_changes_nothing(
    people: Path, whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workdir = later(whole, tmp_path / "run", 7)
    command = train(people, workdir, steps=9999, log__checkpoint_every=0)
    with Life(command, tmp_path / "0.log") as life:
        life.until(lambda: len(read_metrics(workdir)) > 12)
        life.process.send_signal(signal.SIGSTOP)  # so that nothing changes but by the second
        before = contents(workdir)
        capfd.readouterr()
        assert main(command) == 2
        assert contents(workdir) == before
        line = capfd.readouterr().err
        assert line.startswith(
            f"lupi: {workdir}: process {life.process.pid} on {socket.gethostname()} (since 20"
        )
        assert line.endswith(") trains there: wait for it or stop it, or give another --workdir\n")
        # Whoever reads the run goes on reading it.
        assert main(["export", "--workdir", str(workdir), "--out", str(tmp_path / "f.npz")]) == 0
        life.process.kill()
        life.process.wait()
    assert (workdir / HOLDER).is_file()  # nobody was there to remove it
    assert main(train(people, workdir, steps=8)) == 0
    assert not (workdir / HOLDER).exists()
    assert 8 in steps_saved(workdir)


def test_two_runs_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    refused = pytest.raises(InputError, match=rf"{tmp_path}/a: process {os.getpid()} on")
    with held(tmp_path / "a"), held(tmp_path / "b"):
        with refused, held(tmp_path / "a"):
            raise AssertionError
        assert (tmp_path / "a" / HOLDER).is_file()
    assert sorted(contents(tmp_path)) == ["a/lock", "b/lock"]
    with held(tmp_path / "a"):
        pass


def fail_in(workdir: Path, *folders: str) -> None:
    """Hold `workdir`, make `folders` in it, and fail."""
    with held(workdir):
        for folder in folders:
            (workdir / folder).mkdir(parents=True)
        raise ZeroDivisionError


def test_a_refused_run_leaves_no_empty_directory(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for workdir in (tmp_path / "new" / "a" / "b", there, there / "run"):
        with pytest.raises(ZeroDivisionError):
            fail_in(workdir, "checkpoints")
        assert list(tmp_path.rglob("*")) == [there]
    (there / "checkpoints").mkdir()
    with pytest.raises(ZeroDivisionError):
        fail_in(there, "cache/half")
    assert sorted(tmp_path.rglob("*")) == [
        *(there, there / "cache", there / "cache/half", there / "checkpoints")
    ]


def test_a_refused_command_leaves_no_workdir(
    people: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "runs" / "mine"
    assert main(train(people, workdir, pretrained=tmp_path / "gone.npz")) == 2
    assert "no weights at" in capfd.readouterr().err
    assert contents(tmp_path).keys() == set()
    assert main(train(people, workdir, batch__identities=400)) == 2
    assert not (tmp_path / "runs").exists()


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: object, timeout: float) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with held(tmp_path):
        assert (tmp_path / HOLDER).is_file()
    assert capfd.readouterr().err == (
        f"note: the file system of {tmp_path} has no locks: do not start a second run there\n"
    )


def test_other_processes_of_the_run_hear_of_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process is refused: the others, which take no lock, are told by `all_agree`."""
    monkeypatch.setattr(module, "is_first", lambda: False)
    monkeypatch.setattr(module, "all_agree", lambda yes: False)
    with pytest.raises(InputError, match="process 0 cannot train there"), held(tmp_path / "run"):
        raise AssertionError
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(module, "all_agree", lambda yes: yes)
    with held(tmp_path / "run"):
        assert not (tmp_path / "run").exists()  # the first one makes it


@pytest.mark.parametrize("name", ["a\\b", "what?", "a#b", "a%41", "a\nb", "a\x1b[2J", "b\udcff"])
def test_a_name_that_orbax_would_change_is_refused_before_anything_is_written(tmp_path, name):
    for use in (lambda place: held(place).__enter__(), Checkpoints):
        with pytest.raises(InputError, match="the directory of a run cannot have") as caught:
            use(tmp_path / "runs" / name)
        assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["ünï 夜", "$x[y]*{z}", "100%", "c:d", " a ", "'\"&<b>"])
def test_any_other_name_is_the_one_that_is_written(tmp_path, name):
    with held(tmp_path / name), Checkpoints(tmp_path / name):
        assert (tmp_path / name / "checkpoints").is_dir()
