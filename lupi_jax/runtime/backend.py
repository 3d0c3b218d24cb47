"""JAX's backend: how it starts, and one clear line where it cannot."""

import jax

from lupi_jax.errors import InputError, shorten
from lupi_jax.runtime.memory import keep_pages
from lupi_jax.runtime.phases import phase

SHARE_GPU = (
    "if another process holds the GPU, set XLA_PYTHON_CLIENT_PREALLOCATE=false or "
    "XLA_PYTHON_CLIENT_MEM_FRACTION=0.4 in the environment of both"
)
"""What helps where a GPU's memory is taken: by default each process takes three quarters of it."""

_OUT_OF_MEMORY = (
    "RESOURCE_EXHAUSTED",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    # Where cuDNN finds no room for itself; a cuDNN of another version says the same.
    "DNN library initialization failed",
)

_started = False


def start_backend() -> None:
    """Start JAX's backend, with the process's memory set for it; once is enough.

    JAX gets its CPU backend beside the platform that JAX_PLATFORMS names.

    Raises:
      InputError: JAX cannot start: the platform in JAX_PLATFORMS is missing, or the device's
        memory is taken.
    """
    global _started
    if _started:
        return
    keep_pages()
    asked = jax.config.jax_platforms or ""  # pyright: ignore[reportAttributeAccessIssue]
    if asked and "cpu" not in asked.split(","):
        jax.config.update("jax_platforms", f"{asked},cpu")
    try:
        with phase("starting JAX"):
            platform = jax.default_backend()
        # JAX passes over a platform that it does not know where another one follows.
        if platform == "cpu" and asked and asked.split(",")[0] != "cpu":
            raise RuntimeError("it takes the CPU")
    except Exception as error:  # a RuntimeError, or an AssertionError without a word
        jax.config.update("jax_platforms", asked or None)
        raise InputError(explain_start(error, asked)) from error
    _started = True


def explain_start(error: BaseException, asked: str) -> str:
    """Why JAX could not start with JAX_PLATFORMS=`asked` and what to do, in one line."""
    advice = "(set JAX_PLATFORMS='' to automatically choose an available backend)"
    reason = shorten(str(error).strip().removesuffix(advice)) or type(error).__name__
    if is_out_of_memory(error):
        return f"JAX cannot start: the device has no memory left ({reason}); {SHARE_GPU}"
    if not asked:
        return f"JAX cannot start ({reason}): check its installation"
    return (
        f"JAX_PLATFORMS={asked}: JAX finds no such device or backend here ({reason}); run "
        "pip install -U 'jax[cuda13]' or 'jax[tpu]', or unset JAX_PLATFORMS"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of JAX's says that a device's memory does not suffice."""
    return any(sign in str(error) for sign in _OUT_OF_MEMORY)
