import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest

import lupi_jax as lupi
from lupi_jax import InputError, Modality
from lupi_jax.evaluation.export import export_network, require_place, save_network
from lupi_jax.evaluation.features import require_place as features_place
from lupi_jax.evaluation.origin import origin_of
from lupi_jax.models import operations
from lupi_jax.runtime.files import alone

SIZE = (48, 32)
MODEL = lupi.EmbedNet(13, backbone="thin")

ALONE = """
import sys
for name in ("lupi_jax", "flax", "optax", "orbax", "tensorflow"):
    sys.modules[name] = None  # importing it raises ImportError
from pathlib import Path
import jax.export
import numpy as np

folder, images = sys.argv[1], np.load(sys.argv[2])
for modality in ("visible", "infrared"):
    program = bytearray(Path(folder, modality + ".bin").read_bytes())
    embed = jax.export.deserialize(program).call
    parts = [embed(images[:1]), embed(images[1:])]  # one program, batches of any size
    np.save(Path(folder, modality + ".npy"), np.concatenate(parts))
print([n for n, m in sys.modules.items() if m and n.partition(".")[0] in ("lupi_jax", "flax")])
"""


@pytest.fixture(scope="module")
def variables(draw_variables):
    return draw_variables(MODEL, SIZE)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (4, *SIZE, 3), np.uint8)


def test_a_process_with_jax_alone_computes_the_same(variables, images, tmp_path):
    folder = tmp_path / "new" / "network"
    facts = {"run": "runs/demo", "step": 7}
    assert save_network(folder, MODEL, variables, SIZE, facts=facts) == ["visible", "infrared"]
    assert {path.name for path in folder.iterdir()} == {
        "visible.bin",
        "infrared.bin",
        "artefact.json",
    }
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", ALONE, str(folder), str(tmp_path / "images.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    made = {}
    for modality in ("visible", "infrared"):
        made[modality] = np.load(folder / f"{modality}.npy")
        expected = lupi.extract_features(MODEL, variables, images, Modality(modality))
        assert made[modality].dtype == np.float32
        np.testing.assert_allclose(made[modality], expected, rtol=0, atol=1e-5)
    assert np.abs(made["visible"] - made["infrared"]).max() > 1e-2  # each through its own stem

    record = json.loads((folder / "artefact.json").read_text())
    assert record["network"] == {**origin_of(MODEL, variables, SIZE), **facts}
    assert record["files"] == {"visible": "visible.bin", "infrared": "infrared.bin"}
    assert record["images"]["shape"] == ["n", 48, 32, 3]
    assert record["features"]["shape"] == ["n", 256]
    assert record["features"]["feature"] == "neck"


def test_a_network_whose_modalities_share_layer1(images, draw_variables):
    model = lupi.EmbedNet(13, backbone="thin", stem_relu=True, shared_from="layer1")
    variables = draw_variables(model, SIZE)
    program = export_network(model, variables, Modality.INFRARED, SIZE)
    own = lupi.extract_features(model, variables, images, Modality.INFRARED)
    np.testing.assert_allclose(np.asarray(program.call(images)), own, rtol=0, atol=1e-5)


def test_the_other_feature(variables, images):
    program = export_network(MODEL, variables, Modality.VISIBLE, SIZE, "pooled")
    own = lupi.extract_features(MODEL, variables, images, Modality.VISIBLE, "pooled")
    np.testing.assert_allclose(np.asarray(program.call(images)), own, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="neck or pooled, not 'logits'"):
        export_network(MODEL, variables, Modality.VISIBLE, SIZE, "logits")


def test_a_network_that_computes_in_bfloat16(variables, images):
    half = lupi.EmbedNet(13, backbone="thin", dtype=jax.numpy.bfloat16)
    program = export_network(half, variables, Modality.INFRARED, SIZE)
    assert [result.dtype for result in program.out_avals] == [np.float32]
    made = np.asarray(program.call(images))
    own = lupi.extract_features(half, variables, images, Modality.INFRARED)
    whole = lupi.extract_features(MODEL, variables, images, Modality.INFRARED)
    # Two programs round otherwise, but no further from each other than from float32.
    np.testing.assert_allclose(made, own, rtol=0, atol=np.abs(own - whole).max())
    assert 1e-4 < np.abs(made - whole).max() < 1e-2  # it does compute in bfloat16


def count_operations(variables) -> Counter[str]:
    jax.clear_caches()
    text = export_network(MODEL, variables, Modality.INFRARED, SIZE).mlir_module()
    return Counter(re.findall(r"= \"?stablehlo\.(\w+)", text))


def test_one_program_is_right_for_every_platform(variables, monkeypatch):
    """Where it is made decides nothing: JAX's own branches alone tell platforms apart."""
    program = export_network(MODEL, variables, Modality.INFRARED, SIZE)
    assert program.platforms == ("cpu", "cuda", "rocm", "tpu")
    here = count_operations(variables)
    assert here["convolution"] > 5
    chosen = []
    plain = operations._conv2d
    monkeypatch.setattr(operations, "_conv2d", lambda *given: chosen.append(1) or plain(*given))
    monkeypatch.setattr(operations, "_conv2d_cpu", None)  # what follows may not come by it
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert count_operations(variables) == here
    assert chosen


def test_what_retrieval_does_not_need_is_left_out(variables):
    text = export_network(MODEL, variables, Modality.INFRARED, SIZE).mlir_module()
    constants = re.findall(r"stablehlo\.constant dense<.*?> : tensor<([\dx]+)xf32>", text)
    assert constants.count("7x7x3x32") == 1  # one stem of three
    assert not [shape for shape in constants if shape.endswith("x13")]  # no classifier


def test_a_program_says_nothing_of_where_it_was_made(variables):
    before = jax.config.jax_traceback_in_locations_limit
    content = export_network(MODEL, variables, Modality.INFRARED, SIZE).serialize()
    assert str(Path(lupi.__file__).parent).encode() not in content
    assert b".py" not in content
    assert jax.config.jax_traceback_in_locations_limit == before


def test_images_of_another_size_are_refused(variables, images):
    program = export_network(MODEL, variables, Modality.INFRARED, SIZE)
    with pytest.raises(ValueError, match="48"):
        program.call(images[:, :32])


def test_a_network_of_one_modality(variables, tmp_path):
    """It takes every image through its only stem; one that lacks infrared has one program."""
    params = variables["params"]
    thermal = {k: v for k, v in params.items() if k not in ("stem_visible", "stem_intermediate")}
    only = {**variables, "params": thermal}
    assert save_network(tmp_path / "a", MODEL, only, SIZE) == ["visible", "infrared"]
    twins = {k: v for k, v in params.items() if k != "stem_infrared"}
    lacking = {**variables, "params": twins}
    assert save_network(tmp_path / "b", MODEL, lacking, SIZE) == ["visible"]
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"visible.bin", "artefact.json"}
    with pytest.raises(ValueError, match="cannot embed infrared"):
        export_network(MODEL, lacking, Modality.INFRARED, SIZE)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_a_network_takes_the_place_of_a_network_alone(variables, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    (tmp_path / "file").touch()
    (tmp_path / "thesis").mkdir()  # whose own record has the same name
    (tmp_path / "thesis" / "artefact.json").write_text('{"format": "a table"}')
    for place in ("photos", "file", "thesis"):
        with pytest.raises(InputError, match=f"{place}: something else is there"):
            save_network(tmp_path / place, MODEL, variables, SIZE)
    folder = tmp_path / "network"
    save_network(folder, MODEL, variables, SIZE)
    before = contents(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(InputError, match=r"cannot be written there \(No space left on"):
            save_network(folder, MODEL, variables, SIZE, "pooled")
    assert contents(tmp_path) == before
    (folder / "notes.txt").write_text("mine")
    save_network(folder, MODEL, variables, SIZE, "pooled")
    assert (folder / "notes.txt").read_text() == "mine"
    assert json.loads((folder / "artefact.json").read_text())["features"]["feature"] == "pooled"


def test_a_network_that_another_process_writes_stays_its(variables, tmp_path):
    folder = tmp_path / "network"
    save_network(folder, MODEL, variables, SIZE)
    before = contents(folder)
    with alone(folder), pytest.raises(InputError, match=r"network: .*another process is writing"):
        save_network(folder, MODEL, variables, SIZE, "pooled")
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("require", "marker"), [(require_place, "artefact.json"), (features_place, "features.npy")]
)
def test_an_export_that_was_killed_may_be_repeated_among_other_files(tmp_path, require, marker):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="something else is there"):
        require(tmp_path)
    (tmp_path / f".lupi-partial-{marker}-abcdefgh" / "old").mkdir(parents=True)
    require(tmp_path)


@pytest.mark.parametrize("record", ["[" * 100_000, '{"format": 7}', ""])
def test_a_directory_with_a_damaged_record_is_not_ours(variables, tmp_path, record):
    (tmp_path / "artefact.json").write_text(record)
    with pytest.raises(InputError, match="something else is there"):
        save_network(tmp_path, MODEL, variables, SIZE)
    (tmp_path / "artefact.json").unlink()
    (tmp_path / "artefact.json").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="something else is there"):
        save_network(tmp_path, MODEL, variables, SIZE)
