"""What all commands have in common: arguments, help, errors and exit statuses."""

import argparse
import os
import re
import runpy
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import jax
import jax.export
import pytest
from command_line import contents

import lupi_jax as lupi
from experiments.parity import MismatchError
from lupi_jax.cli import main, program
from lupi_jax.cli.program import make_parser, verdict
from lupi_jax.errors import InputError, StoppedError


@pytest.mark.parametrize("command", ["evaluate", "export", "search"])
def test_a_workdir_without_checkpoint(own, refused, command):
    more = {
        "evaluate": [],
        "export": ["--out", own / "features.npz"],
        "search": ["--query", own / "test/infrared/1", "--gallery", own / "test/visible"],
    }
    before = contents(own)
    for workdir in (own, own / "nowhere"):
        message = refused(command, "--workdir", workdir, *more[command])
        assert message.startswith(f"no checkpoint under {workdir}: give the --workdir of")
    (own / "checkpoints").mkdir()
    message = refused(command, "--workdir", own, *more[command])
    assert message == f"no complete checkpoint under {own}: train there first"
    assert contents(own) == before


def test_too_few_synthetic_people(tmp_path, refused):
    message = refused("make-synthetic", "--out", tmp_path / "people", "--identities", "1")
    assert "identities=1" in message
    assert not (tmp_path / "people").exists()


def test_unknown_commands_and_arguments_are_the_parsers(capfd):
    for arguments, word in (
        (["serch"], "serch"),
        (["make-synthetic", "--out=x", "--jsn"], "--jsn"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        err = capfd.readouterr().err
        assert err.startswith("usage: lupi")
        assert word in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BrokenPipeError(32, "Broken pipe"), "standard output was closed"),
        (OSError(28, "No space left", "a.png"), "a.png: No space left: make room; what was saved"),
        (OSError(27, "File too large"), "File too large: raise `ulimit -f`; what was saved is"),
        (OSError(5, None, "a.npy"), "a.npy: [Errno 5] None: 'a.npy'"),
        (
            MemoryError("Unable to allocate 9 GiB"),
            "out of memory (Unable to allocate 9 GiB): in training, lower batch.",
        ),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GiB"), "out of the device's memory ("),
    ],
)
def test_what_a_machine_lacks_is_said_in_one_line(error: Exception, message: str) -> None:
    status, said = verdict(error)
    assert status == 2
    assert said.startswith(message)


def test_a_full_disk_behind_standard_output_hides_no_status(tmp_path: Path) -> None:
    program = """
import sys
from lupi_jax.cli import main, program
sys.stdout = open("/dev/full", "w")
print("waits to be written")
sys.exit(main())
"""
    command = [sys.executable, "-c", program, "train", "--config", "none.py", "--workdir", "none"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("lupi: ")


def test_the_version_is_that_of_the_installation(capfd):
    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"lupi-jax {version('lupi-jax')}\n"


def test_the_package_is_the_command(capfd, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lupi_jax", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("lupi_jax", run_name="__main__")
    assert caught.value.code == 0
    assert capfd.readouterr().out.startswith("lupi-jax ")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("x"), 2),
        (lupi.DivergedError("x"), 1),
        (MismatchError("x"), 1),
        (StoppedError("x"), 75),
        (KeyboardInterrupt(), 130),
        (FileNotFoundError(2, "gone", "x"), 2),
        (ZeroDivisionError("x"), None),
    ],
)
def test_every_error_has_its_status(error: BaseException, status: int | None) -> None:
    assert verdict(error)[0] == status


# Sends the signal in the midst of an import, where `KeyboardInterrupt` would be printed or lost.
INTERRUPTED = """
import os, signal, sys
module = sys.argv.pop(1)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
signal.signal(signal.SIGINT, signal.default_int_handler)
import runpy
runpy.run_module("lupi_jax", run_name="__main__", alter_sys=False)
"""


@pytest.mark.parametrize(
    "module", ["argparse", "lupi_jax.cli.train", "jax", "numpy", "optax", "lupi_jax.training.loop"]
)
def test_ctrl_c_during_start_up_is_one_line(module: str) -> None:
    """From the first line of `main` on; before that Python answers, and nothing can be done."""
    train = ["train", "--config", "x.py", "--workdir", "x"]
    command = [sys.executable, "-c", INTERRUPTED, module, *train]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "lupi: interrupted; what was saved is intact\n"


def test_closed_streams_change_no_status_and_no_file(tmp_path) -> None:
    """As a daemon starts a command: the first file to be opened must not become its stdout."""
    start, closed = f"exec {sys.executable} -m lupi_jax", "<&- >&- 2>&-"
    size = "--identities 3 --height 48 --width 24 --images-per-modality 2 --workers 1"
    words = f"make-synthetic --out {tmp_path}/people {size}"
    assert subprocess.run(f"{start} {words} {closed}", shell=True).returncode == 0
    assert (tmp_path / "people" / "synthetic.json").is_file()
    words = f"check-data --data synthetic --root {tmp_path}/people"
    assert subprocess.run(f"{start} {words} >&-", shell=True).returncode == 0
    words = f"check-data --data synthetic --root {tmp_path}/nowhere"
    assert subprocess.run(f"{start} {words} 2>&-", shell=True).returncode == 2


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("localhost:99999999", 2, 0), "--coordinator localhost:99999999: give a port between 1"),
        (("localhost:0", 2, 0), "--coordinator localhost:0: give a port between 1 and 65535"),
        (("localhost:1", 10**9, 0), "--processes 1000000000: give a number between 1 and 100000"),
        (("localhost:1", 2, 2), "--process 2: the processes of this run are numbered 0 to 1"),
        (("localhost:1", 2, -1), "--process -1: the processes of this run are numbered 0 to 1"),
    ],
)
def test_places_that_cannot_be_are_refused_at_once(place, message, refused, tmp_path) -> None:
    coordinator, processes, process = map(str, place)
    where = ["--coordinator", coordinator, f"--processes={processes}", f"--process={process}"]
    assert refused("evaluate", "--workdir", tmp_path, *where).startswith(message)


def test_settings_that_a_library_refuses_are_named(tmp_path, monkeypatch) -> None:
    (tmp_path / "matplotlibrc").write_bytes(b"font.family: \xff\n")
    start = [sys.executable, "-m", "lupi_jax", "evaluate", "--workdir", str(tmp_path)]
    for name, value in (("MATPLOTLIBRC", str(tmp_path)), ("JAX_ENABLE_X64", "banana")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            done = subprocess.run(start, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        *before, last = done.stderr.splitlines()
        assert all(str(tmp_path) in line for line in before)  # Matplotlib itself names the file
        assert last.startswith("lupi: a library refuses its settings (")
        assert "correct the variables JAX_* or the file matplotlibrc" in last


def test_a_terminal_of_no_columns_is_asked_itself(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    monkeypatch.setenv("LINES", "40")
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "COLUMNS" not in os.environ
    assert os.environ["LINES"] == "40"


def test_every_path_of_every_command_may_begin_at_home(demo, tmp_path, monkeypatch, capfd):
    """A shell puts the home directory in place of `~`, but not after `=`."""
    monkeypatch.setenv("HOME", str(demo.workdir.parent))
    monkeypatch.chdir(tmp_path)
    run, data = f"~/{demo.workdir.name}", f"~/{demo.data.name}"
    image = next((demo.data / "test/infrared").rglob("*.jpg")).relative_to(demo.data.parent)
    for command in (
        ["evaluate", f"--workdir={run}", f"--data-root={data}", "--out=~/results"],
        ["export", f"--workdir={run}", "--out=~/gallery"],
        ["search", f"--workdir={run}", f"--query=~/{image}", "--gallery=~/gallery"],
        ["compare", run, "--out=~/curves.png"],
        ["report", f"--workdir={run}", "--out=~/report.html"],
        ["check-data", "--data=folder", f"--root={data}"],
        ["prepare", "--data=folder", f"--root={data}", "--size=32x32", "--out=~/prepared"],
        ["make-synthetic", "--out=~/few", "--identities=3", "--images-per-modality=1"],
    ):
        assert main(command) == 0, capfd.readouterr().err
    made = {place.name for place in demo.workdir.parent.iterdir()}
    assert {"results", "gallery", "curves.png", "report.html", "prepared", "few"} <= made
    assert list(tmp_path.iterdir()) == []
    features = lupi.evaluation.load_features("~/gallery")
    assert len(features.neck) == 64
    assert lupi.load(run)[0] == lupi.load(demo.workdir)[0]


def test_a_home_that_is_not_there_is_named(refused, tmp_path):
    message = refused("search", "--query=~nobody-here/x.jpg", "--gallery", tmp_path)
    assert message == (
        "~nobody-here/x.jpg: ~nobody-here is not a known home directory: write the full path, or "
        "./~nobody-here for a directory of that name"
    )


@pytest.mark.parametrize(
    ("module", "named"),
    [
        ("jax._src.config", True),
        ("matplotlib.rcsetup", True),
        ("numpy.core", False),
        ("lupi_jax.evaluation", False),
    ],
)
def test_only_what_reads_settings_is_blamed_on_them(module, named) -> None:
    """A ValueError of an import is our fault, or a broken installation's, anywhere else."""
    space = {"__name__": module}
    exec("def read():\n    raise ValueError('banana')", space)
    with pytest.raises(ValueError, match="banana") as caught, program._settings_named():
        space["read"]()
    assert isinstance(caught.value, InputError) == named


def test_a_module_that_matplotlib_imports_is_not_its_settings() -> None:
    """NumPy's word for an extension that was built for another version is a ValueError."""
    inner = {"__name__": "contourpy"}
    outer = {"__name__": "matplotlib", "exec": exec, "inner": inner}
    exec("def load():\n    exec(\"raise ValueError('numpy.dtype size changed')\", inner)", outer)
    with pytest.raises(ValueError, match="numpy") as caught, program._settings_named():
        outer["load"]()
    assert not isinstance(caught.value, InputError)


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "\x1b[31m\x07"],
        ["search", "--workdir", "r", "--query", "q", "--gallery", "g", "--top", "\x1b[31m"],
        ["prepare", "--data", "\x1b[31m", "--root", "r"],
        ["check-data", "--data", "folder", "--root", "r", "--workers", "\x1b[31m"],
        ["\x1b[31m"],
    ],
)
def test_control_characters_of_arguments_never_reach_a_terminal(arguments, capfd) -> None:
    try:
        status = main(arguments)
    except SystemExit as ended:  # argparse's
        status = ended.code
    assert status == 2
    _, err = capfd.readouterr()
    assert "\x1b" not in err
    assert r"\x1b[31m" in err


def commands() -> dict[str, argparse.ArgumentParser]:
    (found,) = (a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(found.choices)


def test_the_usage_of_a_command_says_whether_it_takes_fields(capfd):
    for name, parser in commands().items():
        takes = parser.get_default("takes_fields")
        usage = parser.format_usage()
        assert (program.FIELDS in usage) == takes, name
        assert max(map(len, usage.splitlines())) < 100
        assert ("--config.FIELD=VALUE sets a field" in parser.format_help()) == takes or (
            name == "config"  # whose output ends with that
        )
    assert {n for n, p in commands().items() if p.get_default("takes_fields")} == {
        *("config", "train", "evaluate", "compare", "report", "export", "search")
    }


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (name, action.option_strings[-1])
        for name, parser in commands().items()
        for action in parser._actions
        if action.type not in (None, Path)
    ],
)
@pytest.mark.parametrize("text", ["2.5x", "9" * 5000, "²", ""])
def test_what_is_no_number_is_said_in_plain_words(command, option, text, capfd):
    given = {
        "check-data": ["--data", "folder", "--root", "r"],
        "prepare": ["--data", "folder", "--root", "r", "--size", "32x32", "--out", "o"],
        "make-synthetic": ["--out", "o"],
        "search": ["--query", "q", "--gallery", "g"],
        "export": ["--out", "o"],
        "train": ["--config", "c", "--workdir", "w"],
    }.get(command, [])
    with pytest.raises(SystemExit) as ended:
        main([command, *given, f"{option}={text}"])
    assert ended.value.code == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert re.search(rf"argument {option}: .*is not a (whole )?number", last), last
    assert len(last) < 200


@pytest.mark.parametrize("blank", ["", " "])
def test_long_paths_leave_room_for_the_reason(blank, refused, tmp_path) -> None:
    name = f"x{blank}" * (200 // len(f"x{blank}")) + "y"
    for _ in range(6):
        os.mkdir(place := tmp_path / name)
        tmp_path = place
    for command in (
        ["report", "--workdir", place],
        ["search", "--workdir", "run", "--query", place / "nowhere", "--gallery", place],
    ):
        message = refused(*command)
        assert len(message) < 600
        assert re.search("no (checkpoint under|image or folder) ", message), message
