"""Parts that call the code itself: the step, extraction, variants, each case in its own process."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from experiments.benchmarks import ours
from experiments.benchmarks.turns import in_own_process
from experiments.benchmarks.work import Work
from experiments.gpu.figures import Figure, attempt, say
from experiments.gpu.running import variables
from experiments.gpu.setup import Setup, Sizes
from experiments.gpu.trace import Kernel, by_kind, read_kernels
from lupi_jax.training.profiling import PEAKS

RATE = "{dtype}, {images} images"
"""Name of the figure of a step's rate."""

EXTRACTION = "{dtype}, {precision} precision"
"""Name of the figure of an extraction's rate."""

VARIANTS = (
    ("no command buffers", "--xla_gpu_enable_command_buffer="),
    ("no autotuning", "--xla_gpu_autotune_level=0"),
    ("no Triton products", "--xla_gpu_enable_triton_gemm=false"),
    ("latency-hiding scheduler", "--xla_gpu_enable_latency_hiding_scheduler=true"),
)
"""(name, XLA_FLAGS) of what is tried on the step at the paper's batch."""


def large(sizes: Sizes) -> Work:
    """The work at the large batch."""
    return replace(sizes.work, identities=sizes.factor * sizes.work.identities)


def rate_name(work: Work) -> str:
    """What the figure of a step's rate is called."""
    return RATE.format(dtype=work.dtype, images=3 * work.rows)


def step(setup: Setup) -> None:
    """The step in bfloat16 at both batches, and how far it is from the device's limits."""
    sizes = setup.sizes
    found = attempt(rate_name(sizes.work), lambda: _say_step(sizes.work, sizes, True, 5600))
    limits = attempt(
        "the machine's limits",
        lambda: in_own_process(ours.limits, sizes.work.dtype, sizes.side, sizes.length),
    )
    if found:
        _say_roofline(found, limits)
    attempt(rate_name(large(sizes)), lambda: _say_step(large(sizes), sizes))


def step_float32(setup: Setup) -> None:
    """The step in float32 at both batches."""
    sizes = setup.sizes
    for work in (sizes.work, large(sizes)):
        single = replace(work, dtype="float32")
        attempt(rate_name(single), lambda work=single: _say_step(work, sizes))


def step_rate(setup: Setup) -> float:
    """Images/s of the step alone at the paper's batch, as the part `step` found or finds now."""
    sizes = setup.sizes
    known = setup.known("step", rate_name(sizes.work))
    return known or 3 * sizes.work.rows / _measure_step(sizes.work, sizes)["seconds"]


def _measure_step(work: Work, sizes: Sizes, traced: bool = False) -> dict[str, Any]:
    return in_own_process(time_step, work, sizes.steps, sizes.rounds, traced)


def _say_step(
    work: Work, sizes: Sizes, traced: bool = False, at_least: float | None = None
) -> dict[str, Any]:
    found = _measure_step(work, sizes, traced)
    note = f"{1e3 * found['seconds']:.2f} ms; compiled, or read, in {found['compile']:.1f} s"
    rate = 3 * work.rows / found["seconds"]
    say(Figure(rate_name(work), rate, "images/s", note, at_least=at_least))
    return found


def time_step(work: Work, steps: int, rounds: int, traced: bool) -> dict[str, Any]:
    """Seconds of a step, the median turn's, and what XLA and, where asked, a trace say of it."""
    turn, facts = ours.step(work, steps)
    turn()
    seconds = median_turn(turn, rounds) / steps
    kernels = _trace(turn) if traced else []
    return {**facts, "seconds": seconds, "kinds": by_kind(kernels, steps)}


def median_turn(turn: Callable[[], object], rounds: int) -> float:
    """Seconds of the median turn of `rounds`."""
    return statistics.median(_time(turn) for _ in range(rounds))


def _time(turn: Callable[[], object]) -> float:
    start = time.perf_counter()
    turn()
    return time.perf_counter() - start


def _trace(turn: Callable[[], object]) -> list[Kernel]:
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            turn()
        return list(read_kernels(Path(folder)))


def _say_roofline(found: dict[str, Any], limits: dict[str, float] | None) -> None:
    """Time by kind of kernel, and the step's rates against the data sheet and the machine."""
    busy = sum(milliseconds for milliseconds, _ in found["kinds"].values())
    count = sum(kernels for _, kernels in found["kinds"].values())
    seconds = found["seconds"]
    say(
        Figure(
            "kernels of a step",
            busy,
            "ms",
            f"{count:.0f} kernels, {busy / 1e3 / seconds:.0%} of the step without the trace",
        )
    )
    for kind, (milliseconds, kernels) in found["kinds"].items():
        note = f"{milliseconds / busy:.0%}, {kernels:.0f} kernels"
        say(Figure(f"of them {kind}", milliseconds, "ms", note))
    peaks = next((peak for name, peak in PEAKS.items() if name in found["device"]), None)
    measured = (limits["flops"], limits["bytes"]) if limits else None
    for place, (name, amount, unit, scale) in enumerate(
        (
            ("operations", found["flops"], "TFLOP/s", 1e12),
            ("bytes", found["bytes"], "GB/s", 1e9),
        )
    ):
        rate = amount / seconds
        shares = [
            f"{rate / known[place]:.0%} of {whose} ({known[place] / scale:.0f})"
            for known, whose in ((peaks, "the data sheet's"), (measured, "this machine's own"))
            if known
        ]
        total = f"{amount / scale:.4g} {unit.removesuffix('/s')} a step by XLA's count"
        say(Figure(f"rate of {name}", rate / scale, unit, "; ".join([total, *shares])))
    if measured:
        bounds = found["flops"] / measured[0], found["bytes"] / measured[1]
        note = (
            f"the least time is {1e3 * bounds[0]:.2f} ms for the operations and "
            f"{1e3 * bounds[1]:.2f} ms for the bytes, at this machine's own rates"
        )
        say(Figure("share of the limit (roofline)", 100 * max(bounds) / seconds, "%", note))


def extraction(setup: Setup) -> None:
    """Feature extraction in bfloat16 and float32, with two precisions of float32 products."""
    sizes = setup.sizes
    for dtype, precision in (
        ("bfloat16", "default"),
        ("float32", "default"),
        ("float32", "highest"),
    ):
        work = replace(sizes.work, dtype=dtype)
        name = EXTRACTION.format(dtype=dtype, precision=precision)

        def measure(work: Work = work, precision: str = precision, name: str = name) -> None:
            first, seconds = in_own_process(time_extraction, work, sizes.extracted, precision)
            rate = sizes.extracted / seconds
            say(Figure(name, rate, "images/s", f"first turn {first:.1f} s"))

        attempt(name, measure)


def time_extraction(work: Work, count: int, precision: str) -> tuple[float, float]:
    """Seconds of the first turn of an extraction, and of the second."""
    with jax.default_matmul_precision(precision):
        turn, _ = ours.extraction(work, count)
        return _time(turn), _time(turn)


def variants(setup: Setup) -> None:
    """The step at the paper's batch under flags of XLA, against the step without them."""
    sizes = setup.sizes
    base = _measure_step(sizes.work, sizes)
    say(Figure("base", 1e3 * base["seconds"], "ms"))
    for name, flags in VARIANTS[:1] if setup.tiny else VARIANTS:
        attempt(name, lambda name=name, flags=flags: say(try_flags(name, flags, sizes, base)))


def try_flags(name: str, flags: str, sizes: Sizes, base: dict[str, Any]) -> Figure:
    """The step under XLA_FLAGS, as its time's ratio to that of `base`.

    An unknown flag makes XLA end the process: the figure says so.
    """
    together = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    try:
        with variables(XLA_FLAGS=together):
            found = _measure_step(sizes.work, sizes)
    except BrokenProcessPool:
        return Figure(name, None, note=f"the process ended under XLA_FLAGS={flags}")
    note = f"{1e3 * found['seconds']:.2f} ms, compiled in {found['compile']:.1f} s, {flags}"
    return Figure(name, found["seconds"] / base["seconds"], "times the base's time", note)
