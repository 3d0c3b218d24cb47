"""A loss, a backbone and hooks of a user's own, from files beside the data."""

import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import lupi_jax as lupi
from lupi_jax.cli import main
from lupi_jax.errors import InputError
from lupi_jax.training import load_run
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.logging import read_metrics
from lupi_jax.training.pretrained import saved_network

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
FIELDS = {
    "data.image_size": "(32,32)",
    "data.feed": "memmap",
    "batch.identities": "2",
    "batch.images": "2",
    "model.backbone": "small_net:SmallNet",
    "model.backbone_settings.width": "4",
    "model.pooling": "average",
    "loss.extra": "modality_adversary:ModalityAdversary",
    "loss.extra_settings.width": "8",
    "loss.extra_weight": "0.5",
    "log.every": "1",
    "log.hooks": "('print_rows:PrintRows',)",
    "log.checkpoint_every": "2",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with copies of the examples, and no module of theirs imported."""
    for file in EXAMPLES.glob("*.py"):
        shutil.copy(file, tmp_path)
    names = [file.stem for file in EXAMPLES.glob("*.py")]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    for name in names:
        sys.modules.pop(name, None)
    yield tmp_path
    for name in names:
        sys.modules.pop(name, None)


def command(people: Path, workdir: str, steps: int, **fields: str) -> list[str]:
    config = {**FIELDS, "data.root": str(people), "steps": str(steps), **fields}
    return [
        *("train", "--config", "configs/folder.py", "--workdir", workdir),
        *(f"--config.{name}={value}" for name, value in config.items()),
    ]


def saved(workdir: str) -> dict[str, Any]:
    """All arrays of a run's newest checkpoint, as Orbax restores them without being told."""
    with Checkpoints(workdir, read_only=True) as checkpoints:
        step = checkpoints.newest
        assert step is not None
        parts = {
            name: ocp.args.StandardRestore() for name in ("variables", "optimizer", "extra_loss")
        }
        restored = checkpoints._manager.restore(step, args=ocp.args.Composite(**parts))
    return {name: jax.tree.map(np.asarray, restored[name]) for name in parts}


def test_a_run_of_own_parts_resumes_bit_for_bit_and_serves_every_command(
    here: Path, people: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(command(people, "whole", 4)) == 0
    out = capfd.readouterr().out
    assert [line.split(" {")[0] for line in out.splitlines()] == [
        f"whole train {step}" for step in (1, 2, 3, 4)
    ]
    rows = read_metrics("whole")
    terms = ("identity", "triplet", "color_free", "adversary")
    for row in rows:
        assert row["loss/total"] == pytest.approx(sum(row[f"loss/{t}"] for t in terms), rel=1e-6)
    # Three modalities that the discriminator cannot tell apart yet: half of log 3.
    assert rows[0]["loss/adversary"] == pytest.approx(0.5 * np.log(3), rel=0.2)

    assert main(command(people, "broken", 2)) == 0
    assert main(command(people, "broken", 4)) == 0
    whole, broken = saved("whole"), saved("broken")
    assert jax.tree.structure(whole) == jax.tree.structure(broken)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(broken), strict=True)
    )
    beside = whole["extra_loss"]
    assert {k: v["kernel"].shape for k, v in beside.items()} == {
        "Dense_0": (32, 8),
        "Dense_1": (8, 3),
    }
    assert "extra_loss" not in whole["variables"]["params"]

    assert main(["evaluate", "--workdir", "whole"]) == 0
    assert main(["export", "--workdir", "whole", "--out", "features.npz"]) == 0
    assert main(["export", "--workdir", "whole", "--stablehlo", "net"]) == 0
    assert main(["report", "--workdir", "whole", "--out", "report.html"]) == 0
    assert "small_net:SmallNet" in Path("report.html").read_text()
    with np.load("features.npz") as features:
        assert features["features"].shape[1] == 32


def test_a_run_remembers_the_code_of_its_parts(
    here: Path, people: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(command(people, "run", 2)) == 0
    record = load_run("run").record
    assert record["parts"].keys() == {"model.backbone", "loss.extra"}
    assert len(record["parts"]["loss.extra"]["digest"]) == 64
    assert "log.hooks" not in record["parts"]  # they do not change a number
    with Path("modality_adversary.py").open("a") as file:
        file.write("# changed\n")
    capfd.readouterr()
    assert main(command(people, "run", 4)) == 2
    said = capfd.readouterr().err
    assert "differs in the code of loss.extra = modality_adversary:ModalityAdversary" in said
    assert main(["evaluate", "--workdir", "run", "--out", "a.json"]) == 0  # a loss does not matter
    assert "another version" not in capfd.readouterr().err
    with Path("small_net.py").open("a") as file:
        file.write("# changed\n")
    assert main(["evaluate", "--workdir", "run", "--out", "b.json"]) == 0
    said = capfd.readouterr().err
    assert (
        "note: run was trained with another version of the code of model.backbone = "
        "small_net:SmallNet" in said
    )
    code = Path("small_net.py").read_text()
    Path("small_net.py").write_text(code.replace("(3, 3)", "(5, 5)"))
    sys.modules.pop("small_net")
    assert main(["evaluate", "--workdir", "run"]) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert "does not fit the code of model.backbone = small_net:SmallNet, which has changed" in said
    Path("small_net.py").unlink()
    sys.modules.pop("small_net")
    assert main(["evaluate", "--workdir", "run"]) == 2
    assert capfd.readouterr().err.splitlines()[-1] == (
        "lupi: model.backbone = small_net:SmallNet: no module small_net: run the command "
        "in the directory of small_net.py, or add that directory to PYTHONPATH"
    )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("loss.extra", "nowhere:x", "no module nowhere: run the command in the directory"),
        ("loss.extra", "hetero_center:x", "hetero_center.py does not define x"),
        ("loss.extra", "broken:x", "broken:x: NameError: name 'y' is not defined ("),
        ("loss.extra", "wrong:raises", "wrong:raises: ZeroDivisionError: division by zero ("),
        ("loss.extra", "wrong:vector", "returns v with the shape [4] and the type float32"),
        ("loss.extra", "wrong:total", "returns a term named 'total': choose another name than"),
        ("loss.extra", "wrong:scalar", ": return a dict from texts to scalars"),
        ("loss.extra", "wrong:nothing", "returns no terms"),
        ("loss.extra", "wrong:one", "takes (only): it must accept 2 inputs"),
        ("loss.extra", "wrong", "must name a part of your own as MODULE:NAME"),
        (
            "loss.extra_settings.no",
            "1",
            "takes (embeddings, labels, weight) and gets 2 inputs, got an",
        ),
        ("model.backbone", "wrong:raises", "must be a subclass of lupi_jax.models.Backbone"),
        ("model.backbone_settings.no", "1", "takes (width) and gets 0 inputs, got an"),
        (
            "model.backbone",
            "wrong_net:Wide",
            "the trunk of wrong_net:Wide must return [n, h, w, 5]",
        ),
        ("log.hooks", "('wrong:raises',)", "ZeroDivisionError: division by zero ("),
        ("log.hooks", "('wrong:pair',)", "does not make a lupi_jax.Hook: extend that class"),
        ("log.hooks", "('wrong:five',)", "log.hooks names an object of type int: name a function"),
        ("log.hooks", "('wrong',)", "must name each hook as MODULE:NAME"),
    ],
)
def test_a_wrong_part_gets_one_line(
    here: Path,
    people: Path,
    capfd: pytest.CaptureFixture[str],
    field: str,
    value: str,
    message: str,
) -> None:
    Path("broken.py").write_text("x = y\n")
    Path("wrong.py").write_text(
        "def raises(a, b): return 1 / 0\n"
        "def vector(e, labels): return {'v': labels * 1.0}\n"
        "def total(e, labels): return {'total': labels.sum() * 1.0}\n"
        "def scalar(e, labels): return labels.sum() * 1.0\n"
        "def nothing(e, labels): return {}\n"
        "def one(only): return {}\n"
        "five = 5\n"
        "def pair(config, workdir): return ()\n"
    )
    Path("wrong_net.py").write_text(
        "import dataclasses\n"
        "import small_net\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Wide(small_net.SmallNet):\n"
        "    @property\n"
        "    def features(self): return 5\n"
    )
    plain = {
        "loss.extra": "hetero_center:hetero_center",
        "log.hooks": "()",
        "loss.extra_settings.width": "None",
        "loss.extra_settings.weight": "1.0",
    }
    arguments = command(people, "run", 2, **{**plain, field: value})
    arguments = [a for a in arguments if not a.startswith("--config.loss.extra_settings.width")]
    if field == "loss.extra":
        arguments = [a for a in arguments if not a.startswith("--config.loss.extra_settings")]
    assert main(arguments) == 2
    said = capfd.readouterr().err.splitlines()
    assert message in said[-1], said
    assert not Path("run").exists()


def test_python_takes_a_loss_and_hooks_as_objects(here: Path, people: Path) -> None:
    fields = {n: v for n, v in FIELDS.items() if not n.startswith(("loss.", "log.hooks"))}
    values = {"data.root": str(people), "steps": "3"}
    config = lupi.parse_config({}, {**fields, **values, "loss.extra_weight": "2.0"})

    def half(embeddings: Any, labels: jax.Array) -> dict[str, jax.Array]:
        assert list(embeddings) == ["visible", "infrared", "intermediate"]
        assert [x.shape for x in embeddings["visible"]] == [(4, 32), (4, 32), (4, 8)]
        return {"half": 0.5 + 0 * jnp.sum(embeddings["infrared"].pooled)}

    class Notes(lupi.Hook):
        def __init__(self) -> None:
            self.steps, self.rows = [], []

        def after(self, now: lupi.Moment) -> None:
            self.steps.append(now.step)
            now.stop = now.step == 2

        def logged(self, row: Any) -> None:
            self.rows.append(row)

    notes = Notes()
    with pytest.raises(RuntimeError, match="stopped after step 2 of 3"):
        lupi.train(config, "run", loss=half, hooks=[notes])
    assert notes.steps == [1, 2]
    assert [(row["step"], row["loss/half"]) for row in notes.rows] == [(1, 1.0), (2, 1.0)]
    assert load_run("run").record["parts"]["loss.extra"]["name"].endswith("<locals>.half")
    with pytest.raises(InputError, match=r"differs in the code of loss.extra = test_own_parts:"):
        lupi.train(config, "run")  # without the loss it would be another run
    named = dataclasses.replace(config.loss, extra="hetero_center:hetero_center")
    with pytest.raises(ValueError, match="give either loss or config"):
        lupi.train(dataclasses.replace(config, loss=named), "other", loss=half)


def test_settings_and_weight_apply_to_a_loss_given_as_an_object(here: Path, people: Path) -> None:
    fields = {n: v for n, v in FIELDS.items() if not n.startswith(("loss.", "log.hooks"))}
    fields |= {"data.root": str(people), "steps": "1", "loss.extra_weight": "2.0"}

    def level(embeddings: Any, labels: jax.Array, height: float = 1.0) -> dict[str, jax.Array]:
        return {"level": height + 0 * jnp.sum(embeddings["infrared"].pooled)}

    wrong = lupi.parse_config({}, {**fields, "loss.extra_settings.width": "3.0"})
    with pytest.raises(InputError, match=r"level takes \(embeddings, labels, height\) and gets 2"):
        lupi.train(wrong, "run", loss=level)
    with pytest.raises(InputError, match=r"^config: loss.extra_settings needs a part of your own"):
        lupi.train(wrong, "run")
    assert not Path("run").exists()

    config = lupi.parse_config({}, {**fields, "loss.extra_settings.height": "3.0"})
    lupi.train(config, "run", loss=level)
    assert [row["loss/level"] for row in read_metrics("run")] == [6.0]
    assert load_run("run").config.loss.extra_settings == {"height": 3.0}


def test_stems_without_variables_are_stems(
    here: Path, people: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("half_net.py").write_text(
        "import dataclasses\n"
        "from flax import linen as nn\n"
        "import small_net\n"
        "class Half(nn.Module):\n"
        "    @nn.compact\n"
        "    def __call__(self, x, train): return x[:, ::2, ::2]\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class HalfNet(small_net.SmallNet):\n"
        "    def stem(self, numerics, name): return Half(name=name)\n"
    )
    own = {"model.backbone": "half_net:HalfNet", "log.hooks": "()"}
    assert main(command(people, "run", 1, **own)) == 0
    assert set(load_run("run").variables["params"]) == {"trunk", "neck", "classifier"}
    assert main(command(people, "tuned", 1, pretrained="run", **own)) == 0
    assert main(["evaluate", "--workdir", "tuned", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)["results"]
    assert {row["query"] for row in found} == {"visible", "infrared"}
    extract = lupi.extractor("run")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    features = {m: extract(images, m) for m in ("visible", "infrared")}
    np.testing.assert_array_equal(features["visible"], features["infrared"])


def test_fine_tuning_starts_from_a_run_with_an_own_backbone(here: Path, people: Path) -> None:
    assert main(command(people, "first", 2)) == 0
    assert main(command(people, "second", 1, pretrained="first", **{"optimizer.rate": "1e-9"})) == 0
    with Checkpoints("first", read_only=True) as a, Checkpoints("second", read_only=True) as b:
        (_, first, _), (_, second, record) = saved_network(a, 2), saved_network(b, 1)
    for x, y in zip(
        jax.tree.leaves(first["params"]), jax.tree.leaves(second["params"]), strict=True
    ):
        np.testing.assert_allclose(x, y, atol=1e-6)
    assert json.dumps(record["config"]["model"]["backbone_settings"]) == '{"width": 4}'
