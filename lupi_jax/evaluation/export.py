"""A network as programs that JAX alone runs: StableHLO through `jax.export`, weights within.

An artefact is a directory with one program for each modality, `visible.bin` and `infrared.bin`, and
`artefact.json`, which says how to call them. JAX promises to run what is six months old.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, export

from lupi_jax.errors import InputError
from lupi_jax.evaluation.embedding import embed_batch, require_stem, stems_of
from lupi_jax.evaluation.inputs import check_feature
from lupi_jax.evaluation.origin import origin_of
from lupi_jax.modality import Modality, stem_for
from lupi_jax.models import EmbedNet
from lupi_jax.runtime.files import expand, is_cut_off, is_vacant, replacing_files
from lupi_jax.runtime.records import read_json

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")

FACTS = "artefact.json"

_CAMERAS = (Modality.VISIBLE, Modality.INFRARED)  # what a camera gives
_FORMAT = "StableHLO, serialized by jax.export"

_PRECISION = {
    "default": "matrix products and convolutions as each platform does them by default (on some "
    "with less than float32): embed queries and gallery on the same one",
    "high": "matrix products and convolutions in TensorFloat-32 or three passes of bfloat16 where "
    "a platform has these: embed queries and gallery on the same one",
    "highest": "matrix products and convolutions in the network's own dtype everywhere",
}


def export_network(
    model: EmbedNet,
    variables: Any,
    modality: Modality,
    size: tuple[int, int],
    feature: str = "neck",
) -> export.Exported:
    """The program that embeds images of one modality.

    Nothing of it depends on the machine it is made on.

    Args:
      variables: they become constants of the program.
      size: (height, width) of the images in pixels.
      feature: "neck" (after the BN neck) or "pooled" (before it).

    Returns:
      What takes uint8 [n, h, w, 3], for any n > 0, to float32 [n, d], L2-normalised.

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
    return export.export(jax.jit(embed), platforms=PLATFORMS)(images)


def save_network(
    folder: str | Path,
    model: EmbedNet,
    variables: Any,
    size: tuple[int, int],
    feature: str = "neck",
    facts: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write a network as a directory of programs, one for each modality, whole or not at all.

    An artefact that is there already is replaced; other files in the directory stay.

    Args:
      size: (height, width) of the images in pixels.
      feature: "neck" (after the BN neck) or "pooled" (before it).
      facts: what `artefact.json` says of the network beside its fingerprint, plain values.

    Returns:
      The modalities that have a program.

    Raises:
      InputError: the folder holds something else, or cannot be written.
    """
    folder = expand(folder)
    require_place(folder)
    own = stems_of(variables)
    programs = {
        str(m): export_network(model, variables, m, size, feature)
        for m in _CAMERAS
        if stem_for(m, own) is not None
    }
    said = {**origin_of(model, variables, size), **(facts or {})}
    record = {**_record(programs, model, size, feature), "network": said}
    try:
        with replacing_files(folder, [*(f"{m}.bin" for m in _CAMERAS), FACTS]) as part:
            for modality, program in programs.items():
                (part / f"{modality}.bin").write_bytes(program.serialize())
            (part / FACTS).write_text(json.dumps(record, indent=1) + "\n")
            require_place(folder)  # others may have written there meanwhile
    except OSError as error:
        raise InputError(
            f"{folder}: the network cannot be written there ({error.strerror or error}); make room "
            "or name another place"
        ) from error
    return list(programs)


def require_place(folder: Path) -> None:
    """Raise InputError where something other than an artefact is in the place of `folder`."""
    ours = folder.is_dir() and (
        is_vacant(folder) or _is_artefact(folder) or is_cut_off(folder, FACTS)
    )
    if folder.exists() and not ours:
        raise InputError(
            f"{folder}: something else is there; name a directory to make, or a network to replace"
        )


def _is_artefact(folder: Path) -> bool:
    """Whether `save_network` wrote a directory, or at least its `artefact.json`."""
    try:
        record = read_json(folder / FACTS)
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and str(record.get("format")).startswith(_FORMAT)


def _record(
    programs: Mapping[str, export.Exported], model: EmbedNet, size: tuple[int, int], feature: str
) -> dict[str, Any]:
    return {
        "format": f"{_FORMAT}; to read it: pip install jax flatbuffers",
        "usage": [
            "from pathlib import Path",
            "import jax.export",
            "data = bytearray(Path('infrared.bin').read_bytes())",
            "features = jax.export.deserialize(data).call(images)",
        ],
        "files": {modality: f"{modality}.bin" for modality in programs},
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
        "platforms": list(PLATFORMS),
        "precision": _PRECISION[model.precision or "default"],
        "calling_convention": {
            m: program.calling_convention_version for m, program in programs.items()
        },
    }
