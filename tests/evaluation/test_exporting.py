"""`lupi_jax.export_features` and `export_network`, against what the network gives."""

import json
from pathlib import Path

import jax.export
import numpy as np
import pytest

import lupi_jax as lupi

CONFIG = Path(__file__).parents[2] / "configs/synthetic.py"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, people, save_run) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "run"
    data = {"root": people, "image_size": (32, 32)}
    save_run(folder, lupi.load_config(CONFIG, {"steps": 3, "data": data}), 3, 3, key=7)
    return folder


@pytest.fixture(scope="module")
def features(workdir, tmp_path_factory) -> lupi.evaluation.Features:
    return lupi.export_features(workdir, tmp_path_factory.mktemp("features") / "test.npz")


def test_features_are_written_and_returned(features, workdir, people, tmp_path):
    images = sorted((people / "test/infrared").rglob("*.jpg"))
    own = features[features.index.modalities == "infrared"]
    assert [str(own.index.root / path) for path in own.index.paths] == list(map(str, images))
    expected = lupi.extractor(workdir)(images, "infrared")
    np.testing.assert_allclose(own.neck, expected, atol=1e-5)
    run = lupi.load_run(workdir)
    again = lupi.export_features(run, str(tmp_path / "train.safetensors"), "train")
    stored = lupi.evaluation.load_features(tmp_path / "train.safetensors")
    np.testing.assert_array_equal(stored.neck, again.neck)
    assert set(stored.index.identities.tolist()) == set(run.seen or ())
    assert stored.origin["split"] == "train"
    assert stored.origin["run"] is None  # it was loaded, from wherever
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes").touch()
    with pytest.raises(lupi.InputError, match=r"folder: something else is there"):
        lupi.export_features(tmp_path / "no run", tmp_path / "folder")  # before it is loaded


def test_a_network_is_written_as_programs(features, workdir, tmp_path):
    modalities = lupi.export_network(workdir, tmp_path / "network", checkpoint=3)
    assert modalities == {"visible": None, "infrared": None}  # not compared
    record = json.loads((tmp_path / "network/artefact.json").read_text())
    assert (record["network"]["run"], record["network"]["step"]) == (str(workdir), 3)
    program = jax.export.deserialize(bytearray((tmp_path / "network/visible.bin").read_bytes()))
    own = features[features.index.modalities == "visible"]
    paths = [own.index.root / path for path in own.index.paths[:2]]
    images = np.stack([lupi.data.read_image(path, (32, 32)) for path in paths])
    np.testing.assert_allclose(np.asarray(program.call(images)), own.neck[:2], atol=1e-5)
    with pytest.raises(lupi.InputError, match="something else is there"):
        lupi.export_network(workdir, workdir)
    with pytest.raises(ValueError, match="feature must be neck or pooled, not 'head'"):
        lupi.export_network(workdir, tmp_path / "other", "head")
    with pytest.raises(ValueError, match="form must be stablehlo or onnx, not 'torch'"):
        lupi.export_network(workdir, tmp_path / "other", form="torch")  # pyright: ignore
