"""`lupi parity`, which a checkout alone has."""

import json
import runpy
import sys

import numpy as np
import pytest

from experiments.parity import FIGURES
from lupi_jax.cli import main, parity


def test_parity_prints_a_row_a_quantity(capfd):
    capfd.readouterr()
    small = ["parity", "--case", "resnet18_base", "--precision", "bfloat16"]
    assert main([*small, "--json"]) == 0
    out, err = capfd.readouterr()
    (row,) = json.loads(out)
    assert err == "resnet18_base, bfloat16 ...\n"
    assert (row["quantity"], row["tolerance"], row["passed"]) == ("train_feat", 3e-2, True)
    assert 1e-3 < row["error"] < 3e-2
    assert main(small) == 0
    assert "train_feat" in capfd.readouterr().out


def test_parity_that_fails_says_so(capfd, tmp_path):
    file = FIGURES / "resnet18_base.npz"
    with np.load(file) as figures:
        wrong = {**figures, "train_feat": figures["train_feat"] * 1.1}
    np.savez(tmp_path / "wrong.npz", **wrong)
    arguments = ["parity", "--figures", str(tmp_path), "--case", "wrong", "--precision", "bfloat16"]
    assert main([*arguments, "--markdown"]) == 1
    out, err = capfd.readouterr()
    assert out.splitlines()[-1].endswith("| above |")
    assert err.splitlines()[-1].startswith(
        "lupi: 1 of 1 quantities are above their tolerance, first wrong train_feat: "
    )


def test_without_the_sources_it_says_where_they_are(capfd, monkeypatch, tmp_path):
    monkeypatch.setattr(parity, "ROOT", tmp_path)
    capfd.readouterr()
    assert main(["parity"]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "clone the repository, and run `python -m experiments.parity` there" in err


def test_the_package_of_the_figures_is_the_same_command(capfd, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["parity", "--case", "nothing"])
    monkeypatch.delitem(sys.modules, "experiments.parity.__main__", raising=False)
    monkeypatch.setattr("lupi_jax.cli.program._leave", lambda status, wait: None)
    with pytest.raises(SystemExit) as left:
        runpy.run_module("experiments.parity", run_name="__main__")
    assert left.value.code == 2
    assert "no figures at" in capfd.readouterr().err
