"""Tables of images, CSV and Parquet, against rows written by hand and drawn ones."""

import csv
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lupi_jax import InputError, Modality
from lupi_jax.data.sources.table import read_table

HEADER = "path,identity,camera,modality,split"
ROWS = [
    ("night/b.png", 7, 6, "infrared", "train"),
    ("day/a.jpg", 7, 1, "visible", "train"),
    ("day/c, d.jpg", 2147483647, 0, "visible", "test"),
    ("day/a.. 1.jpg", 12, 2, "visible", "train"),
    ("día/夜.jpg", 0, 2147483647, "infrared", "test"),
    ('day/"e".jpg', 8, 1, "visible", "val"),
]
TYPES = {
    "path": pa.string(),
    "identity": pa.int64(),
    "camera": pa.int64(),
    "modality": pa.string(),
    "split": pa.string(),
}


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


@pytest.fixture
def root(tmp_path) -> Path:
    touch(tmp_path / "images", *(row[0] for row in ROWS))
    return tmp_path / "images"


def write_csv(root: Path, *lines: str) -> Path:
    file = root.parent / "table.csv"
    file.write_text("\n".join((HEADER, *lines)) + "\n", encoding="utf-8")
    return file


def write_parquet(root: Path, rows: list[tuple], types: dict | None = None, **options) -> Path:
    """Columns of `TYPES`, some of them of other types."""
    columns = zip(*rows, strict=True)
    kinds = {**TYPES, **(types or {})}

    def array(column: tuple, kind: pa.DataType) -> pa.Array:
        if pa.types.is_dictionary(kind):  # older versions make no dictionaries of long strings
            return pa.array(column, kind.value_type).dictionary_encode().cast(kind)
        return pa.array(column, kind)

    arrays = {n: array(column, kinds[n]) for n, column in zip(TYPES, columns, strict=True)}
    try:
        pq.write_table(pa.table(arrays), root.parent / "table.parquet", **options)
    except pa.ArrowNotImplementedError as error:
        pytest.skip(f"this PyArrow writes no such file: {error}")
    return root.parent / "table.parquet"


LINES = (
    "night/b.png,7,6,infrared,train",
    "day/a.jpg,007,01,visible,train",
    '"day/c, d.jpg",2147483647,0,visible,test',
    "day/a.. 1.jpg,12,2,visible,train",
    "día/夜.jpg,0,2147483647,infrared,test",
    '"day/""e"".jpg",8,1,visible,val',
)


def test_a_split_in_the_order_of_the_table(root):
    index = read_table(write_csv(root, *LINES), str(root), "train")
    assert index.root == root
    assert index.paths.tolist() == ["night/b.png", "day/a.jpg", "day/a.. 1.jpg"]
    assert index.identities.tolist() == [7, 7, 12]
    assert index.cameras.tolist() == [6, 1, 2]
    assert index.modalities.tolist() == ["infrared", "visible", "visible"]
    assert index.identities.dtype == index.cameras.dtype == np.int32
    assert (index.count(Modality.VISIBLE), index.count(Modality.INFRARED)) == (2, 1)
    test = read_table(write_csv(root, *LINES), root, "test")
    assert test.paths.tolist() == ["day/c, d.jpg", "día/夜.jpg"]
    assert test.identities.tolist() == [2**31 - 1, 0]
    assert test.cameras.tolist() == [0, 2**31 - 1]
    assert read_table(write_csv(root, *LINES), root, "val").paths.tolist() == ['day/"e".jpg']
    every = read_table(write_csv(root, *LINES), root, None)
    assert every.paths.tolist() == [row[0] for row in ROWS]


def test_what_spreadsheets_and_other_systems_write_changes_nothing(root):
    before = read_table(write_csv(root, *LINES), root, "train").fingerprint
    file = root.parent / "other.CSV"
    lines = [
        "split, Notes,modality ,camera,identity,path,Notes",
        'train,"two\r\nlines",infrared, 6,7 ,night/b.png,',
        "",
        "train,, visible,1,7,./day//a.jpg,é",
        ",,,,,,",
        "train,,visible,2,12,day/a.. 1.jpg,",
    ]
    for mark, end in (("", "\n"), ("\ufeff", "\r\n"), ("", "\r")):
        file.write_bytes((mark + end.join(lines)).encode())
        assert read_table(file, root, "train").fingerprint == before


@pytest.mark.parametrize(
    ("types", "options"),
    [
        ({}, {}),
        ({"path": pa.large_string(), "identity": pa.int32(), "camera": pa.uint32()}, {}),
        ({"path": pa.string_view(), "split": pa.large_string()}, {"row_group_size": 2}),
        (
            {
                "path": pa.dictionary(pa.int8(), pa.string()),
                "identity": pa.dictionary(pa.int8(), pa.uint64()),
                "modality": pa.dictionary(pa.int32(), pa.large_string()),
                "split": pa.dictionary(pa.int8(), pa.string()),
            },
            {"row_group_size": 4, "compression": "none"},
        ),
    ],
)
def test_parquet_and_csv_of_the_same_rows_give_the_same_index(root, types, options):
    table, parquet = write_csv(root, *LINES), write_parquet(root, ROWS, types, **options)
    for split in ("train", "val", "test", None):
        a, b = read_table(table, root, split), read_table(parquet, root, split)
        assert a.fingerprint == b.fingerprint
        assert a.identities.dtype == b.identities.dtype == np.int32


def test_parquet_of_small_integers_and_other_columns(root):
    rows = [(path, i % 9, 255 - i, *rest) for i, (path, _, _, *rest) in enumerate(ROWS[:2])]
    write_parquet(root, rows, {"identity": pa.uint8(), "camera": pa.uint8()})
    table = pq.read_table(root.parent / "table.parquet").select(
        ["split", "modality", "camera", "path", "identity"]
    )
    table = table.append_column("features", pa.array([[0.5], None]))
    pq.write_table(table, root.parent / "table.parquet")
    index = read_table(root.parent / "table.parquet", root, "train")
    assert index.paths.tolist() == ["night/b.png", "day/a.jpg"]
    assert (index.identities.tolist(), index.cameras.tolist()) == ([0, 1], [255, 254])


# Whatever a file system takes, except what a table cannot or may not name.
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="/\\"),
    min_size=1,
    max_size=8,
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)
NUMBERS = st.integers(0, 2**31 - 1)


@settings(max_examples=15, deadline=None)  # each starts a process
@given(
    st.lists(
        st.tuples(
            # Below a directory, so that none is taken for a drive as in "C:".
            st.lists(NAMES, min_size=1, max_size=2).map(lambda names: "/".join(["d", *names])),
            NUMBERS,
            NUMBERS,
            st.sampled_from(["visible", "infrared"]),
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda row: row[0],
    ),
    st.data(),
)
def test_any_rows_come_back_from_csv_and_parquet(rows, data):
    splits = {row[1]: data.draw(st.sampled_from(["train", "test"])) for row in rows}
    rows = [(*row, splits[row[1]]) for row in rows]
    wanted = rows[0][4]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        for row in rows:
            try:
                touch(root, row[0])
            except (FileExistsError, NotADirectoryError):
                assume(False)  # one would be a directory of another
            assume((root / row[0]).is_file())
        with (root.parent / "table.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([HEADER.split(","), *rows])
        expected = [row[:4] for row in rows if row[4] == wanted]
        for table in (root.parent / "table.csv", write_parquet(root, rows)):
            index = read_table(table, root, wanted)
            columns = index.paths, index.identities, index.cameras, index.modalities
            assert list(zip(*(c.tolist() for c in columns), strict=True)) == expected


def test_a_missing_root_an_unknown_split_and_another_kind_of_file_are_refused(root):
    file = write_csv(root, *LINES)
    with pytest.raises(InputError, match=r"no data at .*nowhere: correct data\.root"):
        read_table(file, root / "nowhere", "train")
    with pytest.raises(InputError, match=r"table\.csv is not a directory: correct data\.root"):
        read_table(file, file, "train")
    with pytest.raises(InputError, match="'dev' is not one of train, val, test"):
        read_table(file, root, "dev")
    with pytest.raises(InputError, match=r"day/a\.jpg: a table of images is a \.csv or a \.parq"):
        read_table(root / "day/a.jpg", root, "train")


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_file_that_cannot_be_opened_is_refused(root, name, monkeypatch):
    file = root.parent / name
    with pytest.raises(InputError, match=rf"no table of images at .*{name}: correct data\.index"):
        read_table(file, root, "train")
    file.mkdir()
    with pytest.raises(InputError, match=rf"cannot read .*{name} \(Is a directory\): check"):
        read_table(file, root, "train")
    file.rmdir()
    os.mkfifo(file)
    with pytest.raises(
        InputError, match=rf"cannot read .*{name} \(it is a pipe or a device\): check"
    ):
        read_table(file, root, "train")
    file.unlink()
    file.symlink_to("/dev/zero")  # which has no end
    with pytest.raises(InputError, match=rf"cannot read .*{name} \(it is a pipe or a device\): "):
        read_table(file, root, "train")
    file.unlink()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    file.touch()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(InputError, match=rf"cannot read .*{name} \(Permission denied\): "):
            read_table(file, root, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"table\.csv needs the columns path, identity, camera, modality, split .* has none"),
        (b"\n , ,\n", r"table\.csv needs the columns"),
        (HEADER.encode(), r"table\.csv lists no image of split train that exists: add some"),
        (
            b"path,identity,Camera,split\n",
            r"needs the columns .*: it has 'path', 'identity', 'Camera', 'split'$",
        ),
        (
            HEADER.replace(",", ";").encode() + b"\na.jpg;1;1;visible;train",
            r"needs the columns .*commas\): it has 'path;identity;camera;modality;split'",
        ),
        (f"{HEADER},path,split\n".encode(), r"needs the columns .* once each"),
        (
            f"{HEADER}\nday/a.jpg,1,1,visible,train\nd\xeda/b.jpg".encode("latin-1"),
            r"table\.csv, line 3 is not UTF-8 text: save the table as CSV in UTF-8",
        ),
        (HEADER.encode("utf-16"), r"table\.csv, line 1 is not UTF-8 text"),
        (HEADER.encode("utf-16-le"), r"table\.csv, line 1 is not UTF-8 text"),
        (
            f"{HEADER}\nday/a.jpg,1,1,visible,train\nday/\0.jpg,1,1,visible,train".encode(),
            r"table\.csv, line 3 is not UTF-8 text",
        ),
        (
            f'{HEADER}\n"day/a.jpg\n,1,1,visible,train\n'.encode(),
            r"table\.csv, line 2 is not CSV \(unexpected end of data\): check its quotes",
        ),
        (
            f'{HEADER}\n"day/a"b.jpg,1,1,visible,train\n'.encode(),
            r"table\.csv, line 2 is not CSV \(.*\): check its quotes",
        ),
        (
            f"{HEADER}\n{'a' * 200_000},1,1,visible,train\n".encode(),
            r"table\.csv, line 2 is not CSV \(field larger than field limit",
        ),
    ],
)
def test_what_is_no_table_is_refused(root, content, message):
    file = root.parent / "table.csv"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message) as refusal:
        read_table(file, root, "train")
    assert len(str(refusal.value).splitlines()) == 1


GOOD = "day/a.jpg,1,1,visible,train"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([GOOD, "a.jpg,1,1,visible"], r"table\.csv, line 3: 4 cells instead of 5: check its comma"),
        (["a, b.jpg,1,1,visible,train"] * 2, r"line 2: 6 cells instead of 5"),
        ([GOOD, ",1,1,visible,train"], r"table\.csv, line 3: path '' must be relative to"),
        (
            ['"a\n\n",1,1,visible,train', GOOD, '"\t",1,1,visible,train'],
            r"table\.csv, line 2: path 'a\\n\\n' must be relative .* and control characters",
        ),
        ([r"day\a.jpg,1,1,visible,train"], r"path 'day\\\\a\.jpg' must be .* forward slashes"),
        *(
            (
                [f"{path},1,1,visible,train", GOOD],
                rf"line 2: path '{path}' must be .* without \.\. ",
            )
            for path in ("/day/a.jpg", "../images/day/a.jpg", "day/../../x", "..", "C:/day/a.jpg")
        ),
        ([GOOD, "b,anna,1,visible,train"], r"line 3: identity 'anna' is not a whole number from 0"),
        (["a,-2,1,visible,train", "b,1.0,1,visible,train"], r"line 2: identity '-2"),
        (["a,2147483648,1,visible,train"], r"identity '2147483648' is not .* from 0 to 2147483647"),
        (["a,٣,1,visible,train"], r"identity '٣' is not a whole number"),
        ([f"a,{'9' * 5000},1,visible,train"], r"identity '9{80}' is not a whole number"),
        (["a,1,,visible,train"], r"table\.csv, line 2: camera '' is not a whole number"),
        (["a,1,1_0,visible,train"], r"camera '1_0' is not a whole number"),
        (["a,1,1,Visible,train"], r"line 2: modality 'Visible' is not one of visible, infrared"),
        (["a,1,1,intermediate,train"], r"modality 'intermediate' is not one of visible, infrared"),
        ([GOOD, "a,1,1,visible,dev", GOOD], r"line 3: split 'dev' is not one of train, val, test"),
        (
            [GOOD, "b,1,1,visible,train", "./day//a.jpg,1,1,visible,val", GOOD],
            r"table\.csv, line 4: 'day/a\.jpg' is listed on line 2 already: remove",
        ),
        (
            ['"\nx",1,1,visible,train', "b,anna,1,visible,train"],
            r"line 2: path '\\nx' must be",
        ),
        ([GOOD.replace("train", "val")], r"lists no image of split train that exists: add some"),
    ],
)
def test_a_row_that_does_not_fit_is_named(root, lines, message):
    with pytest.raises(InputError, match=message) as refusal:
        read_table(write_csv(root, *lines), root, "train")
    assert len(str(refusal.value).splitlines()) == 1


def test_a_line_is_counted_as_editors_do(root):
    # The quoted line break and the blank line count.
    file = root.parent / "table.csv"
    file.write_text(f'{HEADER},note\n{GOOD},"two\nlines"\n\nb.jpg,1,x,visible,train,\n')
    with pytest.raises(InputError, match=r"line 5: camera 'x' is not a whole number"):
        read_table(file, root, "train")


@pytest.mark.parametrize(("one", "other"), [("train", "test"), ("val", "test"), ("train", "val")])
def test_nobody_is_judged_by_who_was_learnt_from(root, one, other):
    people = [*range(1, 13), 40]
    lines = [f"{i}-{split}.jpg,{i},1,visible,{split}" for i in people for split in (other, one)]
    ten = r"\(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, \.\.\.\)"
    for split in ("train", "test"):
        with pytest.raises(InputError, match=rf"13 identities in both {one} and {other} {ten}"):
            read_table(write_csv(root, *lines), root, split)


def test_the_images_of_the_split_have_to_be_there(root):
    touch(root, "file")
    (root / "folder.jpg").mkdir()
    (root / "loop.jpg").symlink_to("loop.jpg")
    gone = ["day/gone.jpg", "file/a.jpg", "folder.jpg", "loop.jpg", "x" * 300, "."]
    file = write_csv(root, GOOD, *(f"{path},1,1,visible,train" for path in gone), *LINES[2:3])
    message = r"table\.csv, line 3: no image file at '.*/images/day/gone\.jpg' \(6 of 7"
    with pytest.raises(InputError, match=message):
        read_table(file, root, "train")
    assert read_table(file, root, "test").paths.tolist() == ["day/c, d.jpg"]


def test_images_that_were_deleted_are_counted_and_there_is_a_way_out(root):
    file = write_csv(root, GOOD, *(f"gone{n}.jpg,1,1,visible,train" for n in range(3)))
    with pytest.raises(InputError) as caught:
        read_table(file, root, "train")
    assert str(caught.value).startswith(
        f"{file}, line 3: no image file at '{root}/gone0.jpg' (3 of 4 images are missing): bring "
        "the image back, or delete the line or run `lupi index` again; or correct the path"
    )
    faults = []
    read_table(file, root, "train", lambda _, message: faults.append(message))
    assert [fault.partition(": no image")[0] for fault in faults] == [
        f"{file}, line {n}" for n in (3, 4, 5)
    ]
    assert not any("missing" in fault for fault in faults)


def test_a_directory_that_may_not_be_entered_is_named(root, monkeypatch):
    stat = os.stat

    def guarded(path, *args, **kwargs):
        if "night" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", guarded)
    with pytest.raises(InputError, match=r"line 2: no image file at .*night/b\.png"):
        read_table(write_csv(root, *LINES), root, "train")


def test_a_link_that_the_owner_of_the_root_made_is_followed(root):
    touch(root.parent / "elsewhere", "a.jpg")
    (root / "linked").symlink_to(root.parent / "elsewhere")
    file = write_csv(root, "linked/a.jpg,1,1,visible,train")
    assert read_table(file, root, "train").paths.tolist() == ["linked/a.jpg"]


@pytest.mark.parametrize(
    ("types", "change", "message"),
    [
        (
            {"identity": pa.float64()},
            {"identity": 7.0},
            r"row 1: identity '7\.0' is not a whole number",
        ),
        ({"camera": pa.bool_()}, {"camera": True}, r"row 1: camera 'True' is not a whole number"),
        ({"camera": pa.null()}, {"camera": None}, r"row 1: a cell is null"),
        ({"path": pa.binary()}, {"path": b"a"}, r"row 2: \"b'a'\" is listed on row 1 already"),
        ({"split": pa.list_(pa.string())}, {"split": ["train"]}, r"row 1: split .* is not one of"),
        (
            {"modality": pa.dictionary(pa.int8(), pa.int64())},
            {"modality": 0},
            r"row 1: modality '0' is not one of visible, infrared",
        ),
        ({}, {"path": None}, r"table\.parquet, row 2: a cell is null: fill it in"),
        ({}, {"camera": None}, r"table\.parquet, row 2: a cell is null: fill it in"),
        ({}, {"identity": -2}, r"table\.parquet, row 2: identity '-2' is not a whole"),
        ({}, {"identity": 2**31}, r"row 2: identity '2147483648' is not a whole number"),
        ({}, {"path": "../x\n"}, r"row 2: path '\.\./x\\n' must be relative"),
        ({}, {"path": "../x"}, r"row 2: path '\.\./x' must be relative"),
        ({}, {"path": "day/\0"}, r"row 2: path 'day/\\x00' must be relative"),
        ({}, {"modality": "rgb"}, r"row 2: modality 'rgb' is not one of visible, infrared"),
        ({}, {"path": "x"}, r"table\.parquet, row 3: 'x' is listed on row 2 already: remove one"),
    ],
)
def test_parquet_that_does_not_fit_is_refused(root, types, change, message):
    rows = [dict(zip(TYPES, row, strict=True)) for row in ROWS[:3]]
    other = types and [{**row, **change} for row in rows]  # the whole column has the type
    rows = other or [rows[0], {**rows[1], **change}, {**rows[2], **change}]
    file = write_parquet(root, [tuple(row.values()) for row in rows], types)
    with pytest.raises(InputError, match=message) as refusal:
        read_table(file, root, "train")
    assert len(str(refusal.value).splitlines()) == 1


def test_parquet_without_a_column_or_row_is_refused(root):
    file = write_parquet(root, ROWS)
    table = pq.read_table(file)
    pq.write_table(table.drop_columns(["camera"]), file)
    with pytest.raises(InputError, match=r"needs the columns .*: it has 'path', 'identity', '"):
        read_table(file, root, "train")
    pq.write_table(table.append_column("path", table["path"]), file)
    with pytest.raises(InputError, match=r"needs the columns .* once each"):
        read_table(file, root, "train")
    pq.write_table(table[:0], file)
    with pytest.raises(
        InputError, match=r"table\.parquet lists no image of split train that exists: add"
    ):
        read_table(file, root, "train")


def test_damaged_parquet_is_refused(root, monkeypatch):
    # Without compression and dictionaries, so that text lies open in the file.
    file = write_parquet(root, ROWS, compression="none", use_dictionary=False)
    content = file.read_bytes()
    assert content.count("夜".encode()) >= 1
    damaged = [content[:length] for length in range(0, len(content), 50)]
    damaged += [content[:4] + b"\xff" + content[5:], content.replace("夜".encode(), b"\xff" * 3)]
    for part in damaged:
        file.write_bytes(part)
        with pytest.raises(InputError, match=r"table\.parquet is not a Parquet file, or damaged"):
            read_table(file, root, "train")

    def refuse(*_):
        raise pa.ArrowNotImplementedError("as for damaged encodings")

    monkeypatch.setattr(pq, "ParquetFile", refuse)
    with pytest.raises(InputError, match=r"table\.parquet is not a Parquet file, or damaged"):
        read_table(file, root, "train")


def test_parquet_says_what_it_needs_where_pyarrow_is_not_installed(root, monkeypatch):
    file = write_parquet(root, ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    needs = r"reading .*table\.parquet needs PyArrow: pip install 'lupi-jax\[parquet\]', or write"
    with pytest.raises(InputError, match=needs):
        read_table(file, root, "train")
    assert len(read_table(write_csv(root, *LINES), root, "train")) == 3
