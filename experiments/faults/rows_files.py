"""Faults of side files: cut, edited, nested, endless, of other types."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from experiments.faults.fault import Case, Fault, SkipError

NESTED = b"[" * 200_000
HOSTILE_ROW = (
    b'{"step": 1, "split": "train", "loss/total": NaN}\n{"step": true, "split": 3}\n\xff\xfe\n'
)


def content(place: str, new: bytes | Callable[[bytes], bytes]) -> Callable[[Case], None]:
    """A file of the world holds something else; a pattern names all of them."""

    def prepare(case: Case) -> None:
        for file in _files(case, place):
            file.write_bytes(new if isinstance(new, bytes) else new(file.read_bytes()))

    return prepare


def edited(place: str, change: Callable[[dict], object]) -> Callable[[Case], None]:
    """A JSON file of the world says something else."""

    def edit(old: bytes) -> bytes:
        values = json.loads(old)
        change(values)
        return json.dumps(values).encode()

    return content(place, edit)


def endless(place: str) -> Callable[[Case], None]:
    """A file of the world is a link to /dev/zero."""

    def prepare(case: Case) -> None:
        for file in _files(case, place):
            file.unlink()
            file.symlink_to("/dev/zero")

    return prepare


def _files(case: Case, place: str) -> list[Path]:
    top, _, below = place.partition("/")
    own = case.own(top)
    return sorted(own.glob(below)) if below else [own]


def half(old: bytes) -> bytes:
    """The beginning of a file."""
    return old[: len(old) // 2]


def zeros(old: bytes) -> bytes:
    """A file of images whose pixels are all 0, its header as it was."""
    return old[:128] + bytes(len(old) - 128)


def flipped(old: bytes) -> bytes:
    """A file with one bit changed in its middle."""
    middle = len(old) // 2
    return old[:middle] + bytes([old[middle] ^ 1]) + old[middle + 1 :]


def packed_matlab() -> bytes:
    """A MATLAB file of some kilobytes, whose one variable unpacks to a gigabyte."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(1024)) + packer.flush()
    return MATLAB + struct.pack("<II", 15, len(packed)) + packed


def permutations(new: bytes | Callable[[], bytes]) -> Callable[[Case], None]:
    """SYSU-MM01's permutations are such a file."""

    def prepare(case: Case) -> None:
        place = case.own("sysu") / "exp" / "rand_perm_cam.mat"
        place.write_bytes(new if isinstance(new, bytes) else new())

    return prepare


def endless_permutations(case: Case) -> None:
    """They are a link to /dev/zero."""
    (case.own("sysu") / "exp" / "rand_perm_cam.mat").symlink_to("/dev/zero")


def many_rows(case: Case) -> None:
    """The table is a small Parquet file of three million rows."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise SkipError("pyarrow is not installed") from None
    words = ("a.jpg", "1", "1", "visible", "test")
    names = ("path", "identity", "camera", "modality", "split")
    columns = {name: pa.repeat(word, 3_000_000) for name, word in zip(names, words, strict=True)}
    pq.write_table(pa.table(columns), case.folder / "index.parquet")
    case.set("--index", "index.parquet")


def table(text: bytes, ending: str = "csv") -> Callable[[Case], None]:
    """The data set comes with a table."""

    def prepare(case: Case) -> None:
        (case.folder / f"index.{ending}").write_bytes(text)
        case.set("--index", f"index.{ending}")

    return prepare


def endless_table(ending: str) -> Callable[[Case], None]:
    """The table is a link to /dev/zero."""

    def prepare(case: Case) -> None:
        (case.folder / f"index.{ending}").symlink_to("/dev/zero")
        case.set("--index", f"index.{ending}")

    return prepare


MATLAB = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
ROW = b"path,identity,camera,modality,split\n"
METRICS, RECORD = "run/metrics.jsonl", "run/checkpoints/*/run/metadata"
READERS = ("evaluate", "export .npz", "report")
DAMAGED = "is damaged .*give another --checkpoint"

FAULTS = (
    # A log that does not parse stops nobody.
    Fault("metrics.jsonl cut off", ("report", "compare"), content(METRICS, half), 0),
    Fault("metrics.jsonl, edited", ("report",), content(METRICS, HOSTILE_ROW), 0),
    Fault("metrics.jsonl, nested", ("report", "train on"), content(METRICS, NESTED), 0),
    Fault("metrics.jsonl, a line of 64 MB", ("report",), content(METRICS, bytes(2**26)), 0),
    Fault("metrics.jsonl linked to /dev/zero", ("report", "train on"), endless(METRICS), (0, 2)),
    # A checkpoint.
    Fault("a record cut off", READERS, content(RECORD, half), 2, DAMAGED, True),
    Fault("a nested record", READERS, content(RECORD, NESTED), 2, DAMAGED, True),
    Fault(
        "an edited record", READERS, edited(RECORD, lambda r: r.update(steps=9)), 2, DAMAGED, True
    ),
    Fault(
        "a record of another version",
        READERS,
        edited(RECORD, lambda r: r.update(format=9)),
        2,
        "newer lupi_jax: upgrade",
        True,
    ),
    Fault("a record linked to /dev/zero", READERS, endless(RECORD), 2, "", True),
    Fault(
        "a bit of a checkpoint's arrays flipped",
        READERS,
        content("run/checkpoints/*/variables/ocdbt.process_0/d/*", flipped),
        2,
        DAMAGED,
    ),
    Fault(
        "a bit of a checkpoint's arrays flipped",
        ("train on",),
        content("run/checkpoints/*/variables/ocdbt.process_0/d/*", flipped),
        0,
    ),
    # Prepared sets.
    Fault(
        "a prepared shard of zeros",
        ("train prepared",),
        content("prepared/images-*.npy", zeros),
        2,
        "images-00000.npy",
    ),
    Fault(
        "a prepared shard cut off",
        ("train prepared",),
        content("prepared/images-*.npy", half),
        2,
        "is missing or damaged",
    ),
    Fault(
        "prepared.json, nested",
        ("train prepared",),
        content("prepared/prepared.json", NESTED),
        2,
        "is damaged, or another version wrote it",
    ),
    Fault(
        "prepared.json, other names",
        ("train prepared",),
        edited("prepared/prepared.json", lambda r: r.update(files=[["../x", 1, 1, "0"]])),
        2,
        "lacks|damaged",
    ),
    Fault(
        "prepared.json linked to /dev/zero",
        ("train prepared",),
        endless("prepared/prepared.json"),
        2,
    ),
    # A rendered set.
    Fault(
        "synthetic.json, nested",
        ("evaluate", "train"),
        content("people/synthetic.json", NESTED),
        2,
        "is not the manifest of a synthetic set",
    ),
    Fault(
        "synthetic.json linked to /dev/zero",
        ("evaluate", "train"),
        endless("people/synthetic.json"),
        2,
    ),
    # SYSU-MM01's permutations.
    *(
        Fault(f"a MATLAB file {what}", ("check-data sysu",), permutations(new), 2, "1 problem")
        for what, new in (
            ("of random bytes", MATLAB + bytes(range(1, 256)) * 40),
            ("that states gigabytes", MATLAB + struct.pack("<II", 14, 2**31 - 8) + bytes(64)),
            ("that unpacks to a gigabyte", packed_matlab),
        )
    ),
    Fault(
        "a MATLAB file linked to /dev/zero",
        ("check-data sysu",),
        endless_permutations,
        2,
        "1 problem",
    ),
    Fault("a Parquet table of 3 million rows", ("check-data",), many_rows, 2, "1 problem"),
    # Tables of images.
    Fault(
        "a table with numbers of 5000 digits",
        ("check-data",),
        table(ROW + b"a.jpg," + b"9" * 5000 + b",1,visible,test\n"),
        2,
        "",
        True,
    ),
    Fault(
        "a table that leads out of the root",
        ("check-data",),
        table(ROW + b"../../etc/passwd,1,1,visible,test\n"),
        2,
        "",
        True,
    ),
    Fault(
        "a table that is not text",
        ("check-data",),
        table(b"\xff\xfe\0\1"),
        2,
        "1 problem, named above",
        True,
    ),
    Fault("a table linked to /dev/zero", ("check-data",), endless_table("csv"), 2, "", True),
    Fault(
        "a Parquet table linked to /dev/zero",
        ("check-data",),
        endless_table("parquet"),
        2,
        "",
        True,
    ),
    Fault(
        "a Parquet table of random bytes",
        ("check-data",),
        table(b"PAR1" + b"\x5a" * 4096 + b"PAR1", "parquet"),
        2,
        "",
        True,
    ),
)
