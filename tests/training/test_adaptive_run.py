"""A run that learns its intermediate images."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from lupi_jax.cli import main
from lupi_jax.training import load_run
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.logging import read_metrics

FIELDS = {
    "recipe": "released",
    "data.image_size": "(32,32)",
    "data.feed": "memmap",
    "batch.identities": "2",
    "batch.images": "2",
    "model.backbone": "thin",
    "model.non_local": "false",
    "model.pooling": "average",
    "views.intermediate": "adaptive",
    "views.adaptive_ramp": "4",
    "loss.modality": "adversarial",
    "loss.modality_weight": "0.5",
    "log.every": "1",
    "log.checkpoint_every": "2",
}


def command(people: Path, workdir: Path, steps: int) -> list[str]:
    config = {**FIELDS, "data.root": str(people), "steps": str(steps)}
    fields = [f"--config.{name}={value}" for name, value in config.items()]
    return ["train", "--config", "configs/folder.py", "--workdir", str(workdir), *fields]


def equal(a: Any, b: Any) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def test_the_generator_trains_resumes_and_shows_in_the_report(
    people: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(command(people, whole, 4)) == 0
    assert main(command(people, broken, 2)) == 0
    half = load_run(broken)
    assert main(command(people, broken, 4)) == 0
    one, other = load_run(whole), load_run(broken)
    assert equal((one.variables, one.generator), (other.variables, other.generator))
    assert not equal(half.generator, other.generator)  # it learns
    with Checkpoints(whole, read_only=True) as checkpoints:
        assert (checkpoints.directory / "4" / "discriminator").is_dir()

    rows = read_metrics(whole)
    for row in rows:
        assert row["mix/red"] + row["mix/green"] + row["mix/blue"] == pytest.approx(1, abs=1e-5)
        terms = ("identity", "triplet", "color_free", "modality")
        assert row["loss/total"] == pytest.approx(sum(row[f"loss/{t}"] for t in terms), rel=1e-6)
    assert rows[0]["mix/red"] == pytest.approx(1 / 3, abs=0.05)
    assert rows[0]["loss/modality"] == pytest.approx(0.5 * np.log(2), rel=0.5)

    capfd.readouterr()
    assert main(["report", "--workdir", str(whole), "--out", str(tmp_path / "a.html")]) == 0
    assert "learnt mix of ID" in (tmp_path / "a.html").read_text()
    pairs = "--config.evaluation.pairs=('intermediate_to_infrared',)"
    assert main(["evaluate", "--workdir", str(whole), pairs]) == 2
    assert "evaluation.pairs may not name intermediate" in capfd.readouterr().err
