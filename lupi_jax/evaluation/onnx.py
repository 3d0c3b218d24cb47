"""A network as ONNX models, with the weights inside, for runtimes and languages other than JAX.

jax2onnx converts. An artefact is a directory as `lupi_jax.evaluation.export` writes it, with one
model per modality, `visible.onnx` and `infrared.onnx`. Each model also says by itself what it is.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lupi_jax.errors import InputError, shorten
from lupi_jax.evaluation.embedding import embed_batch, require_stem
from lupi_jax.evaluation.export import (
    ONNX,
    camera_modalities,
    describe,
    require_place,
    write_artefact,
)
from lupi_jax.evaluation.inputs import check_feature
from lupi_jax.evaluation.origin import origin_of
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet
from lupi_jax.runtime.files import expand
from lupi_jax.views import IMAGENET_MEAN, IMAGENET_STD

OPSET = 18
"""Version of ONNX's operators. onnxruntime reads such models since its version 1.18."""

TOLERANCE = 1e-4
"""The largest difference of a feature that an export accepts."""

_INPUT, _OUTPUT = "images", "features"
_BATCHES = (1, 3)  # sizes of the batches that are compared with JAX's


def require_onnx(folder: Path) -> None:
    """Raise InputError if `save_onnx` cannot write to `folder`, or lacks a library."""
    if folder.suffix == ".onnx":
        raise InputError(
            f"{folder}: this is the name of a file: name a directory, for one model per modality"
        )
    require_place(folder)
    _require_libraries()


def _require_libraries() -> None:
    try:
        with _quiet():
            import jax2onnx  # noqa: F401 # pyright: ignore[reportMissingImports]
            import onnxruntime  # noqa: F401 # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            f"an ONNX export needs jax2onnx and onnxruntime ({shorten(error)}): "
            "pip install 'lupi-jax[onnx]', or export StableHLO (--stablehlo), which needs neither"
        ) from error


def export_onnx(
    model: EmbedNet,
    variables: Any,
    modality: Modality,
    size: tuple[int, int],
    feature: str = "neck",
    facts: Mapping[str, Any] | None = None,
) -> tuple[bytes, float]:
    """Make the ONNX model that embeds images of one modality, and compare its features with JAX's.

    The model computes in float32, whatever the dtype and the precision of the network.

    Args:
      model: the network.
      variables: parameters and running statistics, which become constants of the model.
      modality: the modality of the images.
      size: (height, width) of the images in pixels.
      feature: "neck" (after the BN neck) or "pooled" (before it).
      facts: plain values that the model's metadata give, beside modality, feature, image size and
        normalisation; those that are not text as JSON.

    Returns:
      The model, content of an `.onnx` file, and the largest difference between its features of
      noise in onnxruntime and JAX's. It takes `images`, uint8 [n, h, w, 3], for any n > 0, and
      gives `features`, float32 [n, d], L2-normalised.

    Raises:
      ValueError: `feature` is unknown.
      InputError: the network has no stem for `modality` or gives features that are not finite,
        jax2onnx or onnxruntime is missing or cannot handle the network, or the features differ by
        more than `TOLERANCE`.
    """
    check_feature(feature)
    stem = require_stem(variables, modality)
    _require_libraries()
    whole = model.clone(dtype=None, precision="highest")

    def embed(images: Array) -> Array:
        pooled, neck = embed_batch(whole, variables, images, stem)
        return neck if feature == "neck" else pooled

    said = {
        "modality": str(modality),
        "feature": feature,
        "image_size": list(size),
        "normalisation": f"by the model: mean {IMAGENET_MEAN}, deviation {IMAGENET_STD}, of pixels "
        "divided by 255",
        **(facts or {}),
    }
    noise = np.random.default_rng(0).integers(0, 256, (max(_BATCHES), *size, 3), np.uint8)
    batches = [noise[:count] for count in _BATCHES]
    expected = [np.asarray(jax.jit(embed)(batch)) for batch in batches]
    if not all(np.isfinite(each).all() for each in expected):
        raise InputError(
            "this network gives features that are not finite: its training went wrong, use another "
            "network"
        )
    try:
        with _quiet():
            content = _convert(embed, size, said)
            made = _run(content, batches)
    except Exception as error:  # each operator's converter raises its own kind
        raise InputError(
            f"jax2onnx {version('jax2onnx')} cannot convert this network "
            f"({type(error).__name__}: {shorten(error)}): export StableHLO (--stablehlo) instead"
        ) from error
    difference = max(float(np.abs(a - b).max()) for a, b in zip(made, expected, strict=True))
    if not difference <= TOLERANCE:  # NaN too
        raise InputError(
            f"the ONNX model of {modality} images gives features that differ by {difference:.2g} "
            f"from JAX's, more than {TOLERANCE:g}: export StableHLO (--stablehlo) instead"
        )
    return content, difference


def save_onnx(
    folder: str | Path,
    model: EmbedNet,
    variables: Any,
    size: tuple[int, int],
    feature: str = "neck",
    facts: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Write a network as a directory of ONNX models, one per modality, whole or not at all.

    An artefact in the directory is replaced; other files stay.

    Args:
      folder: the directory to write.
      model: the network.
      variables: the network's parameters and running statistics.
      size: (height, width) of the images in pixels.
      feature: "neck" (after the BN neck) or "pooled" (before it).
      facts: plain values that `artefact.json` and the models' metadata give beside the network's
        fingerprint.

    Returns:
      For each modality that has a model, the largest difference from JAX, see `export_onnx`.

    Raises:
      InputError: `require_onnx` refuses the folder, it cannot be written, or `export_onnx` refuses
        the network.
    """
    require_onnx(expand(folder))
    said = {**origin_of(model, variables, size), **(facts or {})}
    made = {
        m: export_onnx(model, variables, m, size, feature, said)
        for m in camera_modalities(variables)
    }
    differences = {str(m): difference for m, (_, difference) in made.items()}
    record = {
        "format": f"{ONNX}, opset {OPSET}; to read it: pip install onnxruntime",
        "usage": [
            "import onnxruntime",
            "session = onnxruntime.InferenceSession('infrared.onnx')",
            "(features,) = session.run(None, {'images': images})",
        ],
        **describe(ONNX, made, model, size, feature),
        "precision": "float32",
        "difference_from_jax": differences,
        "network": said,
    }
    write_artefact(folder, ONNX, {m: content for m, (content, _) in made.items()}, record)
    return differences


def _convert(
    embed: Callable[[Array], Array], size: tuple[int, int], facts: Mapping[str, Any]
) -> bytes:
    """The ONNX model of `embed` for any number of images."""
    from jax2onnx import to_onnx  # pyright: ignore[reportMissingImports]

    # jax2onnx takes a name as a dimension.
    images: Any = jax.ShapeDtypeStruct(("n", *size, 3), jnp.uint8)  # pyright: ignore[reportArgumentType]
    made = to_onnx(embed, [images], opset=OPSET, input_names=[_INPUT], output_names=[_OUTPUT])
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value)
        made.metadata_props.add(key=name, value=text)
    return made.SerializeToString()


def _run(content: bytes, batches: Iterable[np.ndarray]) -> list[np.ndarray]:
    """The features of each batch, by onnxruntime."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return [np.asarray(session.run(None, {_INPUT: batch})[0]) for batch in batches]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the conversion, and keep it from adding a handler to the root logger."""
    root, reader, nothing = logging.getLogger(), logging.getLogger("onnx_ir"), logging.NullHandler()
    before = reader.level
    root.addHandler(nothing)  # without a handler, `logging.info` would add one that prints
    reader.setLevel(logging.ERROR)
    try:
        yield
    finally:
        reader.setLevel(before)
        root.removeHandler(nothing)
