from pathlib import Path

import golden
import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from lupi_jax.errors import InputError
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet, from_torch, initialize, read_state_dict, to_torch

MODEL = EmbedNet(5, backbone="thin", non_local=True)


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return to_torch(initialize(MODEL, jax.random.key(3), image_size=(32, 32)))


def test_names_are_the_released_code_s(weights: dict[str, np.ndarray]) -> None:
    assert weights["gray_module.resnet_part1.3.0.conv2.weight"].shape == (32, 32, 3, 3)
    assert weights["base_resnet.resnet_part2.0.0.downsample.0.weight"].shape == (64, 32, 1, 1)
    assert weights["NL_3.0.W.1.running_var"].shape == (128,)
    assert weights["classifier.weight"].shape == (5, 256)
    _, meta = golden.load()
    resnet18 = EmbedNet(meta["n_class"], backbone="resnet18", non_local=False, pooling="average")
    template = initialize(resnet18, jax.random.key(0), image_size=(32, 32))
    assert {k: list(v.shape) for k, v in to_torch(template).items()} == meta["shapes"]


def test_every_mismatch_is_in_one_report(weights: dict[str, np.ndarray]) -> None:
    wrong = dict(weights)
    del wrong["bottleneck.weight"]
    wrong["stray.weight"] = np.zeros(3)
    wrong["classifier.weight"] = np.zeros((7, 256))
    with pytest.raises(InputError) as error:
        from_torch(wrong, MODEL)
    message = str(error.value)
    assert "1 missing: bottleneck.weight" in message
    assert "1 unexpected: stray.weight" in message
    assert "classifier.weight is (7, 256), not (5, 256)" in message
    assert "\n" not in message


def test_torchvision_stem_serves_every_modality() -> None:
    released = to_torch(initialize(MODEL, jax.random.key(1), image_size=(32, 32)))
    names = {
        "visible_module.resnet_part1.0.": "conv1.",
        "visible_module.resnet_part1.1.": "bn1.",
        "visible_module.resnet_part1.3.": "layer1.",
        "base_resnet.resnet_part2.0.": "layer2.",
        "base_resnet.resnet_part2.1.": "layer3.",
        "base_resnet.resnet_part2.2.": "layer4.",
    }
    torchvision = {
        name.replace(ours, theirs): value
        for name, value in released.items()
        for ours, theirs in names.items()
        if name.startswith(ours)
    }
    torchvision["fc.weight"] = np.zeros((1000, 256), np.float32)
    initial = initialize(MODEL, jax.random.key(2), image_size=(32, 32))
    result = from_torch(torchvision, MODEL, initial=initial)
    expected = released["visible_module.resnet_part1.0.weight"].transpose(2, 3, 1, 0)
    for modality in Modality:
        kernel = result["params"][f"stem_{modality}"]["conv1"]["kernel"]
        np.testing.assert_array_equal(kernel, expected)
    fresh = initial["params"]["classifier"]["kernel"]
    np.testing.assert_array_equal(result["params"]["classifier"]["kernel"], fresh)


def test_files_are_read_without_pickle(tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "w.npz", **weights)  # pyright: ignore[reportArgumentType]
    save_file(weights, tmp_path / "w.safetensors")
    for name in ("w.npz", "w.safetensors"):
        read = read_state_dict(tmp_path / name)
        assert read.keys() == weights.keys()
        np.testing.assert_array_equal(read["classifier.weight"], weights["classifier.weight"])
    (tmp_path / "w.onnx").write_bytes(b"")
    np.savez(tmp_path / "evil.npz", a=np.array([{}], dtype=object))
    for name, reason in (
        ("evil.npz", "cannot be read"),
        ("w.onnx", "read from .npz, .safetensors"),
        ("none.npz", "no weights at"),
    ):
        with pytest.raises(InputError, match=reason):
            read_state_dict(tmp_path / name)


def test_a_released_training_checkpoint_is_read(
    tmp_path: Path, weights: dict[str, np.ndarray]
) -> None:
    torch = pytest.importorskip("torch")
    net = {name: torch.from_numpy(value.copy()) for name, value in weights.items()}
    torch.save({"net": net, "epoch": 3}, tmp_path / "released.t")
    read = read_state_dict(tmp_path / "released.t")
    assert read.keys() == weights.keys()
    np.testing.assert_array_equal(read["bottleneck.weight"], weights["bottleneck.weight"])
