"""Whatever happens to a run, the same command goes on and ends as if nothing had.

`experiments/faults.py` is the long version of the kills.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import SingleDeviceSharding

from lupi_jax.cli import main
from lupi_jax.config.file import load_config
from lupi_jax.data import make_sampler, read_training
from lupi_jax.errors import InputError
from lupi_jax.training import checkpoints as module
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.logging import read_metrics
from lupi_jax.training.parallel import ParallelStep
from lupi_jax.training.run import abstract
from lupi_jax.training.state import TrainState

CONFIG = Path(__file__).parents[2] / "configs" / "synthetic.py"
STEPS = 12
KEPT = range(7, STEPS + 1)  # the checkpoints that are there in the end
LUPI = "import sys; from lupi_jax.cli import main; sys.exit(main())"


def train(people: Path, workdir: Path, **more: Any) -> list[str]:
    fields = {
        "steps": STEPS,
        "data.root": people,
        "data.image_size": "32,32",
        "data.feed": "memmap",
        "batch.identities": 4,
        "log.every": 1,
        "log.checkpoint_every": 1,
        "log.keep": len(KEPT),
    } | {name.replace("__", "."): value for name, value in more.items()}
    given = [f"--config.{name}={value}" for name, value in fields.items()]
    return ["train", "--config", str(CONFIG), "--workdir", str(workdir), *given]


@pytest.fixture(scope="module")
def whole(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve steps without disturbance."""
    workdir = tmp_path_factory.mktemp("whole")
    assert main(train(people, workdir)) == 0
    assert steps_saved(workdir) == {*KEPT}
    return workdir


def steps_saved(workdir: Path) -> set[int]:
    """The complete checkpoints."""
    names = [entry.name for entry in (workdir / "checkpoints").iterdir()]
    return {int(name) for name in names if name.isdecimal()}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def arrays(workdir: Path, step: int) -> dict[str, np.ndarray]:
    """All of a checkpoint's arrays, as Orbax alone reads them."""
    folder = workdir / "checkpoints" / str(step)
    items = {name: ocp.StandardCheckpointer().restore(folder / name) for name in ITEMS}
    leaves = jax.tree_util.tree_leaves_with_path(items)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


ITEMS = ("variables", "optimizer")


def assert_same(workdir: Path, whole: Path) -> None:
    """The last checkpoints are equal bit for bit, and the figures of every step."""
    found, expected = arrays(workdir, STEPS), arrays(whole, STEPS)
    assert found.keys() == expected.keys()
    assert len(found) > 100
    for name, array in expected.items():
        assert found[name].tobytes() == array.tobytes(), name

    def figures(folder: Path) -> list[dict[str, Any]]:
        rates = ("steps_per_second", "images_per_second")
        return [{k: v for k, v in x.items() if k not in rates} for x in read_metrics(folder)]

    assert figures(workdir) == figures(whole)
    assert [row["step"] for row in figures(workdir)] == list(range(1, STEPS + 1))
    assert all(entry.name.isdecimal() for entry in (workdir / "checkpoints").iterdir())


def later(whole: Path, workdir: Path, step: int) -> Path:
    """A copy of a run as it was after `step`, its log going further."""
    shutil.copytree(whole, workdir)
    for other in steps_saved(workdir) - {step}:
        shutil.rmtree(workdir / "checkpoints" / str(other))
    return workdir


class Life:
    """`lupi train` in a process of its own, until a signal ends it."""

    def __init__(self, arguments: list[str], log: Path, program: str = LUPI) -> None:
        self.log = log
        with log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments], stdout=out, stderr=out
            )

    def __enter__(self) -> "Life":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def until(self, happened: Callable[[], object]) -> None:
        """Wait for something to happen before the process ends."""
        while not happened():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.002)

    def end(self, number: signal.Signals) -> int:
        """The exit status after a signal."""
        self.process.send_signal(number)
        return self.process.wait(120)

    @property
    def last_line(self) -> str:
        return self.log.read_text().splitlines()[-1]


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
            f"lupi: stopped after step {step} of {STEPS}, which is saved; the same command goes on"
        )
        assert read_metrics(workdir)[-1]["step"] == step
    with Life(command, tmp_path / "last.log") as life:
        assert life.process.wait(300) == 0
    assert f"going on from step {step} of {STEPS}" in life.log.read_text()
    assert_same(workdir, whole)
    assert steps_saved(workdir) == {*KEPT}
    assert not (workdir / "damaged").exists()


# --- damaged checkpoints ---


def _data_file(checkpoint: Path, item: str) -> Path:
    """The file in which most of an item's arrays are."""
    return max((checkpoint / item).rglob("d/*"), key=lambda file: file.stat().st_size)


def _flip(checkpoint: Path) -> None:
    file = _data_file(checkpoint, "variables")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _truncate(checkpoint: Path) -> None:
    file = _data_file(checkpoint, "variables")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def _remove(checkpoint: Path) -> None:
    _data_file(checkpoint, "optimizer").unlink()


def _empty(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def _another_run(checkpoint: Path) -> None:
    """One letter, after which it still is JSON of a run: of other people, steps or layers."""
    file = checkpoint / "run" / "metadata"
    text = file.read_text()
    assert text.count('"num_classes": 8') == 1
    file.write_text(text.replace('"num_classes": 8', '"num_classes": 9'))


# Which checkpoint is damaged how: all but the oldest, newest first.
DAMAGE = {12: _flip, 11: _truncate, 10: _remove, 9: _empty, 8: _another_run}


@pytest.fixture(scope="module")
def damaged(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(whole, workdir)
    for step, damage in DAMAGE.items():
        damage(workdir / "checkpoints" / str(step))
    return workdir


@pytest.mark.parametrize("step", [s for s in DAMAGE if s != 10])  # its network is whole
def test_a_damaged_checkpoint_is_not_evaluated(
    damaged: Path, step: int, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(damaged)
    assert main(["evaluate", "--workdir", str(damaged), "--checkpoint", str(step)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"lupi: checkpoint {damaged}/checkpoints/{step} is damaged (")
    assert err.endswith("sets it aside and goes on from an older one\n")
    assert err.count("\n") == 1
    assert contents(damaged) == before


def test_what_is_damaged_is_set_aside_and_trained_anew(
    people: Path, whole: Path, damaged: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(damaged, workdir)
    assert main(train(people, workdir)) == 0
    err = capfd.readouterr().err
    assert "Traceback" not in err
    named = [line for line in err.splitlines() if "is damaged" in line]
    for line, step in zip(named, DAMAGE, strict=True):
        assert line.startswith(f"checkpoint {workdir}/checkpoints/{step} is damaged (")
        assert line.endswith(f"; moved to {workdir}/damaged/{step}-0, going on without it")
        assert contents(workdir / f"damaged/{step}-0") == contents(damaged / f"checkpoints/{step}")
    assert f"going on from step 7 of {STEPS}" in err
    assert_same(workdir, whole)


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


def test_a_checkpoint_damaged_twice_is_kept_twice(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        save_tiny(tmp_path, 4)
        (tmp_path / "checkpoints/4/run/metadata").write_bytes(content)
        with Checkpoints(tmp_path) as checkpoints:
            assert checkpoints.resume(lambda run: None, like) is None
    kept = [(tmp_path / f"damaged/4-{n}/run/metadata").read_bytes() for n in (0, 1)]
    assert kept == [b"first", b"second"]


def test_a_newer_format_is_refused_by_name_and_left_alone(
    people: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    made = json.loads((workdir / "checkpoints/12/run/metadata").read_text())
    monkeypatch.setattr(module, "FORMAT", made["format"] - 1)
    before = contents(workdir)
    for command in (train(people, workdir), ["evaluate", "--workdir", str(workdir)]):
        assert main(command) == 2
        err = capfd.readouterr().err
        assert err == (f"lupi: {workdir}/checkpoints/12 was made by a newer lupi_jax: upgrade\n")
    assert contents(workdir) == before


def test_hashing_holds_up_no_step_and_sees_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, go_on, digest = set(), threading.Event(), module._digest

    def slow_digest(tree: Any) -> str:
        threads.add(threading.get_ident())
        assert go_on.wait(60)
        return digest(tree)

    replace = jax.jit(lambda state: jax.tree.map(lambda x: 0 * x - 1, state), donate_argnums=0)
    saved = jax.device_get(tiny(4))
    monkeypatch.setattr(module, "_digest", slow_digest)
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
        "lupi: stopped before the first step, with nothing to save; the same command goes on"
    )
    never.set()
    assert not list((tmp_path / "checkpoints").iterdir())
    monkeypatch.undo()
    assert main(train(people, tmp_path)) == 0
    assert [row["step"] for row in read_metrics(tmp_path)] == list(range(1, STEPS + 1))


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


# --- a disk that takes no more ---


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
    assert err.startswith(f"lupi: cannot open the checkpoints under {workdir}/checkpoints (")
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


# --- an input that fails ---

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


def test_checkpoints_are_not_opened_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint under"):
        Checkpoints(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()
