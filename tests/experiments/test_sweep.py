"""A sweep runs what is missing, once, and goes on where it was stopped."""

import argparse
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock

from experiments.tables import running
from experiments.tables import sweep as module
from experiments.tables.cells import CELLS
from experiments.tables.command import run_table
from experiments.tables.paper import TABLE_5
from experiments.tables.running import run
from experiments.tables.sweep import (
    Sweep,
    add_arguments,
    command_of,
    plan,
    read_records,
    run_key,
)
from lupi_jax.config import Config, SourceConfig, parse_record, to_fields
from lupi_jax.data import read_index
from lupi_jax.data.index import Row, make_index
from lupi_jax.errors import InputError, StoppedError
from lupi_jax.evaluation.embedding import with_intermediate
from lupi_jax.modality import Modality
from lupi_jax.synthetic import make_synthetic
from lupi_jax.training import load_untrained

CONFIG = Path(__file__).parents[2] / "configs/folder.py"
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SMALL = ["--config.data.image_size=(32,32)", "--config.steps=2", "--config.optimizer.milestones=()",
         "--config.optimizer.factors=()", "--config.batch.identities=4"]  # fmt: skip


def make(root: Path, tmp_path: Path, seeds: int = 1, **fields: str) -> Sweep:
    small = {"data.image_size": "(32,32)", "steps": "2", "optimizer.milestones": "()"}
    overrides = {**small, "optimizer.factors": "()", "data.root": str(root), **fields}
    repeats = tuple({"seed": str(i)} for i in range(seeds))
    return Sweep(CONFIG, overrides, "people", tmp_path / "runs", repeats)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where results go, rather than into the repository."""
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path / "experiments/results/people"


def key(sweep: Sweep, cell: str, fingerprint: str = "x") -> str:
    return run_key(sweep.configuration(CELLS[cell], sweep.repeats[0]), fingerprint)


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({"data.workers": "9", "data.feed": "memmap", "log.every": "7"}, True),
        ({"data.root": "/elsewhere", "evaluation.reranking": "none"}, True),
        ({"steps": "3"}, False),
        ({"batch.images": "3"}, False),
        ({"optimizer.rate": "0.5"}, False),
        ({"data.image_size": "(32,48)"}, False),
        ({"dtype": "bfloat16"}, False),
        ({"views.share_crop_and_flip": "false"}, True),
        ({"views.share_crop_and_flip": "true"}, False),
    ],
)
def test_a_run_is_known_by_what_its_numbers_depend_on(fields, same, tmp_path):
    plain, other = make(Path("root"), tmp_path), make(Path("root"), tmp_path, **fields)
    assert (key(plain, "randg") == key(other, "randg")) is same


@pytest.mark.parametrize("cell", ["randg", "baseline", "untrained"])
def test_younger_fields_leave_recorded_runs_their_keys(cell):
    """The fingerprint belongs to `lupi make-synthetic --identities 256 --seed 0`, trained on."""
    people, trained = "1807166fdcf39bee", CELLS[cell].trained
    records = read_records(EXPERIMENTS / "results/synthetic").values()
    record = next(r for r in records if (r["cell"], r["seed"]) == (cell, 0))
    config = parse_record({**record["fields"], "data.root": "x"})
    assert run_key(config, people, trained) == record["key"]
    others = {
        "model.shared_from": "layer1",
        "precision": "highest",
        "views.share_crop_and_flip": True,
        "views.exchange_visible": (1.0, 1.0, 1.0, 0.0, 0.0),
        "views.exchange_infrared": (2.0, 2.0, 2.0, 1.0, 1.0),
        "views.exchange_intermediate": (1.0, 1.0, 1.0, 1.0, 0.0),
        "views.extra": "my_module:view",
        "views.adaptive_context": False,
        "views.adaptive_share": 0.5,
        "views.adaptive_ramp": 10,
        "loss.color_free_stop": "visible",
        "loss.modality_weight": 2.0,
        "loss.extra": "my_module:loss",
        "loss.extra_weight": 2.0,
    }
    parts = ("model.backbone", "loss.extra", "views.extra", "views.intermediate")
    settings = {f"{part}_settings" for part in parts}
    # The first has no effect on rendered people, the last two contradict recorded fields.
    without_effect = {"data.identity_zero", "log.hooks", "loss.modality", "loss.direct_weight"}
    assert {*others, *settings, *without_effect} == module._YOUNGER.keys()
    for name, value in others.items():
        other = parse_record({**record["fields"], "data.root": "x", name: value})
        matters = trained or name.startswith(("model", "views"))
        assert (run_key(other, people, trained) != record["key"]) == matters, name
    for part in parts:
        named = {**record["fields"], "data.root": "x", part: "my_module:part"}
        plain, other = parse_record(named), parse_record({**named, f"{part}_settings": {"a": 1}})
        matters = trained or part.startswith(("model", "views"))
        keys = {run_key(each, people, trained) for each in (plain, other)}
        assert (len(keys) == 2) == matters, part


def test_easy_people_are_not_taken_for_the_hard_ones_of_recorded_runs(tmp_path, results):
    keys = []
    for name in ("hard", "easy"):
        few = {"identities": 6, "images_per_modality": 1, "height": 32, "width": 16}
        make_synthetic(tmp_path / name, difficulty=name, **few)
        sweep = make(tmp_path / name, tmp_path, **{"data.name": "synthetic"})
        (planned,) = plan(sweep, ["randg"])
        keys.append((planned.key, planned.tested_on))
    source = SourceConfig(name="synthetic", root=str(tmp_path / "easy"))
    trained, index = (read_index(source, split) for split in ("train", "test"))
    assert keys[0] == (key(sweep, "randg", trained.fingerprint), index.fingerprint)
    assert keys[1][0] != keys[0][0]
    assert keys[1][1] == f"{index.fingerprint}-easy"


def test_the_other_reading_of_table_5_is_one_field_of_all_its_runs(people, results, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "experiments.tables.command.plan", lambda *given: seen.extend(plan(*given)) or []
    )
    given = ["--data", "folder", "--root", str(people), "--plan", "--rate", "1"]
    assert run_table(TABLE_5, [*given, *SMALL, "--config.views.share_crop_and_flip=true"]) == 0
    assert {p.cell.name for p in seen} == set(TABLE_5.cells)
    assert {(p.config.views.share_crop_and_flip, p.config.views.erase) for p in seen} == {(True, 0)}
    assert not results.exists()


def test_runs_of_other_images_or_cells_are_others(tmp_path):
    sweep = make(Path("root"), tmp_path)
    keys = {key(sweep, cell) for cell in CELLS if CELLS[cell].trained}
    assert len(keys) == len(CELLS) - 1
    assert key(sweep, "randg", "y") not in keys
    seeds = make(Path("root"), tmp_path, seeds=2)
    other = seeds.configuration(CELLS["randg"], seeds.repeats[1])
    assert run_key(other, "x") not in keys


def test_an_untrained_network_is_the_same_whatever_it_would_be_trained_with(tmp_path):
    configs = [
        make(Path("root"), tmp_path, **fields).configuration(CELLS["untrained"], {"seed": "0"})
        for fields in ({}, {"steps": "9", "optimizer.rate": "1.0"}, {"model.pooling": "gem"})
    ]
    keys = [run_key(config, "x", trained=False) for config in configs]
    assert keys[0] == keys[1] != keys[2]


def test_a_stopped_sweep_goes_on_and_tables_share_its_runs(people, tmp_path, results, monkeypatch):
    trained: list[int] = []

    def train(config: Config, workdir: Path, *, fetch: bool) -> None:
        assert not fetch
        if len(trained) == 2 and not results.with_name("went on").is_file():
            results.with_name("went on").touch()
            raise StoppedError("stopped after step 1 of 2, which is saved")
        trained.append(config.seed)
        row = {
            "step": 2,
            "split": "train",
            "loss/total": 1.5,
            "accuracy": 0.5,
            "images_per_second": 80.0,
        }
        workdir.mkdir(parents=True)
        (workdir / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        found[workdir] = load_untrained(config)

    found: dict[Path, object] = {}
    monkeypatch.setattr(running, "train", train)
    monkeypatch.setattr(running, "load_run", lambda workdir: found[workdir])
    sweep = make(people, tmp_path, seeds=2)
    with pytest.raises(StoppedError):
        run(sweep, ["baseline", "randg"])
    assert trained == [0, 0]
    assert len(read_records(results)) == 2
    with (results / "runs.jsonl").open("a") as file:
        for line in ("[]", '{"key": [1]}', '{"key": "a", "last": 3}', "[" * 100_000):
            file.write(f"{line}\n")  # by another program
        file.write('{"key": "cut o')  # by a kill
    assert len(read_records(results)) == 2
    records = run(sweep, ["baseline", "randg"])
    assert trained == [0, 0, 1, 1]
    assert [r["seed"] for r in records["randg"]] == [0, 1]
    assert len(read_records(results)) == 4
    assert run(sweep, ["randg"])["randg"] == records["randg"]
    assert trained == [0, 0, 1, 1]

    three = make(people, tmp_path, seeds=3)
    lock = FileLock(f"{sweep.workdir / plan(three, ['randg'])[2].key}.lock")
    with lock, pytest.raises(InputError, match="another sweep is training in"):
        run(three, ["randg"])

    record = records["randg"][0]
    # 4 test people with 4 images per modality.
    assert len(record["average_precision"]["infrared_to_visible"]["values"]) == 16
    (rows,) = record["results"].values()
    (whole,) = (
        r
        for r in rows
        if (r["query"], r["gallery"], r["feature"]) == ("infrared", "visible", "neck")
    )
    values = record["average_precision"]["infrared_to_visible"]["values"]
    assert np.mean(values) / 1e4 == pytest.approx(whole["mean_ap"], abs=1e-4)
    assert len(rows) == 6 * 2
    assert record["last"]["images_per_second"] == 80.0
    assert {test["kernel"] for test in record["shift"]} == {"median", "fixed"}


def test_a_plan_says_what_is_left_and_how_long_it_takes(people, results, capsys):
    arguments = ["--data", "folder", "--root", str(people), "--name", "people", "--seeds", "1"]
    assert run_table(TABLE_5, [*arguments, *SMALL, "--plan", "--rate", "0.1"]) == 0
    printed = capsys.readouterr().out
    # 4 cells of 2 steps of 4 x 2 visible and as many infrared images: 128 images.
    assert "4 of 4 runs to train, 0.4 hours at 0.1 images/s" in printed
    assert printed.count(" 32 ") == 4
    some = ["--cells", "randg,triplet", "--rate", "0.1", "--plan"]
    assert run_table(TABLE_5, [*arguments, *SMALL, *some]) == 0
    assert "2 of 2 runs to train, 0.2 hours" in capsys.readouterr().out
    assert not results.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "--seeds 0: give at least 1"),
        (["--config.seed=3"], "--config.seed: leave this field out, the tables set it"),
        (
            ["--config.views.erase=0.3"],
            "--config.views.erase: leave this field out",
        ),
        (["--root", "nowhere"], "nowhere"),
        (["--plan"], "no run has finished yet: give --rate"),
        (["--cells", "randg,ours"], "--cells ours: give some of identity, triplet, color_free"),
        (["--config.nothing=1"], "nothing is not a field"),
        (["--confg"], "unknown argument --confg"),
    ],
)
@pytest.mark.usefixtures("results")
def test_what_cannot_be_run_is_answered_by_one_line(arguments, message, people, capsys):
    given = ["--data", "folder", "--root", str(people), *SMALL, *arguments]
    assert run_table(TABLE_5, given) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("tables 5: ")
    assert message in line


def test_a_network_of_regdb_is_of_a_split(tmp_path, monkeypatch):
    options = ["--data", "regdb", "--root", "x", "--plan", "--rate", "1"]
    seen = []
    monkeypatch.setattr(
        "experiments.tables.command.plan", lambda sweep, _: seen.append(sweep) or []
    )
    assert run_table(TABLE_5, options) == 0
    assert [r["data.trial"] for r in seen[0].repeats] == [str(i) for i in range(1, 11)]
    assert {r["seed"] for r in seen[0].repeats} == {"0"}


@pytest.mark.usefixtures("results")
def test_the_plan_of_a_sweep_takes_all_cells_of_a_seed_first(people, tmp_path):
    order = [(p.cell.name, p.config.seed) for p in plan(make(people, tmp_path, 2), TABLE_5.cells)]
    assert order == [(cell, seed) for seed in (0, 1) for cell in TABLE_5.cells]


def test_what_was_measured_otherwise_is_measured_again(tmp_path, results, monkeypatch):
    def nothing(*_):
        return SimpleNamespace(fingerprint="x"), None

    images = SimpleNamespace(fingerprint="tested")
    monkeypatch.setattr(module, "read_training", nothing)
    monkeypatch.setattr(module, "read_searched", lambda *_: images)
    sysu = {"steps": "2", "epochs": "0.0", "data.root": "x", "pretrained": ""}

    def planned(cell: str, **fields: str) -> module.Planned:
        seeds = ({"seed": "0"},)
        sweep = Sweep(CONFIG.with_name("sysu.py"), {**sysu, **fields}, "people", tmp_path, seeds)
        (found,) = plan(sweep, [cell])
        return found

    results.mkdir(parents=True)
    lines = []
    for cell in ("randg", "untrained"):
        first = planned(cell)
        within = "all-search, single-shot, without own camera"
        rows = [
            {"query": query, "gallery": "visible", "search": search, "trials": 10}
            for query, search in (("infrared", "all-search, single-shot"), ("visible", within))
        ]
        kept = {
            "key": first.key,
            "tested_on": "tested",
            "results": {"official": rows, "released": rows},
        }
        lines.append(json.dumps({**kept, "fields": to_fields(first.config)}))
    (results / "runs.jsonl").write_text("\n".join(lines))
    assert planned("randg").record is not None
    assert planned("randg", **{"evaluation.same_modality": "camera"}).record is not None
    for fields in (
        {"evaluation.protocol": "agw"},
        {"evaluation.trials": "3"},
        {"evaluation.same_modality": "identity_and_camera"},
    ):
        again = planned("randg", **fields)
        assert again.record is None
        assert again.key == planned("randg").key  # it is not trained again
    assert planned("untrained").record is not None
    assert planned("untrained", dtype="bfloat16").record is None
    assert planned("untrained", pretrained_fresh="('neck',)").record is None
    images.fingerprint = "others"
    assert planned("randg").record is None


def test_intermediate_images_whose_shift_is_measured_are_of_the_visible_ones(monkeypatch):
    monkeypatch.setattr(running, "SHIFT_ROWS", 5)
    rows = [Row(f"{m}/{i}.jpg", i, 1, m) for m in ("visible", "infrared") for i in range(20)]
    index = with_intermediate(make_index(Path(), rows))
    found = running._shift_rows(index)
    assert {m: len(r) for m, r in found.items()} == dict.fromkeys(Modality, 5)
    paths = {m: index.paths[r].tolist() for m, r in found.items()}
    assert paths[Modality.INTERMEDIATE] == paths[Modality.VISIBLE]
    assert all(set(index.modalities[r]) == {str(m)} for m, r in found.items())


def test_a_checkout_without_git_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert running.commit_here() == "unknown"


def test_fetching_is_asked_for(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "experiments.tables.command.plan", lambda sweep, _: seen.append(sweep) or []
    )
    options = ["--data", "sysu", "--root", "x", "--plan", "--rate", "1"]
    assert run_table(TABLE_5, options) == run_table(TABLE_5, [*options, "--fetch"]) == 0
    assert [sweep.fetch for sweep in seen] == [False, True]


def test_the_command_that_is_kept_names_no_places():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options, rest = parser.parse_known_args(
        ["--data", "sysu", "--root", "/a/SYSU", "--workdir", "/a/runs", "--config", "/a/sysu.py",
         "--config.data.prepared=/a/prepared", "--config.pretrained=/a/weights.npz",
         "--config.steps=9"]
    )  # fmt: skip
    kept = "--data sysu --root DATA --config configs/sysu.py --name sysu --seeds 3"
    more = "--config.pretrained=weights.npz --config.steps=9"
    assert command_of("tables 1", options, rest) == f"python -m experiments.tables 1 {kept} {more}"
    hub = command_of("tables 1", options, ["--config.pretrained=hf://a/b"])
    assert hub.endswith("--config.pretrained=hf://a/b")


@pytest.mark.slow
def test_a_table_from_the_command_line_to_its_files(people, results, monkeypatch, capsys):
    monkeypatch.chdir(results.parents[2])
    arguments = ["--data", "folder", "--root", str(people), "--name", "people", "--seeds", "2"]
    given = [*arguments, *SMALL, "--cells", "identity,triplet", "--config.data.feed=memmap"]
    assert run_table(TABLE_5, given) == 0
    facts = json.loads((results / "table_5.json").read_text())
    here = [row for row in facts["rows"] if row["source"].startswith("here")]
    assert [row["cell"] for row in here] == ["identity", "triplet"]
    assert all(len(row["figures"]["V->I mAP"]["values"]) == 2 for row in here)
    assert facts["command"].endswith("--config.data.feed=memmap")
    text = (results / "table_5.md").read_text()
    assert text.count("\n| ") == 2 + 2 + 3  # heading, two cells of ours, four lines of the paper
    printed = capsys.readouterr()
    assert run_table(TABLE_5, given) == 0
    again = capsys.readouterr()
    assert "4 runs, 0 of them to do" in again.err
    assert again.out == printed.out


@pytest.mark.skipif(not shutil.which("git"), reason="git is missing")
def test_the_commit_is_dirty_by_what_runs_not_by_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "ROOT", tmp_path)
    (tmp_path / "experiments/results").mkdir(parents=True)
    code, result = tmp_path / "code.py", tmp_path / "experiments/results/table.md"
    for file in (code, result):
        file.write_text("before")
    assert running.commit_here() == "unknown"
    for command in (
        "init -q",
        "add .",
        "-c user.name=a -c user.email=a@b commit -q --no-gpg-sign -m x",
    ):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    commit = running.commit_here()
    assert re.fullmatch("[0-9a-f]{7,}", commit)
    result.write_text("after")
    assert running.commit_here() == commit
    code.write_text("after")
    assert running.commit_here() == f"{commit}-dirty"
