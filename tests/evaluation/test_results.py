"""`lupi_jax.evaluate` on a network that counts as trained, against the command and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

import lupi_jax as lupi
from lupi_jax.cli import main
from lupi_jax.report.drawing import draw_results

CONFIG = Path(__file__).parents[2] / "configs/synthetic.py"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, people, save_run) -> Path:
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    data = {"root": people, "image_size": (32, 32)}
    config = lupi.load_config(CONFIG, {"steps": 3, "data": data})
    save_run(folder, config, 2, 3, key=7)
    return folder


@pytest.fixture(scope="module")
def results(workdir) -> lupi.Results:
    return lupi.evaluate(workdir)


def test_one_call_gives_what_the_command_writes(workdir, results, tmp_path, capfd):
    assert main(["evaluate", "--workdir", str(workdir), "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(json.dumps(results.record)) == json.loads(out)
    assert results.notes == ("training is not finished: 1 step to go",)
    assert f"note: {results.notes[0]}\n" in err
    file = results.save(tmp_path / "new")
    assert file == tmp_path / "new/test-step2.json"
    assert file.read_bytes() == (workdir / "evaluation/test-step2.json").read_bytes()
    pictures = draw_results(results, tmp_path)
    assert [picture.name for picture in pictures] == [
        f"test-step2-{a}-to-{b}.png" for a, b in (("infrared", "visible"), ("visible", "infrared"))
    ]
    for picture in pictures:
        assert picture.read_bytes() == (workdir / "evaluation" / picture.name).read_bytes()


def test_figures_are_plain_and_can_be_computed_again(results):
    assert (results.split, results.protocol) == ("test", "all images")
    assert results.evaluation is not None
    features = results.evaluation.features
    sides = [features[features.index.modalities == m] for m in ("infrared", "visible")]
    query, gallery = sides
    expected = lupi.retrieval_metrics(
        1 - query.neck @ gallery.neck.T,
        query.index.identities,
        gallery.index.identities,
        cmc="image",
    )
    (row,) = [r for r in results.rows if (r["query"], r["feature"]) == ("infrared", "neck")]
    assert row["mean_ap"] == pytest.approx(expected.mean_ap, abs=1e-6)
    assert row["rank5"] == pytest.approx(expected.cmc[4], abs=1e-6)
    assert "record" not in repr(results)  # it fills pages


def test_a_run_is_a_directory_or_a_loaded_network(workdir, results):
    loaded = lupi.evaluate(lupi.load_run(workdir))
    assert loaded.rows == results.rows
    assert (loaded.record["workdir"], loaded.record["checkpoint"]) == (None, "step 2")
    assert (results.record["workdir"], results.record["checkpoint"]) == (str(workdir), "newest")
    before = lupi.evaluate(str(workdir), untrained=True)
    assert before.record["step"] == 0
    assert before.rows != results.rows
    for wrong in ({"checkpoint": "best"}, {"untrained": True}):
        with pytest.raises(ValueError, match="this network is already loaded: leave them out"):
            lupi.evaluate(lupi.load_run(workdir), **wrong)
    with pytest.raises(ValueError, match="leave out checkpoint or untrained"):
        lupi.evaluate(workdir, checkpoint=2, untrained=True)
    with pytest.raises(lupi.InputError, match=r"no checkpoint 7 \(no such step\): give one of 2"):
        lupi.evaluate(workdir, checkpoint=7)


def test_fields_that_may_change_are_python_values(workdir, results, people):
    pairs = ("visible_to_visible",)
    for overrides in (
        {"evaluation": {"pairs": pairs}, "data": {"root": people}},
        {"evaluation.pairs": list(pairs)},
        {"evaluation.pairs": "('visible_to_visible',)"},  # as on the command line
    ):
        found = lupi.evaluate(lupi.load_run(workdir), overrides=overrides)
        assert {(row["query"], row["gallery"]) for row in found.rows} == {("visible", "visible")}
        assert found.name == "test-step2-visible_to_visible"
    with pytest.raises(lupi.InputError, match="steps: cannot change for a trained network"):
        lupi.evaluate(workdir, overrides={"steps": 9})
    with pytest.raises(lupi.InputError, match=r"evaluation\.pears is not a field"):
        lupi.evaluate(workdir, overrides={"evaluation": {"pears": 1}})


def test_progress_is_shown_on_request(workdir):
    told: list[tuple[str, int]] = []
    lupi.evaluate(workdir, show=lambda what: lambda done, total: told.append((what, done)))
    counts = {what: max(n for w, n in told if w == what) for what, _ in told}
    assert counts == {"images": 32, "searches": 4}


def test_the_mean_over_splits_needs_all_of_them(workdir, tmp_path):
    with pytest.raises(lupi.InputError, match=f"no run of split 2, 5 below {tmp_path}: train"):
        lupi.evaluate_trials(tmp_path, [2, 5])
    with pytest.raises(lupi.InputError, match="no split is given"):
        lupi.evaluate_trials(tmp_path, [])
    (tmp_path / "trial-3").symlink_to(workdir)
    with pytest.raises(lupi.InputError, match="was trained on synthetic, split 1, not on RegDB's"):
        lupi.evaluate_trials(tmp_path, [3])
    assert np.isfinite(lupi.evaluate(workdir, "train").rows[0]["mean_ap"])
