"""Whole runs on a tiny data set: resuming, feeds, failures."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lupi_jax.config import Config, parse_config
from lupi_jax.data.index import Index, Row, make_index
from lupi_jax.errors import DivergedError, InputError
from lupi_jax.modality import Modality
from lupi_jax.training import build, load_run, train
from lupi_jax.training.build import prepare_data
from lupi_jax.training.checkpoints import Checkpoints
from lupi_jax.training.hooks import Moment
from lupi_jax.training.logging import RunLog, read_metrics
from lupi_jax.training.network import fresh_variables, make_model
from lupi_jax.training.optimizer import make_optimizer
from lupi_jax.training.run import check_same_run
from lupi_jax.training.step import TrainState


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five identities, two images per modality."""
    root, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    for modality in ("visible", "infrared"):
        for identity in range(5):
            folder = root / "train" / modality / f"{identity:04d}"
            folder.mkdir(parents=True)
            for n in range(2):
                pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"c1_{n}.png")
    return root


def configure(root: Path, **fields: Any) -> Config:
    values: dict[str, Any] = {
        "steps": 6,
        "recipe": "released",
        "data": {"root": str(root), "image_size": (32, 32), "feed": "memmap"},
        "batch": {"identities": 2, "images": 2},
        "model": {"backbone": "thin", "non_local": False},
        "views": {"pad": 2},
        "optimizer": {"rate": 0.01, "unit": "steps", "warmup": 2},
        "log": {"every": 2, "checkpoint_every": 3},
    }
    for name, value in fields.items():
        group, _, leaf = name.rpartition("__")
        (values.setdefault(group, {}) if group else values)[leaf] = value
    return parse_config(values)


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainState]:
    """Six steps without interruption."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, train(configure(root), workdir)


def assert_same(a: TrainState, b: TrainState) -> None:
    assert int(a.step) == int(b.step)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_resumed_is_bit_for_bit_uninterrupted(
    root: Path, whole: tuple[Path, TrainState], tmp_path: Path
) -> None:
    train(configure(root, steps=3), tmp_path)
    assert_same(train(configure(root, steps=6), tmp_path), whole[1])
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    expected = [json.loads(x) for x in (whole[0] / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in expected] == [2, 4, 6]
    assert [row["step"] for row in rows] == [2, 3, 4, 6]  # 3: the first run's last window
    assert rows[-1]["loss/total"] == expected[-1]["loss/total"]
    total = sum(rows[-1][f"loss/{name}"] for name in ("identity", "triplet", "color_free"))
    assert rows[-1]["loss/total"] == pytest.approx(total, rel=1e-6)


def test_a_checkpoint_from_before_a_field_is_the_network_it_was(
    root: Path, tmp_path: Path, draw_variables: Callable[..., Any]
) -> None:
    """Of recipe `agw` when its modalities had a layer1 each, and no record said so."""
    config = configure(root, recipe="agw", model__shared_from="layer2")
    drawn = draw_variables(make_model(config, 5), (32, 32))
    for tree in drawn.values():
        del tree["stem_intermediate"]
    variables = jax.tree.map(jnp.asarray, drawn)
    state = TrainState.create(variables, make_optimizer(config.optimizer, 1))
    record: dict[str, Any] = {
        "config": dataclasses.asdict(config),
        "steps": 6,
        "steps_per_epoch": 1,
        "num_classes": 5,
        "data": "images",
    }
    del record["config"]["model"]["shared_from"]
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, record, {})
    run = load_run(tmp_path)
    assert (run.config.recipe, run.model.shared_from) == ("agw", "layer2")
    assert run.variables.keys() == drawn.keys()
    for x, y in zip(jax.tree.leaves(run.variables), jax.tree.leaves(drawn), strict=True):
        np.testing.assert_array_equal(x, y)
    today = {**record, "config": dataclasses.asdict(configure(root, recipe="agw"))}
    with pytest.raises(InputError, match=r"differs in model\.shared_from:"):
        check_same_run(record, today, tmp_path)
    same = {**record, "config": dataclasses.asdict(config)}
    check_same_run(record, same, tmp_path)


def copied(root: Path, place: Path) -> Path:
    """A copy of a data set: the same content, of another time."""
    return shutil.copytree(root, place, copy_function=shutil.copyfile)


def repaint(file: Path) -> None:
    """Another picture of the same length: a pixel of a file without compression is another."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_images_that_have_changed_stop_a_run_that_goes_on(root: Path, tmp_path: Path) -> None:
    place, workdir = copied(root, tmp_path / "people"), tmp_path / "run"
    for file in place.rglob("*.png"):  # PNG, in which a changed byte is no longer a picture
        Image.open(file).save(file, "BMP")
    train(configure(place, steps=3), workdir)
    first, second = (place / f"train/infrared/0003/c1_{n}.png" for n in range(2))
    before = first.read_bytes()
    repaint(first)
    repaint(second)
    with pytest.raises(InputError) as error:
        train(configure(place), workdir)
    assert str(error.value) == (
        f"{workdir} holds a run whose images in {place} have changed since (2 of 20, the first "
        "train/infrared/0003/c1_0.png): bring them back, or train anew in another --workdir"
    )
    assert load_run(workdir).step == 3  # nothing lost
    first.write_bytes(before)  # at another time
    repaint(second)
    assert int(train(configure(place), workdir).step) == 6
    # What was read first is what counts.
    repaint(second)
    with pytest.raises(InputError, match=r"changed since \(1 of 20, the first .*/c1_1\.png"):
        train(configure(place, steps=9), workdir)


def test_an_image_that_is_gone_is_named(root: Path, tmp_path: Path) -> None:
    place, workdir = copied(root, tmp_path / "people"), tmp_path / "run"
    train(configure(place, steps=3), workdir)
    (place / "train/visible/0001/c1_1.png").rename(place / "train/visible/0001/c1_7.png")
    moved = r"the training images \(2 are new or gone, the first train/visible/0001/c1_1\.png\)"
    with pytest.raises(InputError, match=rf"holds a run that differs in {moved}: give"):
        train(configure(place), workdir)


@pytest.mark.slow  # test_divergence_... goes the same way; test_killed_runs.py really kills
def test_a_killed_run_repeats_what_it_had_not_saved(
    root: Path, whole: tuple[Path, TrainState], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    after = RunLog.after

    def killed_at_five(self: RunLog, now: Moment) -> None:
        if now.step == 5:
            raise Killed
        after(self, now)

    monkeypatch.setattr(RunLog, "after", killed_at_five)
    with pytest.raises(Killed):
        train(configure(root), tmp_path)
    monkeypatch.undo()
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.newest == 3
    assert_same(train(configure(root), tmp_path), whole[1])


def test_feeds_train_the_same_parameters(
    root: Path, whole: tuple[Path, TrainState], tmp_path: Path
) -> None:
    pytest.importorskip("tensorflow")
    assert_same(train(configure(root, data__feed="tfdata"), tmp_path), whole[1])


def test_images_held_on_the_device_train_the_same_parameters(
    root: Path, whole: tuple[Path, TrainState], tmp_path: Path
) -> None:
    assert_same(train(configure(root, data__feed="device"), tmp_path), whole[1])
    assert not (tmp_path / "cache").exists()


def test_a_trace_of_some_steps_changes_nothing(
    root: Path,
    whole: tuple[Path, TrainState],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_same(train(configure(root), tmp_path, profile=2), whole[1])
    (said,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("steps 3 to 4: ")]
    assert said.endswith(f"to see the trace: tensorboard --logdir {tmp_path}/profile")
    (trace,) = (tmp_path / "profile").rglob("*.xplane.pb")
    planes = jax.profiler.ProfileData.from_file(str(trace)).planes
    names = [event.name for plane in planes for line in plane.lines for event in line.events]
    assert sum("Execute" in name for name in names) >= 2


def test_checkpoint_alone_rebuilds_the_network(whole: tuple[Path, TrainState]) -> None:
    run = load_run(whole[0])
    assert (run.step, run.model.num_classes, run.config.recipe) == (6, 5, "released")
    for x, y in zip(
        jax.tree.leaves(run.variables), jax.tree.leaves(whole[1].variables), strict=True
    ):
        np.testing.assert_array_equal(x, y)
    assert load_run(whole[0], 3).step == 3
    untrained = load_run(whole[0], untrained=True)
    assert untrained.step == 0
    first = fresh_variables(run.config, run.model)
    for x, y in zip(jax.tree.leaves(untrained.variables), jax.tree.leaves(first), strict=True):
        np.testing.assert_array_equal(x, y)
    with pytest.raises(InputError, match="no step has validation figures"):
        load_run(whole[0], "best")
    with pytest.raises(InputError, match="give one of 3, 6"):
        load_run(whole[0], 5)


def test_another_configuration_is_refused_by_field(
    root: Path, whole: tuple[Path, TrainState]
) -> None:
    other = configure(root, seed=1, optimizer__rate=0.02, data__prefetch=2)
    with pytest.raises(InputError, match=r"differs in seed, optimizer\.rate:") as error:
        train(other, whole[0])
    assert "prefetch" not in str(error.value)  # changes no number


def test_images_may_move_but_not_change(
    root: Path, whole: tuple[Path, TrainState], tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(root, moved)
    assert_same(train(configure(moved), whole[0]), whole[1])  # finished: nothing left to do
    added = moved / "train" / "visible" / "0003" / "c1_2.png"
    shutil.copy(added.with_name("c1_0.png"), added)
    with pytest.raises(InputError, match="differs in the training images"):
        train(configure(moved), whole[0])


def test_divergence_names_step_and_term_and_keeps_the_last_good_checkpoint(
    root: Path, whole: tuple[Path, TrainState], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = RunLog.after

    def broken_at_five(self: RunLog, now: Moment) -> None:
        if now.step == 5:  # what one term that is not finite does to the figures beside it
            nan = jnp.asarray(jnp.nan)
            spoiled = ("loss/triplet", "loss/total", "gradient_norm")
            now.metrics |= dict.fromkeys(spoiled, nan)
        after(self, now)

    monkeypatch.setattr(RunLog, "after", broken_at_five)
    with pytest.raises(DivergedError, match="loss/triplet is nan at step 5"):
        train(configure(root), tmp_path)
    monkeypatch.undo()
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.newest == 3
    assert_same(train(configure(root), tmp_path), whole[1])


def test_a_rate_too_high_diverges_before_anything_is_saved(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"is (nan|inf) at step [23]:"):
        train(configure(root, optimizer__rate=1e30), tmp_path)
    with pytest.raises(InputError, match="no checkpoint under"):
        load_run(tmp_path)


def test_half_a_line_of_a_killed_run_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 2, "split": "train"}\n{"step": 4, "spl')
    assert read_metrics(tmp_path) == [{"step": 2, "split": "train"}]


def test_best_checkpoint_outlives_newer_ones(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([0.2, 0.9, 0.3, 0.4])

    def validate(*_: Any) -> dict[str, float]:
        return {"mean_ap": next(figures)}

    config = configure(
        root,
        steps=8,
        data__validation_identities=2,
        log__validate_every=2,
        log__checkpoint_every=0,
        log__keep=1,
    )
    monkeypatch.setattr(build, "make_validation", lambda *_: validate)
    train(config, tmp_path)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert (checkpoints.newest, checkpoints.best) == (8, 4)
        assert checkpoints.figures(4) == {"mean_ap": 0.9}
        with pytest.raises(InputError, match="give one of 4, 8"):
            checkpoints.find("6")
    assert load_run(tmp_path, "best").step == 4


def test_held_out_identities_are_not_trained_on(root: Path) -> None:
    config = configure(root, data__validation_identities=2, log__validate_every=1)
    data = prepare_data(config)
    assert data.validation is not None
    assert len(data.train.classes) == 3
    assert not set(data.train.classes) & set(data.validation.classes)
    # floor(6 images per modality / (2 x 2)) + 1
    assert data.steps_per_epoch == 2


def numbers(visible: int, infrared: int, identities: int) -> Index:
    """An index of that many images, dealt out to the identities in turn."""
    counts = {Modality.VISIBLE: visible, Modality.INFRARED: infrared}
    return make_index(
        Path("people"),
        [
            Row(f"{modality}/{i}.png", i % identities, 1, modality)
            for modality, count in counts.items()
            for i in range(count)
        ],
    )


@pytest.mark.parametrize(
    "modalities",
    [("visible",), ("infrared",), ("intermediate",), ("visible", "infrared")],
)
def test_an_epoch_is_as_long_as_the_larger_modality(
    modalities: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps(visible: int, infrared: int, identities: int, batch: tuple[int, int]) -> int:
        index = numbers(visible, infrared, identities)
        monkeypatch.setattr(build, "read_training", lambda *_: (index, None))
        fields = {"batch__identities": batch[0], "batch__images": batch[1]}
        return prepare_data(
            configure(Path("people"), modalities=modalities, **fields)
        ).steps_per_epoch

    # SYSU-MM01: floor(22,258 / 32) + 1; its 11,909 infrared images alone would make 373.
    assert steps(22_258, 11_909, 395, (8, 4)) == 696
    # RegDB: floor(2060 / 32) + 1.
    assert steps(2060, 2060, 206, (8, 4)) == 65
    # More infrared than visible images, and a count that the batch divides.
    assert steps(7, 12, 3, (2, 2)) == 4


def test_an_older_run_is_not_lengthened_unasked(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch had 3 steps when only the 10 infrared images counted; 15 visible ones make 4."""
    shutil.copytree(root, tmp_path / "data")
    for folder in (tmp_path / "data" / "train" / "visible").iterdir():
        shutil.copy(folder / "c1_0.png", folder / "c1_2.png")
    recorded = build.run_record

    def without_epoch(*given: Any) -> dict[str, Any]:
        return {k: v for k, v in recorded(*given).items() if k != "steps_per_epoch"}

    alone = {"modalities": ("infrared",), "log__checkpoint_every": 0}
    monkeypatch.setattr(build, "run_record", without_epoch)
    train(configure(tmp_path / "data", steps=1, **alone), tmp_path / "run")
    monkeypatch.undo()
    message = r"run holds a run with 3 steps per epoch, but an epoch now has 4 steps, which would "
    with pytest.raises(InputError, match=rf"{message}.*--config\.steps=1 to keep"):
        train(configure(tmp_path / "data", steps=0, epochs=2, **alone), tmp_path / "run")
    train(configure(tmp_path / "data", steps=2, **alone), tmp_path / "run")
    with Checkpoints(tmp_path / "run", read_only=True) as checkpoints:
        assert checkpoints.run(2)["steps_per_epoch"] == 4


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"steps": 6, "optimizer__unit": "steps"}, ""),
        ({"steps": 6, "optimizer__unit": "epochs"}, "would change its learning rates"),
        ({"steps": 0, "epochs": 2, "optimizer__unit": "steps"}, "would change its length"),
        ({"steps": 0, "epochs": 2, "optimizer__unit": "epochs"}, "would change its learning rates"),
    ],
)
def test_another_length_of_an_epoch_is_refused_where_it_counts(
    fields: dict[str, Any], refused: str, root: Path, tmp_path: Path
) -> None:
    config = dataclasses.asdict(configure(root, **fields))
    record = {"config": config, "steps": 6, "steps_per_epoch": 373, "data": "images"}
    check_same_run(record, record, tmp_path)
    with pytest.raises(InputError, match=refused) if refused else nullcontext():
        check_same_run(record, {**record, "steps_per_epoch": 696}, tmp_path)


def test_images_of_held_out_identities_do_not_lengthen_an_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = numbers(30, 20, 5)  # 6 visible and 4 infrared images of each
    monkeypatch.setattr("lupi_jax.data.sources.reading.read_index", lambda *_: whole)
    fields = {"data__validation_identities": 2, "log__validate_every": 1}
    pairs = ("infrared_to_infrared",)
    alone = {"modalities": ("infrared",), "evaluation__pairs": pairs}
    for chosen in ({}, alone):
        data = prepare_data(configure(Path("people"), **fields, **chosen))
        # floor(3 x 6 / (2 x 2)) + 1; all five identities would make 8.
        assert data.steps_per_epoch == 5
    assert data.validation is not None
    assert (data.train.count(Modality.INFRARED), data.validation.count(Modality.VISIBLE)) == (
        12,
        12,
    )


def test_one_modality_trains_alone(root: Path, tmp_path: Path) -> None:
    fields = {"modalities": ("infrared",), "loss__color_free": "none"}
    state = train(configure(root, steps=1, **fields), tmp_path)
    assert [k for k in state.params if k.startswith("stem")] == ["stem_infrared"]
