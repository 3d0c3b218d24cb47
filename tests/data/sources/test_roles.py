"""Images that are only queries, or only searched: read, counted, measured."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lupi_jax as lupi
from lupi_jax import InputError
from lupi_jax.config import Config
from lupi_jax.data import read_index, read_training
from lupi_jax.data.index import Row, concatenate, make_index
from lupi_jax.data.sources.check import check_data
from lupi_jax.data.sources.counts import Count
from lupi_jax.data.sources.table import read_table
from lupi_jax.evaluation import Features, evaluate_features
from lupi_jax.evaluation.searched import images_asked_for, make_tasks, protocol_name

HEADER = "path,identity,camera,modality,split"
FOUR = ("a.png", "b.png", "c.png", "d.png")
ROLES = ["query", "gallery", "", ""]


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "images").mkdir()
    for name in FOUR:
        (tmp_path / "images" / name).touch()
    return tmp_path / "images"


def write(root: Path, *roles: str, column: str = "role") -> Path:
    file = root.parent / "table.csv"
    lines = [f"{role},{name},1,2,visible,test" for name, role in zip(FOUR, roles, strict=True)]
    file.write_text("\n".join((f"{column},{HEADER}", *lines)))
    return file


def test_a_table_says_who_only_queries_and_who_is_only_searched(root):
    index = read_table(write(root, "query", " gallery ", "", " "), root, "test")
    assert index.roles is not None
    assert index.roles.tolist() == ROLES
    assert index.in_queries.tolist() == [True, False, True, True]
    assert index.in_gallery.tolist() == [False, True, True, True]
    assert index[np.array([3, 0])].in_gallery.tolist() == [True, False]
    columns = {"path": FOUR, "identity": [1] * 4, "camera": [2] * 4, "modality": ["visible"] * 4}
    table = pa.table({**columns, "split": ["test"] * 4, "role": ["query", "gallery", None, ""]})
    pq.write_table(table, root.parent / "table.parquet")
    parquet = read_table(root.parent / "table.parquet", root, "test")
    assert parquet.roles is not None
    assert parquet.roles.tolist() == ROLES
    assert parquet.fingerprint == index.fingerprint


def test_a_table_without_roles_is_what_it_was(root):
    for column in ("role", "Role"):  # another column, which is ignored
        index = read_table(write(root, "", "", "", "", column=column), root, "test")
        assert index.roles is None
        assert index.in_queries.all()
        assert index.in_gallery.all()
    rows = [("a.jpg", 1, 2, "visible"), ("b/c.jpg", -1, 3, "infrared"), ("d.jpg", 0, 1, "visible")]
    plain = make_index(Path(), [Row(*row) for row in rows])
    assert plain.fingerprint == "f59c7820c7985111"  # by the version before roles
    some = make_index(Path(), [Row(*row, role) for row, role in zip(rows, ROLES[1:], strict=True)])
    assert some.fingerprint != plain.fingerprint
    assert some[np.array([1, 2])].fingerprint == plain[np.array([1, 2])].fingerprint
    both = concatenate([plain, some])
    assert both.in_queries.tolist() == [True, True, True, False, True, True]
    assert concatenate([plain, plain]).roles is None


def test_a_role_that_is_none(root):
    table = write(root, "query", "galery", "", "")
    message = r"line 3: role 'galery' is not one of query, gallery, nor empty \(both\)$"
    with pytest.raises(InputError, match=message):
        read_table(table, root, "test")
    table.write_text(table.read_text().replace("role,path", "role,role,path"))
    with pytest.raises(InputError, match=r"table\.csv has the column role 2 times: keep one$"):
        read_table(table, root, "test")


PEOPLE = {"-1": 2, "7": 3, "8": 2, "9": 1}


@pytest.fixture
def config(tmp_path, write_layout) -> Config:
    """Test people, junk among them, whose first infrared image queries and whose others do not.

    Each visible image of a person is in the gallery; 7's first one is in it and nothing else.
    """
    split = dict.fromkeys(("visible", "infrared"), PEOPLE)
    root = write_layout(tmp_path / "own", {"train": split, "test": split})
    lines = [f"{HEADER},role"]
    for file in sorted(root.rglob("*.jpg")):
        split, modality, person, name = path = file.relative_to(root).parts
        number = int(person) + 20 * (split == "train" and person != "-1")
        role = ""
        if modality == "infrared":
            role = "query" if name == "c1_0000.jpg" else "gallery"
        elif path[2:] == ("7", "c1_0000.jpg"):
            role = "gallery"
        lines.append(f"{file.relative_to(root)},{number},{name[1]},{modality},{split},{role}")
    (tmp_path / "own.csv").write_text("\n".join(lines))
    data = {"root": str(root), "index": str(tmp_path / "own.csv"), "image_size": (32, 32)}
    model = {"backbone": "thin", "non_local": False}
    return lupi.parse_config({"steps": 1, "data": data, "model": model})


def measure(config: Config) -> tuple[Features, list[dict[str, Any]]]:
    """Random features of the test images, and their figures."""
    index = images_asked_for(config, read_index(config.data, "test"))
    values = np.random.default_rng(0).standard_normal((len(index), 8)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    features = Features(values, values, index)
    return features, evaluate_features(features, make_tasks(config, index), names=("neck",))


def test_an_evaluation_keeps_queries_and_gallery_apart(config):
    whole = read_index(config.data, "test")
    assert protocol_name(config, whole) == (
        "all images, without 4 junk images, 4 images only as queries, 5 only in the gallery"
    )
    features, found = measure(config)
    index, neck = features.index, features.neck
    names = np.array([path.rpartition("/")[2] for path in index.paths])
    first = names == "c1_0000.jpg"
    infrared, seven = index.modalities == "infrared", index.identities == 7
    sides = {
        "infrared": (infrared & first, ~infrared),
        "visible": (~infrared & ~(seven & first), infrared & ~first),
    }
    for row in found:
        query, gallery = sides[row["query"]]
        assert (row["queries"], row["gallery_images"]) == (query.sum(), gallery.sum())
    assert [row["valid_queries"] for row in found] == [3, 4]  # 9 is in no infrared gallery
    for row in found:
        query, gallery = (np.flatnonzero(side) for side in sides[row["query"]])
        firsts = []
        for q in query:
            order = gallery[np.argsort(1 - neck[gallery] @ neck[q], kind="stable")]
            right = index.identities[order] == index.identities[q]
            firsts += right[:1].tolist() if right.any() else []
        assert row["rank1"] == pytest.approx(np.mean(firsts))


def test_training_does_not_look_at_roles(config):
    index, _ = read_training(config.data, 0)
    assert len(index) == 2 * 6
    assert index.classes.tolist() == [27, 28, 29]


def test_a_side_that_roles_leave_empty_is_named(config, tmp_path):
    table = tmp_path / "own.csv"
    table.write_text(table.read_text().replace(",infrared,test,gallery", ",infrared,test,query"))
    message = (
        "^visible -> infrared: all infrared images have the role query, so that the gallery is "
        r"empty: correct the roles, or leave the pair out of evaluation\.pairs$"
    )
    with pytest.raises(InputError, match=message):
        measure(config)
    asked = dataclasses.replace(config.evaluation, pairs=("infrared_to_visible",))
    _, found = measure(dataclasses.replace(config, evaluation=asked))
    assert {row["queries"] for row in found} == {6}
    table.write_text(
        table.read_text()
        .replace(",visible,test,", ",visible,test,query")
        .replace("queryquery", "query")
        .replace("querygallery", "query")
    )
    with pytest.raises(InputError, match="all visible images have the role query"):
        measure(dataclasses.replace(config, evaluation=asked))


def test_a_check_counts_the_roles(config):
    report = check_data(config.data)
    assert report.problems == ()
    counted = [row for row in report.rows if row.role and row.split == "test"]
    assert counted == [
        Count("test", "visible", None, 1, 1, role="gallery"),
        Count("test", "infrared", None, 3, 4, role="query"),
        Count("test", "infrared", None, 2, 4, role="gallery"),
    ]
    whole = next(row for row in report.rows if (row.split, row.modality) == ("test", "all"))
    assert (whole.identities, whole.images, whole.role) == (3, 16, "")


def test_a_role_is_of_an_image_and_of_what_is_made_of_it(config):
    pairs = ("intermediate_to_visible",)
    asked = dataclasses.replace(config.evaluation, pairs=pairs)
    _, found = measure(dataclasses.replace(config, evaluation=asked))
    assert {(row["queries"], row["gallery_images"]) for row in found} == {(5, 6)}


def test_a_split_as_it_is_read_keeps_the_roles(config):
    index = read_index(config.data, "test")
    assert index.roles is not None
    assert sorted(index.roles.tolist()) == [""] * 7 + ["gallery"] * 5 + ["query"] * 4
