"""Keep compiled programs on disk, so that the next command reads them instead of compiling."""

import hashlib
import os
import platform
import warnings
from pathlib import Path

import jax
from filelock import FileLock

BYTES = 2 * 2**30
"""Most bytes of kept programs. Beyond this, the least recently used are deleted."""


def keep_programs() -> None:
    """Keep compiled programs in the user's cache directory, `$XDG_CACHE_HOME/lupi_jax`.

    If JAX already has a directory (JAX_COMPILATION_CACHE_DIR), that one is used. If the user's
    cannot be written, nothing is kept.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore
        return
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "lupi_jax" / _processor()
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lockfile", timeout=10):  # JAX's own
            _mend(folder)
    except (OSError, RuntimeError):
        return
    # A program that cannot be read or written is compiled. Nobody needs a warning about that.
    warnings.filterwarnings("ignore", message=".*persistent compilation cache")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", BYTES)


def _mend(folder: Path) -> None:
    """Remove programs that were cut off.

    JAX writes a program's time after the program, and never writes either of them again.
    """
    for program in folder.glob("*-cache"):
        written = program.with_name(program.name.removesuffix("-cache") + "-atime")
        if not written.is_file() or written.stat().st_size != 8:
            program.unlink()


def _processor() -> str:
    """A name for this kind of processor. A program compiled for another kind may crash here."""
    features = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next((x for x in lines if x.startswith(("flags", "Features"))), features)
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"
