"""Identity -1 is nobody, and 0 where somebody says so: read, trained on, measured, checked."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

import lupi_jax as lupi
from lupi_jax import InputError
from lupi_jax.config import SourceConfig
from lupi_jax.data import read_every_image, read_index, read_training
from lupi_jax.data.sources import check as check_module
from lupi_jax.data.sources.check import check_data
from lupi_jax.evaluation import evaluate_network
from lupi_jax.evaluation.evaluator import make_validation
from lupi_jax.training import load_untrained

TRAIN = {"0000": 2, "-1": 3, "0005": 2, "0006": 2}
TEST = {"0000": 3, "-1": 2, "0007": 2, "0008": 3}
BOTH = ("visible", "infrared")
FEW = "in configs/folder.py batch.identities = 16 is more than the {} training identities: lower it"


@pytest.fixture
def market(tmp_path, write_layout) -> Path:
    """Folders with junk and distractors in training and test, in both modalities."""
    layout = {
        "train": dict.fromkeys(BOTH, TRAIN),
        "test": dict.fromkeys(BOTH, TEST),
    }
    return write_layout(tmp_path / "market", layout)


def source_of(root: Path, zero: str = "distractor", index: str = "") -> SourceConfig:
    return lupi.parse_config(
        {
            "steps": 1,
            "data": {"root": str(root), "index": index, "identity_zero": zero},
        }
    ).data


def as_table(root: Path) -> str:
    lines = ["path,identity,camera,modality,split"]
    for file in sorted(root.rglob("*.jpg")):
        split, modality, person, name = file.relative_to(root).parts
        lines.append(f"{file.relative_to(root)},{int(person)},{name[1]},{modality},{split}")
    (root.parent / "table.csv").write_text("\n".join(lines))
    return str(root.parent / "table.csv")


@pytest.mark.parametrize("by_table", [False, True])
def test_nobody_trains_on_junk_and_distractors(market, by_table):
    table = as_table(market) if by_table else ""
    source = source_of(market, index=table)
    whole = read_index(source, "train")
    assert whole.classes.tolist() == [5, 6]
    assert sorted(set(whole.identities.tolist())) == [-1, 0, 5, 6]
    index, held = read_training(source, 0)
    assert held is None
    assert sorted(index.identities.tolist()) == [5] * 4 + [6] * 4
    assert sorted(index.labels.tolist()) == [0] * 4 + [1] * 4
    assert len(read_every_image(source)) == 2 * (9 + 10)


@pytest.mark.parametrize("by_table", [False, True])
def test_zero_beside_junk_has_to_be_explained(market, by_table):
    shutil.rmtree(market / "train")
    table = as_table(market) if by_table else ""
    message = (
        r"split test: both identity 0 and junk \(-1\): set --config\.data\.identity_zero .*person"
    )
    with pytest.raises(InputError, match=message):
        read_index(source_of(market, "auto", table), "test")
    for modality in BOTH:
        (market / "test" / modality / "-1").rename(market / "test" / modality / "9")
    table = as_table(market) if by_table else ""
    for zero, people in (
        ("auto", [0, 7, 8, 9]),
        ("person", [0, 7, 8, 9]),
        ("distractor", [7, 8, 9]),
    ):
        assert read_index(source_of(market, zero, table), "test").classes.tolist() == people


def test_a_person_of_number_zero_is_trained_on(tmp_path, write_layout):
    own = {modality: {"0": 1, "1": 1} for modality in BOTH}
    root = write_layout(tmp_path / "own", {"train": own})
    for table in ("", as_table(root)):
        assert read_training(source_of(root, "auto", table), 0)[0].classes.tolist() == [0, 1]


def test_distractors_may_be_in_two_splits_of_a_table_and_people_not(market):
    table = as_table(market)
    message = r"in both train and test \(0\): .* if 0 is a distractor, set --config.*prepare\)$"
    with pytest.raises(InputError, match=message):
        read_index(source_of(market, "person", table), "train")
    assert read_index(source_of(market, "distractor", table), "train").classes.tolist() == [5, 6]


def test_training_needs_people(tmp_path, write_layout):
    nobody = {modality: {"0": 1, "-1": 1} for modality in BOTH}
    root = write_layout(tmp_path / "nobody", {"train": nobody})
    with pytest.raises(InputError, match="no training image shows a person"):
        read_training(source_of(root), 0)


def average_precision(distances: np.ndarray, matches: np.ndarray) -> float:
    """By a loop over the ranking list of one query."""
    found, total = 0, 0.0
    for rank, column in enumerate(np.argsort(distances, kind="stable"), 1):
        if matches[column]:
            found += 1
            total += found / rank
    return total / found


def test_an_evaluation_keeps_to_the_convention(market):
    """Loops that skip junk, and queries by distractors, give the same figures."""
    model = {"backbone": "thin", "non_local": False}
    data = dataclasses.asdict(dataclasses.replace(source_of(market), image_size=(32, 32)))
    config = lupi.parse_config({"steps": 1, "data": data, "model": model})
    run = load_untrained(config)
    found = evaluate_network(config, run.model, run.variables)
    assert found.protocol == "all images, 6 distractors, without 4 junk images"
    index, neck = found.features.index, found.features.neck
    assert sorted(set(index.identities.tolist())) == [0, 7, 8]
    rows = [row for row in found.rows if row["feature"] == "neck"]
    assert [(row["query"], row["gallery"]) for row in rows] == [BOTH[::-1], BOTH]
    for row in rows:
        assert (row["queries"], row["valid_queries"], row["gallery_images"]) == (5, 5, 8)
        query = np.flatnonzero((index.modalities == row["query"]) & (index.identities > 0))
        gallery = np.flatnonzero(index.modalities == row["gallery"])
        figures = [
            average_precision(
                1 - neck[gallery] @ neck[q], index.identities[gallery] == index.identities[q]
            )
            for q in query
        ]
        assert row["mean_ap"] == pytest.approx(np.mean(figures), abs=1e-6)
    judged = make_validation(config, read_index(config.data, "test"))(run.model, run.variables)
    assert judged["mean_ap"] == pytest.approx(np.mean([row["mean_ap"] for row in rows]))
    person = dataclasses.replace(config.data, identity_zero="person")
    counted = evaluate_network(dataclasses.replace(config, data=person), run.model, run.variables)
    assert counted.protocol == "all images, without 4 junk images"
    assert {row["queries"] for row in counted.rows} == {8}


@pytest.mark.parametrize("by_table", [False, True])
def test_a_check_knows_nobody(market, by_table):
    table = as_table(market) if by_table else ""
    (market / "test/infrared/-1/c1_0000.jpg").unlink()
    (market / "test/infrared/-1/c2_0001.jpg").unlink()  # junk need not be in both modalities
    (market / "test/infrared/-1").rmdir()
    table = as_table(market) if by_table else ""
    report = check_data(source_of(market, index=table))
    assert report.problems == ()
    whole = next(row for row in report.rows if (row.split, row.modality) == ("test", "all"))
    assert (whole.identities, whole.images) == (2, 18)
    problems = check_data(source_of(market, "auto", table)).problems
    splits = [line for line in problems if "both identity 0 and junk (-1): set --config" in line]
    assert [line.partition(", split ")[2][:5] for line in splits] == ["train", "test:"]
    (shared,) = (line for line in problems if "in both train and test (0)" in line)
    assert shared.endswith("identity-zero of check-data and prepare)")


def test_identity_zero_is_of_folders_and_tables():
    fields = {"steps": 1, "data": {"name": "sysu", "root": "x", "identity_zero": "distractor"}}
    with pytest.raises(ValueError, match="identity_zero applies only to data"):
        lupi.parse_config(fields)


def test_a_check_counts_nobody_and_says_what_becomes_of_them(market):
    report = check_data(source_of(market, "distractor"))
    assert report.notes == (
        "split train: 6 junk images (-1) and 4 distractor images (0)",
        "split test: 4 junk images (-1) and 6 distractor images (0)",
        "junk is not trained on, and is neither a query nor in a gallery",
        "distractors are in galleries, but are neither trained on nor queries",
        FEW.format(2),
    )
    assert check_data(source_of(market, "person")).notes == (
        "split train: 6 junk images (-1)",
        "split test: 4 junk images (-1)",
        "junk is not trained on, and is neither a query nor in a gallery",
        FEW.format(3),
    )


@pytest.mark.parametrize("by_table", [False, True])
def test_zero_in_another_split_than_junk_is_said_to_be_a_person(market, by_table):
    for modality in BOTH:
        shutil.rmtree(market / "train" / modality / "0000")
        shutil.rmtree(market / "test" / modality / "-1")
    report = check_data(source_of(market, "auto", as_table(market) if by_table else ""))
    assert report.notes[-2].startswith(
        "identity 0 (split test) counts as a person, and split train has junk: if 0 is a distractor"
    )
    assert report.problems == ()
    assert len(check_data(source_of(market, "person")).notes) == 3  # it is known


def test_zero_beside_junk_in_one_split_is_a_problem_and_no_person(market):
    report = check_data(source_of(market, "auto"))
    assert not any("counts as a person" in note for note in report.notes)
    assert any("both identity 0 and junk (-1): set" in problem for problem in report.problems)


def test_a_set_without_nobody_has_no_notes_about_them(tmp_path, write_layout):
    people = {"train": {"1": 1, "2": 1}, "test": {"3": 1, "4": 1}}
    splits = {split: dict.fromkeys(BOTH, own) for split, own in people.items()}
    notes = check_data(source_of(write_layout(tmp_path, splits), "auto")).notes
    assert notes == (FEW.format(2),)


def test_the_same_image_of_nobody_twice_is_no_problem(market):
    copies = {
        "train/visible/-1/c1_9.jpg": "train/visible/-1/c1_0000.jpg",
        "test/infrared/-1/c1_9.jpg": "train/visible/-1/c1_0000.jpg",
        "test/visible/0000/c1_9.jpg": "train/visible/0000/c1_0000.jpg",
    }
    for copy, image in copies.items():
        shutil.copy(market / image, market / copy)
    assert check_data(source_of(market, "distractor")).problems == ()
    shutil.copy(market / "train/visible/0005/c1_0000.jpg", market / "test/visible/-1/c1_8.jpg")
    (problem,) = check_data(source_of(market, "distractor")).problems
    assert "in train and in test, of the identities -1, 5" in problem


def test_a_hostile_list_has_not_millions_of_problems(market, monkeypatch):
    monkeypatch.setattr(check_module, "MAX_PROBLEMS", 5)
    table = Path(as_table(market))
    table.write_text(table.read_text() + "\nx" * 20)
    problems = check_data(source_of(market, "distractor", str(table))).problems
    assert len(problems) == 6
    assert problems[-1].startswith("... and more problems, which are not listed")
    assert "line 40: 1 cell instead of 5: check its commas" in problems[0]
