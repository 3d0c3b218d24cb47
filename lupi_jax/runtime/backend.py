"""Start JAX's backend, or say in one line why it cannot start."""

import logging
import os
import re
import sys
from pathlib import Path

import jax

from lupi_jax.errors import InputError, shorten
from lupi_jax.runtime.memory import has_plugins, keep_pages
from lupi_jax.runtime.phases import phase

DEVICES = Path("/dev")

SHARE_GPU = (
    "if another process holds the GPU, set XLA_PYTHON_CLIENT_PREALLOCATE=false or "
    "XLA_PYTHON_CLIENT_MEM_FRACTION=0.4 in the environment of both"
)
"""Advice for a GPU without free memory. By default each process takes three quarters of it."""

INSTALL_CUDA = "run pip install -U 'jax[cuda13]'"

_INSTALL = {
    "cpu": "install JAX again",
    "cuda": INSTALL_CUDA,
    "gpu": INSTALL_CUDA,
    "tpu": "run pip install -U 'jax[tpu]'",
    "rocm": "install JAX as its guide for AMD GPUs says",
}

_OUT_OF_MEMORY = (
    "RESOURCE_EXHAUSTED",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    # cuDNN without memory for itself. cuDNN of another version gives the same message.
    "DNN library initialization failed",
)

_started = False


def start_backend() -> None:
    """Start JAX's backend, and tune the process's memory for it. Later calls do nothing.

    JAX gets its CPU backend beside the platform that JAX_PLATFORMS names. A warning on stderr
    says if the machine has an NVIDIA GPU but JAX computes on the CPU.

    Raises:
      InputError: JAX cannot start, because the platform in JAX_PLATFORMS is missing or the
        device's memory is in use.
    """
    global _started
    if _started:
        return
    keep_pages()
    asked = jax.config.jax_platforms or ""  # pyright: ignore[reportAttributeAccessIssue]
    if asked and "cpu" not in asked.split(","):
        jax.config.update("jax_platforms", f"{asked},cpu")
    if not has_plugins():
        # Silence JAX's own warning about an unused GPU.
        logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
    try:
        with phase("starting JAX"):
            platform = jax.default_backend()
        # JAX skips an unknown platform if another one follows.
        if platform == "cpu" and asked and asked.split(",")[0] != "cpu":
            raise RuntimeError
    except Exception as error:  # a RuntimeError, or an AssertionError without a word
        jax.config.update("jax_platforms", asked or None)
        raise InputError(explain_start(error, asked)) from error
    _started = True
    if platform == "cpu" and not asked and _has_nvidia_gpu():
        remedy = INSTALL_CUDA
        if has_plugins():
            remedy = "check the driver with nvidia-smi (JAX's GPU plug-in is installed)"
        print(
            "lupi: warning: this machine has an NVIDIA GPU, but JAX computes on the CPU. To use "
            f"the GPU, {remedy}; to keep to the CPU, set JAX_PLATFORMS=cpu",
            file=sys.stderr,
        )


def explain_start(error: BaseException, asked: str) -> str:
    """Explain in one line why JAX could not start, and what to do.

    Args:
      error: the exception that JAX raised.
      asked: the value of JAX_PLATFORMS, "" if it is not set.
    """
    advice = "(set JAX_PLATFORMS='' to automatically choose an available backend)"
    reason = shorten(str(error).strip().removesuffix(advice))
    if is_out_of_memory(error):
        return f"JAX cannot start: the device has no memory left ({reason}); {SHARE_GPU}"
    if not asked:
        return f"JAX cannot start ({reason or type(error).__name__}): check its installation"
    names = asked.split(",")
    unknown = [name for name in names if name not in _INSTALL]
    if unknown:
        return f"JAX_PLATFORMS={asked}: {unknown[0]} is unknown; give cpu, cuda, rocm or tpu"
    blamed = re.search(r"initialize backend '(\w+)'", reason)
    name = blamed[1] if blamed and blamed[1] in names else names[0]
    return (
        f"JAX_PLATFORMS={asked}: JAX finds no {name} device or backend here"
        f"{f' ({reason})' if reason else ''}; {_INSTALL[name]}, or unset JAX_PLATFORMS"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception from JAX means that a device's memory does not suffice."""
    return any(sign in str(error) for sign in _OUT_OF_MEMORY)


def _has_nvidia_gpu() -> bool:
    """Whether the machine has an NVIDIA GPU that CUDA_VISIBLE_DEVICES does not hide."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(DEVICES.glob("nvidia[0-9]*"))
