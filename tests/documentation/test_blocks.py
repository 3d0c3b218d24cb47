"""Every command and every line of Python in README and the guides, run as a reader would.

A page is one session: its blocks run from top to bottom in one empty directory that has `configs`,
`docs` and `experiments`, as a clone has. So that this takes seconds, data sets are made of a few
small pictures, and training takes two steps of a thin network, whatever is written.
"""

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pages import (
    COMMANDS,
    OTHER,
    PAGES,
    PYTHON,
    ROOT,
    Block,
    declared,
    lupi_arguments,
    name_of,
    read_blocks,
)

from experiments.tables import command as command_line
from experiments.tables.paper import TABLES
from experiments.tables.sweep import make_sweep
from lupi_jax.cli import main
from lupi_jax.cli.program import make_parser
from lupi_jax.config import field_types
from lupi_jax.config.file import load_config, parse_overrides

FEW = ("--identities=12", "--images-per-modality=2", "--height=48", "--width=24", "--workers=1")
SHORT = (
    *("--config.steps=2", "--config.epochs=0", "--config.pretrained="),
    *("--config.data.image_size=(32,32)", "--config.data.feed=memmap"),
    *("--config.batch.identities=2", "--config.batch.images=2"),
    *("--config.model.backbone=thin", "--config.model.non_local=false"),
    *("--config.model.pooling=average", "--config.optimizer.unit=steps"),
    *("--config.optimizer.warmup=0", "--config.optimizer.milestones=(1,)"),
    *("--config.optimizer.factors=(0.1,)", "--config.views.pad=2"),
    # One optimiser and weight for all, so that runs share a compiled program.
    *("--config.optimizer.name=adam", "--config.optimizer.rate=3e-3"),
    *("--config.optimizer.trunk_factor=1.0", "--config.optimizer.clip=5.0"),
    *("--config.views.erase=0.0", "--config.loss.color_free_weight=1.0"),
)

BLOCKS = {page: read_blocks(page.read_text()) for page in PAGES}


def shortened(arguments: list[str], extra: tuple[str, ...]) -> list[str]:
    """A command as the reader gives it, and after it what makes it small: the last one counts."""
    if arguments[-2:] == ["--trials", "all"]:
        arguments = [*arguments, "--trials", "1..2"]
    match arguments[0]:
        case "make-synthetic" if "--like" not in arguments:
            return [*arguments, *FEW]
        case "prepare":
            return [*arguments, "--size=32x32"]
        case "train":
            return [*arguments, *SHORT, *extra]
    return arguments


def run_command(command: str, extra: tuple[str, ...] = ()) -> None:
    words = shlex.split(command, comments=True)
    if words[0] == "lupi":
        assert main(shortened(words[1:], extra)) == 0, command
        return
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(["bash", "-euc", command], env=environment, check=False)
    assert done.returncode == 0, command


def run_page(page: Path, blocks: list[Block], folder: Path) -> None:
    for name in ("configs", "docs", "experiments"):
        (folder / name).symlink_to(ROOT / name)
    names: dict[str, object] = {}
    for block in blocks:
        print(f"{name_of(page)}, line {block.line}")  # shown where it fails
        for command in block.given:
            run_command(command)
        if block.file:
            (folder / block.file).write_text(block.text)
        elif block.language == COMMANDS:
            for command in block.commands:
                run_command(command, block.extra)
        else:
            exec(compile(block.text, f"{page}, block of line {block.line}", "exec"), names)


def runnable(page: Path) -> list[Block]:
    return [b for b in BLOCKS[page] if b.language in (COMMANDS, PYTHON) and not b.reason]


# Programs of their own, half a minute or more per page. README's page and the shorter guides train,
# evaluate, search and report too, and other tests call the same functions on less data.
LONG_PAGES = ("extend", "paper-and-code", "published-data", "python", "reading", "runs", "views")
LONG = [ROOT / "docs/guides" / f"{name}.md" for name in LONG_PAGES]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(p, marks=[pytest.mark.slow] * (p in LONG), id=name_of(p))
        for p in PAGES
        if runnable(p)
    ],
)
def test_the_blocks_of_a_page_run_in_their_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page, runnable(page), tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_has_a_language(page):
    for block in BLOCKS[page]:
        assert block.language in (COMMANDS, PYTHON, *OTHER), f"line {block.line}"


ALL_COMMANDS = [
    pytest.param(command, id=f"{name_of(page)}:{block.line}")
    for page in PAGES
    for block in BLOCKS[page]
    if block.language == COMMANDS
    for command in block.commands
]


@pytest.mark.parametrize("command", [c for c in ALL_COMMANDS if "-m experiments." in c.values[0]])
def test_sweeps_exist_and_parse(command):
    words = shlex.split(command, comments=True)
    module, *arguments = words[words.index("-m") + 1 :]
    assert importlib.util.find_spec(module)
    if module == "experiments.tables":
        assert int(arguments.pop(0)) in {table.number for table in TABLES}
    options, rest = command_line.make_parser(module).parse_known_args(arguments)
    assert parse_overrides(rest).keys() <= field_types().keys()
    assert make_sweep(options, rest).repeats


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_commands_parse_whether_or_not_they_run(command, monkeypatch):
    arguments = lupi_arguments(command)
    if arguments is None:
        return
    monkeypatch.chdir(ROOT)
    options, rest = make_parser().parse_known_args(arguments)
    fields = parse_overrides(rest)  # refuses what is neither an option nor a field
    assert options.takes_fields or not rest
    assert set(map(declared, fields)) <= field_types().keys()
    if getattr(options, "config", None):
        # Every field takes the value that it is given.
        load_config(options.config, {"data.root": "anywhere", **fields})


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_that_is_not_run_is_python(page):
    for block in BLOCKS[page]:
        if block.language == PYTHON:
            compile(block.text, f"{page}, block of line {block.line}", "exec")


def test_what_is_not_run_says_why():
    reasons = [b.reason for blocks in BLOCKS.values() for b in blocks if b.reason]
    assert reasons
    assert all(len(reason.split()) >= 2 for reason in reasons), reasons


def test_a_page_is_read_as_it_is_written():
    text = """text
<!-- given: lupi make-synthetic --out DATA -->
<!-- with: --config.seed=1 --config.steps=3 -->
<!-- file: x.sh -->
```sh
lupi train --config x.py \\
    --workdir y    # why

srun lupi evaluate --workdir 'a b'
```
```text
lupi is not run here
```
"""
    first, second = read_blocks(text)
    assert (first.line, first.language, first.reason) == (5, "sh", "")
    assert first.file == "x.sh"
    assert first.given == ("lupi make-synthetic --out DATA",)
    assert first.extra == ("--config.seed=1", "--config.steps=3")
    train, evaluate = map(lupi_arguments, first.commands)
    assert train == ["train", "--config", "x.py", "--workdir", "y"]
    assert evaluate == ["evaluate", "--workdir", "a b"]
    assert (second.language, second.given) == ("text", ())
    with pytest.raises(ValueError, match="line 2: comments"):
        read_blocks("<!-- with: x -->\n\n```sh\n```")
    with pytest.raises(ValueError, match="line 1: this fence"):
        read_blocks("```sh\nlupi")
