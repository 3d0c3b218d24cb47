"""A run's parts that come from a user's own module and are named MODULE:NAME.

A part is a loss, a backbone, a view or a hook. A checkpoint names it and never contains its code.
"""

import contextlib
import functools
import hashlib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lupi_jax.errors import DivergedError, InputError, StoppedError, shorten


def load_part(name: str, field: str) -> Any:
    """Import the object that a field names as MODULE:NAME.

    The module may be installed, lie in a directory of PYTHONPATH, or lie in the working directory.
    Its code is executed, so name only modules that you trust.

    Args:
      name: MODULE:NAME.
      field: dotted name of the field, for messages.

    Raises:
      InputError: the module is missing, fails, or lacks the name.
    """
    module_name, _, attribute = name.partition(":")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # at the end, so that no file here replaces an installed module
    top = module_name.partition(".")[0]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name not in (top, module_name):
            raise InputError(f"{field} = {name}: {_blame(error)}") from error
        advice = (
            f"run the command in the directory of {top}.py, or add that directory to PYTHONPATH"
            if error.name == top
            else f"correct the name after {top}."
        )
        raise InputError(f"{field} = {name}: no module {module_name}: {advice}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{field} = {name}: {_blame(error)}") from error
    if not hasattr(module, attribute):
        place = getattr(module, "__file__", None) or module_name
        raise InputError(f"{field} = {name}: {place} does not define {attribute}")
    return getattr(module, attribute)


def name_of(part: Any) -> str:
    """MODULE:NAME of an object, or of its class if the object has no name of its own."""
    named = _defined(part)
    return f"{named.__module__}:{named.__qualname__}"


def digest_of(part: Any) -> str:
    """SHA-256 of the file that defines `part`; "" if it is unknown.

    Modules that the file imports do not count. Of a script or a notebook only the part itself
    counts.
    """
    named = _defined(part)
    with contextlib.suppress(TypeError, OSError):
        if named.__module__ == "__main__":
            return hashlib.sha256(inspect.getsource(named).encode()).hexdigest()
        return hashlib.sha256(Path(inspect.getfile(named)).read_bytes()).hexdigest()
    return ""


def _defined(part: Any) -> Any:
    """The function or class that a user wrote, without the wrappers of functools and JAX."""
    while isinstance(part, functools.partial):
        part = part.func
    part = inspect.unwrap(part)
    return part if hasattr(part, "__qualname__") else type(part)


def check_settings(
    field: str, call: Callable[..., Any], inputs: int, settings: Mapping[str, Any]
) -> None:
    """Check that a part accepts its settings as keyword arguments after its inputs.

    Args:
      field: dotted name of the field that names the part. Its settings are in FIELD_settings.
      call: the part.
      inputs: number of the part's positional arguments.
      settings: the settings.

    Raises:
      InputError: the part cannot be called, accepts fewer inputs, lacks one of the settings, or
        needs another.
    """
    if not callable(call):
        kind = type(call).__name__
        raise InputError(f"{field} names an object of type {kind}: name a function or a class")
    try:
        signature = inspect.signature(call)
    except ValueError:  # a built-in function
        return
    takes = f"{field} = {name_of(call)} takes ({', '.join(signature.parameters)})"
    try:
        signature.bind_partial(*range(inputs))
    except TypeError as error:
        raise InputError(f"{takes}: it must accept {inputs} inputs") from error
    try:
        signature.bind(*range(inputs), **settings)
    except TypeError as error:
        mend = f"correct {field}_settings or the part" if settings else "correct the part"
        raise InputError(f"{takes} and gets {inputs} inputs, {error}: {mend}") from error


@contextlib.contextmanager
def calling(field: str, name: str) -> Iterator[None]:
    """Report an error in a user's part in one line, with the line of the user's file.

    Raises:
      InputError: the block raised an error that is not one of `lupi_jax.errors`.
    """
    try:
        yield
    except (InputError, DivergedError, StoppedError):
        raise
    except Exception as error:
        raise InputError(f"{field} = {name}: {_blame(error)}") from error


def _blame(error: BaseException) -> str:
    """The kind, message and place of an error; the place is the last one outside of libraries."""
    own = Path(__file__).parent
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in frame.filename
        and not frame.filename.startswith("<")
        and own not in Path(frame.filename).parents
        and Path(frame.filename).parent != Path(importlib.__file__).parent
    ]
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({error.filename}, line {error.lineno})"
    else:
        place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {shorten(error)}{place}"
