"""Parts that call the code: the step, extraction, variants; each case in its own process."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.benchmarks.turns import in_own_process
from experiments.benchmarks.work import Work
from experiments.gpu.figures import Figure, attempt, say
from experiments.gpu.running import variables
from experiments.gpu.setup import Setup, Sizes
from experiments.gpu.trace import by_kind, read_kernels

RATE = "{dtype}, {images} images"
"""Name of the figure for a step's rate."""

EXTRACTION = "{dtype}, {precision} precision"
"""Name of the figure for an extraction's rate."""

VARIANTS = (
    ("no command buffers", "--xla_gpu_enable_command_buffer="),
    ("command buffers of any size", "--xla_gpu_graph_min_graph_size=1"),
    ("latency-hiding scheduler", "--xla_gpu_enable_latency_hiding_scheduler=true"),
    ("no autotuning", "--xla_gpu_autotune_level=0"),
    ("no Triton products", "--xla_gpu_enable_triton_gemm=false"),
    ("products fused by cuDNN", "--xla_gpu_cudnn_gemm_fusion_level=2"),
)
"""(name, XLA_FLAGS) to try on the step at the paper's batch."""


def large(sizes: Sizes) -> Work:
    """The work at the large batch."""
    return replace(sizes.work, identities=sizes.factor * sizes.work.identities)


def rate_name(work: Work) -> str:
    """The name of the figure for a step's rate."""
    return RATE.format(dtype=work.dtype, images=3 * work.rows)


def step(setup: Setup) -> None:
    """Measure the step in bfloat16 at both batches, and compare it with the device's limits."""
    sizes = setup.sizes
    found = attempt(rate_name(sizes.work), lambda: _say_step(sizes.work, sizes, 5600))
    if found:
        attempt("share of the limit (roofline)", lambda: _say_roofline(found, sizes))
        attempt("kernels of a step", lambda: _say_kernels(found, sizes))
    attempt(rate_name(large(sizes)), lambda: _say_step(large(sizes), sizes))


def step_float32(setup: Setup) -> None:
    """The step in float32 at both batches."""
    sizes = setup.sizes
    for work in (sizes.work, large(sizes)):
        single = replace(work, dtype="float32")
        attempt(rate_name(single), lambda work=single: _say_step(work, sizes))


def step_rate(setup: Setup) -> float:
    """Images/s of the step alone at the paper's batch, from the part `step` or measured now."""
    sizes = setup.sizes
    known = setup.known("step", rate_name(sizes.work))
    return known or 3 * sizes.work.rows / _measure_step(sizes.work, sizes)["seconds"]


def _measure_step(work: Work, sizes: Sizes) -> dict[str, Any]:
    return in_own_process(time_step, work, sizes.steps, sizes.rounds)


def _say_step(work: Work, sizes: Sizes, at_least: float | None = None) -> dict[str, Any]:
    found = _measure_step(work, sizes)
    ready = f"compiled, or read from the cache, in {found['compile']:.1f} s"
    note = f"{1e3 * found['seconds']:.2f} ms; {ready}"
    rate = 3 * work.rows / found["seconds"]
    say(Figure(rate_name(work), rate, "images/s", note, at_least=at_least))
    return found


def time_step(work: Work, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds per step in the median turn, and XLA's counts."""
    from experiments.benchmarks import ours

    turn, facts = ours.step(work, steps)
    turn()
    return {**facts, "seconds": median_turn(turn, rounds) / steps}


def trace_step(work: Work, steps: int) -> dict[str, tuple[float, float]]:
    """Milliseconds and kernels per step by kind, from a trace of one turn."""
    import jax

    from experiments.benchmarks import ours

    turn, _ = ours.step(work, steps)
    turn()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            turn()
        return by_kind(read_kernels(Path(folder)), steps)


def median_turn(turn: Callable[[], object], rounds: int) -> float:
    """Seconds of the median turn of `rounds`."""
    return statistics.median(_time(turn) for _ in range(rounds))


def _time(turn: Callable[[], object]) -> float:
    start = time.perf_counter()
    turn()
    return time.perf_counter() - start


def measure_limits(dtype: str, side: int, length: int) -> tuple[float, float]:
    """Operations and bytes per second that this machine reaches in a matrix product and a copy."""
    from experiments.benchmarks import ours

    own = ours.limits(dtype, side, length)
    return own["flops"], own["bytes"]


def _say_kernels(found: dict[str, Any], sizes: Sizes) -> None:
    """Say the time by kind of kernel."""
    kinds = in_own_process(trace_step, sizes.work, sizes.steps)
    busy = sum(milliseconds for milliseconds, _ in kinds.values())
    count = sum(kernels for _, kernels in kinds.values())
    share = busy / 1e3 / found["seconds"]
    note = f"{count:.0f} kernels, {share:.0%} of the step without the trace"
    say(Figure("kernels of a step", busy, "ms", note))
    for kind, (milliseconds, kernels) in kinds.items():
        note = f"{milliseconds / busy:.0%}, {kernels:.0f} kernels"
        say(Figure(f"of them {kind}", milliseconds, "ms", note))


def _say_roofline(found: dict[str, Any], sizes: Sizes) -> None:
    """Say the step's rates, and their share of the machine's best."""
    seconds, dtype = found["seconds"], sizes.work.dtype
    measured = in_own_process(measure_limits, dtype, sizes.side, sizes.length)
    amounts = (
        ("operations", found["flops"], "TFLOP/s", 1e12),
        ("bytes", found["bytes"], "GB/s", 1e9),
    )
    for limit, (name, amount, unit, scale) in zip(measured, amounts, strict=True):
        rate = amount / seconds
        note = (
            f"{amount / scale:.4g} {unit.removesuffix('/s')} per step by XLA's count; "
            f"{rate / limit:.0%} of this machine's best ({limit / scale:.4g} {unit})"
        )
        say(Figure(f"rate of {name}", rate / scale, unit, note))
    least = [1e3 * amount / limit for (_, amount, *_), limit in zip(amounts, measured, strict=True)]
    note = (
        f"at this machine's best rates the operations take {least[0]:.2f} ms, and the bytes "
        f"{least[1]:.2f} ms"
    )
    say(Figure("share of the limit (roofline)", max(least) / 10 / seconds, "%", note))


def extraction(setup: Setup) -> None:
    """Measure extraction in bfloat16 and float32, with two precisions of float32 products."""
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
    """Seconds of the first and of the second turn of an extraction."""
    import jax

    from experiments.benchmarks import ours

    with jax.default_matmul_precision(precision):
        turn, _ = ours.extraction(work, count)
        return _time(turn), _time(turn)


def variants(setup: Setup) -> None:
    """Measure the step at the paper's batch with XLA's flags, next to the step without them."""
    sizes = setup.sizes
    base = _measure_step(sizes.work, sizes)
    say(Figure("base", 1e3 * base["seconds"], "ms"))
    for name, flags in VARIANTS[:1] if setup.tiny else VARIANTS:
        attempt(name, lambda name=name, flags=flags: say(try_flags(name, flags, sizes, base)))


def try_flags(name: str, flags: str, sizes: Sizes, base: dict[str, Any]) -> Figure:
    """The step's time with XLA_FLAGS, divided by the time of `base`.

    An unknown flag makes XLA end the process. The figure then says so.
    """
    together = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    try:
        with variables(XLA_FLAGS=together):
            found = _measure_step(sizes.work, sizes)
    except BrokenProcessPool:
        return Figure(name, None, note=f"the process ended under XLA_FLAGS={flags}")
    note = f"{1e3 * found['seconds']:.2f} ms, compiled in {found['compile']:.1f} s, {flags}"
    return Figure(name, found["seconds"] / base["seconds"], "times the base's time", note)
