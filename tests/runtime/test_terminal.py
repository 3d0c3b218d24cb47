"""How the command line behaves towards people at a terminal, and towards scripts."""

import argparse
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lupi_jax.cli import main
from lupi_jax.cli.console import print_table
from lupi_jax.cli.program import make_parser
from lupi_jax.runtime import progress, terminal
from lupi_jax.training.hooks import Moment
from lupi_jax.training.logging import RunLog

LUPI = [sys.executable, "-c", "import sys; from lupi_jax.cli import main; sys.exit(main())"]
START = ("make-synthetic", "train", "evaluate")
ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[[\d;]*\b[349]\d\b[\d;]*m")  # not bold, not italics


def parsers() -> dict[str, argparse.ArgumentParser]:
    (commands,) = (a for a in make_parser()._actions if isinstance(a.choices, dict))
    assert isinstance(commands.choices, dict)
    return commands.choices


TABLE = """
import sys
from lupi_jax.cli.console import print_table
try:
    print_table("title", ["heading"], [["cell"]])
    sys.stdout.flush()
except BrokenPipeError:
    print("told", file=sys.stderr)
    sys.stdout = None
"""


def test_a_table_that_nobody_reads_is_an_error():
    """Not an end of the process, with 1 and no word, which is how rich has it."""
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([sys.executable, "-c", TABLE], stdout=writes, stderr=subprocess.PIPE)
    os.close(writes)
    assert done.stderr.startswith(b"told")


TALK = """
from lupi_jax.runtime.terminal import say, stderr_console
say("once")
stderr_console().print("and")
say("again")
print("done")
"""


def test_work_goes_on_where_nobody_reads_what_is_said():
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-c", TALK], stdout=subprocess.PIPE, stderr=writes, check=True
    )
    os.close(writes)
    assert done.stdout == b"done\n"


def test_help_fits_a_screen_and_says_where_to_start(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = make_parser().format_help().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) < 80
    start = lines.index("first steps:") + 1
    assert [line.split()[:2] for line in lines[start : start + 3]] == [["lupi", n] for n in START]
    listed = [line.split()[0] for line in lines[start + 3 :] if line.startswith("  ")]
    assert listed == list(parsers())


def test_no_command_at_all_is_answered_by_the_help(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == make_parser().format_help()


@pytest.mark.parametrize("name", parsers())
def test_the_help_of_a_command_has_an_example_that_is_right(name):
    text = parsers()[name].format_help()
    examples = text.partition("\nexample:\n")[2].replace("\\\n", "").splitlines()
    own = [line for line in examples if line.startswith(f"  lupi {name} ")]
    assert own
    for example in own:
        arguments = shlex.split(example)[1:]
        options, rest = make_parser().parse_known_args(arguments)
        assert options.takes_fields or not rest
        assert all(text.startswith("--config.") for text in rest)


def ended(process: subprocess.Popen) -> int:
    try:
        return process.wait(60)
    finally:
        process.kill()


def run(people: Path, tmp_path: Path, terminals: tuple[str, ...], **environment: str):
    """(stdout, stderr, status) of a check of `people`, where `terminals` are terminals."""
    mains, files, said = {}, {}, {"stdout": b"", "stderr": b""}
    for name in said:
        if name in terminals:
            mains[name], files[name] = pty.openpty()
        else:
            files[name] = os.open(tmp_path / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    environment = {**kept, "TERM": "xterm-256color", "COLUMNS": "80", **environment}
    command = [*LUPI, "check-data", "--data", "folder", "--root", str(people), "--workers", "1"]
    process = subprocess.Popen(command, env=environment, **files)

    def read(name: str) -> None:
        # A terminal whose other end is closed gives an error where a pipe gives nothing.
        try:
            while part := os.read(mains[name], 4096):
                said[name] += part
        except OSError:
            pass

    readers = [threading.Thread(target=read, args=(name,)) for name in mains]
    for reader in readers:
        reader.start()
    status = ended(process)
    for file in files.values():
        os.close(file)
    for reader in readers:
        reader.join()
    for name in said.keys() - mains.keys():
        said[name] = (tmp_path / name).read_bytes()
    return said["stdout"].decode(), said["stderr"].decode(), status


FEW = (
    "note: in configs/folder.py batch.identities = 16 is more than the 8 training identities: "
    "lower it"
)


def test_at_a_terminal_there_is_a_bar_and_colour(people, tmp_path):
    out, err, status = run(people, tmp_path, ("stdout", "stderr"))
    assert status == 0
    assert "96/96" in err  # twelve people, eight images each
    assert re.search(r"\d:\d\d:\d\d.*\d:\d\d:\d\d", err)  # taken and left
    assert COLOUR.search(err)
    assert err.count("nothing wrong") == 1
    assert "nothing wrong" not in out
    assert "visible" in out


def test_results_go_to_a_pipe_and_talk_to_the_terminal(people, tmp_path):
    out, err, status = run(people, tmp_path, ("stderr",), NO_COLOR="1", FORCE_COLOR="1")
    assert status == 0
    title, *table = out.splitlines()
    assert title == f"folder {people}"
    assert {line[0] for line in table} == set("┏┃┡│└")
    assert ESCAPE not in out
    assert "96/96" in err  # without colours, but with the bar
    assert not COLOUR.search(err)


def test_a_log_has_plain_lines(people, tmp_path):
    out, err, status = run(people, tmp_path, (), FORCE_COLOR="1", TTY_COMPATIBLE="1")
    assert status == 0
    assert err == f"{FEW}\n{people}: nothing wrong\n"
    assert ESCAPE not in out
    assert "\r" not in out


def test_a_terminal_that_cannot_move_its_cursor_is_a_log(people, tmp_path):
    _, err, status = run(people, tmp_path, ("stdout", "stderr"), TERM="dumb")
    assert (status, err) == (0, f"{FEW}\r\n{people}: nothing wrong\r\n")


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("spread", ["", " ± 1.23"])
def test_a_table_on_a_narrow_terminal_breaks_no_figure(columns, spread, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    figures = [f"{10 * n}.25{spread}" for n in range(1, 7)]
    rows = [(pair, "all", "3803", *figures) for pair in ("infrared -> visible", "back")]
    print_table("people", ("pair", "search", "queries", *(f">R{n}" for n in range(6))), rows)
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[0] == "people; search all; queries 3803"  # once, not in every row
    words = " ".join(lines[1:]).split()
    assert words.count("60.25") == words.count("10.25") == words.count("infrared") + 1 == 2


def test_a_log_says_now_and_then_how_long_it_will_take(monkeypatch, capfd):
    now = 100.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    with terminal.showing() as show:
        advance = show("images")
        for done in range(21, 101):  # twenty were there
            now += 1
            advance(done, 100)
        still = show("files")
        still(0, 100)
        now += 60
        still(0, 100)  # nothing to tell a time from
    # 79 images take a second each from the first that is seen on.
    assert capfd.readouterr() == (
        "",
        "images: 50 of 100, 50 s left\nimages: 80 of 100, 20 s left\n",
    )


def test_the_log_of_a_training_is_plain(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with RunLog(tmp_path, 0, steps=2, every=1, batch_size=4) as log:
        for step in (1, 2):
            metrics = {"loss/total": np.float32(0.5), "accuracy": np.float32(1)}
            log.after(Moment(step, 2, None, metrics))
        log.flush()
    out, err = capfd.readouterr()
    assert out == ""
    lines = [line.split("  ")[:3] for line in err.splitlines()]
    assert lines == [[f"step {n}/2", "total 0.500", "accuracy 1.000"] for n in (1, 2)]


def test_counted_items_are_done_when_the_next_is_asked_for():
    told = []
    items = progress.counted("ab", lambda *count: told.append(count), 3, 5)
    assert next(items) == "a"
    assert told == []
    assert list(items) == ["b"]
    assert told == [(4, 5), (5, 5)]


# --- Ctrl-C ---


@pytest.fixture(scope="module")
def weights(tmp_path_factory, draw_variables) -> list[str]:
    """What a network without a run is given by."""
    import lupi_jax as lupi
    from lupi_jax.models import to_torch

    model = lupi.EmbedNet(3, backbone="thin", non_local=False, pooling="average")
    file = tmp_path_factory.mktemp("weights") / "weights.npz"
    np.savez(file, **to_torch(draw_variables(model, (32, 32))))
    config = Path(__file__).parents[2] / "configs" / "folder.py"
    fields = ["data.image_size=32,32", "model.backbone=thin", "model.non_local=false"]
    fields += ["model.pooling=average", "data.workers=1"]
    given = ["--config", str(config), "--checkpoint", str(file)]
    return [*given, *(f"--config.{field}" for field in fields)]


@pytest.fixture
def interrupting(monkeypatch) -> None:
    """Ctrl-C comes as soon as a piece of work has begun."""

    def log(what: str) -> progress.Advance:
        return lambda done, total: signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(terminal, "_log", log)


@pytest.fixture
def stopped(interrupting, capfd):
    def stopped(*arguments: object) -> str:
        capfd.readouterr()
        assert main([str(argument) for argument in arguments]) == 130
        out, err = capfd.readouterr()
        assert out == ""
        assert err.splitlines()[-1].startswith("lupi: interrupted; ")
        assert "Traceback" not in err
        return err.splitlines()[-1].removeprefix("lupi: interrupted; ")

    return stopped


def test_an_interrupted_preparation_goes_on(people, tmp_path, stopped):
    folder = tmp_path / "prepared"
    source = ("--data", "folder", "--root", people, "--size", "32x32", "--workers", "1")
    said = stopped("prepare", *source, "--out", folder)
    assert said == "the whole shards written so far are kept; run the same command to continue"


def test_an_interrupted_check(people, stopped):
    said = stopped("check-data", "--data", "folder", "--root", people, "--workers", "1")
    assert said == "a check writes nothing"


@pytest.mark.parametrize("name", ["features.npz", "features"])
def test_an_interrupted_export_leaves_what_was_there(people, weights, tmp_path, stopped, name):
    out = tmp_path / name
    data = ("--config.data.root", people)
    assert stopped("export", *weights, *data, "--out", out) == ("nothing was written or changed")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_evaluation(people, weights, tmp_path, stopped):
    evaluate = ("evaluate", *weights, f"--config.data.root={people}", "--out", tmp_path / "out")
    assert stopped(*evaluate) == "only the files named above were saved"
    assert not (tmp_path / "out").exists()


def test_an_interrupted_search(people, weights, tmp_path, stopped):
    places = ("--query", people / "test/infrared", "--gallery", people / "test/visible")
    search = ("search", *weights, *places, "--config.data.root=.", "--out", tmp_path / "a.png")
    assert stopped(*search) == "nothing was saved"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def begun(tmp_path) -> Iterator[tuple[subprocess.Popen, Path]]:
    """A process that renders people, more than it will finish, and has written some."""
    out = tmp_path / "people"
    more = ["--identities", "2000", "--workers", "2", "--height", "32", "--width", "16"]
    command = [*LUPI, "make-synthetic", "--out", str(out), *more]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not any(out.rglob("*.jpg")) and time.monotonic() < deadline:
        time.sleep(0.05)
    yield process, out
    process.kill()


def test_an_interrupted_rendering_goes_on(begun):
    """As at a terminal, whose Ctrl-C all processes get."""
    process, folder = begun
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == (
        "lupi: interrupted; the pictures written so far are kept; run the same command to "
        "continue\n"
    )
    assert len(list(folder.rglob("*.jpg"))) > 0
    assert (folder / "synthetic.partial.json").is_file()


def test_json_is_one_document_and_nothing_else(people, capfd):
    assert main(["check-data", "--data", "folder", "--root", str(people), "--json"]) == 0
    out, err = capfd.readouterr()
    assert err == f"{FEW}\n{people}: nothing wrong\n"
    assert out.count("\n") == 1
    found = json.loads(out)
    assert found["problems"] == []
    assert found["rows"][-1]["images"] == 96
