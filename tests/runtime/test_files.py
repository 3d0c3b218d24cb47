"""Files written whole or not at all, beside what others wrote."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lupi_jax.errors import InputError
from lupi_jax.runtime import files as module
from lupi_jax.runtime.files import (
    PARTIAL,
    alone,
    is_cut_off,
    is_vacant,
    replacing,
    replacing_files,
    unreadable,
    write_whole,
)

NAMES = ("a.bin", "b.bin", "facts.json")


def contents(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): f.read_text() for f in folder.rglob("*") if f.is_file()}


def write(folder: Path, *names: str, text: str) -> None:
    with replacing_files(folder, NAMES) as part:
        for name in names:
            (part / name).write_text(text)


def test_only_the_files_that_are_ours_are_replaced(tmp_path):
    folder = tmp_path / "network"
    write(folder, "a.bin", "b.bin", "facts.json", text="old")
    (folder / "thesis.tex").write_text("years of work")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    write(folder, "a.bin", "facts.json", text="new")
    kept = {"thesis.tex": "years of work", ".git/HEAD": "ref"}
    assert contents(folder) == {"a.bin": "new", "facts.json": "new", **kept}


def test_the_old_files_stay_where_one_cannot_be_replaced(tmp_path, monkeypatch):
    folder = tmp_path / "network"
    write(folder, *NAMES, text="old")
    rename = Path.rename

    def busy(self: Path, target: Path) -> Path:
        if (self.parent.name, self.name) == ("placing", "b.bin"):
            raise OSError(16, "Device or resource busy")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", busy)
    with pytest.raises(OSError, match="busy"):
        write(folder, *NAMES, text="new")
    assert contents(folder) == dict.fromkeys(NAMES, "old")


def test_no_reader_takes_new_files_with_old_ones_for_whole(tmp_path, monkeypatch):
    """The file that readers look for is away while any of the others changes."""
    folder = tmp_path / "network"
    write(folder, *NAMES, text="old")
    rename, seen = Path.rename, []

    def watched(self: Path, target: Path) -> Path:
        moved = rename(self, target)
        seen.append(contents(folder).get("facts.json"))
        return moved

    monkeypatch.setattr(Path, "rename", watched)
    write(folder, *NAMES, text="new")
    assert seen == [None] * 6 + ["new"] * 2


@pytest.mark.parametrize("moment", range(9))
def test_what_a_killed_exchange_had_moved_is_not_lost(tmp_path, moment):
    """A killed process moves nothing back. The next one does, even where it fails to write."""
    script = (
        "import os, shutil, sys; from pathlib import Path\n"
        "from lupi_jax.runtime.files import replacing_files\n"
        "moves = iter(range(int(sys.argv[2])))\n"
        "rename = Path.rename\n"
        "Path.rename = lambda *x: rename(*x) if next(moves, None) is not None else os.kill(0, 9)\n"
        "clean_up = shutil.rmtree\n"
        "def half(place, *x, **y): (place / 'placing').rmdir(); os.kill(0, 9)\n"
        "shutil.rmtree = half if sys.argv[2] == '7' else clean_up\n"
        "os.setsid()\n"
        "with replacing_files(Path(sys.argv[1]), ('a.bin', 'b.bin', 'facts.json')) as part:\n"
        "    [(part / name).write_text('new') for name in ('a.bin', 'facts.json')]\n"
    )
    folder = tmp_path / "network"
    write(folder, *NAMES, text="old")
    command = [sys.executable, "-c", script, str(folder), str(moment)]
    died = subprocess.run(command).returncode == -signal.SIGKILL
    assert died == (moment < 8)  # three old files out, a name, two new ones in, a name, clean up
    assert is_cut_off(folder, NAMES[-1]) == (moment < 7)
    with pytest.raises(RuntimeError), replacing_files(folder, NAMES):
        raise RuntimeError
    kept = dict.fromkeys(NAMES, "old") if moment < 4 else dict.fromkeys(NAMES[::2], "new")
    assert contents(folder) == kept


def test_a_link_to_a_directory_stays_a_link(tmp_path):
    (tmp_path / "volume").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "volume")
    write(tmp_path / "link", *NAMES, text="new")
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "volume") == dict.fromkeys(NAMES, "new")


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    script = (
        "import sys, time; from pathlib import Path\n"
        "from lupi_jax.runtime.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as part:\n"
        "    part.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    file = tmp_path / "result.json"
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        write_whole(file, "mine")
        assert len(list(tmp_path.glob(f"{PARTIAL}*"))) == 1
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    write_whole(file, "again")
    assert contents(tmp_path) == {"result.json": "again"}


def test_an_exception_leaves_what_was_there(tmp_path):
    file = tmp_path / "result.json"
    write_whole(file, "good")

    def fail() -> None:
        with replacing(file) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert contents(tmp_path) == {"result.json": "good"}


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (OSError(27, "File too large"), "a.txt"),
        (OSError(28, "No space left", f"/x/{PARTIAL}a.txt-12345678/a.txt"), "a.txt"),
        (OSError(13, "Permission denied", "input"), "input"),
    ],
)
def test_a_write_that_fails_names_the_file_and_not_its_hidden_place(tmp_path, error, named):
    with pytest.raises(type(error)) as caught, replacing(tmp_path / "a.txt"):
        raise error
    assert Path(caught.value.filename).name == named


def test_a_directory_is_vacant_with_left_overs_alone(tmp_path):
    (tmp_path / f"{PARTIAL}x-12345678").mkdir()
    assert is_vacant(tmp_path)
    (tmp_path / ".hidden").touch()
    assert not is_vacant(tmp_path)


def test_of_two_that_write_to_a_directory_at_once_the_second_stops(tmp_path):
    folder = tmp_path / "network"
    write(folder, *NAMES, text="old")
    with replacing_files(folder, NAMES) as part:
        (part / "a.bin").write_text("first")
        with pytest.raises(InputError, match="/network: another process is writing there: wait"):
            write(folder, *NAMES, text="second")
    assert contents(folder) == {"a.bin": "first"}
    write(folder, *NAMES, text="third")
    assert contents(folder) == dict.fromkeys(NAMES, "third")


def test_of_two_that_make_a_directory_at_once_the_second_stops(tmp_path):
    folder = tmp_path / "network"

    def second() -> None:
        with replacing_files(folder, NAMES) as part:
            (part / "b.bin").write_text("second")
            write(folder, "a.bin", text="first")

    with pytest.raises(OSError, match="not empty"):
        second()
    assert contents(tmp_path) == {"network/a.bin": "first"}


def test_who_waits_for_a_directory_gets_it_when_it_is_free(tmp_path):
    done = []

    def wait() -> None:
        with alone(tmp_path, wait=True):
            done.append("second")

    with alone(tmp_path):
        other = threading.Thread(target=wait)
        other.start()
        other.join(0.2)
        done.append("first")
    other.join()
    assert done == ["first", "second"]
    assert list(tmp_path.iterdir()) == []


def test_what_somebody_has_just_begun_is_not_taken_for_left_over(tmp_path, monkeypatch):
    """Another process looks between the making of a directory and its lock."""
    make, file = module.tempfile.mkdtemp, tmp_path / "result.json"

    def overtaken(*places: object, **names: object) -> str:
        made = make(*places, **names)
        monkeypatch.setattr(module.tempfile, "mkdtemp", make)
        write_whole(file, "other")
        return made

    monkeypatch.setattr(module.tempfile, "mkdtemp", overtaken)
    write_whole(file, "mine")
    assert contents(tmp_path) == {"result.json": "mine"}


def test_a_device_in_a_directory_is_not_read(tmp_path):
    (tmp_path / "zeros").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    assert unreadable(tmp_path) is None
