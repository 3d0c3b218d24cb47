"""`lupi search`: rankings, and what cannot be searched."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lupi_jax.cli import main
from lupi_jax.evaluation import load_features
from lupi_jax.report import pictures


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
    assert sorted(path.suffix for path in folder.iterdir()) == [".json"] + [".npy"] * 6


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
        ".jpg, .jpeg, .png, .bmp, .gif, .tif, .tiff, .webp\n"
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
    said, _ = capfd.readouterr().err.splitlines()
    assert said == f"wrote {picture}: the first 10 of {count} queries"


def test_a_table_has_the_first_ten_queries_and_json_has_all(demo, exported, capfd):
    queries = demo.data / "test/infrared"
    search = ["search", *demo.run, "--query", str(queries), "--gallery", str(exported)]
    assert main([*search, "--top", "2"]) == 0
    out, err = capfd.readouterr()
    assert err == "printed the first 10 of 32 queries; --json prints all\n"
    assert "infrared -> visible: the first 10 of 32 queries" in out
    first = sorted(map(str, queries.rglob("*.jpg")))[:10]
    assert [line.split("│")[1].strip() for line in out.splitlines() if "│" in line] == [
        query for query in first for _ in range(2)
    ]
    assert main([*search, "--top", "2", "--json"]) == 0
    out, err = capfd.readouterr()
    assert (len(json.loads(out)), err) == (64, "")


@pytest.mark.parametrize("content", [b"hello", b"", b"PK\x03\x04 no archive"])
def test_a_feature_file_that_is_none(demo, own, refused, content):
    file = own / "features.npz"
    file.write_bytes(content)
    query = ("--query", own / "test/infrared/1")
    message = refused("search", *demo.run, *query, "--gallery", file)
    assert (
        message
        == f"{file} is not a feature file of `lupi export`: write one with `lupi export --out`"
    )


def test_features_of_another_length(demo, own, refused):
    file = own / "features.npz"
    columns = {"ids": [1], "cameras": [1], "modality": ["visible"], "paths": ["a.jpg"]}
    values = np.array([[0.6, 0.8]], np.float32)
    np.savez(file, features=values, pooled=values, **{k: np.array(v) for k, v in columns.items()})
    search = ("search", *demo.run, "--query", own / "test/infrared/1", "--gallery", file)
    assert "these features have length 2, but this network makes 256" in refused(*search)
    message = refused(*search, "--gallery-modality", "infrared")
    assert message == (
        f"{file}: no infrared features in it: give another --gallery-modality or export such images"
    )


@pytest.mark.parametrize("name", ["features", "features.npz", "features.safetensors"])
def test_features_of_another_network(demo, own, exported, refused, capfd, name):
    """The same images and run by the network before its first step, in every form."""
    place = own / name
    assert main(["export", *demo.run, "--untrained", "--out", str(place)]) == 0
    search = ["search", *demo.run, "--query", str(own / "test/infrared/1"), "--gallery", str(place)]
    message = refused(*search)
    made_by, asked_for = (load_features(x).origin["network_fingerprint"] for x in (place, exported))
    assert message == (
        f"{place}: made by network {made_by} ({demo.workdir}, untrained, 32 x 32 pixels), but the "
        f"network asked for is network {asked_for} ({demo.workdir}, step 3, 32 x 32 pixels): "
        "export it again with this network, or add --any-network"
    )
    assert main([*search, "--any-network"]) == 0
    out, err = capfd.readouterr()
    assert out.count("test/infrared/1/") == 2 * 10
    said = f"note: {place}: another network made these features: distances mean little"
    assert said in err.splitlines()


def test_features_that_do_not_say_what_made_them(demo, own, exported, capfd):
    with np.load(exported) as arrays:
        older = {name: array for name, array in arrays.items() if name != "made_by"}
    np.savez(own / "older.npz", **older)
    query = ["--query", str(own / "test/infrared/1"), "--gallery", str(own / "older.npz")]
    assert main(["search", *demo.run, *query]) == 0
    said = f"note: {own / 'older.npz'}: it is not known which network made these features"
    lines = capfd.readouterr().err.splitlines()
    assert sum(line.startswith(said) for line in lines) == 1


def test_an_image_that_only_queries_is_not_found(demo, own, exported, refused, capfd):
    features = load_features(exported)
    visible = np.flatnonzero(features.index.modalities == "visible")
    roles = np.full(len(features.index), "gallery")
    roles[visible[1:]] = "query"
    file = own / "features.npz"
    dataclasses.replace(features, index=dataclasses.replace(features.index, roles=roles)).save(file)
    search = ["search", *demo.run, "--query", str(own / "test/infrared/1"), "--gallery", str(file)]
    assert main([*search, "--json"]) == 0
    out, err = capfd.readouterr()
    only = str(features.index.root / features.index.paths[visible[0]])
    assert [row["path"] for row in json.loads(out)] == [only, only]  # of two queries
    count = len(visible)
    said = f"{count - 1} of {count} visible images are passed over, because their role is query"
    assert f"note: {file}: {said}" in err.splitlines()
    features.index.modalities[visible[0]] = "infrared"
    dataclasses.replace(features, index=dataclasses.replace(features.index, roles=roles)).save(file)
    only = f"{count - 1} of {count - 1} visible images have the role query"
    assert refused(*search) == f"{file}: {only}: give a gallery to search"


def test_search_arguments_that_cannot_be_used(demo, own, refused):
    search = ("search", *demo.run, "--gallery", own / "test/visible", "--query")
    query = own / "test/infrared/1"
    assert refused(*search, own / "gone.jpg") == f"no image or folder at {own / 'gone.jpg'}"
    assert refused(*search, query, "--top", "0") == "--top 0: give 1 or more"
    message = refused(*search, query, "--out", own / "ranking.doc")
    assert message.startswith(f"--out {own / 'ranking.doc'}: name a file that ends in .png")
    broken = query / "c1_0000.jpg"
    broken.write_bytes(b"no image")
    assert refused(*search, broken) == f"{broken}: unreadable image; replace or remove it"
    (query / "c2_0001.jpg").write_bytes(b"no image")
    message = refused(*search, query)
    assert message.startswith(f"{broken}: unreadable image; replace or remove it; the other images")


def test_a_feature_that_is_not_of_length_1(demo, own, exported, refused):
    folder = own / "features"
    features = load_features(exported)
    features.neck[np.flatnonzero(features.index.modalities == "visible")[-1]] *= 2
    features.save(folder)
    search = ("search", *demo.run, "--query", own / "test/infrared/1", "--gallery", folder)
    message = refused(*search)
    assert message == f"{folder}: features must be finite and of length 1: export them again"


@pytest.fixture
def day(demo, tmp_path) -> Path:
    """Four visible images of four people, named a to d."""
    folder = tmp_path / "day"
    folder.mkdir()
    people = sorted((demo.data / "test/visible").iterdir())[:4]
    for name, person in zip("abcd", people, strict=True):
        shutil.copy(min(person.iterdir()), folder / f"{name}.jpg")
    return folder


@pytest.fixture
def search(demo, capfd) -> Callable[..., tuple[int, list[tuple[str, float]], str]]:
    """Searches for an infrared image: (status, [(name, distance) of the images], stderr)."""

    def run(gallery: Path, *more: str) -> tuple[int, list[tuple[str, float]], str]:
        capfd.readouterr()
        query = str(demo.data / "test/infrared/0010/c3_0002.jpg")
        given = [*demo.run, "--query", query, "--gallery", str(gallery), *more]
        status = main(["search", *given, "--json"])
        out, err = capfd.readouterr()
        rows = json.loads(out) if out else []
        paths = [(row["path"].removeprefix(f"{gallery}/"), row["distance"]) for row in rows]
        return status, paths, err

    return run


def test_damaged_images_are_named_and_the_rest_is_ranked(demo, day, search, tmp_path, refused):
    whole = search(day)
    assert (whole[0], len(whole[1]), whole[2]) == (0, 4, "")
    ranked = dict(whole[1])
    del ranked["b.jpg"], ranked["d.jpg"]
    (day / "b.jpg").write_bytes((day / "b.jpg").read_bytes()[:300])
    (day / "d.jpg").write_bytes(b"8BPS\0\1 a picture")
    picture = tmp_path / "ranking.png"
    status, rest, err = search(day, "--out", str(picture))
    assert status == 3
    assert dict(rest) == pytest.approx(ranked, abs=1e-5)
    assert list(dict(rest)) == list(ranked)
    assert picture.is_file()
    assert err.splitlines() == [
        f"left out: {day}/b.jpg: unreadable image; replace or remove it",
        f"left out: {day}/d.jpg: a PSD file; save it as JPEG, PNG, BMP, GIF, TIFF or WEBP",
        f"wrote {picture}",
        "lupi: 2 images were left out and named above; all others are ranked",
    ]
    given = ("--query", day, "--query-modality", "visible", "--gallery", day / "b.jpg")
    message = refused("search", *demo.run, *given)
    assert message == f"{day}/b.jpg: unreadable image; replace or remove it"


def test_a_single_image_is_a_gallery(day, search):
    distances = dict(search(day)[1])
    status, found, err = search(day / "c.jpg")
    assert (status, err) == (0, "")
    assert [distance for _, distance in found] == pytest.approx([distances["c.jpg"]], abs=1e-5)


def test_linked_directories_are_searched_once_each(day, search, tmp_path):
    (tmp_path / "more").mkdir()
    shutil.copy(day / "a.jpg", tmp_path / "more/e.jpg")
    (tmp_path / "more/back").symlink_to(day)
    (day / "0").symlink_to(tmp_path / "more")
    (day / "up").symlink_to(tmp_path)
    status, found, err = search(day)
    assert status == 0
    assert sorted(name for name, _ in found) == ["0/e.jpg", "a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert err == (
        f"note: {day}: linked directories passed over: 2 ({day}/up, {day}/0/back); each "
        "directory is read once, and a link to a directory above is not followed\n"
    )


def test_images_that_do_not_look_as_their_modality_are_noted(demo, day, search, capfd):
    assert search(day, "--gallery-modality", "infrared")[2] == (
        f"note: {day}: 4 of 4 images look coloured, but go through the infrared stem: if they are "
        "visible, give --gallery-modality visible\n"
    )
    for file in day.iterdir():  # in three channels, and with what JPEG makes of them
        with Image.open(file) as image:
            grey = image.convert("L").convert("RGB")
        grey.save(file, quality=30)
    assert search(day, "--gallery-modality", "infrared")[2] == ""
    assert search(day)[2] == (
        f"note: {day}: all of 4 images look grey, but go through the visible stem: if they are "
        "infrared, give --gallery-modality infrared\n"
    )


def test_a_name_that_is_no_text_is_shown_escaped(demo, day, tmp_path, capfd):
    name = os.fsdecode(b"\xff\x1b[31m.jpg")
    os.rename(day / "a.jpg", day / name)
    for file in day.iterdir():
        if file.name != name:
            file.unlink()
    picture = tmp_path / "ranking.png"
    given = ["search", *demo.run, "--query", str(day), "--query-modality", "visible"]
    given += ["--gallery", str(day), "--out", str(picture)]
    shown = f"{day}/\\xff\\x1b[31m.jpg"
    assert main(given) == 0
    out, err = capfd.readouterr()
    assert shown in out
    assert err == f"wrote {picture}\n"
    assert main([*given, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)[0]["path"] == shown
    (day / name).write_bytes(b"no image")
    assert main(given) == 2
    assert capfd.readouterr().err == f"lupi: {shown}: unreadable image; replace or remove it\n"


def test_a_picture_takes_the_place_of_no_image_that_is_searched(demo, refused, tmp_path):
    shutil.copytree(demo.data / "test/visible", tmp_path / "visible")
    image = next((tmp_path / "visible").rglob("*.jpg"))
    before = image.read_bytes()
    sides = ["--query", image, "--query-modality", "visible", "--gallery", tmp_path / "visible"]
    message = refused("search", *demo.run, *sides, "--out", image)
    assert (
        message == f"--out {image}: this would overwrite {image}, which is read: give another name"
    )
    (tmp_path / "link").symlink_to(image.parent)
    message = refused("search", *demo.run, *sides, "--out", tmp_path / "link" / image.name)
    assert message.endswith(f"this would overwrite {image}, which is read: give another name")
    for name in ("earlier.pdf", "earlier.svg"):  # no image that is searched
        (tmp_path / "visible" / name).write_bytes(b"an earlier picture")
        picture = tmp_path / "visible" / name
        assert main([str(a) for a in ("search", *demo.run, *sides, "--out", picture)]) == 0
        assert picture.stat().st_size > 1000
    assert image.read_bytes() == before


def test_a_ranking_is_seen_though_its_picture_cannot_be_written(
    demo, exported, tmp_path, monkeypatch, capfd
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "x.png"))

    monkeypatch.setattr("lupi_jax.report.pictures.ranking_picture", full)
    query = next((demo.data / "test" / "infrared").rglob("*.jpg"))
    command = ["search", *demo.run, "--query", str(query), "--gallery", str(exported), "--json"]
    assert main([*command, "--top", "3", "--out", str(tmp_path / "x.png")]) == 2
    out, err = capfd.readouterr()
    assert [row["rank"] for row in json.loads(out)] == [1, 2, 3]
    assert err.splitlines()[-1].startswith(f"lupi: {tmp_path / 'x.png'}: No space left on device")


def test_links_that_lead_nowhere_are_named(day, search, tmp_path):
    (day / "camera").symlink_to(tmp_path / "unmounted")
    status, found, err = search(day)
    assert (status, len(found)) == (0, 4)
    assert err == f"note: {day}: links that lead nowhere: 1 ({day}/camera)\n"


def test_a_picture_tells_right_from_wrong_within_one_data_set(demo, own, tmp_path, monkeypatch):
    drawn = []
    draw = pictures.ranking_picture
    monkeypatch.setattr(pictures, "ranking_picture", lambda *a: (drawn.append(a), draw(*a)))
    query = demo.data / "test/infrared/0009"
    sides = ["--query", str(query), "--gallery", str(demo.data / "test/visible"), "--top", "3"]
    out = ["--out", str(tmp_path / "ranking.png")]
    assert main(["search", *demo.run, *sides, *out]) == 0
    (_, rows, title) = drawn.pop()
    assert title == "infrared queries, visible gallery"
    for row in rows:
        assert row.query_title.startswith("ID 9 · cam ")
        assert [t.startswith("ID 9 · ") for t in row.titles] == row.correct
    # In another data set the same number is another person.
    sides[-3] = str(own / "test/visible")
    assert main(["search", *demo.run, *sides, *out]) == 0
    (_, rows, _) = drawn.pop()
    assert rows[0].correct == [None] * len(rows[0].gallery)
    assert rows[0].query_title.startswith("c")
