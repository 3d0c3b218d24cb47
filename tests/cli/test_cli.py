import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.export
import numpy as np
import pytest
import safetensors
from PIL import Image

import lupi_jax as lupi
from lupi_jax import cli
from lupi_jax.cli import main
from lupi_jax.cli.evaluate import _changed
from lupi_jax.config import parse_config, parse_record
from lupi_jax.data import read_image
from lupi_jax.evaluation import load_features, pairwise_distances
from lupi_jax.training import Run

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = (
    "--config.steps=3",
    "--config.batch.identities=4",
    "--config.batch.images=2",
    "--config.data.image_size=32,32",
    "--config.log.every=1",
    "--config.log.checkpoint_every=2",
)


@dataclasses.dataclass(frozen=True)
class Demo:
    """Eight synthetic people to train on, four to test on, and a run of three steps."""

    data: Path
    workdir: Path

    def train(self, *more: str) -> list[str]:
        config = ["--config", f"{CONFIGS / 'synthetic.py'}", f"--config.data.root={self.data}"]
        return ["train", *config, "--workdir", str(self.workdir), *SMALL, *more]

    @property
    def run(self) -> list[str]:
        return ["--workdir", str(self.workdir)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Iterator[Demo]:
    """Made by the command line, on a machine that seems to lack TensorFlow."""
    folder = tmp_path_factory.mktemp("demo")
    demo = Demo(folder / "people", folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow", None)
        assert main(["make-synthetic", "--out", str(demo.data), "--identities", "12"]) == 0
        assert main(demo.train()) == 0
        yield demo


@pytest.fixture(scope="module")
def exported(demo) -> Path:
    file = demo.workdir.parent / "features" / "test.npz"
    assert main(["export", *demo.run, "--split", "test", "--out", str(file)]) == 0
    return file


@pytest.fixture
def refused(capfd) -> Callable[..., str]:
    """Runs a command that must fail as bad input does, and gives its one line."""

    def run(*arguments: object) -> str:
        capfd.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("lupi: ")
        assert err.count("\n") == 1
        return err.removeprefix("lupi: ").rstrip()

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_training_leaves_what_a_run_needs(demo):
    rows = [json.loads(line) for line in (demo.workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    for row in rows:
        terms = row["loss/identity"] + row["loss/triplet"] + row["loss/color_free"]
        assert row["loss/total"] == pytest.approx(terms, rel=1e-5)
    assert rows[0]["loss/identity"] == pytest.approx(np.log(8), abs=0.1)  # eight people, no idea
    steps = {folder.name for folder in (demo.workdir / "checkpoints").iterdir()}
    assert steps == {"2", "3"}
    # Without TensorFlow, "auto" chose the memory-mapped feed: 8 people x 2 x 8 images.
    (cache,) = (demo.workdir / "cache").glob("*/*.npy")
    assert np.load(cache, mmap_mode="r").shape == (128, 32, 32, 3)


def by_textbook(distances: np.ndarray, ids: np.ndarray, gallery_ids: np.ndarray) -> dict:
    """mAP and CMC over images, one query after the other."""
    precisions, first = [], []
    for row, person in zip(distances, ids, strict=True):
        ranked = gallery_ids[np.argsort(row, kind="stable")] == person
        hits = [rank for rank, right in enumerate(ranked, 1) if right]
        precisions.append(np.mean([n / rank for n, rank in enumerate(hits, 1)]))
        first.append(hits[0])
    ranks = {f"rank{k}": np.mean([rank <= k for rank in first]) for k in (1, 5, 10, 20)}
    return {"mean_ap": np.mean(precisions), **ranks}


def test_evaluation_agrees_with_the_exported_features(demo, exported, capfd):
    capfd.readouterr()
    assert main(["evaluate", *demo.run]) == 0
    table, err = capfd.readouterr()
    written = [Path(line.removeprefix("wrote ")) for line in err.splitlines()]
    folder = demo.workdir / "evaluation"
    assert written == [
        folder / "test-step3.json",
        folder / "test-step3-infrared-to-visible.png",
        folder / "test-step3-visible-to-infrared.png",
        folder / "training.png",
    ]
    for picture in written[1:]:
        with Image.open(picture) as image:
            image.load()
            assert min(image.size) > 100

    result = json.loads(written[0].read_text())
    assert (result["split"], result["step"], result["num_classes"]) == ("test", 3, 8)
    assert result["config"]["steps"] == 3
    assert [(row["query"], row["feature"]) for row in result["results"]] == [
        ("infrared", "neck"),
        ("infrared", "pooled"),
        ("visible", "neck"),
        ("visible", "pooled"),
    ]
    stored = load_features(exported)
    side = {m: stored[stored.index.modalities == m] for m in ("visible", "infrared")}
    for row in result["results"]:
        assert row["queries"] == row["valid_queries"] == row["gallery_images"] == 32
        query, gallery = side[row["query"]], side[row["gallery"]]
        distances = pairwise_distances(
            getattr(query, row["feature"]), getattr(gallery, row["feature"])
        )
        expected = by_textbook(distances, query.index.identities, gallery.index.identities)
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-6)
        assert f"{100 * row['mean_ap']:.2f}" in table
    assert "synthetic" in table
    assert "infrared -> visible" in table


def test_evaluation_as_json_and_of_the_untrained_network(demo, capfd):
    assert main(["evaluate", *demo.run, "--json", "--checkpoint", "2"]) == 0
    trained = json.loads(capfd.readouterr().out)
    assert trained["step"] == 2
    assert main(["evaluate", *demo.run, "--json", "--untrained"]) == 0
    out, err = capfd.readouterr()
    untrained = json.loads(out)
    assert untrained["step"] == 0
    assert err == f"wrote {demo.workdir / 'evaluation' / 'test-step0.json'}\n"
    assert untrained["results"] != trained["results"]
    assert json.loads((demo.workdir / "evaluation/test-step0.json").read_text()) == untrained


def test_another_question_does_not_overwrite_the_answer(demo, capfd):
    folder = demo.workdir / "evaluation"
    before = contents(folder)
    pairs = "--config.evaluation.pairs=('visible_to_visible',)"
    assert main(["evaluate", *demo.run, pairs]) == 0
    out, err = capfd.readouterr()
    assert "all images, without own identity by own camera" in out
    written = folder / "test-step3-visible_to_visible.json"
    assert f"wrote {written}" in err.splitlines()
    result = json.loads(written.read_text())
    assert result["config"]["evaluation"]["pairs"] == ["visible_to_visible"]
    assert {(row["query"], row["gallery"]) for row in result["results"]} == {("visible", "visible")}
    # Cameras 1 and 2 alone are visible: without the query's own, half of the gallery is there.
    assert main(["evaluate", *demo.run, pairs, "--config.evaluation.same_modality=camera"]) == 0
    assert "all images, without own camera" in capfd.readouterr().out
    other = json.loads((folder / "test-step3-visible_to_visible-camera.json").read_text())
    assert other["config"]["evaluation"]["same_modality"] == "camera"
    for ours, theirs in zip(other["results"], result["results"], strict=True):
        assert ours["valid_queries"] == theirs["valid_queries"] > 0
        assert ours["mean_ap"] > theirs["mean_ap"]  # fewer people to be mistaken for
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    assert main(["evaluate", *demo.run, "--config.steps=5"]) == 2
    err = capfd.readouterr().err
    assert "steps: a trained network is what it is" in err


def test_a_result_of_a_run_older_than_a_field_is_named_by_what_differs_from_it():
    trained = parse_config({"steps": 1, "data": {"root": "x", "name": "sysu"}})
    record = {"steps": 1, "config": dataclasses.asdict(trained)}
    del record["config"]["evaluation"]["same_modality"]
    as_it_was = parse_record(record["config"])
    assert _changed(Run(None, None, as_it_was, "step 1", 1, record)) == []
    evaluation = dataclasses.replace(as_it_was.evaluation, same_modality="camera", trials=3)
    config = dataclasses.replace(as_it_was, evaluation=evaluation)
    assert _changed(Run(None, None, config, "step 1", 1, record)) == ["camera", "3trials"]


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
    said = f"wrote {folder}: visible and infrared images to features, with JAX alone\n"
    assert capfd.readouterr() == ("", said)
    record = json.loads((folder / "artefact.json").read_text())
    assert record["network"]["run"] == str(demo.workdir)
    assert record["network"]["step"] == 3
    assert record["images"]["shape"] == ["n", 32, 32, 3]
    stored = load_features(exported)
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


def test_searching_a_folder_and_a_file_of_features_gives_the_same(demo, exported, capfd):
    query = demo.data / "test/infrared/0010/c3_0002.jpg"
    search = ["search", *demo.run, "--query", str(query), "--json", "--top", "4", "--gallery"]
    assert main([*search, str(demo.data / "test/visible")]) == 0
    of_folder = json.loads(capfd.readouterr().out)
    assert main([*search, str(exported)]) == 0
    of_file = json.loads(capfd.readouterr().out)
    assert [row["path"] for row in of_folder] == [row["path"] for row in of_file]

    with np.load(exported) as arrays:
        visible = arrays["modality"] == "visible"
        own = arrays["features"][arrays["paths"] == str(query)][0]
        distances = 1 - arrays["features"][visible] @ own
        paths = arrays["paths"][visible]
    nearest = np.argsort(distances, kind="stable")[:4]
    assert [row["rank"] for row in of_folder] == [1, 2, 3, 4]
    assert {row["query"] for row in of_folder} == {str(query)}
    for found in (of_folder, of_file):
        assert [row["distance"] for row in found] == pytest.approx(distances[nearest], abs=1e-5)
    assert [row["path"] for row in of_file] == list(paths[nearest])


def test_searching_features_in_a_directory_gives_the_same(demo, exported, tmp_path, capfd):
    folder = tmp_path / "features"
    load_features(exported).save(folder)
    query = demo.data / "test/infrared/0010"
    search = ["search", *demo.run, "--query", str(query), "--json", "--gallery"]
    for modality in ("visible", "infrared"):
        found = []
        for gallery in (exported, folder):
            more = ["--top", "99", "--gallery-modality", modality]
            assert main([*search, str(gallery), *more]) == 0
            found.append(json.loads(capfd.readouterr().out))
        assert found[0] == found[1]
        assert len(found[0]) == 8 * 32
        assert all(f"/{modality}/" in row["path"] for row in found[0])
    assert sorted(path.suffix for path in folder.iterdir()) == [".npy"] * 6


def test_files_that_are_no_images_are_counted(demo, exported, tmp_path, capfd):
    queries = tmp_path / "queries"
    queries.mkdir()
    shutil.copy(demo.data / "test/visible/0009/c1_0001.jpg", queries / "one.jpg")
    for name in ("photo.heic", "other.HEIC", "list"):
        (queries / name).write_bytes(b"")
    given = ["--query", str(queries), "--query-modality", "visible", "--gallery", str(exported)]
    assert main(["search", *demo.run, *given, "--gallery-modality", "infrared", "--top", "1"]) == 0
    out, err = capfd.readouterr()
    assert err == (
        f"note: {queries}: files passed over: 3 (.heic, no ending); images are "
        ".jpg, .jpeg, .png, .bmp\n"
    )
    assert out.count("one.jpg") == 1


def test_searching_for_a_folder_of_queries_draws_a_picture(demo, exported, tmp_path, capfd):
    picture = tmp_path / "new" / "ranking.png"
    queries = demo.data / "test/visible/0009"
    modalities = ["--query-modality", "visible", "--gallery-modality", "infrared"]
    gallery = ["--gallery", str(exported), "--top", "99", "--out", str(picture)]
    assert main(["search", *demo.run, "--query", str(queries), *modalities, *gallery]) == 0
    out, err = capfd.readouterr()
    assert err == f"wrote {picture}\n"
    assert "visible -> infrared" in out
    assert out.count(str(queries)) == 8 * 32  # eight queries, the whole gallery each
    assert out.count("test/infrared/") == 8 * 32
    with Image.open(picture) as image:
        image.load()
        assert image.height > image.width / 2  # eight rows of eleven images
    queries = queries.parent
    count = len(list(queries.glob("*/*.jpg")))
    assert main(["search", *demo.run, "--query", str(queries), *modalities, *gallery]) == 0
    assert capfd.readouterr().err == f"wrote {picture}: the first 10 of {count} queries\n"


# --- bad input: each one line, exit status 2, nothing lost ---


PEOPLE = {"1": 2, "2": 2, "3": 1}


@pytest.fixture
def own(tmp_path, write_layout) -> Path:
    """A user's own small folder."""
    split = {"visible": PEOPLE, "infrared": PEOPLE}
    return write_layout(tmp_path / "own", {"train": split, "test": split})


def train_own(own: Path, *more: str) -> list[str]:
    config = ["--config", str(CONFIGS / "folder.py"), f"--config.data.root={own}"]
    workdir = ["--workdir", str(own.parent / "run"), "--config.data.feed=memmap"]
    return ["train", *config, *workdir, *SMALL, "--config.batch.identities=2", *more]


def test_a_missing_root(own, refused):
    message = refused(*train_own(own / "nowhere"))
    assert message.startswith(f"no data at {own / 'nowhere'}: correct data.root")
    assert not (own.parent / "run").exists()


def test_no_root_at_all(own, refused):
    message = refused(*train_own(own, "--config.data.root="))
    assert message == "config: data.root = '' is empty: name the data set's directory"


def test_an_empty_split(own, refused):
    shutil.rmtree(own / "train")
    message = refused(*train_own(own))
    assert message.startswith(f"no images under {own / 'train'}: expected train/")
    assert not (own.parent / "run").exists()


def test_an_identity_in_one_modality_only(own, refused):
    shutil.rmtree(own / "train/infrared/2")
    message = refused(*train_own(own))
    assert "no infrared image of 1 of its identities (2)" in message
    assert str(own) in message
    assert not (own.parent / "run").exists()


def test_an_unreadable_image(own, refused):
    image = own / "train/visible/2/c2_0001.jpg"
    image.write_bytes(image.read_bytes()[:100])
    message = refused(*train_own(own))
    assert message == f"{image}: unreadable image; replace or remove it"
    begun = [Path(name).name for name in contents(own.parent / "run")]
    assert begun == ["prepared.partial.json"]


def test_config_fields_misspelt_and_out_of_range(own, refused):
    wrong = ("--config.bach.images=1", "--config.views.flip", "-1", "--config.seed=x")
    message = refused(*train_own(own, *wrong, "--config.log.keep=0"))
    assert message == (
        "config: bach.images is no field (did you mean batch.images?); "
        "seed = 'x' is not a whole number; views.flip = -1.0 must lie in [0, 1]; "
        "log.keep = 0 must be positive"
    )


def test_more_identities_a_batch_than_there_are(own, refused):
    message = refused(*train_own(own, "--config.batch.identities=4"))
    assert message.startswith("batch.identities = 4 is more than the 3 training identities")
    assert contents(own.parent / "run") == {}


def test_an_unknown_argument_of_train(own, refused):
    assert refused(*train_own(own, "--steps=5")).startswith("unknown argument --steps: fields")


def test_a_config_file_that_is_none(own, refused):
    arguments = train_own(own)
    arguments[2] = "configs/gone.py"
    assert refused(*arguments).startswith("no config file at configs/gone.py: give --config")


def test_an_exception_of_several_lines_becomes_one(own, refused):
    file = own / "config.py"
    file.write_text("raise RuntimeError('first\\nsecond')\n")
    arguments = train_own(own)
    arguments[2] = str(file)
    assert refused(*arguments) == f"{file} gives no configuration: RuntimeError: first second"


@pytest.mark.parametrize("command", ["evaluate", "export", "search"])
def test_a_workdir_without_checkpoint(own, refused, command):
    more = {
        "evaluate": [],
        "export": ["--out", own / "features.npz"],
        "search": ["--query", own / "test/infrared/1", "--gallery", own / "test/visible"],
    }
    before = contents(own)
    for workdir in (own, own / "nowhere"):
        message = refused(command, "--workdir", workdir, *more[command])
        assert message.startswith(f"no checkpoint under {workdir}: give the --workdir of")
    (own / "checkpoints").mkdir()
    message = refused(command, "--workdir", own, *more[command])
    assert message == f"no complete checkpoint under {own}: train there first"
    assert contents(own) == before


def test_a_checkpoint_that_is_not_there(demo, refused):
    message = refused("evaluate", *demo.run, "--checkpoint", "7")
    assert "no checkpoint '7' (no such step; there are: 2, 3)" in message
    message = refused("evaluate", *demo.run, "--checkpoint", "best")
    assert "no step has validation figures" in message


@pytest.mark.parametrize("content", [b"hello", b"", b"PK\x03\x04 no archive"])
def test_a_feature_file_that_is_none(demo, own, refused, content):
    file = own / "features.npz"
    file.write_bytes(content)
    query = ("--query", own / "test/infrared/1")
    message = refused("search", *demo.run, *query, "--gallery", file)
    assert message == f"{file} is no feature file as `lupi export` writes it"


def test_features_of_another_network(demo, own, refused):
    file = own / "features.npz"
    columns = {"ids": [1], "cameras": [1], "modality": ["visible"], "paths": ["a.jpg"]}
    values = np.array([[0.6, 0.8]], np.float32)
    np.savez(file, features=values, pooled=values, **{k: np.array(v) for k, v in columns.items()})
    search = ("search", *demo.run, "--query", own / "test/infrared/1", "--gallery", file)
    assert "holds features of length 2, this network makes 256" in refused(*search)
    message = refused(*search, "--gallery-modality", "infrared")
    assert message == f"{file} holds no infrared features"


def test_search_arguments_that_cannot_be_used(demo, own, refused):
    search = ("search", *demo.run, "--gallery", own / "test/visible", "--query")
    query = own / "test/infrared/1"
    assert refused(*search, own / "gone.jpg") == f"no image or folder at {own / 'gone.jpg'}"
    assert refused(*search, query, "--top", "0") == "--top 0: must be positive"
    message = refused(*search, query, "--out", own / "ranking.doc")
    assert message.startswith(f"--out {own / 'ranking.doc'}: end it on one of .png")
    broken = query / "c1_0000.jpg"
    broken.write_bytes(b"no image")
    assert refused(*search, query) == f"{broken}: unreadable image; replace or remove it"


def test_features_are_written_beside_nothing_else(demo, own, refused):
    message = refused("export", *demo.run, "--out", own / "features.csv")
    assert message.startswith(
        f"{own / 'features.csv'}: features are written to a file that ends on"
    )
    (own / "folder.npz").mkdir()
    (own / "file").touch()
    for out in (own, own / "folder.npz", own / "file"):
        message = refused("export", *demo.run, "--out", out)
        assert message == f"--out {out}: something else is there; give another name"


def test_an_export_is_of_features_or_of_the_network(demo, own, refused):
    export = ("export", *demo.run)
    message = refused(*export, "--out", own / "f.npz", "--feature", "pooled")
    assert message.startswith("--feature is of --stablehlo")
    for more in (("--split", "val"), ("--data-root", own)):
        message = refused(*export, "--stablehlo", own / "network", *more)
        assert message.startswith("--split and --data-root are of --out")
    assert refused(*export, "--stablehlo", own).startswith(f"{own}: something else is there")
    assert not (own / "network").exists()


def test_a_feature_that_is_not_of_length_1(demo, own, exported, refused):
    folder = own / "features"
    features = load_features(exported)
    features.neck[np.flatnonzero(features.index.modalities == "visible")[-1]] *= 2
    features.save(folder)
    search = ("search", *demo.run, "--query", own / "test/infrared/1", "--gallery", folder)
    message = refused(*search)
    assert message == f"{folder}: features must be finite and of length 1; export it anew"


def test_an_export_that_was_cut_off_is_repeated(demo, own, refused):
    folder = own / "features"
    (folder / ".lupi-partial-features.npy-12345678").mkdir(parents=True)
    assert main(["export", *demo.run, "--out", str(folder)]) == 0
    (folder / "features.npy").unlink()
    search = ("search", *demo.run, "--query", own / "test/infrared/1", "--gallery", folder)
    message = refused(*search)
    assert message == f"no feature file at {folder}: write one with `lupi export --out {folder}`"
    assert main(["export", *demo.run, "--out", str(folder)]) == 0
    assert {path.suffix for path in folder.iterdir()} == {".npy"}


def test_another_configuration_in_an_existing_workdir(demo, refused, capfd):
    before = contents(demo.workdir)
    capfd.readouterr()
    message = refused(*demo.train("--config.optimizer.rate=0.5", "--config.seed=1"))
    assert message == (
        f"{demo.workdir} holds a run with another configuration; differing: seed, "
        "optimizer.rate. Give the same values, or another --workdir"
    )
    assert contents(demo.workdir) == before


def test_too_few_synthetic_people(tmp_path, refused):
    message = refused("make-synthetic", "--out", tmp_path / "people", "--identities", "1")
    assert "identities=1" in message
    assert not (tmp_path / "people").exists()


def test_data_that_a_run_cannot_be_evaluated_on(demo, refused, tmp_path):
    """The run's own data have gone: nothing but a clear line, and the run is whole."""
    hidden = tmp_path / "elsewhere"
    demo.data.rename(hidden)
    try:
        message = refused("evaluate", *demo.run)
    finally:
        hidden.rename(demo.data)
    assert message.startswith(f"no data at {demo.data}")


def test_unknown_commands_and_arguments_are_the_parsers(capfd):
    for arguments, word in (
        (["serch"], "serch"),
        (["make-synthetic", "--out=x", "--jsn"], "--jsn"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        err = capfd.readouterr().err
        assert err.startswith("usage: lupi")
        assert word in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BrokenPipeError(32, "Broken pipe"), "standard output was closed"),
        (
            MemoryError("Unable to allocate 9 GiB"),
            "out of memory (Unable to allocate 9 GiB): training takes less with a lower batch.",
        ),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GiB"), "out of the device's memory ("),
    ],
)
def test_what_a_machine_lacks_is_said_in_one_line(error: Exception, message: str) -> None:
    status, said = cli._verdict(error)
    assert status == 2
    assert said.startswith(message)


def test_a_full_disk_behind_standard_output_hides_no_status(tmp_path: Path) -> None:
    program = """
import sys
from lupi_jax.cli import main
sys.stdout = open("/dev/full", "w")
print("waits to be written")
sys.exit(main())
"""
    command = [sys.executable, "-c", program, "train", "--config", "none.py", "--workdir", "none"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("lupi: ")
