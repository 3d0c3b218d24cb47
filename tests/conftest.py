"""Tiny image folders for whoever needs real files, and one store of compiled programs for all."""

import atexit
import logging
import os
import shutil
import signal
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

# Most of the tests' time is compilation, often of the same program in another function, process or
# worker (which inherit the environment). To be set before JAX is imported.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = tempfile.mkdtemp(prefix="lupi-jax-tests-")
    atexit.register(shutil.rmtree, _programs, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# A shell that starts a command in the background has it ignore Ctrl-C, which tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Networks are small and run for a few steps, so that LLVM's optimisation takes longer than it
# saves. tests/experiments/parity compares with golden figures, so its programs are optimised like
# a user's.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# {split: {modality: {identity directory: number of images}}}
Layout = Mapping[str, Mapping[str, Mapping[str, int]]]
SIZE = (48, 24)  # (height, width)


def _write_image(file: Path) -> None:
    """A JPEG that no other path has: coarse noise, seeded by the file's own place."""
    rng = np.random.default_rng(zlib.crc32("/".join(file.parts[-4:]).encode()))
    blocks = rng.integers(0, 256, (SIZE[0] // 8, SIZE[1] // 8, 3), np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)).save(file, quality=90)


@pytest.fixture(scope="session")
def write_image() -> Callable[[Path], None]:
    return _write_image


@pytest.fixture(scope="session")
def write_layout() -> Callable[[Path, Layout], Path]:
    """Write `<split>/<modality>/<identity>/c<1 or 2>_<n>.jpg` and return the root."""

    def write(root: Path, layout: Layout) -> Path:
        for split, modalities in layout.items():
            for modality, people in modalities.items():
                for person, count in people.items():
                    for n in range(count):
                        name = f"c{1 + n % 2}_{n:04d}.jpg"
                        _write_image(root / split / modality / person / name)
        return root

    return write


@pytest.fixture(scope="session")
def draw_variables() -> Callable[..., Any]:
    """Random variables of a network: every stem its own, running statistics off their defaults.

    Drawn by NumPy: compiling a network's own initialisation takes longer than most tests of it.
    """

    def draw(model: Any, size: tuple[int, int]) -> Any:
        import jax

        from lupi_jax.models import initialize

        shapes = jax.eval_shape(lambda: initialize(model, jax.random.key(0), image_size=size))
        rng = np.random.default_rng(0)

        def draw_leaf(path, leaf) -> np.ndarray:
            name = path[-1].key
            if name == "kernel":
                values = rng.standard_normal(leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))
            else:
                values = rng.uniform(0.1, 0.4, leaf.shape) + (name in ("scale", "var"))
            return values.astype(np.float32)

        return jax.tree_util.tree_map_with_path(draw_leaf, shapes)

    return draw


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rendered ones in the `folder` layout, eight to train on; not to be changed."""
    from lupi_jax.cli import main

    root = tmp_path_factory.mktemp("twelve") / "people"
    small = ["--height", "48", "--width", "24", "--images-per-modality", "4", "--workers", "1"]
    assert main(["make-synthetic", "--out", str(root), "--identities", "12", *small]) == 0
    return root


@pytest.fixture(scope="session")
def save_run() -> Callable[..., None]:
    """Saves a network as if it had been trained, in no time: (workdir, config, step, steps, key).

    Its weights are drawn by `key`, the config's seed by default.
    """
    import dataclasses

    import jax.numpy as jnp
    import optax

    from lupi_jax import Config
    from lupi_jax.data import read_index
    from lupi_jax.data.contents import digest_file, look_at
    from lupi_jax.training.beside import parameters_beside
    from lupi_jax.training.checkpoints import Checkpoints
    from lupi_jax.training.network import fresh_variables, make_model
    from lupi_jax.training.run import run_record
    from lupi_jax.training.step import TrainState

    def save(workdir: Path, config: Config, step: int, steps: int, key: int | None = None) -> None:
        training = read_index(config.data, "train")
        network = make_model(config, len(training.classes))
        drawn = dataclasses.replace(config, seed=config.seed if key is None else key)
        beside = parameters_beside(drawn, network, None)
        state = TrainState.create(fresh_variables(drawn, network), optax.identity(), beside)
        with Checkpoints(workdir) as checkpoints:
            state = state.replace(step=jnp.int32(step))
            places = [training.root / path for path in training.paths]
            files = zip(look_at(training), map(digest_file, places), strict=True)
            files = [file._replace(digest=digest) for file, digest in files]
            record = run_record(config, training, steps, 1, files)
            checkpoints.save(state, record, {})
            checkpoints.wait()

    return save


@pytest.fixture(autouse=True)
def _phases_as_they_were() -> Iterator[None]:
    """What `--profile` sets up is for a process of its own, and each test has its own stderr."""
    logger = logging.getLogger("lupi_jax.phases")
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    level, logger.propagate, logger.handlers = before
    logger.setLevel(level)


# Those that take minutes begin, so that no worker is left alone with one at the end.
_LONGEST = (
    *("test_blocks.py", "test_network.py", "test_parallel.py", "test_loop.py", "test_hosts.py"),
    *("test_killed_runs.py", "test_own_parts.py", "test_notebooks.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
