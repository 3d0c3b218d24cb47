"""Faults of feature files: cut, packed, pickled, of other types, endless."""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.faults.fault import Case, Fault
from experiments.faults.rows_files import NESTED, content, endless, half

NO_FEATURES = "is not a feature file|is damaged"


class Harm:
    """What a pickle would do."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("pwned", "w")


def arrays(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Case], None]:
    """The arrays of a feature file are others."""

    def edit(old: bytes) -> bytes:
        with np.load(io.BytesIO(old)) as loaded:
            values = dict(loaded)
        change(values)
        new = io.BytesIO()
        np.savez(new, **values)  # pyright: ignore[reportArgumentType]
        return new.getvalue()

    return content("gallery.npz", edit)


def pickled(case: Case) -> None:
    """The paths of a feature file are a pickle that opens a file."""
    file = case.own("gallery.npz")
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (32,), }"
    array = b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1) + header + b"\n"
    with zipfile.ZipFile(file, "a") as zipped:
        zipped.writestr("paths.npy", array + pickle.dumps(Harm()))
        zipped.writestr("extra.npy", array + pickle.dumps(Harm()))
    file.with_name("whole.npz").write_bytes(_without(file, "paths.npy"))
    os.replace(file.with_name("whole.npz"), file)


def _without(file: Path, name: str) -> bytes:
    """A zip file whose first member of a name is dropped."""
    new = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(new, "w") as out:
        last = {info.filename: info for info in old.infolist()}
        for info in last.values():
            out.writestr(info.filename, old.read(info))
    return new.getvalue()


def huge(name: str) -> Callable[[Case], None]:
    """A feature file declares terabytes, and expands to a thousand times its size."""

    def prepare(case: Case) -> None:
        file = case.own("gallery.npz")
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 256), }"
        array = b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1) + header + b"\n"
        with (
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped,
            zipped.open(f"{name}.npy", "w", force_zip64=True) as member,
        ):
            member.write(array)
            for _ in range(64):
                member.write(bytes(2**20))

    return prepare


def declared(case: Case) -> None:
    """An array of features in a directory declares terabytes, and its file seems to hold them."""
    file = case.own("gallery") / "features.npy"
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 256), }"
    file.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1) + header + b"\n")
    os.truncate(file, 2**42 + 4096)


FAULTS = (
    Fault("features cut off", ("search npz",), content("gallery.npz", half), 2, NO_FEATURES, True),
    Fault("features that are a pickle", ("search npz",), pickled, 2, NO_FEATURES, True),
    Fault("features that expand a thousandfold", ("search npz",), huge("features"), 2, "", True),
    Fault("features that declare terabytes", ("search features",), declared, 2, "", True),
    Fault(
        "paths that are numbers",
        ("search npz",),
        arrays(lambda a: a.update(paths=np.arange(32))),
        2,
        "",
        True,
    ),
    Fault(
        "identities that are words",
        ("search npz",),
        arrays(lambda a: a.update(ids=np.array(["x"] * 32))),
        2,
        "",
        True,
    ),
    Fault(
        "features that are not numbers",
        ("search npz",),
        arrays(lambda a: a["features"].fill(np.nan)),
        2,
        "",
        True,
    ),
    Fault("features linked to /dev/zero", ("search npz",), endless("gallery.npz"), 2, "", True),
    Fault(
        "an array of features linked to /dev/zero",
        ("search features",),
        endless("gallery/pooled.npy"),
        2,
        "",
        True,
    ),
    Fault(
        "made_by.json, nested",
        ("search features",),
        content("gallery/made_by.json", NESTED),
        2,
        NO_FEATURES,
        True,
    ),
    Fault(
        "made_by.json, a list",
        ("search features",),
        content("gallery/made_by.json", b"[1, 2]"),
        2,
        NO_FEATURES,
        True,
    ),
    Fault(
        "made_by.json linked to /dev/zero",
        ("search features",),
        endless("gallery/made_by.json"),
        2,
        "",
        True,
    ),
)
