"""Read a configuration from a Python file and from the command line's overrides."""

import importlib.metadata
import importlib.util
import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lupi_jax.config.fields import Config
from lupi_jax.config.parsing import differences, parse_config, to_fields
from lupi_jax.errors import InputError

PREFIX = "--config."


def load_config(
    spec: str | os.PathLike[str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Make the configuration of a run from a file, from values, or from a file and values.

    For example `lupi_jax.load_config("configs/folder.py", {"steps": 100, "data": {"root": path}})`.
    Unlike `lupi_jax.Config(...)`, this gives the fields that are left out the values of the recipe
    and the setting, and checks that fields do not contradict each other.

    Args:
      spec: path of a file, with a variant after a colon if the file has variants, see `read_file`.
        None starts from the recipe alone.
      overrides: fields that win over the file, by their dotted names, {"data.root": path}, or
        nested, {"data": {"root": path}}. A value is a Python value (for a path also a `Path`), or
        text as on the command line. None for a value leaves the field out.

    Raises:
      InputError: the file cannot be used, or fields are wrong; one line names them all.
    """
    return parse_config({} if spec is None else read_file(os.fspath(spec)), overrides)


def read_file(spec: str) -> dict[str, Any]:
    """Read the values of `file.py` or `file.py:variant`, for `parse_config`.

    The file is Python, as usual with ml_collections. It is executed, so use only files that you
    trust. It defines `get_config()` or `get_config(variant)`, which returns a ConfigDict.

    Args:
      spec: path of the file, with the variant after a colon if the file has variants. If
        `configs/NAME.py` is missing, the file of that name in this package is read.

    Raises:
      InputError: the file is missing, fails, or does not return a configuration.
    """
    file, _, variant = spec.partition(":")
    path = _find(Path(file))
    module_spec = importlib.util.spec_from_file_location("lupi_config", path)
    if not path.is_file() or module_spec is None or module_spec.loader is None:
        raise InputError(f"no config file at {path}: name a Python file such as configs/folder.py")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        get_config = module.get_config
        if variant and not inspect.signature(get_config).parameters:
            raise InputError(f"{path} has no variants: leave out ':{variant}'")
        return (get_config(variant) if variant else get_config()).to_dict()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        text = f"{spec} gives no configuration ({type(error).__name__}: {error})"
        raise InputError(text) from error


def _find(path: Path) -> Path:
    """Return `path`, or the configuration of that name in this package if `path` is missing.

    An editable installation does not list its configurations. They are in the clone, beside the
    package.
    """
    if path.exists() or path.parent != Path("configs"):
        return path
    clone = Path(__file__).resolve().parents[2]
    if (clone / "pyproject.toml").is_file() and (clone / path).is_file():
        return clone / path
    for package in importlib.metadata.distributions(name="lupi-jax"):
        for file in package.files or ():
            if file.parts[-3:] == ("lupi_jax", "configs", path.name):
                return Path(str(file.locate()))
    return path


def change_config(config: Config, overrides: Mapping[str, Any], allowed: Sequence[str]) -> Config:
    """Change a few fields of a finished run's configuration.

    Args:
      config: the run's configuration.
      overrides: fields as in `load_config`.
      allowed: the fields that may change.

    Raises:
      InputError: fields are wrong or may not change; the message names them all.
    """
    changed = parse_config(to_fields(config), overrides)
    fixed = [name for name in differences(config, changed) if name not in allowed]
    if fixed:
        raise InputError(
            f"{', '.join(fixed)}: cannot change for a trained network; you can change "
            f"{', '.join(allowed)}"
        )
    return changed


def parse_overrides(arguments: Sequence[str]) -> dict[str, str]:
    """Parse arguments `--config.a.b=value` or `--config.a.b value` to {"a.b": "value"}.

    Raises:
      InputError: an argument does not have this form.
    """
    overrides, rest = {}, list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith(PREFIX) or name == PREFIX:
            raise InputError(f"unknown argument {name}: set a field like {PREFIX}seed=1")
        if not equals:
            if not rest:
                raise InputError(f"{name} needs a value")
            value = rest.pop(0)
        overrides[name.removeprefix(PREFIX)] = value
    return overrides
