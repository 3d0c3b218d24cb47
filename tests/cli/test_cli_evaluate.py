"""`lupi evaluate`: figures, and the names of results."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import contents
from PIL import Image

from lupi_jax.cli import main
from lupi_jax.config import parse_config, parse_record
from lupi_jax.evaluation import load_features, pairwise_distances
from lupi_jax.evaluation.record import changed_settings
from lupi_jax.training import Run, loading


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
    assert result["images"]["difficulty"] == "hard"
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


def test_an_untrained_network_has_no_checkpoint(demo, refused):
    for command in (["evaluate"], ["export", "--out", demo.workdir / "f.npz"]):
        message = refused(*command, *demo.run, "--untrained", "--checkpoint", "best")
        assert message == (
            "--checkpoint names a trained network: leave out --checkpoint or --untrained"
        )
        message = refused(*command, *demo.run, "--fetch")
        assert message == "--fetch applies only to --untrained: leave out --fetch"


def test_weights_of_the_untrained_network_of_a_run_are_downloaded_on_request(
    demo, tmp_path, monkeypatch
):
    asked = []
    initial = loading.initial_variables
    monkeypatch.setattr(
        loading, "initial_variables", lambda c, m, fetch: (asked.append(fetch), initial(c, m))[1]
    )
    evaluate = ["evaluate", *demo.run, "--untrained", "--out", str(tmp_path)]
    for more in ([], ["--fetch"]):
        assert main([*evaluate, *more]) == 0
    assert asked == [False, True]


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
    assert "steps: cannot change for a trained network" in err


def test_a_result_of_a_run_older_than_a_field_is_named_by_what_differs_from_it():
    trained = parse_config({"steps": 1, "data": {"root": "x", "name": "sysu"}})
    record = {"steps": 1, "config": dataclasses.asdict(trained)}
    del record["config"]["evaluation"]["same_modality"]
    as_it_was = parse_record(record["config"])
    assert changed_settings(Run(None, None, as_it_was, "step 1", 1, record)) == []
    evaluation = dataclasses.replace(as_it_was.evaluation, same_modality="camera", trials=3)
    config = dataclasses.replace(as_it_was, evaluation=evaluation)
    assert changed_settings(Run(None, None, config, "step 1", 1, record)) == ["camera", "3trials"]


def test_figures_that_cannot_be_saved_are_seen_at_least(demo, tmp_path, capfd):
    (tmp_path / "file").touch()
    assert main(["evaluate", *demo.run, "--json", "--out", str(tmp_path / "file" / "figures")]) == 2
    out, err = capfd.readouterr()
    assert len(json.loads(out)["results"]) == 4
    assert err.splitlines()[-1].startswith("lupi: ")


def test_a_checkpoint_that_is_not_there(demo, refused):
    message = refused("evaluate", *demo.run, "--checkpoint", "7")
    assert "no checkpoint '7' (no such step): give one of 2, 3" in message
    message = refused("evaluate", *demo.run, "--checkpoint", "best")
    assert "no step has validation figures" in message


def test_data_that_a_run_cannot_be_evaluated_on(demo, refused, tmp_path):
    """The run's own data have gone: nothing but a clear line, and the run is whole."""
    hidden = tmp_path / "elsewhere"
    demo.data.rename(hidden)
    try:
        message = refused("evaluate", *demo.run)
    finally:
        hidden.rename(demo.data)
    assert message.startswith(f"no data at {demo.data}")
