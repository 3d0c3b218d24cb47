"""What a training step costs on 1 to 512 devices, by compiled programs and arithmetic.

    python experiments/scaling.py                       # ten minutes on two slow cores
    python experiments/scaling.py --topology v5e:2x4    # by libtpu's compiler

Nothing is executed. For each case a process simulates the devices on a CPU, or describes the
devices of `--topology`, and compiles the step of SYSU-MM01's `paper` recipe, a ResNet-50 on
288 x 144, from shapes alone. Writes `experiments/results/scaling.json`; cases in that file are not
compiled again. Writes the tables of `experiments/scaling.md`, which says what was measured.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from lupi_jax.config import Config, parse_config
from lupi_jax.losses import objective
from lupi_jax.training.network import abstract, fresh_variables, make_model
from lupi_jax.training.optimizer import learning_rate, make_optimizer
from lupi_jax.training.parallel import ParallelStep
from lupi_jax.training.run import versions
from lupi_jax.training.step import AXIS, TrainState, train_step

RESULT = Path(__file__).parent / "results" / "scaling.json"
PAGE = Path(__file__).with_suffix(".md")
CLASSES = 395  # SYSU-MM01's training identities


@dataclasses.dataclass(frozen=True)
class Case:
    """A number of devices and what is trained on them."""

    devices: int
    identities: int
    images: int = 4
    batch_norm: Literal["global", "device"] = "global"
    dtype: Literal["float32", "bfloat16"] = "float32"
    topology: str = ""

    @property
    def rows(self) -> int:
        """Rows per modality in the whole batch."""
        return self.identities * self.images

    @property
    def config(self) -> Config:
        """The run's configuration."""
        return parse_config(
            {
                "steps": 1,
                "recipe": "paper",
                "batch_norm": self.batch_norm,
                "dtype": self.dtype,
                "data": {"name": "sysu", "root": "SYSU-MM01"},
                "batch": {"identities": self.identities, "images": self.images},
            }
        )


CASES = (
    Case(1, 8),
    Case(2, 8),
    Case(4, 8),
    Case(8, 8),
    Case(8, 64),
    Case(8, 64, batch_norm="device"),
    Case(64, 128),
    Case(64, 384),
    Case(64, 384, batch_norm="device"),
    Case(512, 384),
    Case(512, 384, images=16),
)


@contextlib.contextmanager
def devices_of(case: Case) -> Iterator[None]:
    """Make JAX show the devices of `case` while a program is built."""
    if not case.topology:
        jax.config.update("jax_num_cpu_devices", case.devices)
        yield
        return
    described = topologies.get_topology_desc(platform="tpu", topology_name=case.topology).devices
    shown = {
        "devices": lambda: described,
        "device_count": lambda: len(described),
        "local_device_count": lambda: len(described),
        "default_backend": lambda: "tpu",  # `models.operations` asks for it
    }
    with mock.patch.multiple(jax, **shown):
        yield


def lower_step(case: Case) -> Any:
    """The real training step of `case`, mapped over its devices and lowered."""
    config = case.config
    model = make_model(config, CLASSES, AXIS if case.batch_norm == "global" else None)
    tx = make_optimizer(config.optimizer, 1)
    rate = learning_rate(config.optimizer, 1)
    step = partial(train_step, config=config, model=model, tx=tx, rate=rate)
    parallel = ParallelStep(step, config.parallel)
    state = abstract(
        lambda: TrainState.create(fresh_variables(config, model), tx), parallel.state_sharding
    )
    assert isinstance(parallel.state_sharding, NamedSharding)
    by_rows = NamedSharding(parallel.state_sharding.mesh, P(AXIS))
    images = jax.ShapeDtypeStruct(
        (case.rows, *config.data.image_size, 3), jnp.uint8, sharding=by_rows
    )
    labels = jax.ShapeDtypeStruct((case.rows,), jnp.int32, sharding=by_rows)
    return parallel.lower(state, {"visible": images, "infrared": images, "labels": labels})


def lower_loss(case: Case) -> Any:
    """The objective and its gradient, which every device computes for the whole batch."""
    config = case.config
    features = make_model(config, CLASSES).features

    def total(pooled: Any, logits: Any, labels: Any) -> Any:
        return objective(pooled, logits, labels, config.loss)[0]

    def of_each(size: int) -> dict[str, Any]:
        return {m: jax.ShapeDtypeStruct((case.rows, size), jnp.float32) for m in config.modalities}

    labels = jax.ShapeDtypeStruct((case.rows,), jnp.int32)
    gradient = jax.jit(jax.grad(total, argnums=(0, 1)))
    return gradient.lower(of_each(features), of_each(CLASSES), labels)


COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][a-z-]*)\((.*)$")
_ARRAY = re.compile(r"(f32|s32|u32|bf16|f16|u8|pred)\[([\d,]*)\]")
_NORMALISATION = re.compile(r"[/(:](\w*bn\d?|neck)/")
_WIDTH = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "u8": 1, "pred": 1}


def _instructions(text: str) -> Iterator[tuple[str, str, str, str]]:
    """(name, shape, operation, operands and attributes) of an HLO module's instructions."""
    for line in text.splitlines():
        match = _INSTRUCTION.match(line)
        if match is not None:
            name, shape, operation, rest = match.groups()
            yield name, shape, operation, rest


def read_collectives(text: str, devices: int) -> dict[str, dict[str, int]]:
    """The exchanges between devices in an optimised HLO module, by kind.

    Args:
      text: the module's text.
      devices: how many devices take part.

    Returns:
      {kind: {"count", "bytes"}}. An all-reduce inside a batch normalisation counts as "statistics",
      any other as "gradients". Bytes count the whole array: all devices together if each has a
      part.
    """
    kinds = ("gradients", "statistics", "all-gather", "reduce-scatter")
    found = {kind: {"count": 0, "bytes": 0} for kind in kinds}
    for _, shape, operation, rest in _instructions(text):
        if operation not in COLLECTIVES:
            continue
        kind = operation
        if operation == "all-reduce":
            kind = "statistics" if _NORMALISATION.search(rest) else "gradients"
        found[kind]["count"] += 1
        for dtype, dims in _ARRAY.findall(shape):
            size = _WIDTH[dtype] * math.prod(int(n) for n in dims.split(",") if n)
            # XLA sums some gradients together with statistics. Statistics are one vector or two.
            other = kind == "statistics" and "," in dims and not re.fullmatch(r"2,\d+", dims)
            whose = "gradients" if other else kind
            found[whose]["bytes"] += size * (devices if kind == "reduce-scatter" else 1)
    return found


def longest_chain(text: str) -> int:
    """The length of the longest chain of collectives that need one another's results."""
    depth: dict[str, int] = {}
    for name, _, operation, rest in _instructions(text):
        # Attributes after the operands may name instructions that only have to finish before.
        operands = re.findall(r"[\w.-]+", rest.partition(")")[0])
        before = max((depth.get(operand, 0) for operand in operands), default=0)
        depth[name] = before + (operation in COLLECTIVES)
    return max(depth.values())


def measure(case: Case) -> dict[str, Any]:
    """Compile `case` and read what the compiler says about one device's program."""
    start = time.monotonic()
    with devices_of(case):
        lowered = lower_step(case)
    # Nobody looks at what LLVM makes of the program.
    quick = None if case.topology else {"xla_backend_optimization_level": "0"}
    compiled = lowered.compile(quick)
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    return {
        "case": dataclasses.asdict(case),
        "flops": cost["flops"],
        "loss_flops": lower_loss(case).compile().cost_analysis()["flops"],
        "bytes_accessed": cost["bytes accessed"],
        "state_and_batch_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "collectives": read_collectives(compiled.as_text(), case.devices),
        "chain": longest_chain(lowered.as_text(dialect="hlo")),
        "compiled_chain": longest_chain(compiled.as_text()),
        "seconds": round(time.monotonic() - start),
    }


# Arithmetic from here on. Nothing below was measured.


@dataclasses.dataclass(frozen=True)
class Machine:
    """Chips and their network, as their makers state them, and what is assumed about them.

    Attributes:
      name: name of the chip.
      peak: bfloat16 operations per second.
      float32: operations per second of a float32 matrix product at full precision.
      memory: bytes of memory per chip.
      tiers: {chips: ((how many, bytes per second and direction, seconds per message), ...)}, the
        innermost tier first; the numbers of a row multiply to the chips.
    """

    name: str
    peak: float
    float32: float
    memory: float
    tiers: dict[int, tuple[tuple[int, float, float], ...]]


_NVLINK, _INFINIBAND = (8, 450e9, 3e-6), (50e9, 5e-6)
_V5E, _V5E_POD = (50e9, 1e-6), (2, 3.1e9, 50e-6)
_V5P, _V5P_RING = (100e9, 1e-6), (200e9, 1e-6)
MACHINES = (
    Machine(
        "H100",
        989e12,
        67e12,
        80e9,
        {8: (_NVLINK,), 64: (_NVLINK, (8, *_INFINIBAND)), 512: (_NVLINK, (64, *_INFINIBAND))},
    ),
    Machine(
        "TPU v5e",
        197e12,
        197e12 / 6,
        16e9,
        {
            8: ((2, *_V5E), (4, *_V5E)),
            64: ((8, *_V5E), (8, *_V5E)),
            512: ((16, 100e9, 1e-6), (16, 100e9, 1e-6), _V5E_POD),
        },
    ),
    Machine(
        "TPU v5p",
        459e12,
        459e12 / 6,
        95e9,
        {8: ((2, *_V5P),) * 3, 64: ((4, *_V5P_RING),) * 3, 512: ((8, *_V5P_RING),) * 3},
    ),
)
# Shares of the peak: MLPerf's ResNet-50 on an H100 (7,000 images/s of 24.6 GFLOP), large products.
NETWORK_EFFICIENCY, PRODUCT_EFFICIENCY = 0.17, 0.5


def all_reduce_seconds(size: float, tiers: tuple[tuple[int, float, float], ...]) -> float:
    """Seconds to sum `size` bytes over all chips: reduce in each tier, inner ones first, and back.

    A tier of n takes the faster of two ways: a ring, 2 (n - 1) messages of 1/n, after which a chip
    has 1/n for the next tier, or a tree, 2 log2 n messages of the whole. Nothing overlaps.
    """
    seconds = 0.0
    for members, bandwidth, latency in tiers:
        ring = 2 * (members - 1) * (latency + size / members / bandwidth)
        tree = 2 * math.ceil(math.log2(members)) * (latency + size / bandwidth)
        seconds += min(ring, tree)
        size /= members if ring < tree else 1
    return seconds


def estimate(found: dict[str, Any], machine: Machine) -> dict[str, float]:
    """Seconds of a step and of its parts, in bfloat16, one after the other."""
    moved, tiers = found["collectives"], machine.tiers[found["case"]["devices"]]
    # Besides statistics the longest chain has a gather, its gradient and the gradients' sum.
    rounds = found["chain"] - 3
    each = moved["statistics"]["bytes"] / max(rounds, 1)
    parts = {
        "network": (found["flops"] - found["loss_flops"]) / (NETWORK_EFFICIENCY * machine.peak),
        "loss": found["loss_flops"] / (PRODUCT_EFFICIENCY * machine.float32),
        "statistics": rounds * all_reduce_seconds(each, tiers),
        "gradients": all_reduce_seconds(moved["gradients"]["bytes"], tiers),
        # A gather is half an all-reduce, and so is the scattered sum that is its gradient.
        "features": all_reduce_seconds(moved["all-gather"]["bytes"], tiers),
    }
    return {**parts, "step": sum(parts.values())}


def shown(case: dict[str, Any]) -> str:
    """The first cells of a case's row."""
    where = case["topology"] or str(case["devices"])
    name = f"{where} | {case['identities']} x {case['images']} | {case['batch_norm']}"
    return name if case["dtype"] == "float32" else f"{name}, {case['dtype']}"


def table(heading: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def compiled_table(results: list[dict[str, Any]]) -> str:
    """The table of what the compiled programs say about one device."""
    heading = ["devices", "batch", "batch_norm", "images per device", "GFLOP", "GFLOP of the loss",
               "all-reduce: gradients", "all-reduce: statistics", "all-gather", "reduce-scatter",
               "longest chain, as compiled", "memory"]  # fmt: skip
    rows = []
    for found in results:
        case, moved = found["case"], found["collectives"]
        images = 3 * case["identities"] * case["images"] // case["devices"]
        rows.append(
            [
                shown(case),
                f"{images}",
                f"{found['flops'] / 1e9:.0f}",
                f"{found['loss_flops'] / 1e9:.2f}",
                *(f"{v['count']}, {v['bytes'] / 1e6:.2f} MB" for v in moved.values()),
                f"{found['chain']}, {found['compiled_chain']}",
                f"{(found['state_and_batch_bytes'] + found['temporary_bytes']) / 1e9:.1f} GB",
            ]
        )
    return table(heading, rows)


def estimate_table(results: list[dict[str, Any]], machine: Machine) -> str:
    """The table of milliseconds that the parts of a step take, by arithmetic."""
    heading = ["devices", "batch", "batch_norm", "network", "loss", "statistics", "gradients",
               "features", "step", "images/s", "share of the network"]  # fmt: skip
    rows = []
    for found in results:
        case = found["case"]
        if case["topology"] or case["devices"] not in machine.tiers:
            continue
        parts = estimate(found, machine)
        images = 3 * case["identities"] * case["images"]
        rows.append(
            [
                shown(case),
                *(f"{1e3 * seconds:.2f}" for seconds in parts.values()),
                f"{images / parts['step']:,.0f}",
                f"{parts['network'] / parts['step']:.0%}",
            ]
        )
    return table(heading, rows)


def fill(page: str, tables: dict[str, str]) -> str:
    """`page` with each table put between the two comments that name it."""
    for name, text in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}{text}\n{end}{rest.partition(end)[2]}"
    return page


def main() -> int:
    """Compile the cases that are missing, and write the tables."""
    parser = argparse.ArgumentParser(description="What a training step costs, by devices.")
    parser.add_argument(
        "--topology",
        help="topology of TPUs to compile for too, such as v5e:2x4 (default CPU devices only)",
    )
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(Case(**json.loads(options.case)))))
        return 0
    saved = json.loads(RESULT.read_text())["results"] if RESULT.is_file() else []
    done = {Case(**found["case"]): found for found in saved}
    extra = (
        ()
        if options.topology is None
        else (Case(8, 64, dtype="bfloat16", topology=options.topology),)
    )
    for case in (*CASES, *extra):
        if case in done:
            continue
        print(f"compiling {case}", file=sys.stderr)
        command = [sys.executable, __file__, "--case", json.dumps(dataclasses.asdict(case))]
        process = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if process.returncode:
            return process.returncode
        done[case] = json.loads(process.stdout.splitlines()[-1])
        result = {"versions": versions(), "results": list(done.values())}
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
    results = list(done.values())
    tables = {"compiled": compiled_table(results)}
    tables |= {machine.name: estimate_table(results, machine) for machine in MACHINES}
    PAGE.write_text(fill(PAGE.read_text(), tables))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
