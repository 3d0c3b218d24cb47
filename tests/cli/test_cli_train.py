"""`lupi train`: what a run has, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import contents, train_own

from lupi_jax.cli import main


def test_training_leaves_what_a_run_needs(demo):
    rows = [json.loads(line) for line in (demo.workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    for row in rows:
        terms = row["loss/identity"] + row["loss/triplet"] + row["loss/color_free"]
        assert row["loss/total"] == pytest.approx(terms, rel=1e-5)
    assert rows[0]["loss/identity"] == pytest.approx(np.log(8), abs=0.1)  # eight people, no idea
    steps = {folder.name for folder in (demo.workdir / "checkpoints").iterdir()}
    assert steps == {"2", "3"}
    # Without TensorFlow, "auto" chose the memory-mapped feed: 8 people x 2 x 8 images.
    (cache,) = (demo.workdir / "cache").glob("*/*.npy")
    assert np.load(cache, mmap_mode="r").shape == (128, 32, 32, 3)


def test_a_missing_root(own, refused):
    message = refused(*train_own(own / "nowhere"))
    assert message.startswith(f"no data at {own / 'nowhere'}: correct data.root")
    assert not (own.parent / "run").exists()


def test_no_root_at_all(own, refused):
    message = refused(*train_own(own, "--config.data.root="))
    assert message == "config: data.root = '' is empty: name the data set's directory"


def test_an_empty_split(own, refused):
    shutil.rmtree(own / "train")
    message = refused(*train_own(own))
    assert message.startswith(f"no images under {own / 'train'}: expected train/")
    assert not (own.parent / "run").exists()


def test_an_identity_in_one_modality_only(own, refused):
    shutil.rmtree(own / "train/infrared/2")
    message = refused(*train_own(own))
    assert "no infrared image of 1 of its identities (2)" in message
    assert str(own) in message
    assert not (own.parent / "run").exists()


def test_an_unreadable_image(own, refused):
    image = own / "train/visible/2/c2_0001.jpg"
    image.write_bytes(image.read_bytes()[:100])
    message = refused(*train_own(own))
    assert message == f"{image}: unreadable image; replace or remove it"
    begun = [Path(name).name for name in contents(own.parent / "run")]
    assert begun == ["prepared.partial.json"]


def test_config_fields_misspelt_and_out_of_range(own, refused):
    wrong = ("--config.bach.images=1", "--config.views.flip", "-1", "--config.seed=x")
    message = refused(*train_own(own, *wrong, "--config.log.keep=0"))
    assert message == (
        "config: bach.images is not a field (did you mean batch.images?); "
        "seed = 'x' is not a whole number; views.flip = -1.0 must lie in [0, 1]; "
        "log.keep = 0 must be positive"
    )


def test_a_negative_number_of_steps_to_profile(own, capfd):
    with pytest.raises(SystemExit) as end:
        main(["train", *train_own(own, "--profile", "-5")[1:]])
    assert end.value.code == 2
    assert "--profile: -5 is not a whole number of at least 0" in capfd.readouterr().err


def test_more_identities_a_batch_than_there_are(own, refused):
    message = refused(*train_own(own, "--config.batch.identities=4"))
    assert message.startswith("batch.identities = 4 is more than the 3 training identities")
    assert not (own.parent / "run").exists()


def test_an_unknown_argument_of_train(own, refused):
    assert refused(*train_own(own, "--steps=5")).startswith("unknown argument --steps: set a field")


def test_a_config_file_that_is_none(own, refused):
    arguments = train_own(own)
    arguments[2] = "configs/gone.py"
    assert refused(*arguments).startswith("no config file at configs/gone.py: name a Python file")


def test_an_exception_of_several_lines_becomes_one(own, refused):
    file = own / "config.py"
    file.write_text("raise RuntimeError('first\\nsecond')\n")
    arguments = train_own(own)
    arguments[2] = str(file)
    assert refused(*arguments) == f"{file} gives no configuration (RuntimeError: first second)"


def test_another_configuration_in_an_existing_workdir(demo, refused, capfd):
    before = contents(demo.workdir)
    capfd.readouterr()
    message = refused(*demo.train("--config.optimizer.rate=0.5", "--config.seed=1"))
    assert message == (
        f"{demo.workdir} holds a run that differs in seed, optimizer.rate: give the same values, "
        "or another --workdir"
    )
    assert contents(demo.workdir) == before


def test_batches_that_a_triplet_loss_learns_nothing_from(own, refused):
    nothing = "--config.batch.identities=1"
    assert refused(*train_own(own, nothing)) == (
        "config: batch.identities = 1: the triplet loss has no negative and is always 0: use 2 or "
        "more, or leave the triplet losses out"
    )
    direct = ("--config.loss.triplet=none", "--config.loss.direct_weight=1")
    assert "has no negative" in refused(*train_own(own, nothing, *direct))
    alone = "--config.modalities=('visible',)"
    message = refused(*train_own(own, alone, "--config.batch.images=1"))
    assert message.startswith("config: batch.images = 1 with one modality: the triplet loss has no")
    for person in ("2", "3"):
        for side in ("visible", "infrared"):
            shutil.rmtree(own / "train" / side / person)
    message = refused(*train_own(own, nothing, "--config.loss.triplet=none"))
    assert message == (
        f"{own}: the training images show a single identity (1): add images of others"
    )
    assert not (own.parent / "run").exists()


def test_the_home_directory_in_a_runs_paths(own, monkeypatch):
    monkeypatch.setenv("HOME", str(own.parent))
    command = train_own(Path("~/own"), "--config.steps=1", "--workdir=~/mine")
    assert main(command) == 0
    assert (own.parent / "mine" / "metrics.jsonl").is_file()


def test_one_file_is_run_once_for_all_splits(tmp_path, refused):
    file, runs = tmp_path / "mine.py", tmp_path / "runs"
    file.write_text(
        "from ml_collections import ConfigDict\n\n\n"
        "def get_config():\n"
        f"    open({str(runs)!r}, 'a').write('one ')\n"
        "    return ConfigDict({'steps': 1, 'data': {'name': 'folder', 'root': 'x', 'trial': 1}})\n"
    )
    message = refused("train", "--config", file, "--workdir", tmp_path / "run", "--trials", "1,2")
    assert message == "--trials applies only to RegDB: leave it out for another data set"
    assert runs.read_text() == "one "
