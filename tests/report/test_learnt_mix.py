"""What a report shows of a run that learns its intermediate images, by hand and by sorting."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from html_tree import Element, Page

import lupi_jax as lupi
from lupi_jax import InputError, parse_config
from lupi_jax.cli import main
from lupi_jax.data import make_reader, read_index
from lupi_jax.report.charts import grey_chart, panel_chart
from lupi_jax.report.intermediate import (
    COMPARED,
    LEVELS,
    MIXES,
    Greys,
    count_greys,
    grey_distance,
    learnt_mix,
)
from lupi_jax.report.pictures import mix_panel
from lupi_jax.training import Run, load_run
from lupi_jax.views import luma, random_channel
from lupi_jax.views.adaptive import OFFSET

ROWS = [
    {
        **{"step": s, "split": "train", "loss/total": 3 / s},
        **{"mix/red": 0.3 + s / 10, "mix/green": 0.3, "mix/blue": 0.4 - s / 10},
        "mix/offset": -0.02 * s,
    }
    for s in (1, 2, 3)
]


@pytest.fixture(scope="module")
def workdir(people: Path, save_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on eight people, whose generator is as drawn; four are tested."""
    folder = tmp_path_factory.mktemp("learnt") / "run"
    data = {"name": "synthetic", "root": str(people), "image_size": (32, 32)}
    views = {"intermediate": "adaptive", "adaptive_share": 0.75}
    model = {"backbone": "thin", "non_local": False}
    given = {"recipe": "released", "steps": 3, "data": data, "model": model, "views": views}
    save_run(folder, parse_config(given), 3, 3)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return folder


@pytest.fixture(scope="module")
def section(workdir: Path) -> Element:
    assert main(["report", "--workdir", str(workdir)]) == 0
    return Page((workdir / "report.html").read_text()).root.one("section", id="draws")


@pytest.fixture(scope="module")
def run(workdir: Path) -> Run:
    """The run with a generator that gives every pixel 0.5, 0.3, 0.2 and an offset of -0.1."""
    run = load_run(workdir)
    params = jax.tree.map(jnp.zeros_like, run.generator)
    bias = [*np.log([0.5, 0.3, 0.2]), np.arctanh(-0.1 / OFFSET)]
    params["mix"]["bias"] = jnp.asarray(bias, jnp.float32)
    return dataclasses.replace(run, generator=params)


def test_greys_are_counted_at_the_nearest_level() -> None:
    greys = np.array([-63.75, 0.4, 0.6, 1.0, 318.75], np.float32)
    counts = count_greys(np.repeat(greys[None, None, :, None], 3, -1))
    assert {int(level): int(n) for level, n in zip(LEVELS, counts, strict=True) if n} == {
        **{-64: 1, 0: 1, 1: 2, 319: 1},
    }


def test_the_distance_is_by_how_much_a_pixel_has_to_change() -> None:
    dark = count_greys(np.full((1, 2, 2, 3), 10, np.uint8))
    mixed = np.full((1, 2, 4, 3), 20, np.uint8)
    mixed[:, 0] = 50
    assert grey_distance(dark, count_greys(mixed)) == pytest.approx((10 + 40) / 2)
    assert grey_distance(count_greys(mixed), dark) == pytest.approx(25)
    assert grey_distance(dark, dark) == 0


def test_learnt_images_are_the_mix_alone(run: Run) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 6, 4, 3), np.uint8)
    made = run.learnt_images(image)
    assert made.dtype == np.float32
    expected = image @ [0.5, 0.3, 0.2] - 25.5  # although training blends it
    np.testing.assert_allclose(made, np.repeat(expected[..., None], 3, -1), atol=1e-3)
    np.testing.assert_allclose(run.learnt_images(image.astype(np.float32)), made, atol=1e-3)
    with pytest.raises(ValueError, match=r"expected images \[n, h, w, 3\]"):
        run.learnt_images(image[0])


def test_a_run_that_did_not_learn_images_has_none(run: Run) -> None:
    other = dataclasses.replace(run, generator=None)
    with pytest.raises(InputError, match="step 3 has no learnt images"):
        other.learnt_images(np.zeros((1, 4, 4, 3), np.uint8))


def test_distances_are_those_of_sorted_pixels(run: Run) -> None:
    index = read_index(run.config.data, "test")
    found = learnt_mix(run, index)
    assert found is not None
    assert found.images == (16, 16)  # all of them: four people, four images in each modality
    assert found.share == 0.75
    read = make_reader(index, run.config.data.image_size)
    visible, infrared = (
        np.stack([read(int(row)) for row in np.flatnonzero(index.modalities == m)])
        for m in ("visible", "infrared")
    )
    mixes = {
        "infrared": infrared,
        "learnt mix": visible @ [0.5, 0.3, 0.2] - 25.5,
        "random mix": np.asarray(random_channel(jax.random.key(0), visible)),
        "luma": np.asarray(luma(visible)),
    }
    assert [grey.name for grey in found.greys] == list(mixes)
    target = np.sort(infrared[..., 0], axis=None).astype(float)
    for grey in found.greys:
        pixels = mixes[grey.name]
        pixels = np.sort(pixels if pixels.ndim == 3 else pixels[..., 0], axis=None)
        assert grey.counts.sum() == len(target)
        assert grey.distance == pytest.approx(np.abs(pixels - target).mean(), abs=0.3)
    assert found.greys[0].distance == 0
    assert len({round(grey.distance, 1) for grey in found.greys}) == 4


def test_a_row_has_each_kind_of_image_of_one_person(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lupi_jax.report.intermediate.thumbnail", lambda pixels, alt: pixels)
    index = read_index(run.config.data, "test")
    found = learnt_mix(run, index)
    assert found is not None
    read = make_reader(index, run.config.data.image_size)
    for identity, shown in found.people:
        own = np.flatnonzero(index.identities == identity)
        first = {m: own[index.modalities[own] == m][0] for m in ("visible", "infrared")}
        pixels: Any = [image for image, *_ in shown]
        names = [name.split(",")[0] for _, name, _ in shown]
        random = [f"random mix {i + 1}" for i in range(MIXES)]
        assert names == ["visible", "learnt mix", *random, "infrared"]
        np.testing.assert_array_equal(pixels[0], read(int(first["visible"])))
        np.testing.assert_array_equal(pixels[-1], read(int(first["infrared"])))
        for image, (*_, weights) in zip(pixels[1:-1], shown[1:-1], strict=True):
            offset = 255 * (weights[3] if len(weights) == 4 else 0)
            expected = (pixels[0] @ np.array(weights[:3]) + offset).clip(0, 255)
            np.testing.assert_allclose(image[..., 0], expected, atol=0.51)
        assert shown[1][2] == pytest.approx((0.5, 0.3, 0.2, -0.1), abs=1e-4)


def test_nothing_to_compare_with_shows_nothing(run: Run) -> None:
    index = read_index(run.config.data, "test")
    assert learnt_mix(run, index[np.flatnonzero(index.modalities == "visible")]) is None


def test_the_page_has_the_rows_the_charts_and_the_distances(section: Element) -> None:
    kinds = ["Visible", "Learnt", *["Random"] * MIXES, "Infrared"]
    captions = [caption.text for caption in section.all("figcaption")]
    assert [caption.split()[0].rstrip(",") for caption in captions] == kinds * COMPARED
    learnt = [re.findall(r"[+-]?\d\.\d\d", c) for c in captions if c.startswith("Learnt")]
    for weights in learnt:
        assert sum(map(float, weights[:3])) == pytest.approx(1, abs=0.02)
        assert weights[3].startswith(("+", "-"))
    headings = [h.text for h in section.all("h3")]
    assert headings[COMPARED:] == ["Grey levels", "Mean weights of the mix"]
    assert all(re.fullmatch(r"ID \d+", heading) for heading in headings[:COMPARED])
    greys, mix = (svg.attributes["aria-label"] for svg in section.all("svg"))
    assert mix.endswith("at its end R 0.6, G 0.3, B 0.1, offset -0.06")
    table = section.one("tbody").all("tr")
    distances = {row.children[0].text: row.children[1].text for row in table}
    assert list(distances) == ["learnt mix", "random mix", "luma"]
    assert greys.endswith(", ".join(f"{name} {value}" for name, value in distances.items()))
    assert "16 visible and 16 infrared images" in section.text
    assert "The share of the learnt mix was 0.75" in section.text


def test_a_weight_has_the_colour_of_its_channel() -> None:
    panel = mix_panel(ROWS)
    assert panel is not None
    assert panel.lines == [
        ("R", [1, 2, 3], [row["mix/red"] for row in ROWS]),
        ("G", [1, 2, 3], [row["mix/green"] for row in ROWS]),
        ("B", [1, 2, 3], [row["mix/blue"] for row in ROWS]),
        ("offset", [1, 2, 3], [row["mix/offset"] for row in ROWS]),
    ]
    drawn = re.findall(r"stroke: (var\(--\w+\)); stroke-width: 1.8", panel_chart(panel, "mix"))
    assert list(dict.fromkeys(drawn)) == [f"var(--{c})" for c in ("red", "green", "blue", "pink")]


def test_a_run_without_a_learnt_mix_has_no_panel() -> None:
    assert mix_panel([{"step": 1, "split": "train", "loss/total": 3.0}]) is None


def test_a_chart_of_greys_reaches_as_far_as_they_do() -> None:
    def ticks(*levels: int) -> float:
        """The distance between the ticks 0 and 255, with pixels at these levels."""
        counts = np.isin(LEVELS, levels).astype(np.int64)
        svg = grey_chart([Greys(name, counts, 0.0) for name in "abcd"], "greys")
        texts = re.findall(r"<text [^>]*?x=\"([\d.]+)\"[^>]*>(0|255)</text>", svg)
        places = [float(place) for place, _ in texts]  # from left to right, then up
        return places[1] - places[0]

    inside = ticks(0, 100, 255)  # the last label takes a little room from the axes
    assert ticks(0, 319) == pytest.approx(inside * 256 / 320, rel=0.05)
    assert ticks(-64, 319) == pytest.approx(inside * 256 / 384, rel=0.05)


def test_an_untrained_network_has_no_learnt_mix_to_show(run: Run) -> None:
    page = lupi.make_report(lupi.load_untrained(run.config)).html
    section = Page(page).root.one("section", id="draws")
    assert "This network has no learnt mix. Below are a visible image and its luma." in section.text
