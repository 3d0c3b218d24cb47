"""A vision transformer through every command, from timm's names on."""

import json
import sys
from pathlib import Path
from typing import Any

import jax.export
import numpy as np
import pytest
from command_line import CONFIGS, SMALL
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

import lupi_jax as lupi
from lupi_jax.cli import main
from lupi_jax.data import read_image
from lupi_jax.evaluation import load_features
from lupi_jax.models import BACKBONES
from lupi_jax.models.torch_names import TIMM_VIT, to_theirs
from lupi_jax.models.vit import VITS, ViT


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two narrow blocks instead of ViT-S/16's twelve, which would take minutes here."""
    for names in (BACKBONES, VITS):
        monkeypatch.setitem(names, "vit_small", ViT(24, 2, 3))
    monkeypatch.setitem(sys.modules, "tensorflow", None)


def test_a_vit_is_trained_reported_and_exported(people, tmp_path, draw_variables, capfd):
    variables = draw_variables(lupi.EmbedNet(1, "vit_small"), (32, 32))
    timm = _save_timm(tmp_path / "timm.safetensors", variables)
    workdir = tmp_path / "run"
    run = ["--workdir", str(workdir)]
    train = ["train", "--config", str(CONFIGS / "synthetic.py"), *run, *SMALL,
             f"--config.data.root={people}", "--config.model.backbone=vit_small",
             f"--config.pretrained={timm}", "--config.data.image_size=48,40"]  # fmt: skip
    assert main(train) == 0
    assert "vit_small, " in capfd.readouterr().err
    model, variables = lupi.load(workdir)
    assert model.features == 24
    stems = [variables["params"][f"stem_{m}"]["kernel"] for m in lupi.Modality]
    for i in (0, 1):  # each learnt from its own images
        assert not np.array_equal(stems[i], stems[i + 1])
    assert main(["report", *run]) == 0  # it evaluates first
    page = (workdir / "report.html").read_text()
    assert "This network's feature does not come from a map of places" in page

    features, network = tmp_path / "test.npz", tmp_path / "network"
    assert main(["export", *run, "--split", "test", "--out", str(features)]) == 0
    assert main(["export", *run, "--stablehlo", str(network)]) == 0
    stored = load_features(features)
    assert stored.neck.shape[1] == 24
    assert json.loads((network / "artefact.json").read_text())["images"]["shape"][1:3] == [48, 40]
    rows = np.flatnonzero(stored.index.modalities == "infrared")[:3]
    images = np.stack([read_image(path, (48, 40)) for path in stored.index.paths[rows]])
    program = jax.export.deserialize(bytearray((network / "infrared.bin").read_bytes()))
    np.testing.assert_allclose(program.call(images), stored.neck[rows], rtol=0, atol=1e-5)


def _save_timm(file: Path, variables: Any) -> Path:
    """Save the parts of a network that timm's have, under timm's names."""
    paths = {path: TIMM_VIT.name_of(path) for path in flatten_dict(variables)}
    named = {name: flatten_dict(variables)[path] for path, name in paths.items() if name}
    save_file({name: np.ascontiguousarray(to_theirs(x)) for name, x in named.items()}, file)
    return file
