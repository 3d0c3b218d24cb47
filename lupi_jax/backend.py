"""JAX's backend: how it starts, and one clear line where it cannot."""

import logging
import os
import sys
from pathlib import Path

import jax

from lupi_jax.errors import InputError
from lupi_jax.memory import keep_pages
from lupi_jax.phases import phase

DEVICES = Path("/dev")

SHARE_GPU = (
    "if another process holds the GPU, set XLA_PYTHON_CLIENT_PREALLOCATE=false or "
    "XLA_PYTHON_CLIENT_MEM_FRACTION=0.4 in the environment of both"
)
"""What helps where a GPU's memory is taken: by default each process takes three quarters of it."""

_INSTALL = {
    "cuda": "run pip install -U 'jax[cuda13]'",
    "gpu": "run pip install -U 'jax[cuda13]'",
    "tpu": "run pip install -U 'jax[tpu]'",
    "rocm": "install JAX as its guide for AMD GPUs says",
}


def start_backend() -> None:
    """Start JAX's backend, with the process's memory set for it.

    Warns on stderr where the machine has an NVIDIA GPU and JAX computes on the CPU all the same.

    Raises:
      InputError: JAX cannot start: the platform in JAX_PLATFORMS is missing, or the device's
        memory is taken.
    """
    keep_pages()
    # JAX says so as well, in other words, and only where its CUDA plug-in is not installed.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
    try:
        with phase("starting JAX"):
            platform = jax.default_backend()
    except Exception as error:  # a RuntimeError, or an AssertionError without a word
        raise InputError(explain_start(error)) from error
    if platform == "cpu" and not _platforms() and _has_nvidia_gpu():
        print(
            "lupi: warning: this machine has an NVIDIA GPU, but JAX computes on the CPU. To use "
            f"the GPU, {_INSTALL['cuda']}; to keep to the CPU, set JAX_PLATFORMS=cpu",
            file=sys.stderr,
        )


def explain_start(error: BaseException) -> str:
    """Why JAX could not start and what to do, in one line; `error` is what it raised."""
    reason = " ".join(str(error).split()).removesuffix(
        "(set JAX_PLATFORMS='' to automatically choose an available backend)"
    )
    if is_out_of_memory(error):
        return f"JAX cannot start: the device has no memory left ({reason[:300]}); {SHARE_GPU}"
    asked = _platforms()
    if not asked:
        return f"JAX cannot start ({reason[:300] or type(error).__name__}): check its installation"
    name = asked.split(",")[0]
    install = _INSTALL.get(name, "the names are cpu, cuda, rocm and tpu")
    return (
        f"JAX_PLATFORMS={asked}: JAX finds no {name} device or backend here"
        f"{f' ({reason[:200].strip()})' if reason else ''}; {install}, or unset JAX_PLATFORMS"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of JAX's says that a device's memory does not suffice.

    cuDNN and cuBLAS say so in words of their own where they find no room for their handles.
    """
    text = str(error)
    return any(
        sign in text
        for sign in (
            "RESOURCE_EXHAUSTED",
            "CUDA_ERROR_OUT_OF_MEMORY",
            "DNN library initialization failed",
            "CUDNN_STATUS_ALLOC_FAILED",
            "CUBLAS_STATUS_ALLOC_FAILED",
        )
    )


def _platforms() -> str:
    return jax.config.jax_platforms or ""  # pyright: ignore[reportAttributeAccessIssue]


def _has_nvidia_gpu() -> bool:
    """Whether the machine has an NVIDIA GPU that CUDA_VISIBLE_DEVICES does not hide."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(DEVICES.glob("nvidia[0-9]*"))
