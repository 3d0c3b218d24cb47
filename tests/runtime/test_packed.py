"""Files that take more memory than they look."""

import zipfile

import numpy as np
import pytest

from lupi_jax import InputError
from lupi_jax.models.state_dicts import read_state_dict
from lupi_jax.runtime import packed
from lupi_jax.runtime.packed import check_unpacked


def test_what_unpacks_to_much_more_is_refused(tmp_path):
    file = tmp_path / "a.npz"
    np.savez_compressed(file, a=np.zeros(2**22, np.float32))  # 16 MiB and its head
    with pytest.raises(
        InputError, match=r"a\.npz has 0\.0 MB but unpacks to 16\.8 MB, .*: mend it"
    ):
        check_unpacked(file, "mend it")
    with pytest.raises(InputError, match=r"give another file of weights"):
        read_state_dict(file)


def test_what_hardly_shrinks_or_is_small_is_taken(tmp_path):
    file = tmp_path / "a.npz"
    values = np.random.default_rng(0).standard_normal(2**20).astype(np.float32)
    for content in (values, np.zeros(2**20, np.float32)):
        np.savez_compressed(file, a=content)
        check_unpacked(file, "")
    file.write_bytes(b"no archive")
    check_unpacked(file, "")


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.pth"])
def test_what_does_not_fit_is_refused_unread(tmp_path, monkeypatch, name):
    monkeypatch.setattr(packed, "free_memory", lambda: 10**9)
    with (tmp_path / name).open("wb") as out:
        out.truncate(2**40)  # sparse: it takes no room
    with pytest.raises(
        InputError, match=r"needs 1099\.5 GB of memory, but only 1\.0 GB are free: give"
    ):
        read_state_dict(tmp_path / name)
    monkeypatch.setattr(packed, "free_memory", lambda: None)  # another system than Linux
    check_unpacked(tmp_path / name, "")


def test_an_archive_is_judged_by_what_it_unpacks_to(tmp_path, monkeypatch):
    file = tmp_path / "a.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(10**7))
    monkeypatch.setattr(packed, "free_memory", lambda: 10**6)
    with pytest.raises(InputError, match=r"needs 0\.0 GB of memory"):
        check_unpacked(file, "")
