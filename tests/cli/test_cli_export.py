"""`lupi export`: features and networks."""

import json
import shutil
import sys

import jax
import jax.export
import numpy as np
import safetensors

import lupi_jax as lupi
from lupi_jax.cli import main
from lupi_jax.data import read_image
from lupi_jax.evaluation import load_features


def test_exported_features_are_those_of_the_library(demo, exported):
    with np.load(exported, allow_pickle=False) as arrays:
        features, paths, ids = arrays["features"], arrays["paths"], arrays["ids"]
        assert features.shape == arrays["pooled"].shape == (64, features.shape[1])
        assert features.dtype == np.float32
        assert sorted(set(ids)) == [9, 10, 11, 12]
        assert sorted(set(arrays["cameras"])) == [1, 2, 3, 4, 5, 6]
        modality = arrays["modality"]
    assert all(f"/{m}/{i:04d}/" in p for m, i, p in zip(modality, ids, paths, strict=True))
    model, variables = lupi.load(demo.workdir)
    rows = np.flatnonzero(modality == "infrared")[[0, -1]]
    images = np.stack([read_image(path, (32, 32)) for path in paths[rows]])
    own = lupi.extract_features(model, variables, images, lupi.Modality.INFRARED)
    np.testing.assert_allclose(own, features[rows], atol=1e-5)


def test_an_exported_network_gives_the_exported_features(demo, exported, tmp_path, capfd):
    capfd.readouterr()
    folder = tmp_path / "network"
    assert main(["export", *demo.run, "--stablehlo", str(folder)]) == 0
    said = f"wrote {folder}: programs for visible and infrared images, which need only JAX\n"
    assert capfd.readouterr() == ("", said)
    record = json.loads((folder / "artefact.json").read_text())
    assert record["network"]["run"] == str(demo.workdir)
    assert record["network"]["step"] == 3
    assert record["images"]["shape"] == ["n", 32, 32, 3]
    stored = load_features(exported)
    assert record["network"]["network_fingerprint"] == stored.origin["network_fingerprint"]
    for modality in ("visible", "infrared"):
        program = jax.export.deserialize(bytearray((folder / f"{modality}.bin").read_bytes()))
        rows = np.flatnonzero(stored.index.modalities == modality)[:2]
        images = np.stack([read_image(path, (32, 32)) for path in stored.index.paths[rows]])
        made = np.asarray(program.call(images))
        np.testing.assert_allclose(made, stored.neck[rows], rtol=0, atol=1e-5)


def test_features_in_other_forms_say_what_they_are_of(demo, exported, tmp_path, capfd):
    file = tmp_path / "test.safetensors"
    assert main(["export", *demo.run, "--out", str(file)]) == 0
    with safetensors.safe_open(file, "numpy") as opened:
        facts = json.loads(opened.metadata()["lupi_jax"])
    assert (facts["run"], facts["checkpoint"]) == (str(demo.workdir), "step 3")
    assert (facts["data"], facts["split"], facts["image_size"]) == ("synthetic", "test", [32, 32])
    found, stored = load_features(file), load_features(exported)
    np.testing.assert_array_equal(found.neck, stored.neck)
    search = ["search", *demo.run, "--query", str(demo.data / "test/infrared/0010"), "--json"]
    capfd.readouterr()
    answers = []
    for gallery in (file, exported):
        assert main([*search, "--gallery", str(gallery)]) == 0
        answers.append(json.loads(capfd.readouterr().out))
    assert answers[0] == answers[1]


def test_every_command_names_all_images_that_it_cannot_read(demo, refused, tmp_path):
    data = tmp_path / "people"
    shutil.copytree(demo.data, data)
    bad = [f"test/{m}/0010/c{c}_0001.jpg" for m, c in (("visible", 1), ("infrared", 3))]
    for path in bad:
        assert (data / path).is_file()
        (data / path).write_bytes(b"no image")
    where = ["--data-root", data]
    for command in (
        ["evaluate", *demo.run],
        ["export", *demo.run, "--out", tmp_path / "f.npz"],
        ["report", *demo.run, "--out", tmp_path / "r.html"],
    ):
        assert refused(*command, *where) == (
            f"{data}: 2 of 64 images cannot be read: {', '.join(bad)} (unreadable image; "
            "replace or remove it)"
        )


def test_features_are_written_beside_nothing_else(demo, own, refused):
    message = refused("export", *demo.run, "--out", own / "features.csv")
    assert message.startswith(
        f"{own / 'features.csv'}: name a file that ends in .npz or .safetensors"
    )
    (own / "folder.npz").mkdir()
    (own / "file").touch()
    for out in (own, own / "folder.npz", own / "file"):
        message = refused("export", *demo.run, "--out", out)
        assert message == f"{out}: something else is there: give another name"


def test_an_export_is_of_features_or_of_the_network(demo, own, refused):
    export = ("export", *demo.run)
    message = refused(*export, "--out", own / "f.npz", "--feature", "pooled")
    assert message.startswith("--feature applies only to --stablehlo")
    for more in (("--split", "val"), ("--data-root", own)):
        for kind in ("--stablehlo", "--onnx"):
            message = refused(*export, kind, own / "network", *more)
            assert message.startswith("--split and --data-root apply only to --out")
    for kind in ("--stablehlo", "--onnx"):
        assert refused(*export, kind, own).startswith(f"{own}: something else is there")
    assert not (own / "network").exists()


def test_an_onnx_export_says_what_to_install(demo, own, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    message = refused("export", *demo.run, "--onnx", own / "network")
    assert message.startswith("an ONNX export needs jax2onnx and onnxruntime (import of jax2onnx")
    assert "): pip install 'lupi-jax[onnx]', or export StableHLO (--stablehlo)" in message
    assert not (own / "network").exists()


def test_an_export_that_was_cut_off_is_repeated(demo, own, refused):
    folder = own / "features"
    (folder / ".lupi-partial-features.npy-12345678").mkdir(parents=True)
    assert main(["export", *demo.run, "--out", str(folder)]) == 0
    (folder / "features.npy").unlink()
    search = ("search", *demo.run, "--query", own / "test/infrared/1", "--gallery", folder)
    message = refused(*search)
    assert message == f"no feature file at {folder}: write one with `lupi export --out {folder}`"
    assert main(["export", *demo.run, "--out", str(folder)]) == 0
    assert {path.suffix for path in folder.iterdir()} == {".npy", ".json"}
