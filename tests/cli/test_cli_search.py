"""`lupi search`: rankings, and what cannot be searched."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from lupi_jax.cli import main
from lupi_jax.evaluation import load_features


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
    assert message.startswith(f"--out {own / 'ranking.doc'}: must name a file that ends in .png")
    broken = query / "c1_0000.jpg"
    broken.write_bytes(b"no image")
    assert refused(*search, query) == f"{broken}: unreadable image; replace or remove it"


def test_a_feature_that_is_not_of_length_1(demo, own, exported, refused):
    folder = own / "features"
    features = load_features(exported)
    features.neck[np.flatnonzero(features.index.modalities == "visible")[-1]] *= 2
    features.save(folder)
    search = ("search", *demo.run, "--query", own / "test/infrared/1", "--gallery", folder)
    message = refused(*search)
    assert message == f"{folder}: features must be finite and of length 1; export it anew"
