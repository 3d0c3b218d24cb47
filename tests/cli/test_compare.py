"""`lupi compare` on networks that count as trained, three steps and one."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

import lupi_jax as lupi
from lupi_jax import training
from lupi_jax.cli import main
from lupi_jax.config.file import load_config
from lupi_jax.errors import InputError
from lupi_jax.evaluation import evaluate_network, methods
from lupi_jax.report import draw_comparison
from lupi_jax.training import Run, load_run

CONFIG = Path(__file__).parents[2] / "configs/synthetic.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, people, save_run) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    for steps, name in ((1, "short"), (3, "long")):
        for seed in (0, 1):
            fields = {"seed": f"{seed}", "steps": f"{steps}", "data.root": str(people)}
            config = load_config(f"{CONFIG}", {**fields, "data.image_size": "(32,32)"})
            workdir = folder / f"{name}-{seed}"
            save_run(workdir, config, steps, steps, key=10 * steps + seed)
            row = {"step": steps, "split": "train", "loss/identity": 2.0, "accuracy": 0.5}
            (workdir / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def precisions(workdir: Path) -> list[np.ndarray]:
    run = load_run(workdir)
    found = evaluate_network(run.config, run.model, run.variables)
    return [each.average_precision for each in found.measured if each.feature == "neck"]


def test_methods_are_compared_by_seed_and_by_query(runs, capfd):
    names = ["short-0", "long-1", "long-0", "short-1"]
    assert main(["compare", *(str(runs / n) for n in names), "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert [m["name"] for m in result["methods"]] == ["short", "long"]
    assert [m["seeds"] for m in result["methods"]] == [[0, 1], [0, 1]]
    assert result["methods"][1]["differs_in"] == {"steps": 3}
    found = {n: precisions(runs / n) for n in names}
    for place, row in enumerate(result["differences"]):
        by_hand = [found[f"long-{s}"][place].mean() - found[f"short-{s}"][place].mean()
                   for s in (0, 1)]  # fmt: skip
        assert row["by_seed"] == pytest.approx(by_hand, abs=1e-12)
        assert row["mean_ap"] == pytest.approx(np.mean(by_hand), abs=1e-12)
        assert row["over_identities"][0] <= row["mean_ap"] <= row["over_identities"][1]
        low, high = row["over_both"]
        assert (low + high) / 2 == pytest.approx(row["mean_ap"], abs=1e-12)
        # Two seeds have a standard error of half their distance, and people come on top.
        assert high - low > 2 * 1.96 * abs(by_hand[0] - by_hand[1]) / 2
        assert (row["queries"], row["identities"]) == (16, 4)
        for method, name in zip(result["methods"], ("short", "long"), strict=True):
            values = [found[f"{name}-{s}"][place].mean() for s in (0, 1)]
            shown = method["results"][place]
            assert shown["mean_ap"] == pytest.approx(np.mean(values), abs=1e-12)
            assert shown["std"]["mean_ap"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    assert [r["query"] for r in result["differences"]] == ["infrared", "visible"]


def test_tables_and_curves_are_for_people(runs, capfd, tmp_path):
    picture = tmp_path / "curves.png"
    given = [str(runs / "short-0"), str(runs / "long-0"), "--out", str(picture)]
    assert main(["compare", *given]) == 0
    out, err = capfd.readouterr()
    assert "long-0 differs from short-0 in: steps = 3" in out
    assert "long-0 - short-0" in out
    assert f"wrote {picture}" in err
    assert Image.open(picture).size[0] > 800  # identity loss and accuracy side by side


def test_the_reference_is_whom_the_others_are_compared_with(runs, capfd, monkeypatch):
    monkeypatch.chdir(runs)
    given = ["compare", "long-0", "long-1", "short-0", "--json"]
    assert main([*given, "--reference", str(runs / "short-0")]) == 0
    result = json.loads(capfd.readouterr().out)
    assert [m["name"] for m in result["methods"]] == ["short-0", "long"]
    assert {(r["method"], r["against"]) for r in result["differences"]} == {("long", "short-0")}
    assert main(given) == 0
    result = json.loads(capfd.readouterr().out)
    assert {(r["method"], r["against"]) for r in result["differences"]} == {("short-0", "long")}


@pytest.mark.parametrize(
    ("names", "method"),
    [
        (["luma-0"], "luma-0"),
        (["luma-0", "luma-1"], "luma"),
        (["luma_seed10", "luma_seed11"], "luma"),
        (["paper.1", "paper.12"], "paper"),
        (["luma", "luma-1"], "luma"),
        (["0", "1"], "0, 1"),
        (["monday", "tuesday"], "monday, tuesday"),
    ],
)
def test_a_method_is_named_by_what_its_directories_have_in_common(names, method):
    group = [SimpleNamespace(workdir=Path("runs") / name) for name in names]
    assert methods._name(cast(Any, group)) == method


def test_runs_of_other_seeds_are_compared_by_their_means(runs, capfd):
    assert main(["compare", str(runs / "short-0"), str(runs / "long-1"), "--json"]) == 0
    (first, _) = json.loads(capfd.readouterr().out)["differences"]
    ours, theirs = precisions(runs / "long-1"), precisions(runs / "short-0")
    assert (first["seeds"], first["by_seed"]) == ([], [])
    assert first["mean_ap"] == pytest.approx(ours[0].mean() - theirs[0].mean(), abs=1e-12)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_seeds_that_only_one_method_has_are_named(runs, capfd, form):
    paths = [str(runs / name) for name in ("short-0", "short-1", "long-1")]
    assert main(["compare", *paths, *form]) == 0
    note = (
        "note: short and long-1 share 1 of 2 and 1 seeds; differences use the shared seeds only\n"
    )
    assert capfd.readouterr().err.count(note) == 1
    for same in (paths[1:], paths[::2]):  # the same seeds; no common seed
        assert main(["compare", *same, *form]) == 0
        assert "share" not in capfd.readouterr().err


def test_seeds_alone_are_no_comparison(runs, capfd):
    assert main(["compare", str(runs / "long-0"), str(runs / "long-1")]) == 0
    out, err = capfd.readouterr()
    assert f"long: mean of {runs / 'long-0'}, {runs / 'long-1'} (seeds 0, 1)" in out
    assert "one method, because the runs differ only in their seed: nothing to compare it" in err
    assert main(["compare", str(runs / "long-0")]) == 0
    out, err = capfd.readouterr()
    assert "mean of" not in out
    assert err.endswith("one run: nothing to compare it with\n")


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        (["long-0", "nowhere"], [], "nowhere"),
        (["long-0", "long-0"], [], "named twice"),
        (["long-0", "copy"], [], "the same training with the same seed: leave one out"),
        (
            ["long-0", "long-1"],
            ["--out", "curves.txt"],
            "curves.txt: name a file that ends in .png, .jpg, .jpeg, .pdf, .svg",
        ),
        (
            ["long-0", "long-1"],
            ["--reference", "short-0"],
            "--reference short-0: this run is not compared: name one of the RUNs",
        ),
        (["long-0", "long-1"], ["--config.steps=9"], "steps: cannot change for a trained network"),
    ],
)
def test_what_cannot_be_compared_is_answered_by_one_line(runs, names, more, message, capfd):
    if "copy" in names and not (runs / "copy").is_dir():
        shutil.copytree(runs / "long-0", runs / "copy")
    assert main(["compare", *(str(runs / n) for n in names), *more]) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("lupi: ")
    assert message in last


@pytest.fixture
def long_1_as(monkeypatch) -> Callable[[Callable[[Run], Run]], None]:
    """Makes another run of what is loaded as long-1."""

    def changed(change: Callable[[Run], Run]) -> None:
        def load(workdir: Path, *how: Any) -> Run:
            run = load_run(workdir, *how)
            return change(run) if workdir.name == "long-1" else run

        monkeypatch.setattr(training, "load_run", load)

    return changed


def test_the_same_fields_on_other_images_are_another_method(runs, long_1_as, capfd):
    long_1_as(lambda run: dataclasses.replace(run, record={**run.record, "data": "others"}))
    assert main(["compare", str(runs / "long-0"), str(runs / "long-1"), "--json"]) == 0
    first, second = json.loads(capfd.readouterr().out)["methods"]
    assert (first["name"], first["differs_in"]) == ("long-0", {})
    assert (second["name"], second["differs_in"]) == ("long-1", {"training images": "others"})


def test_searches_in_another_order_are_refused(runs, long_1_as, capfd):
    def turned(run: Run) -> Run:
        pairs = run.config.evaluation.pairs[::-1]
        asked = dataclasses.replace(run.config.evaluation, pairs=pairs)
        return dataclasses.replace(run, config=dataclasses.replace(run.config, evaluation=asked))

    long_1_as(turned)
    assert main(["compare", str(runs / "short-0"), str(runs / "long-1")]) == 2
    assert capfd.readouterr().err.splitlines()[-1] == (
        f"lupi: {runs / 'long-1'}: measured in other searches than {runs / 'short-0'} "
        "(evaluation.pairs = ('visible_to_infrared', 'infrared_to_visible'), not "
        "('infrared_to_visible', 'visible_to_infrared')): give both the same "
        "--config.evaluation.pairs"
    )


def test_the_reason_why_runs_cannot_be_compared_is_named(runs, long_1_as, capfd, tmp_path, people):
    fewer = tmp_path / "fewer"
    shutil.copytree(people, fewer)
    given = ["compare", str(runs / "short-0"), str(runs / "long-1")]

    def configured(**changes: Any) -> Callable[[Run], Run]:
        def change(run: Run) -> Run:
            parts = {name: dataclasses.replace(getattr(run.config, name), **fields)
                     for name, fields in changes.items()}  # fmt: skip
            return dataclasses.replace(run, config=dataclasses.replace(run.config, **parts))

        return change

    long_1_as(configured(data={"root": str(fewer)}))
    assert main([*given, "--json"]) == 0  # a copy of the same images
    next((fewer / "test/visible").rglob("*.jpg")).unlink()
    capfd.readouterr()
    assert main(given) == 2
    message = capfd.readouterr().err.splitlines()[-1]
    assert f"long-1: measured on other images than {runs / 'short-0'} (data.root = " in message
    assert message.endswith(
        f"data.root = '{fewer}', not '{people}'): give both the same --data-root"
    )
    long_1_as(configured(evaluation={"reranking": "k_reciprocal"}))
    assert main(given) == 2
    message = capfd.readouterr().err.splitlines()[-1]
    assert message.endswith(
        f"measured by another protocol than {runs / 'short-0'} (evaluation.reranking = "
        "'k_reciprocal', not 'none'): give both the same --config.evaluation.reranking"
    )


def test_people_held_out_by_each_run_are_no_common_ground():
    measured = [
        methods.MeasuredRun(
            Path(name), 0, {}, True, "same", {"data.root": "x"}, "val", name, "p", [], [], []
        )
        for name in ("a", "b")
    ]
    with pytest.raises(InputError) as caught:
        methods.compare_methods(measured)
    assert str(caught.value) == (
        "b: measured on other images than a (each held out people of its own for validation): "
        "compare them with --split test"
    )


def test_a_training_that_is_not_done_is_named(runs, long_1_as, capfd):
    long_1_as(lambda run: dataclasses.replace(run, unfinished=7))
    assert main(["compare", str(runs / "short-0"), str(runs / "long-1")]) == 0
    out, err = capfd.readouterr()
    assert f"note: {runs / 'long-1'}: training is not finished: 7 steps to go" in err
    assert out.count("(16)") == out.count("(4)") == 2  # queries and identities of both directions


def test_one_person_is_no_comparison(runs, monkeypatch, capfd):
    plain = methods.compare
    monkeypatch.setattr(methods, "compare", lambda a, b, i: plain(a, b, np.zeros_like(i)))
    assert main(["compare", str(runs / "short-0"), str(runs / "long-1")]) == 2
    message = "infrared -> visible: cannot be compared: 1 identity with a figure"
    assert message in capfd.readouterr().err


def test_one_call_compares_as_the_command_does(runs, capfd, tmp_path):
    names = ["long-0", "long-1", "short-0"]
    given = ["compare", *(str(runs / name) for name in names), "--json"]
    assert main([*given, "--reference", str(runs / "short-0")]) == 0
    printed = json.loads(capfd.readouterr().out)
    found = lupi.compare_runs([runs / name for name in names], runs / "short-0")
    assert json.loads(json.dumps(found.record)) == printed
    assert found.notes == (
        "short-0 and long share 1 of 1 and 2 seeds; differences use the shared seeds only",
    )
    assert found.workdirs == {
        "short-0": [runs / "short-0"],
        "long": [runs / "long-0", runs / "long-1"],
    }
    draw_comparison(found, tmp_path / "curves.svg")
    assert "long" in (tmp_path / "curves.svg").read_text()
    with pytest.raises(InputError, match="no run is given"):
        lupi.compare_runs([])
