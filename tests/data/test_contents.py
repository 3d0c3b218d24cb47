"""Files that have changed are told from copies and from files that were touched."""

import hashlib
import os
import shutil
import threading
from pathlib import Path

import pytest

from lupi_jax.data import contents as module
from lupi_jax.data.contents import (
    File,
    changed,
    digesting,
    look_at,
    parse_files,
    summary,
    with_digests,
)
from lupi_jax.data.index import Index, Row, make_index
from lupi_jax.errors import InputError

NAMES = ["a.png", "b/c.png", "d.png"]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    root = tmp_path / "data"
    (root / "b").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (root / name).write_bytes(bytes([number]) * (number + 3))
    return make_index(root, [Row(name, 1, 1, "visible") for name in NAMES])


def read(index: Index) -> list[File]:
    """Its files with their checksums."""
    files = look_at(index)
    with digesting(index.root, files) as found:
        return found(True)


def test_files_are_what_is_on_disk(index):
    os.utime(index.root / "a.png", ns=(5, 7))
    first, *others = read(index)
    assert first == File("a.png", 3, 7, hashlib.sha256(bytes(3)).hexdigest())
    assert [file.path for file in others] == NAMES[1:]


def test_only_other_content_counts_as_changed(index, tmp_path):
    files = read(index)
    copy = shutil.copytree(index.root, tmp_path / "copy", copy_function=shutil.copyfile)
    os.utime(copy / "d.png", ns=(9, 9))
    assert changed(copy, files) == []
    (copy / "b/c.png").write_bytes(b"1234")  # as long as before
    (copy / "a.png").write_bytes(b"longer than before")
    assert changed(copy, files) == ["a.png", "b/c.png"]
    (copy / "d.png").unlink()
    assert changed(copy, files) == NAMES


def test_what_looks_the_same_is_read_where_that_is_asked_for(index):
    files = read(index)
    (index.root / "d.png").write_bytes(b"fifth")
    os.utime(index.root / "d.png", ns=(files[2].mtime_ns, files[2].mtime_ns))
    assert changed(index.root, files) == []
    assert changed(index.root, files, fully=True) == ["d.png"]


def test_what_nobody_read_is_not_said_to_have_changed(index):
    """Of a touched file without a checksum nobody knows."""
    files = look_at(index)
    os.utime(index.root / "a.png", ns=(5, 7))
    assert changed(index.root, files, fully=True) == []


def test_checksums_that_are_known_are_not_asked_for_again(index):
    files = read(index)
    known = [
        files[0]._replace(mtime_ns=1),
        files[1]._replace(bytes=99),
        files[0]._replace(digest="x"),
    ]
    found = with_digests(look_at(index), known)
    assert [file.digest for file in found] == [files[0].digest, "", ""]
    assert found[0].mtime_ns == files[0].mtime_ns
    (index.root / "a.png").write_bytes(b"new")
    with digesting(index.root, found) as later:
        assert later(True) == [found[0], *files[1:]]


def test_a_file_that_cannot_be_read_has_no_checksum(index):
    files = look_at(index)
    (index.root / "a.png").unlink()
    with digesting(index.root, files) as found:
        assert [bool(file.digest) for file in found(True)] == [False, True, True]


def test_who_does_not_wait_gets_what_is_known(index, monkeypatch):
    files, answers = look_at(index), threading.Event()
    monkeypatch.setattr(module, "digest_file", lambda file: str(answers.wait()))
    with digesting(index.root, files) as found:
        assert found(False) == files
        answers.set()
        assert [file.digest for file in found(True)] == ["True"] * 3


def test_a_pipe_is_not_waited_for(index):
    files = look_at(index)
    (index.root / "a.png").unlink()
    os.mkfifo(index.root / "a.png")
    with digesting(index.root, files) as found:
        assert [bool(file.digest) for file in found(True)] == [False, True, True]


def test_a_missing_file_is_named(index):
    (index.root / "d.png").unlink()
    with pytest.raises(InputError, match=r"data/d\.png: No such file or directory"):
        look_at(index)


def test_the_summary_changes_with_every_size_and_identity(index):
    files = look_at(index)
    longer = [files[0], files[1]._replace(bytes=5), files[2]]
    other = make_index(index.root, [Row(name, 2, 1, "visible") for name in NAMES])
    touched = [file._replace(mtime_ns=1) for file in files]
    assert len({summary(index, files), summary(index, longer), summary(other, files)}) == 3
    assert summary(index, touched) == summary(index, files)


@pytest.mark.parametrize(
    "plain", [7, "files", [1], [["a", 1, 2]], [["a", 1.0, 2, ""]], [["a", True, 2, ""]], [{}]]
)
def test_a_record_that_says_something_else_is_refused(plain):
    with pytest.raises(ValueError, match=r"its files are not \[path, bytes"):
        parse_files(plain)
    assert parse_files([["a", 1, 2, ""]]) == [File("a", 1, 2, "")]
