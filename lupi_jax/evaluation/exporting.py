"""Write the features of a run, or its network, for use elsewhere."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lupi_jax.data import read_index
from lupi_jax.evaluation import export, features, onnx
from lupi_jax.evaluation.embedding import embed_index
from lupi_jax.evaluation.features import Features
from lupi_jax.evaluation.opening import Checkpoint, open_run, workdir_of
from lupi_jax.runtime.files import expand
from lupi_jax.runtime.hosts import is_first
from lupi_jax.runtime.progress import Show, silent

if TYPE_CHECKING:
    from lupi_jax.training import Run


def export_features(
    run: str | os.PathLike[str] | Run,
    out: str | os.PathLike[str],
    split: str = "test",
    *,
    checkpoint: Checkpoint | None = None,
    untrained: bool = False,
    overrides: Mapping[str, Any] | None = None,
    fetch: bool = False,
    show: Show = silent,
) -> Features:
    """Write the features of all images of a split, and return them.

    Args:
      run: directory of a run of `lupi train`, or a loaded network, see `open_run`.
      out: a file `.npz` or `.safetensors`, or (a name without a suffix) a directory of arrays,
        which `search` memory-maps.
      split: "test", "val" or "train".
      checkpoint: the checkpoint in the directory; None is "newest".
      untrained: whether to take the network before its first step instead.
      overrides: fields to change, as in `evaluate`.
      fetch: with `untrained`, whether to download pre-trained weights.
      show: shows how many images are embedded.

    Raises:
      InputError: the run or the data cannot be read, or something else is at `out`.
      ValueError: `open_run` raises it.
    """
    features.require_place(expand(out))  # before the long part
    opened = open_run(run, checkpoint, overrides, untrained, fetch)
    return write_features(opened, expand(out), split, workdir_of(run), show)


def write_features(
    run: Run, out: Path, split: str, workdir: Path | None, show: Show = silent
) -> Features:
    """`export_features` for a loaded network; its directory is only for the record."""
    data = run.config.data
    index = read_index(data, split)
    found = embed_index(run.config, run.model, run.variables, index, show=show)
    facts = {
        **facts_of(run, workdir),
        "data": data.name,
        "root": str(index.root),
        "split": split,
        "fingerprint": index.fingerprint,
        "image_size": list(data.image_size),
    }
    if is_first():
        found.save(out, facts)
    return found


def export_network(
    run: str | os.PathLike[str] | Run,
    folder: str | os.PathLike[str],
    feature: str = "neck",
    form: Literal["stablehlo", "onnx"] = "stablehlo",
    *,
    checkpoint: Checkpoint | None = None,
    untrained: bool = False,
    overrides: Mapping[str, Any] | None = None,
    fetch: bool = False,
) -> dict[str, float | None]:
    """Write the network of a run for use without this package, whole or not at all.

    Args:
      run: directory of a run of `lupi train`, or a loaded network, see `open_run`.
      folder: directory to write; an artefact in it is replaced.
      feature: "neck" (after the BN neck) or "pooled" (before it).
      form: "stablehlo" for programs that need only JAX, or "onnx" for ONNX models, which needs the
        extra `onnx`.
      checkpoint: as in `export_features`.
      untrained: as in `export_features`.
      overrides: as in `export_features`.
      fetch: as in `export_features`.

    Returns:
      {modality: largest difference of the ONNX model's features from JAX's}; None instead for a
      StableHLO program, which is not compared. Empty in all but the first of several processes.

    Raises:
      InputError: the run cannot be read, a library is missing, something else is in the folder, or
        the network cannot be written in this form.
      ValueError: `feature` or `form` is unknown, or `open_run` raises it.
    """
    require_free(expand(folder), form)  # before the long part
    opened = open_run(run, checkpoint, overrides, untrained, fetch)
    if not is_first():
        return {}
    return write_network(opened, expand(folder), feature, form, workdir_of(run))


def require_free(folder: Path, form: str) -> None:
    """Check that a network can be written to a directory in a form.

    Raises:
      InputError: something else is there, or a library is missing.
      ValueError: `form` is unknown.
    """
    if form == "onnx":
        onnx.require_onnx(folder)
    elif form == "stablehlo":
        export.require_place(folder)
    else:
        raise ValueError(f"form must be stablehlo or onnx, not {form!r}")


def write_network(
    run: Run, folder: Path, feature: str, form: str, workdir: Path | None
) -> dict[str, float | None]:
    """`export_network` for a loaded network; its directory is only for the record."""
    size, facts = run.config.data.image_size, facts_of(run, workdir)
    network = (folder, run.model, run.variables, size, feature, facts)
    if form == "onnx":
        return dict(onnx.save_onnx(*network))
    return dict.fromkeys(export.save_network(*network))


def facts_of(run: Run, workdir: Path | None) -> dict[str, Any]:
    """The facts that an export records about its network."""
    from lupi_jax.training.run import versions

    return {
        "run": workdir and str(workdir),
        "checkpoint": run.name,
        "step": run.step,
        "recipe": run.config.recipe,
        "model": dataclasses.asdict(run.config.model),
        "precision": run.precision,
        "seed": run.config.seed,
        "trained_on": run.record.get("data"),
        "versions": versions(),
    }
