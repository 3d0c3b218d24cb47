"""RegDB's ten splits, SYSU-MM01's validation identities, re-ranking and prepared images."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lupi_jax as lupi
from lupi_jax.cli import main
from lupi_jax.cli.network import parse_trials
from lupi_jax.config import SourceConfig
from lupi_jax.data import read_index
from lupi_jax.evaluation import k_reciprocal_distances, load_features
from lupi_jax.training import load_run

FOLDER = str(Path(__file__).parents[2] / "configs/folder.py")
SMALL = (
    "--config.steps=2",
    "--config.batch.identities=2",
    "--config.batch.images=2",
    "--config.data.image_size=32,32",
    "--config.data.feed=memmap",
    "--config.log.every=1",
    "--config.log.checkpoint_every=1",
)
SIDES = ("--height", "48", "--width", "24", "--workers", "1")


@pytest.fixture(scope="module")
def regdb(tmp_path_factory) -> Path:
    """Ten people with four images per modality, and the networks of splits 1 and 2."""
    root = tmp_path_factory.mktemp("regdb")
    make = ("make-synthetic", "--layout", "regdb", "--out", str(root / "data"), *SIDES)
    assert main([*make, "--identities", "10", "--images-per-modality", "4"]) == 0
    assert main([*train(root, "regdb"), "--trials", "1,2"]) == 0
    return root


def train(root: Path, name: str, *more: str) -> list[str]:
    data = (f"--config.data.name={name}", f"--config.data.root={root / 'data'}")
    return ["train", "--config", FOLDER, *data, "--workdir", str(root / "run"), *SMALL, *more]


@pytest.fixture
def said(capfd) -> Callable[..., str]:
    """Runs a command that must succeed, and gives what it printed as a result."""

    def run(*arguments: object) -> str:
        capfd.readouterr()
        assert main([str(argument) for argument in arguments]) == 0
        return capfd.readouterr().out

    return run


@pytest.fixture
def refused(capfd) -> Callable[..., str]:
    """Runs a command that must fail as bad input does, and gives its last line."""

    def run(*arguments: object) -> str:
        capfd.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert "Traceback" not in err
        return err.rstrip().rpartition("lupi: ")[2]

    return run


def people(root: Path, split: str, trial: int) -> set[int]:
    source = SourceConfig(name="regdb", root=str(root / "data"), trial=trial)
    return set(read_index(source, split).identities.tolist())


def test_a_network_each_split_and_their_mean(regdb, said):
    runs = [
        json.loads(said("evaluate", "--workdir", regdb / f"run/trial-{t}", "--json"))
        for t in (1, 2)
    ]
    part = "not its whole test set (5 people, 40 images), rendered people"
    assert [run["protocol"] for run in runs] == [
        f"RegDB split 1, all images, {part}",
        f"RegDB split 2, all images, {part}",
    ]
    mean = json.loads(said("evaluate", "--workdir", regdb / "run", "--trials", "1,2", "--json"))
    assert mean["protocol"] == f"RegDB, 2 splits, one network each, all images, {part}"
    assert (mean["splits"], mean["trials"]) == ([1, 2], 2)
    assert len(mean["results"]) == 4  # two directions, two features
    for row, first, second in zip(
        mean["results"], runs[0]["results"], runs[1]["results"], strict=True
    ):
        assert (row["query"], row["feature"]) == (second["query"], second["feature"])
        assert row["queries"] == 20  # five people, four images
        for figure in ("rank1", "rank20", "mean_ap", "mean_inp"):
            a, b = first[figure], second[figure]
            assert row[figure] == pytest.approx((a + b) / 2, abs=1e-12)
            assert row["std"][figure] == pytest.approx(abs(a - b) / 2**0.5, abs=1e-12)
    assert [run["config"]["data"]["trial"] for run in mean["runs"]] == [1, 2]
    assert (regdb / "run/evaluation/test-trials1+2.json").is_file()


def test_a_result_says_all_that_it_depends_on(regdb, said):
    result = json.loads(said("evaluate", "--workdir", regdb / "run/trial-2", "--json"))
    assert result["trials"] == 1
    assert result["seeds"] == {"training": 0, "galleries": []}
    assert result["feature"] == ["neck", "pooled"]
    assert result["reranking"] == "none"
    assert (result["workdir"], result["checkpoint"]) == (str(regdb / "run/trial-2"), "newest")
    assert result["people_unseen_in_training"] is True
    assert result["selection"] == "the newest"
    assert result["step"] == result["steps"] == 2
    assert result["config"]["data"]["name"] == "regdb"
    for when in ("training", "evaluation"):
        assert {"jax", "lupi-jax", "numpy", "pillow"} <= result["versions"][when].keys()


def test_a_split_that_was_trained_on_is_refused_by_name(regdb, refused):
    shared = sorted(people(regdb, "train", 1) & people(regdb, "test", 2))
    assert shared
    message = refused("evaluate", "--workdir", regdb / "run/trial-1", "--config.data.trial=2")
    names = ", ".join(map(str, shared))
    assert message == (
        f"this network was trained on {len(shared)} of the 5 people in split 2 of RegDB "
        f"({names}): evaluate it on its own split (data.trial)"
    )
    run = load_run(regdb / "run/trial-1")
    assert set(run.seen) == people(regdb, "train", 1)


def test_splits_that_are_not_there_or_not_their_own_are_refused(regdb, refused, tmp_path):
    message = refused("evaluate", "--workdir", regdb / "run", "--trials", "all")
    assert message.startswith(f"no run of split 3, 4, 5, 6, 7, 8, 9, 10 below {regdb / 'run'}: ")
    shutil.copytree(regdb / "run/trial-1", tmp_path / "trial-3")
    message = refused("evaluate", "--workdir", tmp_path, "--trials", "3")
    assert message.startswith(f"{tmp_path / 'trial-3'}: this network was trained on regdb, split 1")
    shutil.rmtree(tmp_path / "trial-3")
    shutil.copytree(regdb / "run/trial-2", tmp_path / "trial-2")
    shutil.rmtree(tmp_path / "trial-2/checkpoints/2")
    message = refused("evaluate", "--workdir", tmp_path, "--trials", "2")
    unfinished = "training is not finished, 1 step to go: finish it first"
    assert message == f"{tmp_path / 'trial-2'}: {unfinished}"


def test_trials_are_regdb_s(regdb, refused):
    message = refused(*train(regdb, "folder"), "--trials", "all")
    assert message == "--trials applies only to RegDB: leave it out for another data set"
    assert refused(*train(regdb, "regdb", "--config.data.trial=2"), "--trials", "1") == (
        "--trials and --config.data.trial both choose splits: give only one of them"
    )


@pytest.mark.parametrize(
    ("text", "trials"),
    [("all", list(range(1, 11))), ("3", [3]), ("4,1", [1, 4]), ("2..5", [2, 3, 4, 5])],
)
def test_which_trials(text, trials):
    assert parse_trials(text) == trials


@pytest.mark.parametrize("text", ["", "0", "11", "5..2", "a", "1..", "-1", "1;2", "1..99999999999"])
def test_no_such_trials(text):
    with pytest.raises(lupi.InputError, match="--trials"):
        parse_trials(text)


@pytest.fixture(scope="module")
def sysu(tmp_path_factory) -> Path:
    """12 people: 6 trained on, 2 validated on, 4 tested on; and a run that chose by the two."""
    root = tmp_path_factory.mktemp("sysu")
    make = ("make-synthetic", "--layout", "sysu", "--out", str(root / "data"), *SIDES)
    assert main([*make, "--identities", "12"]) == 0
    chosen = ("--config.data.validation_split=true", "--config.log.validate_every=1")
    assert main(train(root, "sysu", *chosen, "--config.evaluation.protocol=agw")) == 0
    return root


def test_model_selection_sees_the_validation_identities_only(sysu, said):
    lists = {
        name: set(map(int, (sysu / f"data/exp/{name}_id.txt").read_text().split(",")))
        for name in ("train", "val", "test")
    }
    assert set(load_run(sysu / "run").seen) == lists["train"]
    rows = [json.loads(line) for line in (sysu / "run/metrics.jsonl").read_text().splitlines()]
    validated = [row for row in rows if row["split"] == "validation"]
    assert [row["step"] for row in validated] == [1, 2]
    # It has the last checkpoint's figures on the 2 people, by SYSU-MM01's protocol.
    run = ("evaluate", "--workdir", sysu / "run", "--json")
    result = json.loads(said(*run, "--split", "val", "--config.evaluation.trials=1"))
    assert result["protocol"] == ("SYSU-MM01 agw, 1 trial, validation identities, rendered people")
    neck = [row["mean_ap"] for row in result["results"] if row["feature"] == "neck"]
    assert len(neck) == 6  # two searches of visible galleries and one of infrared, two shots each
    assert validated[-1]["mean_ap"] == pytest.approx(np.mean(neck), abs=1e-9)
    best = json.loads(said(*run, "--checkpoint", "best"))
    assert best["selection"] == (
        "best mAP, mean over the protocol's searches, on the data set's own validation identities"
    )
    assert best["step"] == max(validated, key=lambda row: row["mean_ap"])["step"]
    assert best["seeds"]["galleries"] == list(range(10))


def test_a_split_the_data_set_has_not(regdb, refused):
    message = refused("evaluate", "--workdir", regdb / "run/trial-1", "--split", "val")
    assert message == "split 'val' is not one of train, test"


def test_re_ranked_figures_are_those_of_re_ranked_distances_and_say_so(regdb, said, tmp_path):
    run = ("--workdir", regdb / "run/trial-1")
    said("export", *run, "--out", tmp_path / "features.npz")
    features = load_features(tmp_path / "features.npz")
    query, gallery = (features[features.index.modalities == m] for m in ("infrared", "visible"))
    expected = lupi.retrieval_metrics(
        k_reciprocal_distances(query.neck, gallery.neck),
        query.index.identities,
        gallery.index.identities,
        cmc="image",
    )
    asked = ("--config.evaluation.reranking=k_reciprocal", "--json")
    result = json.loads(said("evaluate", *run, *asked))
    assert result["protocol"] == (
        "RegDB split 1, all images, not its whole test set (5 people, 40 images), rendered people, "
        "with k-reciprocal re-ranking"
    )
    (row,) = (
        row for row in result["results"] if (row["query"], row["feature"]) == ("infrared", "neck")
    )
    assert row["reranking"] == result["reranking"] == "k_reciprocal"
    assert row["mean_ap"] == pytest.approx(expected.mean_ap, abs=1e-6)
    plain = json.loads(said("evaluate", *run, "--json"))
    assert row["mean_ap"] != pytest.approx(plain["results"][0]["mean_ap"], abs=1e-6)
    assert (regdb / "run/trial-1/evaluation/test-step2-k_reciprocal.json").is_file()


def test_prepared_images_give_the_same_figures(regdb, said, refused, tmp_path):
    data = ("--data", "regdb", "--root", regdb / "data")
    out = ("--out", tmp_path / "prepared")
    said("prepare", *data, "--size", "32x32", *out)
    prepared = f"--config.data.prepared={tmp_path / 'prepared'}"
    run = ("evaluate", "--workdir", regdb / "run/trial-1", "--json")
    with pytest.MonkeyPatch.context() as patch:
        plain = json.loads(said(*run))
        patch.setattr("lupi_jax.data.images.read_image", lambda *_: pytest.fail("decoded again"))
        # Pictures read files: without them, the figures alone.
        patch.setattr("lupi_jax.evaluation.ranking.ranking_rows", lambda *_: [])
        patch.setattr("lupi_jax.report.pictures.ranking_picture", lambda *_: None)
        assert json.loads(said(*run, prepared))["results"] == plain["results"]
    assert refused("prepare", *data, "--size", "32", *out) == (
        "--size 32: give HEIGHTxWIDTH in pixels, at least 32x32"
    )
    assert refused(*train(regdb, "regdb", prepared, "--config.data.image_size=48,32")).startswith(
        f"{tmp_path / 'prepared'} holds images of (32, 32) pixels, not (48, 32): set"
    )


def test_the_best_of_every_split_may_be_averaged(tmp_path, regdb, said):
    """The best checkpoint may be older than the end of training."""
    root = tmp_path
    (root / "data").symlink_to(regdb / "data")
    chosen = (
        "--config.data.validation_identities=2",
        "--config.log.validate_every=1",
        "--config.log.keep=3",
    )
    assert main([*train(root, "regdb", *chosen), "--trials", "1"]) == 0
    run = ("evaluate", "--workdir", root / "run", "--trials", "1", "--json")
    for which in ("best", "1"):
        result = json.loads(said(*run, "--checkpoint", which))
        assert result["checkpoint"] == which
        assert (root / f"run/evaluation/test-trials1-{which}.json").is_file()
    held = json.loads(
        said("evaluate", "--workdir", root / "run/trial-1", "--split", "val", "--json")
    )
    assert held["results"][0]["queries"] == 8  # two people, four images


def test_re_ranking_is_for_two_spectra(regdb, refused):
    asked = (
        "--config.evaluation.reranking=k_reciprocal",
        "--config.evaluation.pairs=('visible_to_visible',)",
    )
    message = refused("evaluate", "--workdir", regdb / "run/trial-1", *asked)
    assert message.startswith("config: evaluation.reranking needs infrared on exactly one side")


def test_networks_without_a_run_do_not_overwrite_each_other(sysu, said, tmp_path):
    config = [
        x for x in train(sysu, "sysu")[1:] if not x.startswith(("--workdir", str(sysu / "run")))
    ]
    for more in ((), ("--config.evaluation.reranking=k_reciprocal",)):
        asked = ("--config.evaluation.protocol=agw", "--config.evaluation.trials=2", *more)
        said(
            "evaluate",
            *config,
            *asked,
            "--untrained",
            "--split",
            "val",
            "--out",
            tmp_path,
            "--json",
        )
    names = sorted(path.name.split("-", 3)[-1] for path in tmp_path.glob("*.json"))
    assert names == ["agw-2trials-k_reciprocal.json", "agw-2trials.json"]


def test_paths_that_look_like_markup(tmp_path, said, write_layout):
    root = write_layout(
        tmp_path / "a[/b]", {s: {m: {p: 2} for m in ("visible", "infrared")}
                             for s, p in (("train", "1"), ("test", "2"))}
    )  # fmt: skip
    assert str(root) in said("check-data", "--data", "folder", "--root", root)


def test_every_fault_of_an_index_is_named(tmp_path, write_image, capfd):
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"{name}.jpg")
    (tmp_path / "images.csv").write_text(
        "path,identity,camera,modality,split\n"
        "a.jpg,1,1,visible,train\n"
        "gone.jpg,1,2,infrared,train\n"
        "b.jpg,x,1,visible,test\n"
        "c.jpg,2,1,thermal,test\n"
    )
    capfd.readouterr()
    data = ("--data", "folder", "--root", str(tmp_path), "--index", str(tmp_path / "images.csv"))
    assert main(["check-data", *data]) == 2
    out, err = capfd.readouterr()
    for fault in ("line 3: no image file at", "line 4: identity 'x'", "line 5: modality 'thermal'"):
        assert out.count(fault) == 1
    assert "problems, named above" in err


def test_a_terminal_shows_the_first_of_many_problems_of_a_kind(
    tmp_path, write_image, capfd, monkeypatch
):
    write_image(tmp_path / "a.jpg")
    rows = [f"gone{n}.jpg,{n % 2},1,visible,{'train' if n % 2 else 'test'}" for n in range(20)]
    lines = ["path,identity,camera,modality,split", "a.jpg,x,1,visible,train", *rows]
    (tmp_path / "images.csv").write_text("\n".join(lines))
    data = ("--data", "folder", "--root", str(tmp_path), "--index", str(tmp_path / "images.csv"))
    assert main(["check-data", *data]) == 2
    every = capfd.readouterr().out
    assert every.count("no image file at") == 20  # once each, though two splits are read
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["check-data", *data]) == 2
    few = capfd.readouterr().out
    assert few.count("no image file at") == 5
    assert "... and 15 more of this kind" in few
    assert "identity 'x'" in few


def test_as_many_workers_as_there_can_be(capfd):
    with pytest.raises(SystemExit) as end:
        main(["check-data", "--data", "folder", "--root", "x", "--workers", "0"])
    assert end.value.code == 2
    assert "0 is not a whole number of at least 1" in capfd.readouterr().err
