"""`lupi_jax.search` on a network that counts as trained, against the command and by hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lupi_jax as lupi
from lupi_jax.cli import main
from lupi_jax.report import drawing, pictures

CONFIG = Path(__file__).parents[2] / "configs/synthetic.py"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, people, save_run) -> Path:
    folder = tmp_path_factory.mktemp("searched") / "run"
    data = {"root": people, "image_size": (32, 32)}
    save_run(folder, lupi.load_config(CONFIG, {"steps": 3, "data": data}), 3, 3, key=7)
    return folder


@pytest.fixture(scope="module")
def run(workdir) -> lupi.training.Run:
    return lupi.load_run(workdir)


@pytest.fixture(scope="module")
def query(people) -> list[Path]:
    return sorted((people / "test/infrared").rglob("*.jpg"))[::5]


@pytest.fixture(scope="module")
def found(workdir, query, people) -> lupi.SearchResults:
    return lupi.search(workdir, query, people / "test/visible", top=3)


def test_arrays_are_ranked_by_the_features_of_the_extractor(found, run, query, people):
    images = sorted((people / "test/visible").rglob("*.jpg"))
    extract = lupi.extractor(run)
    distances = 1 - extract(query, "infrared") @ extract(images, "visible").T
    order = np.argsort(distances, axis=1, kind="stable")[:, :3]
    assert found.queries.tolist() == [str(path) for path in query]
    assert found.paths.tolist() == [[str(images[i]) for i in row] for row in order]
    expected = np.take_along_axis(distances, order, axis=1)
    np.testing.assert_allclose(found.distances, expected, atol=1e-5)
    assert found.identities.tolist() == [[-1] * 3] * len(query)  # files of any names
    assert (found.matches, found.threshold, found.left_out, found.notes) == (None, None, (), ())


def test_the_command_prints_the_same(found, workdir, people, tmp_path, query, capfd):
    folder = tmp_path / "queries"
    folder.mkdir()
    for number, path in enumerate(query):
        shutil.copy(path, folder / f"{number}.jpg")
    given = ["--workdir", workdir, "--query", folder, "--gallery", people / "test/visible"]
    assert main(["search", *map(str, given), "--top", "3", "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    again = lupi.search(workdir, folder, people / "test/visible", top=3)
    assert again.records() == printed
    np.testing.assert_allclose(again.distances, found.distances, atol=1e-5)
    assert [row["path"] for row in printed] == found.paths.ravel().tolist()


def test_a_gallery_is_also_features_in_memory_or_in_a_file(found, run, query, people, tmp_path):
    config = run.config
    index = lupi.data.read_index(config.data, "test")
    features = lupi.evaluation.embed_index(config, run.model, run.variables, index)
    features.save(tmp_path / "gallery.npz")
    for gallery in (features, tmp_path / "gallery.npz", str(tmp_path / "gallery.npz")):
        again = lupi.search(run, query, gallery, top=3)
        assert again.paths.tolist() == found.paths.tolist()
        np.testing.assert_allclose(again.distances, found.distances, atol=1e-5)
    numbers = [[int(Path(path).parent.name) for path in row] for row in again.paths]
    assert again.identities.tolist() == numbers  # known, unlike those of a folder
    before = lupi.training.load_untrained(config)
    with pytest.raises(lupi.InputError, match=r"^gallery: made by network .*: export it again"):
        lupi.search(before, query, features)
    other = lupi.search(before, query, features, any_network=True)
    assert other.notes == ("gallery: another network made these features: distances mean little",)
    with pytest.raises(lupi.InputError, match="no query images are given"):
        lupi.search(run, [], features)


def test_a_threshold_is_a_distance_or_chosen_by_an_evaluation(found, run, query, people, tmp_path):
    gallery = people / "test/visible"
    limit = float(np.sort(found.distances[:, 0])[1])  # two queries have a match
    marked = lupi.search(run, query, gallery, top=3, threshold=limit)
    assert marked.matches is not None
    np.testing.assert_array_equal(marked.matches, found.distances <= limit)
    assert marked.unmatched == len(query) - 2
    assert [row["match"] for row in marked.records()] == marked.matches.ravel().tolist()

    results = lupi.evaluate(run)
    file = results.save(tmp_path)
    chosen = [lupi.search(run, query, gallery, threshold=each, false_match_rate=0.05)
              for each in (results, file, str(file))]  # fmt: skip
    level = next(v for v in results.record["verification"][0]["levels"]
                 if v["false_match_rate"] == 0.05)  # fmt: skip
    for each in chosen:
        assert each.threshold is not None
        assert each.threshold.distance == level["threshold"]
        assert "5 % of" in each.threshold.said
    for wrong, message in (
        ({"threshold": 3}, "give a distance from 0 to 2"),
        ({"threshold": 0.5, "false_match_rate": 0.1}, "applies only to --threshold FILE"),
        ({"threshold": tmp_path / "gone"}, "neither a number nor a file"),
        ({"threshold": file, "query_modality": "visible"}, "no pairs of visible -> visible"),
    ):
        with pytest.raises(lupi.InputError, match=message):
            lupi.search(run, query, gallery, **wrong)
    before = lupi.training.load_untrained(run.config)
    with pytest.raises(lupi.InputError, match=r"^--threshold results: made by network"):
        lupi.search(before, query, gallery, threshold=results)


def test_a_network_of_one_modality_says_that_others_go_through_its_stem(query, people):
    fields = {"steps": 1, "data": {"root": people, "image_size": (32, 32)}}
    chosen = {"modalities": ("visible",), "evaluation.pairs": ("visible_to_visible",)}
    lone = lupi.load_untrained(lupi.load_config(CONFIG, {**fields, **chosen}))
    gallery = people / "test/visible"
    note = "this network knows only visible images, and takes infrared images as if they"
    assert lupi.search(lone, query, gallery).notes == (f"{note} were visible",)
    assert lupi.search(lone, gallery, gallery, query_modality="visible").notes == ()


def test_what_cannot_be_read_is_named_and_left_out(run, query, people, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    (tmp_path / "list.txt").touch()
    shutil.copy(query[0], tmp_path / "good.jpg")
    found = lupi.search(run, tmp_path, people / "test/visible", top=1)
    assert found.queries.tolist() == [str(tmp_path / "good.jpg")]
    assert found.left_out == (f"{bad}: unreadable image; replace or remove it",)
    assert found.notes[0].startswith(f"{tmp_path}: files passed over: 1 (.txt)")
    with pytest.raises(lupi.InputError, match=r"bad\.jpg: unreadable image"):
        lupi.search(run, [bad], people / "test/visible")
    for wrong, message in (
        ({"top": 0}, "top must be a whole number of at least 1"),
        (
            {"query_modality": "thermal"},
            "query_modality must be visible or infrared, not 'thermal'",
        ),
        ({"gallery_modality": "intermediate"}, "gallery_modality must be visible or infrared"),
    ):
        with pytest.raises(ValueError, match=message):
            lupi.search(run, query, people / "test/visible", **wrong)


def test_a_picture_shows_right_and_wrong(found, run, query, people, tmp_path, monkeypatch):
    drawn = []
    draw = pictures.ranking_picture
    monkeypatch.setattr(pictures, "ranking_picture", lambda *a: (drawn.append(a), draw(*a)))
    drawing.draw_search(found, tmp_path / "ranking.png")
    with Image.open(tmp_path / "ranking.png") as image:
        assert image.size[0] > 300
    ((_, rows, title),) = drawn
    assert (len(rows), title) == (min(10, len(query)), "infrared queries, visible gallery")
    person = int(query[0].parent.name)
    assert rows[0].query_title.startswith(f"ID {person} ")
    right = [int(Path(path).parent.name) == person for path in found.paths[0]]
    assert rows[0].correct == right
