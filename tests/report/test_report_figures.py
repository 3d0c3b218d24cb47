"""What a report's figures are made of: pure functions, against hand and brute force."""

import io
import re
from base64 import b64decode
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from lupi_jax import parse_config
from lupi_jax.data import Index
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet, initialize
from lupi_jax.models.layers import average_pool, generalized_mean_pool
from lupi_jax.report import charts
from lupi_jax.report.activation import activation_shares, heat, place_shares
from lupi_jax.report.choices import choose_images, choose_queries
from lupi_jax.report.distances import BINS, count_pairs, lay_out
from lupi_jax.report.pictures import training_panels
from lupi_jax.report.settings import GIVEN, settings_of
from lupi_jax.report.thumbnails import HEIGHT, thumbnail
from lupi_jax.views import normalise


def unit(seed: int, n: int, d: int = 5) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize(("power", "pool"), [(3, generalized_mean_pool), (1, average_pool)])
def test_shares_of_places_are_those_worked_out_by_hand(power, pool):
    # Channel 0 fires at two of four places, channel 1, twice as strongly, at one.
    feature_map = np.zeros((1, 2, 2, 2), np.float32)
    feature_map[0, 0, 0, 0], feature_map[0, 0, 1, 0], feature_map[0, 1, 1, 1] = 1, 2, 4
    a, b = (1 + 2**power) / 4, 4**power / 4  # means of x^p
    a2, b2 = a ** (2 / power), b ** (2 / power)  # squared pooled channels
    first = a2 / (1 + 2**power)
    expected = np.array([[first, first * 2**power], [0, b2]]) / (a2 + b2)
    shares = place_shares(jnp.asarray(feature_map), pool)
    np.testing.assert_allclose(shares[0], expected, rtol=1e-5, atol=1e-9)


def test_an_activation_map_is_of_the_last_feature_map():
    model = EmbedNet(3, "thin", non_local=False)
    variables = initialize(model, jax.random.key(0), (Modality.INFRARED,), (64, 32))
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), np.uint8)
    images[1] = images[0]
    shares = activation_shares(model, variables, images, Modality.INFRARED)
    assert shares.shape == (2, 4, 2)
    np.testing.assert_allclose(shares.sum((1, 2)), 1, rtol=1e-5)
    np.testing.assert_array_equal(shares[0], shares[1])

    # Of GeM with p = 3, from the same map by its own formula.
    def feature_map_and_pooled(images):
        maps = []

        def keep(call, arguments, keywords, context):
            out = call(*arguments, **keywords)
            if context.module.name == "trunk":
                maps.append(out)
            return out

        with nn.intercept_methods(keep):
            pooled = model.apply(variables, normalise(images), Modality.INFRARED).pooled
        return maps[0], pooled

    feature_map, pooled = jax.jit(feature_map_and_pooled)(images)
    cubes = np.asarray(feature_map, np.float64) ** 3
    squares = np.asarray(pooled, np.float64)[:, None, None] ** 2
    expected = (squares * cubes / (cubes.sum((1, 2), keepdims=True) + 1e-30)).sum(-1)
    expected /= expected.sum((1, 2), keepdims=True)
    np.testing.assert_allclose(shares, expected, rtol=1e-3)


@pytest.mark.parametrize("block", [None, 8])
def test_pairs_are_counted_as_two_loops_count_them(block, monkeypatch):
    if block:  # one row at a time
        monkeypatch.setattr("lupi_jax.report.distances.BLOCK_ELEMENTS", 8)
    a, b = unit(0, 13), unit(1, 9)
    b[0] = a[0]
    a_ids, b_ids = np.arange(13) % 4, np.arange(9) % 3

    def loops(pairs):
        counts, sums = np.zeros((2, BINS), int), [[], []]
        for x, y, same in pairs:
            distance = min(max(1 - float(np.dot(x.astype(float), y.astype(float))), 0), 2)
            counts[0 if same else 1, min(int(distance / 2 * BINS), BINS - 1)] += 1
            sums[0 if same else 1].append(distance)
        return counts, [np.mean(s) for s in sums]

    within = [(a[i], a[j], a_ids[i] == a_ids[j]) for i in range(13) for j in range(i)]
    across = [(a[i], b[j], a_ids[i] == b_ids[j]) for i in range(13) for j in range(9)]
    for found, pairs in (
        (count_pairs(a, a_ids), within),
        (count_pairs(a, a_ids, b, b_ids), across),
    ):
        counts, means = loops(pairs)
        np.testing.assert_array_equal(found.same, counts[0])
        np.testing.assert_array_equal(found.different, counts[1])
        np.testing.assert_allclose(found.means, means, atol=1e-6)
        shares = np.minimum(counts[0] / counts[0].sum(), counts[1] / counts[1].sum()).sum()
        assert found.overlap == pytest.approx(shares)


def test_no_pair_of_one_kind_leaves_its_figures_open():
    found = count_pairs(unit(0, 3), np.array([4, 4, 4]))
    assert found.same.sum() == 3
    assert np.isnan(found.means[1])
    assert np.isnan(found.overlap)
    charts.distance_chart(found, "lone")  # and is drawn all the same


def test_best_worst_and_random_queries_are_of_different_people():
    precision = np.array([0.2, 1.0, 1.0, np.nan, 0.5, 0.1, 0.9, 0.1, 0.3, 0.4, 0.6, 0.7])
    people = np.array([1, 2, 2, 9, 3, 4, 5, 4, 6, 7, 8, 8])
    chosen = choose_queries(precision, people, seed=0, count=2)
    assert chosen["best"].tolist() == [1, 6]  # not 2, of the same person as 1
    assert chosen["worst"].tolist() == [5, 0]  # not 7, of the same person as 5
    assert len(chosen["random"]) == 2
    everything = np.concatenate(list(chosen.values()))
    assert len(set(everything)) == 6
    assert 3 not in everything  # without a match
    again = choose_queries(precision, people, seed=0, count=2)
    assert again["random"].tolist() == chosen["random"].tolist()
    others = {tuple(choose_queries(precision, people, s, 2)["random"]) for s in range(9)}
    assert len(others) > 1


def test_few_queries_are_shown_once():
    chosen = choose_queries(np.array([0.5]), np.array([1]), seed=0)
    assert [len(group) for group in chosen.values()] == [1, 0, 0]


def index_of(identities, modalities) -> Index:
    n = len(identities)
    return Index(
        Path(), np.array([f"{i}" for i in range(n)]), np.array(identities),
        np.ones(n, int), np.array(modalities),
    )  # fmt: skip


def test_a_map_is_of_people_seen_in_every_modality():
    index = index_of([1, 1, 1, 2, 2, 3, 3, 1], ["visible"] * 4 + ["infrared"] * 4)
    rows = choose_images(index, seed=0, identities=5, images=2)
    # 3 has no visible image; of 1 two of three visible images are taken.
    assert set(index.identities[rows]) == {1, 2}
    assert sorted(zip(index.identities[rows], index.modalities[rows], strict=True)) == [
        (1, "infrared"), (1, "visible"), (1, "visible"), (2, "infrared"), (2, "visible"),
    ]  # fmt: skip
    nobody = index_of([1, 2], ["visible", "infrared"])
    assert len(choose_images(nobody, seed=0)) == 0


def test_people_far_apart_are_far_apart_on_the_map():
    features = np.concatenate([unit(i, 1).repeat(6, 0) + 0.01 * unit(9 + i, 6) for i in range(2)])
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    places = lay_out(features, 0)
    np.testing.assert_array_equal(places, lay_out(features, 0))
    centres = places[:6].mean(0), places[6:].mean(0)
    spread = max(np.linalg.norm(places[:6] - centres[0], axis=1))
    assert np.linalg.norm(centres[0] - centres[1]) > spread


def decoded(shown) -> np.ndarray:
    head, data = shown.uri.split(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(b64decode(data))))


def test_thumbnails_are_scaled_down_and_never_up():
    image = np.full((4 * HEIGHT, HEIGHT, 3), (200, 30, 90), np.uint8)
    large, small = thumbnail(image, "large"), thumbnail(image[:40, :20], "small")
    assert (large.height, large.width) == (HEIGHT, HEIGHT // 4) == decoded(large).shape[:2]
    assert (small.height, small.width) == (40, 20) == decoded(small).shape[:2]
    assert np.abs(decoded(large).astype(int) - (200, 30, 90)).max() < 8


def test_heat_is_brightest_where_the_share_is_largest():
    shown = heat(np.full((60, 30, 3), 100, np.uint8), np.array([[0, 0.1], [0, 0.9], [0, 0]]))
    assert shown.shape == (60, 30, 3)
    brightness = shown.astype(int).sum(-1)
    row, column = np.unravel_index(brightness.argmax(), brightness.shape)
    assert 20 <= row < 40
    assert column >= 15
    assert brightness[30, 2] < brightness[30, 27] / 2


def test_settings_name_what_is_not_the_recipes():
    data = {"name": "synthetic", "root": "people", "image_size": (32, 32)}
    config = parse_config(
        {"recipe": "released", "steps": 3, "data": data, "loss": {"triplet": "sum"}}
    )
    settings = {setting.name: setting for setting in settings_of(config)}
    changed = {name for name, setting in settings.items() if setting.changed}
    assert changed == {"data.image_size", "loss.triplet"}
    assert (settings["loss.triplet"].value, settings["loss.triplet"].default) == ("sum", "mean")
    assert settings["views.quantize_intermediate"].value == "yes"  # the recipe's own
    assert all(settings[name].default == "" for name in GIVEN)


def all_charts() -> list[str]:
    rows = [
        {"step": s, "split": "train", "loss/total": 3.0 / s, "accuracy": s / 9} for s in (1, 2, 4)
    ]
    panels = training_panels(rows)
    assert [panel.name for panel in panels] == ["loss", "accuracy"]
    curve = np.linspace(0.2, 0.9, 20)
    ids = np.repeat([3, 7], 4)
    return [
        *(charts.panel_chart(panel, f"panel-{i}") for i, panel in enumerate(panels)),
        charts.cmc_chart([("all <images>", "neck", curve), ("b", "neck", curve / 2)], "cmc"),
        charts.distance_chart(count_pairs(unit(0, 8), ids), "distances"),
        charts.identity_chart(unit(1, 8, 2), ids, np.array(["visible", "infrared"] * 4), "map"),
        charts.threshold_chart(
            [
                {"false_match_rate": rate, "threshold": rate * 3, "false_non_match_rate": 1 - rate}
                for rate in (0.1, 0.01)
            ],
            0.01,
            "thresholds",
        ),
    ]


def test_charts_follow_the_page_and_do_not_collide():
    drawn = all_charts()
    assert drawn == all_charts()  # the same bytes
    ids: list[str] = []
    for svg in drawn:
        assert svg.startswith("<svg ")
        assert "http" not in svg
        assert "currentColor" in svg
        assert "#000000" not in svg  # black text is lost on a dark page
        assert 'role="img" aria-label="' in svg
        own = re.findall(r'\bid="([^"]*)"', svg)
        used = re.findall(r'(?:href="#|url\(#)([^")]*)', svg)
        assert set(used) <= set(own)
        ids += own
    assert len(ids) == len(set(ids))
    assert "&lt;images&gt;" in drawn[2]
    assert "distance 0.030" in re.findall(r"<text[^>]*>([^<]*)</text>", drawn[5])
    assert "10 percent distance 0.300, 90.0 percent missed" in drawn[5]
    for number in ("3", "7"):
        assert re.search(rf"<text[^>]*>{number}</text>", drawn[4])
