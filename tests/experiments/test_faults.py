"""The rows of `python -m experiments.faults table` that need no process of their own, and kills."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.faults import kills, process, table, world
from experiments.faults.fault import COMMANDS, READING, Case, Fault, make_case, said, wrong
from lupi_jax.cli import main
from lupi_jax.config.file import load_config, parse_overrides

HERE = [(fault, command) for fault, command in table.rows_of(table.FAULTS) if fault.here]


@pytest.fixture(scope="module")
def small_world(
    tmp_path_factory: pytest.TempPathFactory, save_run: Callable[..., None]
) -> Iterator[Path]:
    """What rows that run here need of a world, of runs that were not trained."""
    folder = tmp_path_factory.mktemp("world")
    fields = [word for word in world.TRAIN.split() if word.startswith("--config.")]
    config = load_config(
        str(world.CONFIGS / "synthetic.py"), {**parse_overrides(fields), "data.root": "people"}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(world.WORLD["people"].split()) == 0
        save_run(folder / "run", config, 4, 4)
        rows = [{"step": step, "split": "train", "loss/total": 1.0} for step in (1, 2, 3, 4)]
        (folder / "run" / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
        shutil.copytree(folder / "run", folder / "run-1")
        for name in ("gallery", "gallery.npz"):
            assert main(world.WORLD[name].split()) == 0
    before = table.stamps(folder)
    yield folder
    assert table.stamps(folder) == before


def run_here(fault: Fault, case: Case, capfdbinary) -> tuple[list[str], str]:
    """What is wrong with a row that runs in this process, and its last line on stderr."""
    fault.prepare(case)
    assert not case.start
    before = world.digests(case.out)
    capfdbinary.readouterr()
    try:
        status = main(case.words)
    except SystemExit as stopped:  # argparse
        status = stopped.code
    out, err = capfdbinary.readouterr()
    assert isinstance(status, int)
    end = process.End(status, out, err, 0.0, 0.0, 0, 0)
    return wrong(fault, case, end, before), said(case, end)


@pytest.mark.parametrize(("fault", "command"), HERE, ids=[f"{f.name}, {c}" for f, c in HERE])
def test_a_fault_ends_as_it_should(
    fault, command, small_world, tmp_path, monkeypatch, capfdbinary
) -> None:
    case = make_case(small_world, tmp_path / "case", command)
    monkeypatch.chdir(case.folder)
    faults, line = run_here(fault, case, capfdbinary)
    assert not faults, line


def test_the_table_holds_every_command_and_each_row_once() -> None:
    rows = [(fault.name, command) for fault, command in table.rows_of(table.FAULTS)]
    assert len({*rows}) == len(rows)
    assert {command for _, command in rows} == {*COMMANDS, *READING}


@pytest.mark.parametrize(
    ("status", "err", "damage", "what"),
    [
        (0, b"lupi: no\n", None, "status 0"),
        (2, b"lupi: something else\n", None, "the last line says something else"),
        (2, b"no\n", None, "no line that begins with lupi:"),
        (2, b"Traceback\nlupi: no\n", None, "a traceback"),
        (2, b"lupi: \x1b[0m no\n", None, "control characters"),
        (2, b"lupi: no\n", "thesis.tex", "thesis.tex was changed"),
        (2, b"lupi: no\n", "half.npz", "half.npz was left"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, status, err, damage, what) -> None:
    (tmp_path / "world").mkdir()
    case = make_case(tmp_path / "world", tmp_path / "case", "export .npz")
    fault, before = Fault("x", (), lambda case: None, 2, "no"), world.digests(case.out)
    if damage:
        (case.out / damage).write_text("half")
    end = process.End(status, b"", err, 0.0, 0.0, 0, 0)
    assert wrong(fault, case, end, before) == [what]


def test_a_process_gets_its_signal_at_a_change_of_a_file(tmp_path) -> None:
    """The second picture's temporary file is the sixth change: its folder, and each by a rename."""
    words = f"make-synthetic --out out/people {world.PEOPLE}".split()
    (tmp_path / "out").mkdir()
    start = process.Start(words, tmp_path, watched=tmp_path / "out", event=9)
    end = process.run(start)
    assert (end.status, end.events) == (-signal.SIGKILL, 9)
    assert sorted(os.listdir(tmp_path)) == ["out"]
    assert process.run(process.Start(words, tmp_path)).status == 0
    assert (tmp_path / "out/people/synthetic.json").is_file()


NAME = "features/features.npy"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda out: (out / NAME).write_text("half"), f"{NAME} is neither old nor new"),
        (lambda out: (out / "thesis.tex").write_text("?"), "thesis.tex was touched"),
        (lambda out: (out / "features/ids.npy").unlink(), f"{NAME} says that a mixture is whole"),
    ],
)
def test_what_a_kill_has_broken_is_told(tmp_path, change, what) -> None:
    command, out = COMMANDS["export directory"], tmp_path / "out"
    (out / "features").mkdir(parents=True)
    for name in ("features/ids.npy", NAME):
        (out / name).write_text("new")
    new = command.facts(out)
    whole = kills.Whole(new, 1.0, 1)
    chain = kills.Chain(tmp_path, "export directory", whole, aged=True)
    assert kills.check_killed(command, out, chain.old, new) == []
    change(out)
    assert what in kills.check_killed(command, out, chain.old, new)


def test_what_the_last_life_left_otherwise_is_told(tmp_path) -> None:
    command, out = COMMANDS["export .npz"], tmp_path / "out"
    out.mkdir()
    for name in ("features.npz", "thesis.tex"):
        (out / name).write_text(name)
    facts = command.facts(out)
    new, foreign = ({name: facts[name]} for name in ("features.npz", "thesis.tex"))
    assert kills.check_whole(command, out, foreign, new) == []
    (out / "features.npz").write_text("half")
    (out / "thesis.tex").unlink()
    (out / ".lupi-partial-x").touch()
    assert kills.check_whole(command, out, foreign, new) == [
        "features.npz differs",
        "thesis.tex is missing",
        ".lupi-partial-x was left",
    ]


@pytest.mark.parametrize(
    ("now", "what"),
    [
        ({"run/checkpoints/3": "x"}, "the newest checkpoint is lost"),
        (
            {"run/checkpoints/5": "x", "run/damaged/4-0/a": "x"},
            "a checkpoint was taken for damaged",
        ),
    ],
)
def test_what_a_killed_run_has_lost_is_told(now, what) -> None:
    old = {"run/checkpoints/4": "x", "run/metrics.jsonl": "y"}
    assert kills.check_run(old, old) == []
    assert kills.check_run(old, now) == [what]
