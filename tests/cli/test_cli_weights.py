"""Networks trained elsewhere and other test pairs, on the command line."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import lupi_jax as lupi
from lupi_jax.cli import main
from lupi_jax.config.file import load_config
from lupi_jax.data import read_image, read_sysu
from lupi_jax.evaluation import pairwise_distances, retrieval_metrics
from lupi_jax.training import load_weights
from lupi_jax.training.pretrained import initial_variables

CONFIGS = Path(__file__).parents[2] / "configs"
MODEL = lupi.EmbedNet(7, backbone="thin", non_local=True)
SMALL = ("--config.model.backbone=thin", "--config.data.image_size=32,32", "--config.pretrained=")


def draw(model: lupi.EmbedNet, modalities: tuple[lupi.Modality, ...]) -> dict[str, Any]:
    shapes = jax.eval_shape(
        lambda: lupi.models.initialize(model, jax.random.key(0), modalities, (32, 32))
    )
    rng = np.random.default_rng(5)

    def values(path, leaf) -> np.ndarray:
        if path[-1].key == "kernel":
            scale = 1 / np.sqrt(np.prod(leaf.shape[:-1]))
            return (rng.standard_normal(leaf.shape) * scale).astype(np.float32)
        return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(values, shapes)


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    return draw(MODEL, tuple(lupi.Modality))


@pytest.fixture(scope="module")
def checkpoint(variables, tmp_path_factory) -> Path:
    """What a LUPI network trained by its authors' code is to us, without PyTorch's container."""
    file = tmp_path_factory.mktemp("weights") / "original.safetensors"
    save_file(lupi.models.to_torch(variables), file)
    return file


@pytest.fixture(scope="module")
def sysu(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "sysu"
    arguments = ["--layout", "sysu", "--identities", "12", "--out", str(root)]
    assert main(["make-synthetic", *arguments]) == 0
    return root


@pytest.fixture
def evaluate(sysu, checkpoint):
    """Arguments of an evaluation of the original's weights on SYSU-MM01's layout."""
    config = ["--config", f"{CONFIGS / 'sysu.py'}:released", f"--config.data.root={sysu}", *SMALL]
    protocol = ["--config.evaluation.protocol=agw", "--config.evaluation.trials=2"]
    return ["evaluate", *config, *protocol, "--checkpoint", str(checkpoint)]


def test_an_original_checkpoint_is_evaluated_as_it_is(evaluate, sysu, variables, capfd, tmp_path):
    capfd.readouterr()
    assert main([*evaluate, "--json", "--out", str(tmp_path)]) == 0
    out, err = capfd.readouterr()
    result = json.loads(out)
    part = "2 trials, not its whole test set (4 people, 64 images), rendered people"
    assert result["protocol"] == f"SYSU-MM01 agw, {part}"
    assert result["config"]["evaluation"]["trials"] == 2
    assert (result["num_classes"], result["step"], result["remarks"]) == (7, None, [])
    assert result["checkpoint"].endswith("original.safetensors")
    assert result["config"]["recipe"] == "released"
    name = f"test-original.safetensors-{result['images']['fingerprint']}-agw-2trials"
    assert json.loads((tmp_path / f"{name}.json").read_text()) == result
    assert (tmp_path / f"{name}-infrared-to-visible.png").is_file()
    assert len(err.splitlines()) == 3
    rows = {(r["query"], r["search"], r["feature"]): r for r in result["results"]}
    searches = ("all-search, single-shot", "all-search, multi-shot", "indoor, single-shot")
    assert all(("infrared", search, "neck") in rows for search in searches)

    # Each camera has fewer images than a multi-shot gallery draws. So the gallery has all visible
    # images, and the figures follow from all images and the camera rule.
    index = read_sysu(sysu, "test")
    images = np.stack([read_image(index.root / path, (32, 32)) for path in index.paths])
    side = {m: np.flatnonzero(index.modalities == m) for m in ("infrared", "visible")}
    query, gallery = (
        lupi.extract_features(MODEL, variables, images[side[m]], m) for m in ("infrared", "visible")
    )
    cameras = [index.cameras[side[m]] for m in ("infrared", "visible")]
    expected = retrieval_metrics(
        pairwise_distances(query, gallery),
        index.identities[side["infrared"]],
        index.identities[side["visible"]],
        (cameras[0] == 3)[:, None] & (cameras[1] == 2),
        cmc="identity",
    )
    row = rows["infrared", "all-search, multi-shot", "neck"]
    counts = np.unique(np.stack([index.identities, index.cameras]), axis=1, return_counts=True)[1]
    assert counts.max() <= 10
    assert row["mean_ap"] == pytest.approx(expected.mean_ap, abs=1e-6)
    assert row["rank1"] == pytest.approx(expected.cmc[0], abs=1e-6)
    assert row["std"]["mean_ap"] == pytest.approx(0, abs=1e-9)


def test_the_test_pairs_of_table_3(evaluate, capfd):
    pairs = ["visible_to_visible", "infrared_to_infrared", "intermediate_to_intermediate",
             "infrared_to_visible", "infrared_to_intermediate"]  # fmt: skip
    capfd.readouterr()
    assert main([*evaluate, f"--config.evaluation.pairs={pairs}"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    for pair in pairs:
        assert pair.replace("_to_", " -> ") in out
    assert " ± " in out


def refused(capfd, *arguments: str) -> str:
    capfd.readouterr()
    assert main(list(arguments)) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("lupi: ")
    assert err.count("\n") == 1
    return err


def test_what_network_is_asked_for_clearly(evaluate, checkpoint, capfd, sysu):
    config = evaluate[1:3]
    assert "which network?" in refused(capfd, "evaluate")
    assert "which network?" in refused(capfd, "evaluate", *config, "--workdir", "run")
    root = f"--config.data.root={sysu}"
    assert "--config needs --checkpoint" in refused(capfd, "evaluate", *config, root)
    assert "leave out --checkpoint or --untrained" in refused(capfd, *evaluate, "--untrained")
    assert "config: data.nmae is not a field" in refused(capfd, *evaluate, "--config.data.nmae=x")
    missing = refused(capfd, *evaluate[:-1], str(checkpoint.with_name("gone.t")))
    assert "no weights at" in missing
    assert "gone.t" in missing
    wrong = refused(capfd, *evaluate, "--config.model.backbone=resnet18")
    assert "original.safetensors" in wrong
    assert "thin" in wrong


def test_configured_modalities_choose_the_stems(evaluate, capfd):
    """Table 3's network of one modality: an infrared query goes through the visible stem too."""
    capfd.readouterr()
    assert main([*evaluate, "--json"]) == 0
    three = json.loads(capfd.readouterr().out)
    assert main([*evaluate, "--json", "--config.modalities=('visible',)"]) == 0
    one = json.loads(capfd.readouterr().out)
    assert one["config"]["modalities"] == ["visible"]
    figures = [result["results"][0]["mean_ap"] for result in (three, one)]
    assert figures[0] != figures[1]
    fresh = "--config.pretrained_fresh=('trunk',)"
    assert "an evaluation needs all trained weights" in refused(capfd, *evaluate, fresh)


def test_a_backbone_without_classifier_is_evaluated_untrained(evaluate, variables, capfd, tmp_path):
    names = {"visible_module.resnet_part1.0.": "conv1.", "visible_module.resnet_part1.1.": "bn1.",
             "visible_module.resnet_part1.3.": "layer1.", "base_resnet.resnet_part2.0.": "layer2.",
             "base_resnet.resnet_part2.1.": "layer3.",
             "base_resnet.resnet_part2.2.": "layer4."}  # fmt: skip
    file = tmp_path / "imagenet.safetensors"
    save_file(
        {
            name.replace(ours, theirs): np.ascontiguousarray(value)
            for name, value in lupi.models.to_torch(variables).items()
            for ours, theirs in names.items()
            if name.startswith(ours)
        },
        file,
    )
    message = refused(capfd, *evaluate[:-1], str(file))
    assert "no classifier" in message
    untrained = [*evaluate[:-2], "--untrained", "--json", f"--config.pretrained={file}"]
    assert main(untrained) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["step"] == 0
    assert result["config"]["pretrained"] == str(file)


def test_64_bit_computation_needs_64_bit_jax(evaluate, capfd):
    assert "set JAX_ENABLE_X64=1" in refused(capfd, *evaluate, "--config.dtype=float64")
    with jax.enable_x64(True):
        assert main([*evaluate, "--config.dtype=float64", "--json"]) == 0


def test_what_is_left_out_of_a_released_resnet18_is_said_in_a_line(tmp_path, capfd):
    """Two non-local blocks of 512 channels and three of 1024, stored and never run."""
    model = lupi.EmbedNet(7, backbone="resnet18")
    weights = lupi.models.to_torch(draw(model, tuple(lupi.Modality)))
    stored = {"NL_2.0.g.0.weight": (1, 512, 1, 1), "NL_3.2.W.1.running_var": (1024,)}
    file = tmp_path / "original.safetensors"
    save_file(weights | {k: np.ones(v, np.float32) for k, v in stored.items()}, file)
    overrides = {"model.backbone": "resnet18", "data.root": "x", "data.image_size": "(32,32)"}
    config = load_config(f"{CONFIGS / 'sysu.py'}:released", overrides)
    capfd.readouterr()
    run = load_weights(config, str(file))
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == (
        f"{file}: 2 tensors of non-local blocks (NL_2, NL_3) are left out: the original stores "
        "them in a ResNet-18 and never runs them\n"
    )
    assert run.model.backbone == "resnet18"
    assert [f"{file}: {remark}\n" for remark in run.record["remarks"]] == [said.err]
    start = dataclasses.replace(config, pretrained=str(file), pretrained_fresh=("classifier",))
    initial_variables(start, run.model)
    assert capfd.readouterr().err == said.err
