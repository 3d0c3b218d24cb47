"""`lupi config`: every field with its value, default, allowed values and meaning."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CONFIGS

from lupi_jax.cli import main
from lupi_jax.config import field_types
from lupi_jax.config.file import load_config

FOLDER = f"{CONFIGS / 'folder.py'}"


def printed(capfd, *arguments: str) -> str:
    assert main(["config", *arguments]) == 0
    return capfd.readouterr().out


def entries(capfd, *arguments: str) -> dict[str, dict]:
    return {row["field"]: row for row in json.loads(printed(capfd, *arguments, "--json"))}


def test_what_a_file_and_the_command_line_change_is_marked(capfd):
    rows = entries(capfd, f"{FOLDER}:agw", "--config.steps=7", "--config.data.root=~/people")
    assert list(rows) == list(field_types())
    assert (rows["steps"]["value"], rows["steps"]["default"]) == (7, 0)
    assert rows["data.root"]["value"] == f"{Path.home()}/people"
    # The recipe's own value is the default beside it, not a change.
    assert rows["loss.triplet"]["value"] == "weighted_regularized"
    assert not rows["loss.triplet"]["differs"]
    changed = {name for name, row in rows.items() if row["differs"]}
    assert {"steps", "epochs", "recipe", "data.root", "data.image_size"} <= changed
    assert not {"seed", "data.name", "loss.triplet", "views.erase_area"} & changed
    assert rows["batch.images"]["allowed"] == "a whole number, must be positive"
    assert rows["batch.images"]["help"].startswith("Images per identity")


def test_values_are_those_that_training_takes(capfd):
    rows = entries(capfd, FOLDER, "--config.data.root=x")
    config = load_config(FOLDER, {"data.root": "x"})
    assert rows["optimizer.milestones"]["value"] == list(config.optimizer.milestones)
    assert rows["loss.color_free_weight"]["value"] == config.loss.color_free_weight == 1.0


def test_without_a_file_the_defaults_are_shown_and_no_field_is_marked(capfd):
    rows = entries(capfd)
    assert [name for name, row in rows.items() if row["differs"]] == []
    assert rows["epochs"]["value"] == 121.0
    assert rows["data.root"]["value"] == ""


def test_a_pipe_gets_a_plain_table(capfd):
    text = printed(capfd, FOLDER)
    lines = text.splitlines()
    assert lines[0] == (
        f"{FOLDER}; recipe paper. 19 of {len(field_types())} fields differ from their default, "
        "marked *."
    )
    assert "\x1b" not in text
    (row,) = [line for line in lines if " data.image_size " in line]
    assert row.split()[:6] == ["*", "data.image_size", "(96,", "48)", "(288,", "144)"]
    (row,) = [line for line in lines if " loss.margin " in line]
    assert row.startswith("  loss.margin ")
    assert "Margin of the triplet losses. [a number, must not be" in row
    assert max(len(line.rstrip()) for line in lines[1:]) <= 120


@pytest.mark.parametrize("width", [40, 95, 96, 200])
def test_a_terminal_of_any_width_shows_every_name_whole(width):
    """Narrow ones get a paragraph for each field."""
    reader, writer = pty.openpty()
    environment = {**os.environ, "COLUMNS": f"{width}", "TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "lupi_jax", "config", FOLDER]
    process = subprocess.Popen(command, stdout=writer, env=environment)
    os.close(writer)
    parts = []
    while part := _read(reader):
        parts.append(part)
    assert process.wait() == 0
    lines = re.sub(r"\x1b\[\d*m", "", b"".join(parts).decode()).splitlines()
    assert max(len(line) for line in lines) <= width
    words = [line.split() for line in lines]
    for name in field_types():
        assert [w for w in words if w[:1] == [name] or w[:2] == ["*", name]], name
    paragraphs = any(line.startswith("* steps = 600") for line in lines)
    assert paragraphs == (width < 96)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # what Linux says where the other end is closed
        return b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.py"], "no config file at gone.py: name a Python file such as configs/folder.py"),
        (
            [FOLDER, "--config.loss.margn=1", "--config.seed=x"],
            "config: loss.margn is not a field (did you mean loss.margin?); "
            "seed = 'x' is not a whole number",
        ),
        ([f"{FOLDER}:other"], "config: recipe = 'other' is not one of"),
        ([FOLDER, "more"], "unknown argument more: set a field like --config.seed=1"),
    ],
)
def test_what_cannot_be_read_is_answered_by_one_line(arguments, message, refused):
    assert refused("config", *arguments).startswith(message)
