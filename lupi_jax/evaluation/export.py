"""A network as programs that need only JAX: StableHLO by `jax.export`, with the weights inside.

An artefact is a directory with one program per modality, `visible.bin` and `infrared.bin`, and
`artefact.json`, which says how to call them. JAX promises to run programs up to six months old.
`lupi_jax.evaluation.onnx` writes artefacts of ONNX models.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, export

from lupi_jax.errors import InputError, reason
from lupi_jax.evaluation.embedding import embed_batch, require_stem, stems_of
from lupi_jax.evaluation.inputs import check_feature
from lupi_jax.evaluation.origin import origin_of
from lupi_jax.modality import Modality, stem_for
from lupi_jax.models import EmbedNet
from lupi_jax.runtime.files import expand, is_cut_off, is_vacant, replacing_files
from lupi_jax.runtime.records import read_json

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")

FACTS = "artefact.json"

STABLEHLO, ONNX = "StableHLO, serialized by jax.export", "ONNX"

_CAMERAS = (Modality.VISIBLE, Modality.INFRARED)  # the modalities that a camera gives
_SUFFIXES = {STABLEHLO: "bin", ONNX: "onnx"}

_PRECISION = {
    "default": "matrix products and convolutions as each platform does them by default (on some "
    "with less than float32): embed queries and gallery on the same platform",
    "high": "matrix products and convolutions in TensorFloat-32 or three passes of bfloat16 if "
    "a platform has these: embed queries and gallery on the same platform",
    "highest": "matrix products and convolutions in the network's own dtype everywhere",
}


def export_network(
    model: EmbedNet,
    variables: Any,
    modality: Modality,
    size: tuple[int, int],
    feature: str = "neck",
) -> export.Exported:
    """Make the program that embeds images of one modality.

    The program does not depend on the machine that makes it.

    Args:
      model: the network.
      variables: parameters and running statistics, which become constants of the program.
      modality: the modality of the images.
      size: (height, width) of the images in pixels.
      feature: "neck" (after the BN neck) or "pooled" (before it).

    Returns:
      The program. It takes uint8 [n, h, w, 3], for any n > 0, and gives float32 [n, d],
      L2-normalised.

    Raises:
      ValueError: the network has no stem for `modality`, or `feature` is unknown.
    """
    check_feature(feature)
    stem = require_stem(variables, modality)

    def embed(images: Array) -> Array:
        pooled, neck = embed_batch(model, variables, images, stem)
        return neck if feature == "neck" else pooled

    (n,) = export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((n, *size, 3), jnp.uint8)
    with _without_places():
        return export.export(jax.jit(embed), platforms=PLATFORMS)(images)


@contextlib.contextmanager
def _without_places() -> Iterator[None]:
    """Have programs not say where on this machine the code lies that made them."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


def save_network(
    folder: str | Path,
    model: EmbedNet,
    variables: Any,
    size: tuple[int, int],
    feature: str = "neck",
    facts: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write a network as a directory of programs, one per modality, whole or not at all.

    An artefact in the directory is replaced; other files stay.

    Args:
      folder: the directory to write.
      model: the network.
      variables: the network's parameters and running statistics.
      size: (height, width) of the images in pixels.
      feature: "neck" (after the BN neck) or "pooled" (before it).
      facts: plain values that `artefact.json` gives beside the network's fingerprint.

    Returns:
      The modalities that have a program.

    Raises:
      InputError: the folder holds something else, or cannot be written.
    """
    require_place(expand(folder))
    programs = {
        m: export_network(model, variables, m, size, feature) for m in camera_modalities(variables)
    }
    record = {
        **_record(programs, model, size, feature),
        "network": {**origin_of(model, variables, size), **(facts or {})},
    }
    contents = {m: bytes(program.serialize()) for m, program in programs.items()}
    write_artefact(folder, STABLEHLO, contents, record)
    return [str(m) for m in programs]


def camera_modalities(variables: Any) -> list[Modality]:
    """The modalities of cameras that a network can embed."""
    own = stems_of(variables)
    return [m for m in _CAMERAS if stem_for(m, own) is not None]


def write_artefact(
    folder: str | Path, kind: str, contents: Mapping[Modality, bytes], record: Mapping[str, Any]
) -> None:
    """Write programs and their `artefact.json` into a directory, whole or not at all.

    Args:
      folder: the directory to write; the programs of an artefact in it are removed.
      kind: STABLEHLO or ONNX.
      contents: the program of each modality.
      record: content of `artefact.json`, whose "format" begins with `kind`.

    Raises:
      InputError: the folder holds something else, or cannot be written.
    """
    folder = expand(folder)
    programs = [_file_of(m, each) for m in _CAMERAS for each in _SUFFIXES]
    try:
        with replacing_files(folder, [*programs, FACTS]) as part:
            for modality, content in contents.items():
                (part / _file_of(modality, kind)).write_bytes(content)
            (part / FACTS).write_text(json.dumps(record, indent=1) + "\n")
            require_place(folder)  # another process may have written there meanwhile
    except OSError as error:
        raise InputError(
            f"{folder}: the network cannot be written there ({reason(error)}): make room "
            "or name another place"
        ) from error


def _file_of(modality: Modality, kind: str) -> str:
    return f"{modality}.{_SUFFIXES[kind]}"


def require_place(folder: Path) -> None:
    """Raise InputError if something other than an artefact is at `folder`."""
    ours = folder.is_dir() and (
        is_vacant(folder) or _is_artefact(folder) or is_cut_off(folder, FACTS)
    )
    if folder.exists() and not ours:
        raise InputError(
            f"{folder}: something else is there: name a new directory, or a network to replace"
        )


def _is_artefact(folder: Path) -> bool:
    """Whether `write_artefact` wrote the `artefact.json` of a directory."""
    try:
        record = read_json(folder / FACTS)
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and str(record.get("format")).startswith(tuple(_SUFFIXES))


def describe(
    kind: str, modalities: Iterable[Modality], model: EmbedNet, size: tuple[int, int], feature: str
) -> dict[str, Any]:
    """What `artefact.json` says of the files, inputs and outputs of an artefact."""
    return {
        "files": {str(m): _file_of(m, kind) for m in modalities},
        "images": {
            "dtype": "uint8",
            "shape": ["n", *size, 3],
            "content": "RGB, 0 to 255, resized by Lanczos; not normalised: the program does that",
        },
        "features": {
            "dtype": "float32",
            "shape": ["n", model.features],
            "feature": feature,
            "content": "rows of length 1; cosine distance: 1 - query @ gallery.T",
        },
    }


def _record(
    programs: Mapping[Modality, export.Exported],
    model: EmbedNet,
    size: tuple[int, int],
    feature: str,
) -> dict[str, Any]:
    return {
        "format": f"{STABLEHLO}; to read it: pip install jax flatbuffers",
        "usage": [
            "from pathlib import Path",
            "import jax.export",
            "data = bytearray(Path('infrared.bin').read_bytes())",
            "features = jax.export.deserialize(data).call(images)",
        ],
        **describe(STABLEHLO, programs, model, size, feature),
        "platforms": list(PLATFORMS),
        "precision": _PRECISION[model.precision or "default"],
        "calling_convention": {
            str(m): program.calling_convention_version for m, program in programs.items()
        },
    }
