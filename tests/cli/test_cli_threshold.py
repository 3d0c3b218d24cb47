"""`lupi search --threshold`: matches and strangers, by a distance or by an evaluation's pairs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lupi_jax.cli import main
from lupi_jax.evaluation import load_features

RATE = 0.05


@pytest.fixture
def search(demo, exported) -> list[str]:
    query = demo.data / "test/infrared/0010"
    return ["search", *demo.run, "--query", str(query), "--gallery", str(exported), "--top", "4"]


@pytest.fixture
def ranking(search, capfd) -> Callable[..., tuple[list[dict[str, Any]], list[str]]]:
    """Searches: (rows of the JSON, lines of stderr)."""

    def run(*more: object) -> tuple[list[dict[str, Any]], list[str]]:
        capfd.readouterr()
        assert main([*search, "--json", *map(str, more)]) == 0
        out, err = capfd.readouterr()
        return json.loads(out), err.splitlines()

    return run


@pytest.fixture(scope="module")
def evaluated(demo, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    assert main(["evaluate", *demo.run, "--out", str(folder)]) == 0
    return folder / "test-step3.json"


def test_a_distance_parts_matches_from_strangers(search, ranking, capfd, tmp_path):
    plain, _ = ranking()
    assert not any("match" in row for row in plain)
    distances = sorted(row["distance"] for row in plain if row["rank"] == 1)
    limit = (distances[2] + distances[3]) / 2  # three of eight queries have a match
    picture = tmp_path / "ranking.png"
    rows, said = ranking("--threshold", limit, "--out", picture)
    assert [{k: v for k, v in row.items() if k != "match"} for row in rows] == plain
    assert [row["match"] for row in rows] == [row["distance"] <= limit for row in plain]
    assert {row["match"] for row in rows} == {True, False}
    assert said == [
        f"images match up to a distance of {limit:.4f}",
        "queries without a match: 5 of 8",
        f"wrote {picture}",
    ]
    assert main([*search, "--threshold", str(limit)]) == 0
    out = capfd.readouterr().out
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    assert [row[3] for row in cells] == ["yes" if row["match"] else "no" for row in rows]
    assert "match" in out


def test_an_evaluation_gives_the_distance(demo, exported, evaluated, ranking):
    result = json.loads(evaluated.read_text())
    first = result["verification"][0]
    assert (first["query"], first["gallery"]) == ("infrared", "visible")
    assert (first["genuine_pairs"], first["impostor_pairs"]) == (256, 768)
    features = load_features(exported)
    sides = {m: features[features.index.modalities == m] for m in ("infrared", "visible")}
    distances = 1 - sides["infrared"].neck @ sides["visible"].neck.T
    own = sides["infrared"].index.identities[:, None] == sides["visible"].index.identities
    level = next(v for v in first["levels"] if v["false_match_rate"] == RATE)
    impostors = np.sort(distances[~own])
    assert impostors[37] < level["threshold"] + 1e-5  # 38 of 768
    assert level["threshold"] < impostors[38] + 1e-5
    missed = np.mean(distances[own] > level["threshold"])
    assert level["false_non_match_rate"] == pytest.approx(missed, abs=2.1 / 256)
    rows, said = ranking("--threshold", evaluated, "--false-match-rate", 0.07)
    assert [row["match"] for row in rows] == [row["distance"] <= level["threshold"] for row in rows]
    assert said[0] == (
        f"images match up to a distance of {level['threshold']:.4f} (infrared -> visible, all "
        f"images, split test: 5 % of 768 pairs of two people match, and "
        f"{100 * level['false_non_match_rate']:.1f} % of 256 pairs of one person do not)"
    )
    usual = next(v for v in first["levels"] if v["false_match_rate"] == 0.01)
    assert f"distance of {usual['threshold']:.4f} " in ranking("--threshold", evaluated)[1][0]


def test_a_result_may_hold_figures_that_are_not_numbers(evaluated, ranking, tmp_path):
    """Such as the spread of a search without queries; the distance that is asked for is one."""
    result = json.loads(evaluated.read_text())
    result["results"][0]["rank5"] = float("nan")
    result["verification"][1]["levels"][0]["false_non_match_rate"] = float("nan")
    file = tmp_path / "nan.json"
    file.write_text(json.dumps(result))
    assert ranking("--threshold", file) == ranking("--threshold", evaluated)


def test_a_threshold_of_another_network(demo, search, evaluated, refused, ranking):
    message = refused(*search, "--any-network", "--checkpoint", "2", "--threshold", "x")
    assert message == "--threshold x: neither a number nor a file: give a distance or an evaluation"
    query = [*search, "--gallery", demo.data / "test/visible/0009"]
    message = refused(*query, "--checkpoint", "2", "--threshold", evaluated)
    assert message.startswith(f"--threshold {evaluated}: made by network ")
    assert message.endswith("calibrate it again with this network, or add --any-network")
    rows, _ = ranking("--checkpoint", 2, "--threshold", evaluated, "--any-network")
    assert "match" in rows[0]


def test_thresholds_that_cannot_be_used(search, evaluated, refused, tmp_path):
    for text in ("3", "-0.1", "nan", "inf"):
        message = refused(*search, f"--threshold={text}")
        assert message == f"--threshold {text}: give a distance from 0 to 2"
    rate = ("--false-match-rate", "0.01")
    for more in ((), ("--threshold", "0.5")):
        message = refused(*search, *rate, *more)
        assert message == "--false-match-rate applies only to --threshold FILE: leave it out"
    of_file = (*search, "--threshold", evaluated, "--false-match-rate")
    for text in ("0.5", "0.0001", "-1", "nan"):
        assert refused(*of_file, text) == (
            f"--false-match-rate {float(text):g}: {evaluated} has rates up to 0.1, at least 0.001 "
            "with its 768 pairs"
        )
    sides = ("--query-modality", "visible", "--threshold", evaluated)
    assert refused(*search, *sides) == (
        f"--threshold {evaluated}: no pairs of visible -> visible: evaluate with "
        "--config.evaluation.pairs=\"('visible_to_visible',)\""
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hello", "it is not JSON: Expecting value: line 1 column 1 (char 0): give the file that"),
        ("[" * 100_000, "it is nested deeper than 32 levels: give the file that `lupi evaluate`"),
        ("[]", "no thresholds in this file: give a JSON file of one run"),
        ('{"results": []}', "no thresholds in this file: give a JSON file of one run"),
        ('{"verification": [1]}', "no thresholds in this file: give a JSON file of one run"),
        ("threshold", "no thresholds in this file: give a JSON file of one run"),
        ("NaN", "this file is damaged: evaluate the network again"),
    ],
)
def test_files_that_are_no_evaluations(search, evaluated, refused, tmp_path, content, message):
    file = tmp_path / "result.json"
    if content in ("threshold", "NaN"):  # a level is damaged
        result = json.loads(evaluated.read_text())
        for level in result["verification"][0]["levels"]:
            level["threshold"] = float("nan") if content == "NaN" else content
        content = json.dumps(result)
    file.write_text(content)
    assert refused(*search, "--threshold", file).startswith(f"--threshold {file}: {message}")
