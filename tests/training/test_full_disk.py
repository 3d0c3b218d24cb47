"""A disk that takes no more, or a workdir that cannot be one."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twelve_steps import (
    Life,
    assert_same,
    contents,
    later,
    steps_saved,
    train,
)

from lupi_jax.cli import main


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Sets how long a file may grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_save_that_does_not_fit_ends_the_run_with_one_line(
    people: Path,
    whole: Path,
    tmp_path: Path,
    small_files: Callable[[int], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    workdir = later(whole, tmp_path / "run", 8)
    before = contents(workdir / "checkpoints/8")
    small_files(2**20)
    status = main(train(people, workdir, log__keep=1))  # one to keep, and it is the old one
    small_files(resource.RLIM_INFINITY)
    err = capfd.readouterr().err
    assert status == 2
    assert "Traceback" not in err
    line = err.splitlines()[-1]
    assert line.startswith("lupi: cannot save")
    assert str(workdir) in line
    assert "File too large" in line  # what the system said
    assert line.endswith("the same command goes on from the last complete checkpoint")
    assert steps_saved(workdir) == {8}
    assert contents(workdir / "checkpoints/8") == before
    assert main(train(people, workdir)) == 0
    assert_same(workdir, whole)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_one_line(people: Path, whole: Path, tmp_path: Path) -> None:
    workdir = later(whole, tmp_path / "run", 8)
    disk = workdir / "checkpoints"
    kept = disk.rename(tmp_path / "kept")
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        shutil.copytree(kept, disk, dirs_exist_ok=True)
        with Life(train(people, workdir, log__keep=1), tmp_path / "0.log") as life:
            assert life.process.wait(300) == 2
        said = life.log.read_text()
        assert "Traceback" not in said
        assert life.last_line.startswith("lupi: cannot save")
        assert "No space left on device" in life.last_line
        assert steps_saved(workdir) == {8}
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        assert main(train(people, workdir)) == 0
        assert_same(workdir, whole)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("in_the_way", [".", "run", "run/checkpoints"])
def test_a_workdir_that_cannot_be_one(
    people: Path, tmp_path: Path, in_the_way: str, capfd: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "runs" / "run"
    file = tmp_path / "runs" / in_the_way
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("a file")
    assert main(train(people, workdir)) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    within = in_the_way == "run/checkpoints"
    what = f"open the checkpoints under {file}" if within else f"train in {workdir}"
    assert err.startswith(f"lupi: cannot {what} (")
    assert [place for place in tmp_path.rglob("*") if place.is_file()] == [file]
    assert file.read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_workdir_that_may_not_be_written(
    people: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o555)
    assert main(train(people, tmp_path / "run")) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "ermission" in err
