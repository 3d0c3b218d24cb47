"""`lupi export`: write features, or the network that makes them."""

import argparse
from pathlib import Path

from lupi_jax.cli.console import say
from lupi_jax.cli.network import add_images, add_network, add_processes, add_untrained, load
from lupi_jax.errors import InputError

SUMMARY = "write features, or the network to use without this package"
EXAMPLE = """lupi export --workdir runs/demo --split test --out features.npz
  lupi export --workdir runs/demo --stablehlo network

NETWORK contains one program per modality, with its weights, and artefact.json, which
describes inputs and outputs. The programs need only JAX and flatbuffers:
  data = bytearray(Path('network/infrared.bin').read_bytes())
  features = jax.export.deserialize(data).call(images)  # uint8 [n, h, w, 3], RGB
With --onnx they are ONNX models, visible.onnx and infrared.onnx, for onnxruntime and others."""
NEEDS = ("evaluation", "training")
SAVED = "nothing was written or changed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lupi export`."""
    add_network(parser)
    add_images(parser, default=None)
    add_untrained(parser)
    add = parser.add_mutually_exclusive_group(required=True).add_argument
    add(
        "--out",
        type=Path,
        metavar="PLACE",
        help="features to write: a file .npz or .safetensors, or (a name without a suffix) a "
        "directory of arrays, which `lupi search` memory-maps",
    )
    add(
        "--stablehlo",
        type=Path,
        metavar="NETWORK",
        help="network to write: a directory of programs for CPUs, GPUs and TPUs (jax.export)",
    )
    add(
        "--onnx",
        type=Path,
        metavar="NETWORK",
        help="network to write: a directory of ONNX models (needs the extra onnx)",
    )
    text = (
        "with --stablehlo or --onnx: feature to give, neck (after the BN neck) or pooled (before "
        "it) (neck)"
    )
    parser.add_argument("--feature", choices=("neck", "pooled"), help=text)
    add_processes(parser)


def run(options: argparse.Namespace) -> None:
    """Write the features of a split, or the network as programs for JAX or ONNX runtimes."""
    if options.stablehlo or options.onnx:
        _export_network(options)
    else:
        _export_features(options)


def _export_features(options: argparse.Namespace) -> None:
    from lupi_jax.evaluation.exporting import write_features
    from lupi_jax.evaluation.features import require_place
    from lupi_jax.runtime.terminal import showing

    if options.feature is not None:
        raise InputError(
            "--feature applies only to --stablehlo and --onnx; --out writes both features"
        )
    require_place(options.out)
    run = load(options)
    with showing() as show:
        features = write_features(run, options.out, options.split or "test", options.workdir, show)
    say(f"wrote {options.out}: {len(features.neck)} x {features.neck.shape[1]} features")


def _export_network(options: argparse.Namespace) -> None:
    from lupi_jax.evaluation.exporting import require_free, write_network
    from lupi_jax.runtime.hosts import is_first

    if options.split is not None or options.data_root is not None:
        raise InputError(
            "--split and --data-root apply only to --out: a network is exported without data"
        )
    folder, form = options.onnx or options.stablehlo, "onnx" if options.onnx else "stablehlo"
    require_free(folder, form)
    run = load(options)
    if not is_first():
        return
    made = write_network(run, folder, options.feature or "neck", form, options.workdir)
    images = " and ".join(made)
    said = f"programs for {images} images, which need only JAX"
    if differences := [each for each in made.values() if each is not None]:
        said = (
            f"ONNX models for {images} images, {max(differences):.1e} or less from JAX's features"
        )
    say(f"wrote {folder}: {said}")
