"""The work of lupi_jax that is measured; each function returns a turn, and facts about it."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.work import Work, fields, make_images
from lupi_jax.config import Config, parse_config
from lupi_jax.data import Index, make_sampler
from lupi_jax.data.feeds.making import read_batches
from lupi_jax.evaluation.embedding import embed_images
from lupi_jax.modality import Modality
from lupi_jax.runtime.memory import keep_pages
from lupi_jax.training.network import fresh_variables, make_model
from lupi_jax.training.optimizer import learning_rate, make_optimizer
from lupi_jax.training.parallel import ParallelStep
from lupi_jax.training.run import versions
from lupi_jax.training.step import AXIS, TrainState, train_step
from lupi_jax.views import make_views

Turn = tuple[Callable[[], object], dict[str, Any]]


def _config(work: Work) -> Config:
    return parse_config(fields(work))


def _facts() -> dict[str, Any]:
    device = jax.devices()[0]
    return {"device": f"{jax.device_count()} x {device.device_kind}", "versions": versions()}


def _trainer(work: Work) -> tuple[ParallelStep, TrainState]:
    config = _config(work)
    model = make_model(config, work.classes, AXIS)
    tx = make_optimizer(config.optimizer, 1)
    rate = learning_rate(config.optimizer, 1)
    step = partial(train_step, config=config, model=model, tx=tx, rate=rate)
    parallel = ParallelStep(step, config.parallel)
    state = TrainState.create(fresh_variables(config, model), tx)
    return parallel, parallel.place(state)


def _index(work: Work, labels: np.ndarray) -> Index:
    """The images of both modalities, visible ones first."""
    count = len(labels)
    return Index(
        root=None,  # pyright: ignore[reportArgumentType]  (no file is read)
        paths=np.array([f"{i}" for i in range(2 * count)]),
        identities=np.tile(labels, 2).astype(np.int32),
        cameras=np.ones(2 * count, np.int32),
        modalities=np.repeat([str(Modality.VISIBLE), str(Modality.INFRARED)], count),
    )


def step(work: Work, steps: int) -> Turn:
    """`steps` training steps on a uint8 batch in memory, with views."""
    keep_pages()  # like the commands
    parallel, state = _trainer(work)
    visible, infrared, labels = make_images(work, work.rows)
    batch = {"visible": visible, "infrared": infrared, "labels": labels}
    state_of = [state]
    start = time.perf_counter()
    parallel.compile(state, batch, lambda work: work())
    cost = parallel.cost()
    facts = {
        "flops": cost["flops"],
        "bytes": cost["bytes accessed"],
        "compile": time.perf_counter() - start,
    }

    def turn() -> None:
        for _ in range(steps):
            state_of[0], metrics = parallel(state_of[0], batch)
        jax.block_until_ready((state_of, metrics))

    return turn, _facts() | facts


def end_to_end(work: Work, steps: int) -> Turn:
    """`steps` training steps with sampling, reading and views, like `lupi train`."""
    keep_pages()  # like the commands
    parallel, state = _trainer(work)
    visible, infrared, labels = make_images(work, work.stored)
    images = np.concatenate([visible, infrared])
    sampler = make_sampler(_index(work, labels), _config(work))
    batches = read_batches(lambda row: images[row], sampler, range(10**9))
    state_of = [state]

    def turn() -> None:
        for _ in range(steps):
            state_of[0], metrics = parallel(state_of[0], next(batches))
        jax.block_until_ready((state_of, metrics))

    return turn, _facts()


def extraction(work: Work, count: int) -> Turn:
    """Both features of `count` visible uint8 images in memory, in batches of 64 at most."""
    keep_pages()  # like the commands
    config = _config(work)
    model = make_model(config, work.classes)
    variables = fresh_variables(config, model)
    visible, _, _ = make_images(work, count)

    def turn() -> object:
        return embed_images(model, variables, visible, Modality.VISIBLE, min(64, count))

    return turn, _facts()


def views(work: Work) -> Turn:
    """The three views of a batch from uint8."""
    keep_pages()  # like the commands
    visible, infrared, _ = make_images(work, work.rows)
    settings = _config(work).views
    make = jax.jit(lambda key, v, i: make_views(key, v, i, settings, tuple(Modality)))
    number = iter(range(10**9))

    def turn() -> None:
        jax.block_until_ready(make(jax.random.key(next(number)), visible, infrared))

    return turn, _facts()


def limits(dtype: str, side: int = 4096, length: int = 2**27) -> dict[str, float]:
    """The best rates per second: {"flops": matrix product in `dtype`, "bytes": copy}.

    Args:
      dtype: dtype of the product.
      side: side of the square matrices.
      length: length of the float32 array that is read and written.
    """

    def seconds(function: Callable[..., Any], *arguments: Any) -> float:
        run = jax.jit(function)
        jax.block_until_ready(run(*arguments))
        times = []
        for _ in range(5):
            start = time.perf_counter()
            jax.block_until_ready(run(*arguments))
            times.append(time.perf_counter() - start)
        return min(times)

    square = jnp.ones((side, side), dtype)
    return {
        "flops": 2 * side**3 / seconds(jnp.dot, square, square),
        "bytes": 2 * 4 * length / seconds(lambda x: x + 1, jnp.ones(length)),
    }
