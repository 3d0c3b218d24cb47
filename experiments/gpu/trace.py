"""Time of traced steps by kind of kernel."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PRODUCTS = "products and convolutions"
KINDS = (
    # In this order, because a product's kernel may reduce or copy too.
    (PRODUCTS, r"gemm|gemv|nvjet|cublas|cutlass|cudnn|xmma|[wd]grad|fprop|convolution|dot|einsum"),
    ("reductions", r"reduce"),
    ("copies and changes of layout",
     r"transpose|concatenate|pad|slice|copy|memcpy|memset|gather|scatter|bitcast"),
)  # fmt: skip
REST = "element-wise"


class Kernel(NamedTuple):
    """The name and the nanoseconds of a kernel that ran."""

    name: str
    nanoseconds: float


def kind_of(name: str) -> str:
    """What a kernel does, by its name."""
    return next((kind for kind, found in KINDS if re.search(found, name, re.IGNORECASE)), REST)


def by_kind(kernels: Iterable[Kernel], steps: int) -> dict[str, tuple[float, float]]:
    """{kind: (milliseconds per step, kernels per step)}, the longest first."""
    found: dict[str, tuple[float, float]] = {}
    for kernel in kernels:
        kind = kind_of(kernel.name)
        time, count = found.get(kind, (0.0, 0.0))
        found[kind] = (time + kernel.nanoseconds / 1e6 / steps, count + 1 / steps)
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def read_kernels(folder: Path) -> Iterator[Kernel]:
    """The kernels in a trace of `jax.profiler`: the GPU's, or the CPU's without a GPU."""
    import jax

    (file,) = folder.rglob("*.xplane.pb")
    planes = list(jax.profiler.ProfileData.from_file(str(file)).planes)
    devices = [plane for plane in planes if "GPU" in plane.name]
    for plane in devices or [plane for plane in planes if plane.name == "/host:CPU"]:
        for line in plane.lines:
            if devices and "Compute" not in line.name:
                continue
            for event in line.events:
                # On the CPU a loop's and a call's time includes their parts.
                if devices or ("hlo_op" in dict(event.stats) and not _holds_others(event.name)):
                    yield Kernel(event.name, event.duration_ns)


def _holds_others(name: str) -> bool:
    return name.startswith(("call", "while", "conditional"))
