"""Tables and feature files that nobody should read to their end, given to commands."""

import numpy as np
import pytest
from command_line import CONFIGS

from lupi_jax.cli import main


def linked(file):
    file.symlink_to("/dev/zero")


def sparse(file):
    with file.open("wb") as out:
        out.truncate(2**40)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
@pytest.mark.parametrize(
    ("make", "what"),
    [(linked, "it is a pipe or a device"), (sparse, "is larger than 256 MiB, the limit")],
)
def test_a_table_without_end_is_refused_by_every_command(
    own, refused, tmp_path, capfd, name, make, what
):
    table = tmp_path / name
    make(table)
    source = ["--data", "folder", "--root", own, "--index", table]
    prepare = ["prepare", *source, "--size", "32x32", "--out", tmp_path / "out"]
    config = ["--config", CONFIGS / "folder.py", f"--config.data.root={own}"]
    train = ["train", *config, f"--config.data.index={table}", "--workdir", tmp_path / "run"]
    for command in (prepare, train):
        message = refused(*command)
        assert what in message
        assert str(table) in message
        assert "batch.identities" not in message
    assert main([str(word) for word in ("check-data", *source)]) == 2
    out, err = capfd.readouterr()
    assert what in out
    assert out.count("\n") == 1
    assert err == f"lupi: {own}: 1 problem, named above\n"
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["f.npz", "f.safetensors"])
def test_a_gallery_without_end_is_refused(own, refused, tmp_path, name):
    given = ["search", "--workdir", tmp_path / "run", "--query", own, "--gallery", tmp_path / name]
    linked(tmp_path / name)
    assert f"no feature file at {tmp_path / name}" in refused(*given)
    (tmp_path / name).unlink()
    sparse(tmp_path / name)
    message = refused(*given)
    assert "GB of memory" in message
    assert "batch.identities" not in message


def test_a_gallery_that_unpacks_to_much_more_is_refused(own, refused, tmp_path):
    file = tmp_path / "f.npz"
    np.savez_compressed(file, features=np.zeros((2**12, 2**11), np.float32))
    message = refused("search", "--workdir", "run", "--query", own, "--gallery", file)
    assert message.startswith(f"{file} has 0.0 MB but unpacks to 33.6 MB")
