"""Whole evaluations against the protocols read literally: image by image, in exact fractions."""

import random
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from lupi_jax import Modality
from lupi_jax.data import Index, read_permutations
from lupi_jax.evaluation import evaluate_features
from lupi_jax.evaluation.features import Features
from lupi_jax.evaluation.metrics import DIRECTIONS, all_images, llcm, sysu
from lupi_jax.evaluation.metrics.tasks import SameModality

V, I, G = Modality.VISIBLE, Modality.INFRARED, Modality.INTERMEDIATE  # noqa: E741
SHOTS = {"single-shot": 1, "multi-shot": 10}
FIGURES = ("rank1", "rank5", "rank10", "rank20", "mean_ap", "mean_inp")


class Image(NamedTuple):
    path: str
    identity: int
    camera: int
    modality: str
    features: dict[str, tuple[float, ...]]


Ignores = Callable[[Image, Image], bool]
"""Whether a gallery image (second) is not there for a query (first)."""


# -- The protocols, read literally -------------------------------------------------------------


def nothing(query: Image, image: Image) -> bool:
    return False


def own_camera(query: Image, image: Image) -> bool:
    return query.camera == image.camera


def person_by_own_camera(query: Image, image: Image) -> bool:
    return (query.identity, query.camera) == (image.identity, image.camera)


def cameras_2_and_3(query: Image, image: Image) -> bool:
    return {query.camera, image.camera} == {2, 3}


def score(query: Image, ranking: Sequence[Image], cmc: str) -> dict[str, Fraction]:
    """The figures of one query; none where its gallery has no true match."""
    hits = [n for n, image in enumerate(ranking, 1) if image.identity == query.identity]
    if not hits:
        return {}
    first = hits[0]
    if cmc == "identity":
        appearance: list[int] = []
        for image in ranking:
            if image.identity not in appearance:
                appearance.append(image.identity)
        first = appearance.index(query.identity) + 1
    precisions = [Fraction(found, rank) for found, rank in enumerate(hits, 1)]
    return {
        **{f"rank{k}": Fraction(first <= k) for k in (1, 5, 10, 20)},
        "mean_ap": sum(precisions, Fraction()) / len(hits),
        "mean_inp": Fraction(len(hits), hits[-1]),
    }


def read_literally(
    queries: Sequence[Image],
    galleries: Sequence[Sequence[Image]],
    ignores: Ignores,
    cmc: str,
    feature: str,
) -> dict[str, object]:
    """The row of a table, of one gallery per trial."""
    trials, valid = [], set()
    shown = {id(image): image for gallery in galleries for image in gallery}
    similar = {
        (id(query), name): sum(
            a * b for a, b in zip(query.features[feature], image.features[feature], strict=True)
        )
        for query in queries
        for name, image in shown.items()
    }
    for gallery in galleries:
        scores = []
        for query in queries:
            there = [image for image in gallery if not ignores(query, image)]
            # Equals keep the order of the gallery, as Python's sort leaves them.
            ranking = sorted(there, key=lambda image, query=query: -similar[id(query), id(image)])
            scores.append(score(query, ranking, cmc))
        scores = [figures for figures in scores if figures]
        valid.add(len(scores))
        trials.append({k: sum((s[k] for s in scores), Fraction()) / len(scores) for k in FIGURES})
    (valid_queries,) = valid
    row: dict[str, object] = {
        "trials": len(galleries),
        "queries": len(queries),
        "valid_queries": valid_queries,
        "gallery_images": len(galleries[0]),
        **{k: float(statistics.mean(t[k] for t in trials)) for k in FIGURES},
    }
    if len(trials) > 1:
        row["std"] = {k: float(statistics.stdev(t[k] for t in trials)) for k in FIGURES}
    return row


def places(images: Sequence[Image], modality: str, cameras: Sequence[int]) -> list[list[Image]]:
    """The images of each identity and each camera that saw it, sorted by name."""
    found = []
    for identity in sorted({image.identity for image in images}):
        for camera in cameras:
            wanted = (identity, camera, modality)
            files = [i for i in images if (i.identity, i.camera, i.modality) == wanted]
            if files:
                found.append(sorted(files, key=lambda image: image.path))
    return found


def draw(
    files: Sequence[Image], shots: int, protocol: str, order: list[int], generator: random.Random
) -> list[Image]:
    """The gallery images of one identity and camera; `order` counts from 1."""
    if protocol == "official":
        return [files[number - 1] for number in order[:shots]]
    if shots == 1:
        return [generator.choice(files)]
    if protocol == "released":
        return generator.choices(files, k=shots)
    return generator.sample(files, min(shots, len(files)))


# Literal readings of the rules within a modality, and how a search says which of them it is by.
RULES: dict[SameModality, tuple[str, Ignores]] = {
    "camera": ("without own camera", own_camera),
    "identity_and_camera": ("without own identity by own camera", person_by_own_camera),
}


# -- Small test sets ---------------------------------------------------------------------------

# Products of these directions are exact in any arithmetic, and many are equal.
EXACT = [tuple(s * (i == j) for j in range(4)) for i in range(4) for s in (-1.0, 1.0)]
EXACT += list(product((-0.5, 0.5), repeat=4))

Place = tuple[int, Modality, int]
"""(identity, modality, camera)."""


def make_images(counts: Mapping[Place, int], distinct: int, seed: int) -> list[Image]:
    """Images in any order: "pooled" full of ties (`distinct` features in all), "neck" without."""
    rng = np.random.default_rng(seed)
    directions = [EXACT[i] for i in rng.permutation(len(EXACT))[:distinct]]
    images = []
    for (identity, modality, camera), count in counts.items():
        for number in rng.choice(np.arange(1, 10_000), count, replace=False):
            neck = rng.normal(size=5)
            features = {
                "pooled": directions[rng.integers(distinct)],
                "neck": tuple((neck / np.linalg.norm(neck)).tolist()),
            }
            path = f"{modality}/cam{camera}/{identity:04d}/{number:04d}.jpg"
            images.append(Image(path, identity, camera, str(modality), features))
    return [images[i] for i in rng.permutation(len(images))]


@st.composite
def small_sets(
    draw, cameras: Mapping[Modality, Sequence[int]], seen: Sequence[tuple[Modality, int]]
) -> list[Image]:
    """Up to twelve people; one is `seen` by these cameras, so that every task has a match."""
    people = draw(st.lists(st.integers(1, 40), min_size=1, max_size=12, unique=True))
    everywhere = [(p, m, c) for p in people for m in cameras for c in cameras[m]]
    counts = draw(
        st.dictionaries(st.sampled_from(everywhere), st.sampled_from([1, 2, 4, 12]), max_size=20)
    )
    for modality, camera in seen:
        counts.setdefault((people[0], modality, camera), draw(st.sampled_from([1, 3])))
    distinct = draw(st.sampled_from([1, 2, 6, 24]))
    return make_images(counts, distinct, draw(st.integers(0, 2**32 - 1)))


def index_of(images: Sequence[Image]) -> Index:
    columns = [np.array([image[k] for image in images]) for k in range(4)]
    return Index(Path(), *columns)


def check(
    images: Sequence[Image],
    tasks,
    expected: Mapping[tuple[str, str, str], Callable[[str], dict]],
) -> None:
    """Compare all figures of all tasks; `expected` gives a feature's row of each."""
    pooled = np.array([image.features["pooled"] for image in images], np.float32)
    neck = np.array([image.features["neck"] for image in images])
    rows = evaluate_features(Features(pooled, neck, index_of(images)), tasks)
    names = [(row["query"], row["gallery"], row["search"], row["feature"]) for row in rows]
    assert names == [(*task, feature) for task in expected for feature in ("neck", "pooled")]
    for row, name in zip(rows, names, strict=True):
        literal = expected[name[:3]](name[3])
        std = literal.pop("std", {})
        assert {key: row[key] for key in literal} == pytest.approx(literal, rel=0, abs=1e-12)
        assert row.get("std", {}) == pytest.approx(std, rel=0, abs=1e-12)


# -- SYSU-MM01 ---------------------------------------------------------------------------------

SYSU = {V: (1, 2, 4, 5), I: (3, 6), G: (1, 2, 4, 5)}
SYSU_SEEN = [(V, 1), (V, 4), (I, 3), (I, 6)]
# The released code's search within a modality is in no published protocol.
SYSU_CASES = [*product(("official", "agw"), product((I, V, G), (I, V, G)))]
SYSU_CASES += [*product(("released",), DIRECTIONS)]


def write_permutations(root: Path, images: Sequence[Image], seed: int) -> dict:
    """`exp/rand_perm_cam.mat` for `images`, and {(identity, camera): ten orders from 1}."""
    rng = np.random.default_rng(seed)
    orders: dict[tuple[int, int], list[list[int]]] = {}
    cameras = np.empty((6, 1), object)
    for camera in range(1, 7):
        cells = np.empty((max(image.identity for image in images), 1), object)
        for identity in range(1, len(cells) + 1):
            count = sum((i.identity, i.camera) == (identity, camera) for i in images)
            ten = [(1 + rng.permutation(count)).tolist() for _ in range(10)]
            cells[identity - 1, 0] = np.array(ten, np.uint8).reshape(10, count)
            orders[identity, camera] = ten
        cameras[camera - 1, 0] = cells
    (root / "exp").mkdir()
    savemat(root / "exp/rand_perm_cam.mat", {"rand_perm_cam": cameras}, do_compression=True)
    return orders


@pytest.mark.parametrize(("protocol", "pair"), SYSU_CASES)
@settings(max_examples=4, deadline=None)
@given(
    images=small_sets({V: SYSU[V], I: SYSU[I]}, SYSU_SEEN),
    trials=st.sampled_from([1, 2, 10]),
    rule=st.sampled_from(list(RULES)),
    seed=st.integers(0, 2**32 - 1),
)
def test_sysu(protocol, pair, images, trials, rule, seed):
    with tempfile.TemporaryDirectory() as root:
        orders = write_permutations(Path(root), images, seed)
        permutations = read_permutations(root) if protocol == "official" else None
    # Of every visible image one is made, of the same path; whose features it has does not matter.
    made = [i._replace(modality=str(G)) for i in images if i.modality == V]
    mixed = [i._replace(features=j.features) for i, j in zip(made, made[::-1], strict=True)]
    images = [*images, *mixed]
    tasks = sysu(index_of(images), [pair], protocol, trials, permutations, rule)

    queries = [image for image in images if image.modality == pair[0]]
    infrared_sides = pair.count(I)
    searches = {"all-search": SYSU[pair[1]], "indoor": (1, 2)}
    if pair[1] == I:
        del searches["indoor"]
    ending, ignores = "", cameras_2_and_3
    if infrared_sides != 1:
        ending, ignores = f", {RULES[rule][0]}", RULES[rule][1]
    if protocol == "released":
        ignores = nothing
    expected = {}
    for (search, cameras), (shot, shots) in product(searches.items(), SHOTS.items()):
        galleries = []
        for t in range(trials):
            generator, gallery = random.Random(t), []
            for files in places(images, pair[1], cameras):
                order = orders[files[0].identity, files[0].camera][t]
                gallery += draw(files, shots, protocol, order, generator)
            galleries.append(gallery)
        expected[(*pair, f"{search}, {shot}{ending}")] = lambda feature, galleries=galleries: (
            read_literally(queries, galleries, ignores, "identity", feature)
        )
    check(images, tasks, expected)


# -- LLCM, and all images: RegDB and the folder layout ------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    small_sets({V: range(1, 10), I: (1, 2, 4, 5, 6, 7, 8, 9)}, [(V, 1), (V, 3), (I, 2), (I, 5)]),
    st.sampled_from([1, 2, 10]),
    st.sampled_from(list(RULES)),
)
def test_llcm(images, trials, rule):
    expected = {}
    for query, gallery in product((V, I), (V, I)):
        name, ignores = "single-shot", person_by_own_camera
        if query == gallery:
            name, ignores = f"{name}, {RULES[rule][0]}", RULES[rule][1]
        queries = [image for image in images if image.modality == query]
        galleries = []
        for t in range(trials):
            generator = random.Random(t)
            files = places(images, gallery, range(1, 10))
            galleries.append([generator.choice(one) for one in files])
        expected[query, gallery, name] = (
            lambda feature, queries=queries, galleries=galleries, ignores=ignores: read_literally(
                queries, galleries, ignores, "identity", feature
            )
        )
    pairs = list(product((V, I), (V, I)))
    check(images, llcm(index_of(images), pairs, trials, rule), expected)


@settings(max_examples=40, deadline=None)
@given(
    small_sets({V: (1, 2), I: (1, 2)}, [(V, 1), (V, 2), (I, 1), (I, 2)]),
    st.sampled_from(list(RULES)),
)
def test_all_images(images, rule):
    sides = {m: [image for image in images if image.modality == m] for m in (V, I)}
    expected = {
        (query, gallery, "all images"): (
            lambda feature, query=query, gallery=gallery: read_literally(
                sides[query], [sides[gallery]], nothing, "image", feature
            )
        )
        for query, gallery in DIRECTIONS
    }
    for modality in (V, I):
        expected[modality, modality, f"all images, {RULES[rule][0]}"] = (
            lambda feature, modality=modality: read_literally(
                sides[modality], [sides[modality]], RULES[rule][1], "image", feature
            )
        )
    check(images, all_images(index_of(images), [*DIRECTIONS, (V, V), (I, I)], rule), expected)
