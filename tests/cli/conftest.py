"""A small run, made by the command line, and a user's own images."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Demo

from lupi_jax.cli import main


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Demo:
    """Made by the command line, on a machine that seems to lack TensorFlow."""
    folder = tmp_path_factory.mktemp("demo")
    demo = Demo(folder / "people", folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow", None)
        assert main(["make-synthetic", "--out", str(demo.data), "--identities", "12"]) == 0
        assert main(demo.train()) == 0
    return demo


@pytest.fixture(scope="session")
def exported(demo) -> Path:
    file = demo.workdir.parent / "features" / "test.npz"
    assert main(["export", *demo.run, "--split", "test", "--out", str(file)]) == 0
    return file


@pytest.fixture
def refused(capfd) -> Callable[..., str]:
    """Runs a command that must fail as bad input does, and gives its one line."""

    def run(*arguments: object) -> str:
        capfd.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("lupi: ")
        assert err.count("\n") == 1
        return err.removeprefix("lupi: ").rstrip()

    return run


PEOPLE = {"1": 2, "2": 2, "3": 1}


@pytest.fixture
def own(tmp_path, write_layout) -> Path:
    """A user's own small folder."""
    split = {"visible": PEOPLE, "infrared": PEOPLE}
    return write_layout(tmp_path / "own", {"train": split, "test": split})
