"""ONNX models. Those marked `real` need the extra onnx, see `make test-onnx`."""

import importlib.util
import json
import logging
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import lupi_jax as lupi
from lupi_jax import InputError, Modality
from lupi_jax.cli import main
from lupi_jax.evaluation import onnx
from lupi_jax.evaluation.export import STABLEHLO, write_artefact
from lupi_jax.evaluation.onnx import export_onnx, save_onnx
from lupi_jax.evaluation.origin import origin_of

SIZE = (48, 32)
MODEL = lupi.EmbedNet(13, backbone="thin")
GUIDE = Path(__file__).parents[2] / "docs/guides/exporting.md"

real = pytest.mark.skipif(not importlib.util.find_spec("jax2onnx"), reason="needs the extra onnx")


@pytest.fixture(scope="module")
def variables(draw_variables):
    return draw_variables(MODEL, SIZE)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (16, *SIZE, 3), np.uint8)


def run(content: bytes | str, images: np.ndarray) -> np.ndarray:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {"images": images})
    return np.asarray(features)


@real
def test_onnxruntime_computes_the_same_for_batches_of_any_size(variables, images, tmp_path):
    import onnx as format  # pyright: ignore[reportMissingImports]

    folder, facts = tmp_path / "new" / "network", {"run": "runs/demo", "step": 7}
    differences = save_onnx(folder, MODEL, variables, SIZE, facts=facts)
    assert list(differences) == ["visible", "infrared"]
    assert all(0 < difference < 1e-5 for difference in differences.values())
    assert sorted(p.name for p in folder.iterdir()) == [
        "artefact.json",
        "infrared.onnx",
        "visible.onnx",
    ]
    made = {}
    for modality in differences:
        file = str(folder / f"{modality}.onnx")
        made[modality] = run(file, images)
        expected = lupi.extract_features(MODEL, variables, images, Modality(modality))
        assert (made[modality].dtype, made[modality].shape) == (np.float32, (16, 256))
        np.testing.assert_allclose(made[modality], expected, rtol=0, atol=1e-5)
        for count in (1, 3):
            np.testing.assert_allclose(run(file, images[:count]), expected[:count], atol=1e-5)
        model = format.load(file)
        format.checker.check_model(model, full_check=True)
        assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
        said = {each.key: each.value for each in model.metadata_props}
        assert (said["modality"], said["feature"], said["run"]) == (modality, "neck", "runs/demo")
        assert [json.loads(said[name]) for name in ("image_size", "step")] == [[48, 32], 7]
        assert "0.485" in said["normalisation"]
    assert np.abs(made["visible"] - made["infrared"]).max() > 1e-2  # each through its own stem

    record = json.loads((folder / "artefact.json").read_text())
    assert record["network"] == {**origin_of(MODEL, variables, SIZE), **facts}
    assert record["files"] == {"visible": "visible.onnx", "infrared": "infrared.onnx"}
    assert record["format"].startswith("ONNX, opset 18")
    assert record["difference_from_jax"] == differences


@real
@pytest.mark.parametrize(
    ("settings", "size", "feature"),
    [
        ({"non_local": False, "pooling": "average", "shared_from": "layer1"}, SIZE, "pooled"),
        ({"stem_relu": True}, (80, 40), "neck"),
    ],
)
def test_other_networks(draw_variables, settings, size, feature):
    model = lupi.EmbedNet(13, **{"backbone": "thin", **settings})
    variables = draw_variables(model, size)
    content, difference = export_onnx(model, variables, Modality.INFRARED, size, feature)
    images = np.random.default_rng(2).integers(0, 256, (2, *size, 3), np.uint8)
    own = lupi.extract_features(model, variables, images, Modality.INFRARED, feature)
    np.testing.assert_allclose(run(content, images), own, rtol=0, atol=1e-5)
    assert difference < 1e-5


@real
def test_a_network_that_computes_in_bfloat16_becomes_one_in_float32(variables, images):
    half = lupi.EmbedNet(13, backbone="thin", dtype=jax.numpy.bfloat16, precision="default")
    content, _ = export_onnx(half, variables, Modality.INFRARED, SIZE)
    whole = lupi.extract_features(MODEL, variables, images, Modality.INFRARED)
    np.testing.assert_allclose(run(content, images), whole, rtol=0, atol=1e-5)


@real
def test_a_model_made_on_an_accelerator_is_the_same(variables, images, monkeypatch, caplog):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")  # whose operations have other forms
    content, _ = export_onnx(MODEL, variables, Modality.VISIBLE, SIZE)
    assert not [record for record in caplog.records if record.name.startswith("onnx")]
    own = lupi.extract_features(MODEL, variables, images, Modality.VISIBLE)
    np.testing.assert_allclose(run(content, images), own, rtol=0, atol=1e-5)


@real
def test_an_export_leaves_jax_and_the_logs_as_they_were(variables, images, capfd, monkeypatch):
    before = lupi.extract_features(MODEL, variables, images, Modality.INFRARED)
    monkeypatch.setattr(logging.root, "handlers", [])  # as in a program that sets up no logging
    capfd.readouterr()
    content, _ = export_onnx(MODEL, variables, Modality.INFRARED, SIZE)
    assert capfd.readouterr() == ("", "")
    assert (logging.root.handlers, logging.getLogger("onnx_ir").level) == ([], logging.NOTSET)
    after = lupi.extract_features(MODEL, variables, images, Modality.INFRARED)
    np.testing.assert_array_equal(before, after)
    assert str(Path(lupi.__file__).parent).encode() not in content


@real
def test_the_guide_s_program_gives_the_features_of_the_run(
    people, save_run, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    Path("DATA").symlink_to(people)
    config = lupi.parse_config(
        {"data": {"root": "DATA", "image_size": (64, 32)}, "model": {"backbone": "thin"}}
    )
    save_run(Path("runs/mine"), config, 5, 5)
    section = GUIDE.read_text().partition("## ONNX\n")[2].partition("\n## ")[0]
    ((command,), (program,)) = (
        re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL) for language in ("sh", "python")
    )
    install, *arguments = command.splitlines()
    assert install == "pip install 'lupi-jax[onnx]'"
    capfd.readouterr()
    assert main(arguments[0].split()[1:]) == 0
    out, err = capfd.readouterr()
    pattern = (
        r"wrote network-onnx: ONNX models for visible and infrared images, \S+e-0[5-9] or less .*\n"
    )
    assert re.fullmatch(pattern, err), (out, err)
    names: dict = {}
    exec(program, names)
    (path,) = re.findall(r"DATA/[\w/]+\.jpg", program)
    own = lupi.extractor("runs/mine")([path], "infrared")
    np.testing.assert_allclose(names["features"], own, rtol=0, atol=1e-5)


class Converter:
    """Stands in for jax2onnx, onnxruntime and the network: a session's features have an error."""

    def __init__(self, monkeypatch, error: float) -> None:
        self.error = error
        monkeypatch.setattr(onnx, "version", lambda name: "0.0.1")
        monkeypatch.setattr(
            onnx, "embed_batch", lambda m, v, images, stem: [images.mean((1, 2))] * 2
        )
        monkeypatch.setitem(sys.modules, "jax2onnx", SimpleNamespace(to_onnx=self.to_onnx))
        session = SimpleNamespace(InferenceSession=lambda content, providers: self)
        monkeypatch.setitem(sys.modules, "onnxruntime", session)

    def to_onnx(self, fn, inputs, **names):
        assert [(each.shape, each.dtype) for each in inputs] == [(("n", *SIZE, 3), np.uint8)]
        properties = SimpleNamespace(add=lambda key, value: None)
        return SimpleNamespace(metadata_props=properties, SerializeToString=lambda: b"a model")

    def run(self, outputs, images):
        return [images["images"].mean((1, 2)) + self.error * (len(images["images"]) > 1)]


@pytest.mark.parametrize("error", [2e-4, np.nan])
def test_a_model_with_other_features_is_not_written(variables, tmp_path, monkeypatch, error):
    converter = Converter(monkeypatch, error)  # with three images only
    folder = tmp_path / "network"
    pattern = r"model of visible images gives features that differ by (2e-04|0\.0002|nan) from JAX"
    with pytest.raises(InputError, match=pattern):
        save_onnx(folder, MODEL, variables, SIZE)
    assert not folder.exists()
    converter.error = 5e-5
    differences = save_onnx(folder, MODEL, variables, SIZE)
    assert [round(each, 6) for each in differences.values()] == [5e-5, 5e-5]
    assert (folder / "visible.onnx").read_bytes() == b"a model"


def test_one_export_replaces_another_kind(variables, tmp_path, monkeypatch):
    Converter(monkeypatch, 0)
    folder, onnx_files = tmp_path / "network", {"artefact.json", "infrared.onnx", "visible.onnx"}
    stablehlo = (folder, STABLEHLO, {Modality.INFRARED: b"a program"}, {"format": STABLEHLO})
    write_artefact(*stablehlo)
    (folder / "notes.txt").touch()
    save_onnx(folder, MODEL, variables, SIZE)
    assert {path.name for path in folder.iterdir()} == {*onnx_files, "notes.txt"}
    write_artefact(*stablehlo)
    assert {path.suffix for path in folder.iterdir()} == {".bin", ".json", ".txt"}
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "visible.onnx").touch()
    with pytest.raises(InputError, match="photos: something else is there"):
        save_onnx(tmp_path / "photos", MODEL, variables, SIZE)


def test_a_network_without_finite_features(variables, tmp_path, monkeypatch):
    Converter(monkeypatch, 0)
    nothing = jax.numpy.full((1, 3), np.nan)
    monkeypatch.setattr(onnx, "embed_batch", lambda *given: [nothing] * 2)
    with pytest.raises(InputError, match="features that are not finite: its training went wrong"):
        export_onnx(MODEL, variables, Modality.VISIBLE, SIZE)
    with pytest.raises(
        InputError, match=r"net\.onnx: this is the name of a file: name a directory"
    ):
        save_onnx(tmp_path / "net.onnx", MODEL, variables, SIZE)


def test_a_network_that_cannot_be_converted(variables, tmp_path, monkeypatch):
    Converter(monkeypatch, 0)

    def refuse(fn, inputs, **names):
        raise NotImplementedError("no plugin for 'sort'")

    sys.modules["jax2onnx"].to_onnx = refuse
    pattern = r"^jax2onnx 0.0.1 cannot convert .*\(NotImplementedError: no plugin for 'sort'\): .*"
    with pytest.raises(InputError, match=pattern + "--stablehlo"):
        save_onnx(tmp_path / "network", MODEL, variables, SIZE)
    assert not (tmp_path / "network").exists()
    with pytest.raises(ValueError, match="neck or pooled, not 'logits'"):
        export_onnx(MODEL, variables, Modality.VISIBLE, SIZE, "logits")
