"""Whatever happens to a run, the same command goes on and ends as if nothing had.

`python -m experiments.faults` is the long version of the kills.
"""

import os
import shutil
import signal
import threading
from pathlib import Path

import pytest
from twelve_steps import (
    CONFIG,
    KEPT,
    STEPS,
    Life,
    assert_same,
    later,
    steps_saved,
    train,
)

from lupi_jax.cli import main
from lupi_jax.config.file import load_config
from lupi_jax.data import make_sampler, read_training
from lupi_jax.training.logging import read_metrics
from lupi_jax.training.parallel import ParallelStep


def test_killed_and_stopped_it_ends_as_if_undisturbed(
    people: Path, whole: Path, tmp_path: Path
) -> None:
    workdir, saved = tmp_path / "run", tmp_path / "run/checkpoints"
    command = train(people, workdir)

    def saving() -> bool:
        return saved.is_dir() and any("tmp" in name for name in os.listdir(saved))

    with Life(command, tmp_path / "0.log") as life:
        life.until(saving)
        assert life.end(signal.SIGKILL) == -signal.SIGKILL
    for number in (signal.SIGTERM, signal.SIGINT):
        before = steps_saved(workdir)
        taken = len(read_metrics(workdir))
        with Life(command, tmp_path / f"{number}.log") as life:
            life.until(lambda taken=taken: len(read_metrics(workdir)) > taken)
            assert life.end(number) == 75
        step = max(steps_saved(workdir) - before)
        assert life.last_line == (
            f"lupi: stopped after step {step} of {STEPS}, which is saved; run the same command to "
            "resume"
        )
        assert read_metrics(workdir)[-1]["step"] == step
    with Life(command, tmp_path / "last.log") as life:
        assert life.process.wait(300) == 0
    assert f"going on from step {step} of {STEPS}" in life.log.read_text()
    assert_same(workdir, whole)
    assert steps_saved(workdir) == {*KEPT}
    assert not (workdir / "damaged").exists()


def test_a_signal_while_the_step_compiles_ends_the_run(
    people: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    never = threading.Event()

    class Lowered:
        def compile(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not never.wait(60)

    monkeypatch.setattr(ParallelStep, "lower", lambda *_: Lowered())
    assert main(train(people, tmp_path)) == 75
    said = capfd.readouterr().err.splitlines()[-1]
    assert said == (
        "lupi: stopped before the first step, with nothing to save; run the same command to resume"
    )
    never.set()
    assert not (tmp_path / "checkpoints").exists()
    monkeypatch.undo()
    assert main(train(people, tmp_path)) == 0
    assert [row["step"] for row in read_metrics(tmp_path)] == list(range(1, STEPS + 1))


HANGS = """
import sys, time
from lupi_jax.cli import main
from lupi_jax.data.feeds.sampler import IdentitySampler

draw, good = IdentitySampler.__call__, int(sys.argv.pop(1))

def hang(self, step):
    while step >= good:
        time.sleep(1)
    return draw(self, step)

IdentitySampler.__call__ = hang
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("good", "timeout", "since"),
    [(0, 2, "start"), pytest.param(9, 40, f"step 9 of {STEPS}", marks=pytest.mark.slow)],
)
def test_an_input_that_hangs_ends_the_run(
    people: Path, whole: Path, tmp_path: Path, good: int, timeout: int, since: str
) -> None:
    workdir = later(whole, tmp_path / "run", 7)
    command = [str(good), *train(people, workdir, step_timeout=timeout)]
    with Life(command, tmp_path / "0.log", HANGS) as life:
        assert life.process.wait(300) == 76
    assert life.last_line == (
        f"lupi: process 0: nothing since {since} for {timeout} s (step_timeout): another process "
        "or the input hangs; the same command goes on from the last checkpoint"
    )
    if good:
        assert main(train(people, workdir)) == 0
        assert_same(workdir, whole)


@pytest.mark.slow
def test_an_image_that_a_worker_cannot_read_is_named(
    people: Path, whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorflow")
    root = tmp_path / "people"
    shutil.copytree(people, root)
    own = tmp_path / "run"
    command = train(root, own, data__feed="tfdata", data__prefetch=1)
    config = load_config(str(CONFIG), {"data.root": str(root), "batch.identities": "4"})
    index, _ = read_training(config.data, config.seed)
    row = make_sampler(index, config)(10)["visible"][0]  # of the eleventh batch
    image = root / index.paths[row]
    pixels = image.read_bytes()
    image.write_bytes(pixels[:100])
    assert main(command) == 2
    err = capfd.readouterr().err
    assert err.splitlines()[-1] == f"lupi: {image}: unreadable image; replace or remove it"
    assert "Traceback" not in err
    image.write_bytes(pixels)
    assert main(command) == 0
    assert_same(own, whole)
