"""The beginning of every run: the device, the versions, the images."""

import platform
import shutil
import subprocess
from typing import Any

from experiments.benchmarks.turns import in_own_process
from experiments.gpu.figures import NotPossibleError, say_fact
from experiments.gpu.running import Command
from experiments.gpu.setup import Setup, make_images
from lupi_jax.runtime.backend import INSTALL_CUDA


def begin(setup: Setup) -> None:
    """Say what this machine is, and make the images.

    Raises:
      NotPossibleError: JAX has no GPU, and the sizes are not tiny.
    """
    backend, facts = in_own_process(_facts)
    if backend == "cpu" and not setup.tiny:
        raise NotPossibleError(
            f"JAX has no GPU here: {INSTALL_CUDA}, or try the command on the CPU with --tiny"
        )
    for name, value in facts.items():
        say_fact(name, value)
    make_images(setup)
    height, width = setup.sizes.work.size
    where = ("--data", "folder", "--root", str(setup.folder), "--out", str(setup.prepared))
    Command(setup, "prepare", "prepare", *where, "--size", f"{height}x{width}").require()


def _facts() -> tuple[str, dict[str, Any]]:
    """JAX's backend, and the facts of the page about the machine and the code."""
    import jax

    from experiments.tables.running import commit_here
    from lupi_jax.training.run import versions

    return jax.default_backend(), {
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "driver": _driver(),
        "python": platform.python_version(),
        "versions": versions(),
        "commit": commit_here(),
    }


def _driver() -> str:
    if shutil.which("nvidia-smi") is None:
        return "none"
    done = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout.split() or ["unknown"])[0]
