import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants, errors
from safetensors.numpy import save_file

from lupi_jax.errors import InputError
from lupi_jax.models import read_state_dict

WEIGHTS = {
    "conv1.weight": np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2),
    "bn1.num_batches_tracked": np.array(3),
}


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        np.array_equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a
    )


def refusal(source: str | Path) -> str:
    with pytest.raises(InputError) as error:
        read_state_dict(source)
    message = str(error.value)
    assert "\n" not in message
    assert str(source) in message
    return message


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    np.savez(tmp_path / "w.npz", **WEIGHTS)  # pyright: ignore[reportArgumentType]
    return tmp_path / "w.npz"


@pytest.fixture
def safetensors(tmp_path: Path) -> Path:
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_a_file_is_read_whole_or_not_at_all(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path: Path = request.getfixturevalue(kind)
    assert equal(read_state_dict(path), WEIGHTS)
    assert equal(read_state_dict(str(path)), WEIGHTS)
    content = path.read_bytes()
    for size in (0, 5, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        assert "damaged, cut short or not a" in refusal(path)


def test_what_is_no_file_of_weights_is_refused(npz: Path, tmp_path: Path) -> None:
    (tmp_path / "w.onnx").write_bytes(b"")
    (tmp_path / "folder.npz").mkdir()
    np.savez(tmp_path / "none.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    (tmp_path / "pickle.npz").write_bytes(b"\x80\x04}\x94.")
    (tmp_path / "page.safetensors").write_bytes(b"<!doctype html><html><head></head></html>")
    for name, reason in (
        ("w.onnx", "weights are read from .npz, .safetensors"),
        ("lost.npz", "no weights at"),
        ("folder.npz", "no weights at"),
        ("none.npz", "holds no tensors"),
        ("one.npz", "not a .npz file"),
        ("objects.npz", "pickled objects other than tensors"),
        ("pickle.npz", "pickled objects other than tensors"),
        ("page.safetensors", "not a .safetensors file"),
    ):
        assert reason in refusal(tmp_path / name), name


def test_narrow_floats_are_widened(tmp_path: Path) -> None:
    values = np.array([1.5, -2.0, 0.1])
    np.savez(tmp_path / "half.npz", a=values.astype(np.float16), b=values, c=np.array([True]))
    half = read_state_dict(tmp_path / "half.npz")
    assert [half[name].dtype for name in "abc"] == [np.float32, np.float64, bool]
    np.testing.assert_array_equal(half["a"], values.astype(np.float16).astype(np.float32))
    header = json.dumps({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    # bfloat16 is the upper half of float32: 1.5 and -2.
    content = struct.pack("<Q", len(header)) + header + struct.pack("<HH", 0x3FC0, 0xC000)
    (tmp_path / "brain.safetensors").write_bytes(content)
    brain = read_state_dict(tmp_path / "brain.safetensors")
    assert equal(brain, {"a": np.array([1.5, -2.0], np.float32)})


def test_without_pytorch_its_files_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "w.t").write_bytes(b"x")
    assert "pip install 'lupi-jax[torch]'" in refusal(tmp_path / "w.t")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_training_checkpoint_is_read(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    net = {name: torch.from_numpy(np.array(value)) for name, value in WEIGHTS.items()}
    net["half"] = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    net["parameter"] = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    # As AGW and LUPI save them: NumPy's figures, which `weights_only` refuses, beside the net.
    figures = {"cmc": np.linspace(0, 1, 5), "mAP": np.float64(0.4), "mINP": np.float32(0.2)}
    expected = WEIGHTS | {"half": np.array([1.5, -2.0], np.float32), "parameter": np.ones(2)}
    path = tmp_path / "w.t"
    for content in ({"net": net, "epoch": 3, **figures}, {"state_dict": net}, net):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        assert equal(read_state_dict(path), expected)
    if not zipped:
        torch.save({"net": net, **figures}, path, _use_new_zipfile_serialization=False)
        before_numpy_2 = path.read_bytes().replace(b"cnumpy._core.", b"cnumpy.core.")
        assert before_numpy_2 != path.read_bytes()
        path.write_bytes(before_numpy_2)
        assert equal(read_state_dict(path), expected)
    left = {known.__module__ for known in torch.serialization.get_safe_globals()}
    assert not {module for module in left if module.startswith("numpy")}


@pytest.mark.filterwarnings("error", "ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    net = {"net": {"conv1.weight": torch.zeros(40, 40), "bn1.weight": torch.ones(40)}}
    path = tmp_path / "w.pth"
    torch.save(net, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for part in (0.02, 0.3, 0.6, 0.99):
        path.write_bytes(content[: int(len(content) * part)])
        assert "damaged, cut short or not a .pth file" in refusal(path), part
    for other in (
        b"<html><head>",
        b"\x80\x04}\x94.",
        b"version https://git-lfs.github.com/spec/v1",
    ):
        path.write_bytes(other)
        assert "damaged, cut short or not a .pth file" in refusal(path), other
    script = torch.jit.script(torch.nn.ReLU())
    torch.jit.save(script, path)
    message = refusal(path)
    assert "TorchScript" in message
    assert "Warning" not in message


class Harmful:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.file),))


def test_no_pickled_object_is_run(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensors = {"conv1.weight": torch.zeros(2)}
    path, trap = tmp_path / "w.pt", tmp_path / "trap"
    for content, name in (
        ({"net": tensors, "extra": Harmful(trap)}, "posix.mkdir"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (np.array([Harmful(trap)]), "posix.mkdir"),
    ):
        for zipped in (True, False):
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
            message = refusal(path)
            assert f"pickled objects other than tensors ({name})" in message
            assert "torch.save(net.state_dict(), file)" in message
    assert not trap.exists()


def test_a_checkpoint_without_weights_says_what_it_has(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensors = {"conv1.weight": torch.zeros(2)}
    for content, reason in (
        ({"model": tensors, "epoch": 3}, "2 of 2 entries are not tensors (epoch, model): give a "),
        ({"net": {**tensors, "epoch": 3, "cmc": np.ones(2)}}, "2 of 3 entries are not tensors (c"),
        ({"net": None}, "holds a NoneType"),
        ([torch.zeros(2)], "holds a list"),
        ({"net": {}}, "holds no tensors"),
        ({}, "holds no tensors"),
    ):
        torch.save(content, tmp_path / "w.pth")
        assert reason in refusal(tmp_path / "w.pth")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library's cache, without a network. It reads its environment once, when imported."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put(cache: Path, file: str, weights: dict[str, np.ndarray], revision: str = "main") -> None:
    """Lay a file of timm/resnet50.tv_in1k where a download would have."""
    folder = cache / "models--timm--resnet50.tv_in1k"
    commit = {"main": "a" * 40, "v2": "b" * 40}[revision]
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(commit)
    path = folder / "snapshots" / commit / file
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)


def test_a_cached_file_of_the_hub_needs_no_network(cache: Path) -> None:
    put(cache, "model.safetensors", WEIGHTS)
    put(cache, "deep/other.safetensors", {"b": np.ones(2, np.float32)})
    put(cache, "model.safetensors", {"c": np.ones(2, np.float32)}, "v2")
    address = "hf://timm/resnet50.tv_in1k"
    assert equal(read_state_dict(address), WEIGHTS)
    assert equal(read_state_dict(f"{address}/model.safetensors"), WEIGHTS)
    assert read_state_dict(f"{address}/deep/other.safetensors").keys() == {"b"}
    assert read_state_dict(f"{address}@v2").keys() == {"c"}
    assert read_state_dict(f"{address}/model.safetensors@{'b' * 40}").keys() == {"c"}


def test_what_is_not_cached_says_what_to_fetch(cache: Path) -> None:
    message = refusal("hf://timm/resnet50.tv_in1k")
    assert "cannot be fetched or found in the cache (LocalEntryNotFoundError: " in message
    assert "fetch model.safetensors of the Hugging Face repository timm/resnet50.tv_in1k" in message
    assert "give its path here as `pretrained`" in message
    put(cache, "model.safetensors", WEIGHTS)
    message = refusal("hf://timm/resnet50.tv_in1k/other.npz@v2")
    assert (
        "fetch other.npz of the Hugging Face repository timm/resnet50.tv_in1k at revision v2"
        in (message)
    )


@pytest.mark.parametrize("error", [errors.GatedRepoError, errors.RevisionNotFoundError, OSError])
def test_the_hub_s_refusals_are_passed_on(
    error: type[Exception], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        # Their constructors ask for an answer of the network.
        refused = error.__new__(error)
        refused.args = ("two\nlines",)
        raise refused

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    message = refusal("hf://timm/resnet50.tv_in1k@v2")
    what = f"cannot be fetched or found in the cache ({error.__name__}: two lines)"
    assert f"{what}: fetch model.safetensors of" in message


def test_what_is_not_to_be_fetched_comes_from_the_cache_or_not_at_all(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        "huggingface_hub.file_download.get_hf_file_metadata", lambda *_, **__: pytest.fail("asked")
    )
    with pytest.raises(InputError, match="allow the download with --fetch, or fetch model"):
        read_state_dict("hf://timm/resnet50.tv_in1k", fetch=False)
    put(cache, "model.safetensors", WEIGHTS)
    assert equal(read_state_dict("hf://timm/resnet50.tv_in1k", fetch=False), WEIGHTS)


def test_a_bad_address_is_refused_before_anything_is_fetched(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in ("hf://resnet50", "hf://", "hf://timm/", "hf://timm/resnet50@"):
        assert "write hf://owner/name[/file][@revision]" in refusal(address)
    assert "HFValidationError" in refusal("hf://timm/res net")
    message = refusal("hf://timm/resnet50.tv_in1k/pytorch_model.bin")
    assert "weights are read from .npz, .safetensors, .pth, .pt, .t, not '.bin'" in message
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'lupi-jax[hub]'" in refusal("hf://timm/resnet50.tv_in1k")
