"""`lupi export`: features to disk, or the network that makes them."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from lupi_jax.cli.console import interrupted, say
from lupi_jax.cli.network import load
from lupi_jax.data import Index, read_index
from lupi_jax.errors import InputError
from lupi_jax.evaluation import embed_index
from lupi_jax.evaluation.export import require_place, save_network
from lupi_jax.evaluation.features import check_form, holds_features
from lupi_jax.runtime.files import PARTIAL
from lupi_jax.runtime.hosts import is_first
from lupi_jax.runtime.terminal import showing
from lupi_jax.training import Run
from lupi_jax.training.run import versions


def export(options: argparse.Namespace) -> None:
    """Write the features of a split, or the network as programs for JAX alone.

    Raises:
      InputError: the network or the data cannot be used, nothing can be written there, or an
        option is of the other form.
    """
    out = options.out or options.stablehlo
    with interrupted(lambda: f"nothing was written, {out} is as it was"):
        if options.stablehlo:
            _export_network(options)
        else:
            _export_features(options)


def _export_features(options: argparse.Namespace) -> None:
    if options.feature is not None:
        raise InputError("--feature is of --stablehlo: an export of features has both")
    _check_place(options.out)
    run = load(options, options.untrained)
    data = run.config.data
    split = options.split or "test"
    index = read_index(data, split)
    with showing() as show:
        features = embed_index(run.config, run.model, run.variables, index, show=show)
    if is_first():
        features.save(options.out, {**_network(run, options), **_images(run, index, split)})
    say(f"wrote {options.out}: {len(index)} x {features.neck.shape[1]} features")


def _export_network(options: argparse.Namespace) -> None:
    if options.split is not None or options.data_root is not None:
        raise InputError("--split and --data-root are of --out: a network is exported without data")
    require_place(options.stablehlo)
    run = load(options, options.untrained)
    if not is_first():
        return
    modalities = save_network(
        options.stablehlo,
        run.model,
        run.variables,
        run.config.data.image_size,
        options.feature or "neck",
        _network(run, options),
    )
    say(f"wrote {options.stablehlo}: {' and '.join(modalities)} images to features, with JAX alone")


def _check_place(out: Path) -> None:
    check_form(out)
    other = out.is_file() if not out.suffix else out.is_dir()
    if out.is_dir() and not holds_features(out):
        other = other or any(not file.name.startswith(PARTIAL) for file in out.iterdir())
    if other:
        raise InputError(f"--out {out}: something else is there; give another name")


def _network(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """What an export says of its network."""
    return {
        "run": options.workdir and str(options.workdir),
        "checkpoint": run.name,
        "step": run.step,
        "recipe": run.config.recipe,
        "model": dataclasses.asdict(run.config.model),
        "precision": run.precision,
        "seed": run.config.seed,
        "trained_on": run.record.get("data"),
        "versions": versions(),
    }


def _images(run: Run, index: Index, split: str) -> dict[str, Any]:
    """What an export says of its images."""
    data = run.config.data
    return {
        "data": data.name,
        "root": str(index.root),
        "split": split,
        "fingerprint": index.fingerprint,
        "image_size": list(data.image_size),
    }
