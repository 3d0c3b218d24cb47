"""The page that `lupi report` writes, read as a browser reads it."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from html_tree import Element, Page

import lupi_jax as lupi
from lupi_jax import parse_config
from lupi_jax.cli import main
from lupi_jax.data import read_index
from lupi_jax.evaluation import load_features, pairwise_distances, retrieval_metrics
from lupi_jax.evaluation.figures import FIGURES
from lupi_jax.report.intermediate import DRAWS, draws
from lupi_jax.report.page import MAPPED, TOP, _notes
from lupi_jax.training import load_run

SECTIONS = [
    "figures", "training", "cmc", "rankings", "distances", "thresholds", "map", "activations",
    "draws", "configuration", "versions",
]  # fmt: skip


@pytest.fixture(scope="module")
def workdir(people, save_run, tmp_path_factory) -> Path:
    """A run of a network on eight people; four are tested."""
    folder = tmp_path_factory.mktemp("report") / "run"
    root = folder.with_name("<i>&amp; people")
    root.symlink_to(people)
    data = {"name": "synthetic", "root": str(root), "image_size": (32, 32)}
    model = {"backbone": "thin", "non_local": False}
    config = parse_config({"recipe": "released", "steps": 3, "data": data, "model": model})
    save_run(folder, config, 3, 4)
    rows = [
        {"step": s, "split": "train", "loss/total": 3 / s, "accuracy": s / 9, "rate": 0.1}
        for s in (1, 2, 3)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def html(workdir) -> str:
    assert main(["report", "--workdir", str(workdir)]) == 0
    return (workdir / "report.html").read_text()


def test_one_call_makes_the_page_of_the_command(workdir, html, tmp_path):
    report = lupi.make_report(workdir)
    assert report.html == html
    report.save(tmp_path / "new/page.html")
    assert (tmp_path / "new/page.html").read_text() == html
    with pytest.raises(lupi.InputError, match="no checkpoint under"):
        lupi.make_report(tmp_path)


def test_a_loaded_network_has_the_same_page_without_curves(workdir, html):
    run = load_run(workdir)
    page, of_directory = (Page(text).root for text in (lupi.make_report(run).html, html))
    assert page.one("h1").text == "Run step 3"
    (figures, wanted) = (p.one("section", id="figures").all("td") for p in (page, of_directory))
    assert [cell.text for cell in figures] == [cell.text for cell in wanted]
    training = page.one("section", id="training")
    assert training.one("p").text == "This run has no record of its training."
    untrained = lupi.make_report(lupi.load_untrained(run.config)).html
    assert "checkpoint: untrained" in untrained
    assert "trained on" not in untrained


@pytest.fixture(scope="module")
def page(html) -> Element:
    return Page(html).root


@pytest.fixture
def refused(capfd) -> Callable[..., str]:
    def run(*arguments: object) -> str:
        capfd.readouterr()
        assert main(["report", *map(str, arguments)]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        return err.removeprefix("lupi: ").rstrip()

    return run


def test_every_section_is_there_under_its_heading(page):
    sections = page.one("main").all("section")
    assert [s.attributes["id"] for s in sections] == SECTIONS
    assert [a.attributes["href"] for a in page.one("nav").all("a")] == [f"#{s}" for s in SECTIONS]
    for section in sections:
        heading = section.one("h2")
        assert heading.attributes["id"] == section.attributes["aria-labelledby"]
        assert len(section.texts) > 3
    facts = dict(
        zip((t.text for t in page.all("dt")), (d.text for d in page.all("dd")), strict=True)
    )
    assert page.one("h1").text == "Run run"
    assert facts["Split"] == "test: 4 people (rendered, hard), 32 images"
    assert facts["Data"].endswith("/<i>&amp; people")  # as it is named, and no element
    assert page.all("i") == []
    assert facts["Step"].startswith("3 of 4")
    assert page.one("p", of_class="note").text == "Training is not finished: 1 of 4 steps to go."
    assert re.fullmatch(r"\d+ x .+", facts["Device"])


def test_people_who_were_trained_on_are_told_of(workdir):
    run = load_run(workdir)

    def notes(split: str) -> list[str]:
        features = SimpleNamespace(index=read_index(run.config.data, split))
        return _notes(
            run, cast(Any, SimpleNamespace(rows=[{"reranking": "none"}], features=features))
        )

    undone = "Training is not finished: 1 of 4 steps to go."
    assert notes("test") == [undone]
    assert notes("train") == [
        undone,
        "8 of these people were in training, so the figures do not hold for new people.",
    ]


def test_nothing_is_fetched(html, page):
    assert re.findall(r"https?:|//[a-z]", re.sub(r"data:image/jpeg;base64,[^\"]*", "", html)) == []
    for tag in ("script", "link", "iframe", "object", "base"):
        assert page.all(tag) == []
    sources = [i.attributes["src"] for i in page.all("img")]
    assert sources
    assert all(s.startswith("data:image/jpeg;base64,") for s in sources)
    css = page.one("style").text
    assert "url(" not in css
    assert "@import" not in css
    assert "prefers-color-scheme: dark" in css


def test_figures_are_those_of_evaluate(workdir, page):
    assert main(["evaluate", "--workdir", str(workdir)]) == 0
    results = json.loads((workdir / "evaluation" / "test-step3.json").read_text())["results"]
    table = page.one("section", id="figures").one("table")
    headings = [cell.text for cell in table.one("thead").all("th")]
    rows = table.one("tbody").all("tr")
    assert len(rows) == len(results) == 4
    for row, result in zip(rows, results, strict=True):
        shown = [cell.text for cell in row.children]
        cells = dict(zip(headings, shown, strict=True))
        assert cells["Query → gallery"] == (
            f"{result['query']} → {result['gallery']} {result['search']}"
        )
        assert cells["Feature"] == result["feature"]
        for name, heading in FIGURES.items():
            assert cells[heading] == f"{100 * result[name]:.2f}"
        assert cells["Queries"] == str(result["queries"])


def test_lists_are_the_nearest_and_framed_by_identity(workdir, page, tmp_path):
    file = tmp_path / "features.npz"
    assert main(["export", "--workdir", str(workdir), "--out", str(file)]) == 0
    features = load_features(file)
    ids, cameras = features.index.identities, features.index.cameras
    sides = [np.flatnonzero(features.index.modalities == m) for m in ("infrared", "visible")]
    section = page.one("section", id="rankings")
    lists = section.all("div", of_class="list")
    assert len(lists) == 2 * 9
    assert [h.text for h in section.all("h4")] == [
        "Best queries", "Worst queries", "Random queries",
    ] * 2  # fmt: skip
    kinds = set()
    for direction, part in enumerate((lists[:9], lists[9:])):
        query, gallery = sides if direction == 0 else sides[::-1]
        distances = pairwise_distances(features.neck[query], features.neck[gallery])
        precision = retrieval_metrics(
            distances, ids[query], ids[gallery], cmc="image"
        ).average_precision
        lines = defaultdict(list)  # two queries of one person may have one precision
        for q, ap, row in zip(query, precision, distances, strict=True):
            nearest = gallery[np.argsort(row, kind="stable")[:TOP]]
            titles = [f"ID {ids[g]} cam {cameras[g]}" for g in nearest]
            lines[str(ids[q]), f"{100 * ap:.1f} %"].append(titles)
        assert f"AP {100 * precision.max():.1f} %" in part[0].one("figcaption").text
        assert f"AP {100 * precision.min():.1f} %" in part[3].one("figcaption").text
        for shown in part:
            caption = shown.one("figcaption").text
            identity = caption.split()[2]
            ranked = shown.one("ol").all("li")
            assert len(ranked) == TOP
            for rank, item in enumerate(ranked, 1):
                alt = item.one("img").attributes["alt"]
                other = re.fullmatch(rf"rank {rank}: ID (\d+) · cam \d, (right|wrong)", alt)
                assert other is not None
                right = other[1] == identity
                assert item.attributes["class"] == other[2] == ("right" if right else "wrong")
                assert item.text.startswith("✓" if right else "✗")
                kinds.add(other[2])
            titles = [item.text[2:] for item in ranked]
            assert titles in lines[identity, caption.split("AP ")[1]]
    assert kinds == {"right", "wrong"}


def test_a_figure_carries_its_heading_for_a_phone_which_hides_the_head(page):
    table = page.one("section", id="figures").one("table", of_class="stacked")
    headings = [h.text for h in table.one("thead").all("th")]
    assert headings[2:8] == ["R1", "R5", "R10", "R20", "mAP", "mINP"]
    for row in table.one("tbody").all("tr"):
        assert [cell.attributes["data-name"] for cell in row.all("td")] == headings[1:]


def test_pictures_are_as_many_as_they_should_be_and_say_what_they_show(page):
    everything = page.all("img")
    lists = 2 * 9 * (1 + TOP)
    maps = 2 * 2 * MAPPED
    assert len(everything) == lists + maps + 2 + DRAWS
    assert all(image.attributes["alt"] for image in everything)
    assert all(svg.attributes["aria-label"] for svg in page.all("svg"))
    count = {s: len(page.one("section", id=s).all("svg")) for s in SECTIONS}
    drawn = {"training": 3, "cmc": 2, "distances": 3, "thresholds": 2, "map": 1}
    assert count == dict.fromkeys(SECTIONS, 0) | drawn


def test_draws_weigh_the_channels_as_training_does(page):
    section = page.one("section", id="draws")
    captions = [c.text for c in section.all("figcaption")]
    assert captions[0] == "Original"
    assert captions[1] == "Luma R 0.30 G 0.59 B 0.11"
    assert len(set(captions)) == 2 + DRAWS
    for caption in captions[2:]:
        assert sum(map(float, re.findall(r"\d\.\d\d", caption))) == pytest.approx(1, abs=0.02)


def test_the_weights_of_a_draw_are_those_it_was_made_with(workdir, monkeypatch):
    monkeypatch.setattr("lupi_jax.report.intermediate.thumbnail", lambda pixels, alt: pixels)
    run = load_run(workdir)
    (original, *_), *made = draws(run, read_index(run.config.data, "test"))
    assert len(made) == 1 + DRAWS
    # The recipe "released" cuts draws to whole grey levels; luma is shown rounded.
    for number, (pixels, _, weights) in enumerate(made):
        expected = original.astype(np.float64) @ np.array(weights)
        expected = np.floor(expected + 1e-4) if number else expected.round()
        np.testing.assert_array_equal(pixels, np.repeat(expected[..., None], 3, -1))


@pytest.mark.parametrize(("kind", "count"), [("channel_exchange", DRAWS), ("luma", 0)])
def test_draws_are_of_the_run_s_kind(workdir, monkeypatch, kind, count):
    monkeypatch.setattr("lupi_jax.report.intermediate.thumbnail", lambda pixels, alt: pixels)
    run = load_run(workdir)
    views = dataclasses.replace(run.config.views, intermediate=kind)
    run = dataclasses.replace(run, config=dataclasses.replace(run.config, views=views))
    (original, *_), _, *made = draws(run, read_index(run.config.data, "test"))
    assert len(made) == count
    for pixels, _, weights in made:
        assert weights == ()
        assert any(np.array_equal(pixels, original[..., [c] * 3]) for c in range(3))


def test_distances_are_of_every_pair(page):
    rows = page.one("section", id="distances").one("tbody").all("tr")
    counts = {row.children[0].text: [int(c.text) for c in row.children[1:3]] for row in rows}
    # Four people with four images in each modality.
    within = [4 * 6, 6 * 16]
    assert counts == {
        "within visible": within,
        "visible to infrared": [4 * 16, 12 * 16],
        "within infrared": within,
    }


def test_thresholds_are_those_that_a_search_takes(page, workdir, tmp_path):
    file = tmp_path / "features.npz"
    assert main(["export", "--workdir", str(workdir), "--out", str(file)]) == 0
    features = load_features(file)
    sides = {m: features[features.index.modalities == m] for m in ("infrared", "visible")}
    rows = [
        [c.text for c in row.children]
        for row in page.one("section", id="thresholds").one("tbody").all("tr")
    ]
    assert [row[:4] for row in rows] == [
        [direction, "all images", "192", rate]
        for direction in ("infrared → visible", "visible → infrared")
        for rate in ("10 %", "1 %")
    ]
    for direction, _, _, rate, distance, missed in rows:
        query, gallery = (sides[side] for side in direction.split(" → "))
        distances = pairwise_distances(query.neck, gallery.neck)
        own = query.index.identities[:, None] == gallery.index.identities
        passing = int(float(rate.split()[0]) / 100 * 192)  # 19, and 1
        others = np.sort(distances[~own])
        assert others[passing - 1] - 1e-4 <= float(distance) <= others[passing] + 1e-4
        share = np.mean(distances[own] > float(distance))
        assert float(missed.split()[0]) == pytest.approx(100 * share, abs=100 / 64 + 0.06)


def test_configuration_marks_what_differs(page):
    section = page.one("section", id="configuration")
    first, whole = section.all("table")
    differing = {r.children[0].text: r.children[1].text for r in first.one("tbody").all("tr")}
    assert differing["data.image_size"] == "32, 32"
    assert "loss.triplet" not in differing
    marked = [r.children[0].text for r in whole.one("tbody").all("tr", of_class="changed")]
    assert marked == list(differing)
    assert len(whole.one("tbody").all("tr")) > 50


def test_the_same_run_gives_the_same_page(workdir, html, tmp_path):
    again = tmp_path / "new" / "again.html"
    assert main(["report", "--workdir", str(workdir), "--out", str(again)]) == 0
    assert again.read_text() == html
    assert [file.name for file in again.parent.iterdir()] == ["again.html"]
    assert len(html) < 1_000_000


def test_what_cannot_be_reported_is_said_in_a_line(workdir, refused, tmp_path, monkeypatch):
    assert "no checkpoint under" in refused("--workdir", tmp_path / "none")
    assert "no data at" in refused("--workdir", workdir, "--data-root", tmp_path / "none")
    assert "name a file that ends in" in refused("--workdir", workdir, "--out", tmp_path)
    page = tmp_path / "page.pdf"
    assert "name a file that ends in .html" in refused("--workdir", workdir, "--out", page)
    blocked = tmp_path / "file"
    blocked.write_text("")
    said = refused("--workdir", workdir, "--out", blocked / "report.html")
    assert said.startswith(f"--out {blocked / 'report.html'}: cannot be written")
    assert "cannot change for a trained network" in refused("--workdir", workdir, "--config.seed=4")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert "pip install 'lupi-jax[report]'" in refused("--workdir", workdir)
    with pytest.raises(SystemExit) as left:
        main(["report", "--workdir", str(workdir), "--split", "other"])
    assert left.value.code == 2


BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
FRAMES = """<body><script>
onmessage = event => { document.body.append(document.createElement("p"));
  document.body.lastChild.textContent = event.data; };
</script><iframe src="page.html" width="390" height="844"></iframe>
<iframe src="page.html" width="1440" height="900"></iframe></body>"""
MEASURE = """<script>onload = () => { const root = document.documentElement;
const cut = [...document.querySelectorAll("svg.chart")].filter(svg => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].some(text => {
    const own = text.getBoundingClientRect();
    return own.left < box.left - 1 || own.right > box.right + 1 || own.height < 10; }); });
const over = root.scrollWidth - root.clientWidth;
parent.postMessage(`${innerWidth} ${over} ${cut.length}`, "*"); };</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_browser_need_not_scroll_sideways_and_cuts_no_text(html, tmp_path):
    # The page's own policy forbids scripts, here the one that measures.
    policy = re.search(r"<meta http-equiv=.*?>", html)
    assert policy is not None
    (tmp_path / "page.html").write_text(html.replace(policy[0], "") + MEASURE)
    (tmp_path / "frames.html").write_text(FRAMES)
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000"]
    done = subprocess.run(
        [*command, f"file://{tmp_path / 'frames.html'}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    measured = sorted(re.findall(r"<p>(\d+) (\d+) (\d+)</p>", done.stdout))
    assert measured == [("1440", "0", "0"), ("390", "0", "0")]
