import random
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol_images import Counts, G, I, V, hidden, make_images, shown, with_intermediate

from lupi_jax import InputError, Modality
from lupi_jax.data.sources import published
from lupi_jax.evaluation.metrics import all_images, llcm, sysu
from lupi_jax.evaluation.metrics.protocols import is_test_set
from lupi_jax.evaluation.metrics.tasks import has_match

# Person 7 is indoors and outdoors, 12 outdoors only, 30 in all visible cameras.
SYSU: Counts = {
    (V, 7, 1): 3,
    (V, 7, 2): 12,
    (V, 7, 5): 11,
    (V, 12, 4): 2,
    (V, 12, 5): 1,
    (V, 30, 1): 1,
    (V, 30, 2): 2,
    (V, 30, 4): 13,
    (V, 30, 5): 4,
    (I, 7, 3): 2,
    (I, 7, 6): 1,
    (I, 12, 6): 2,
    (I, 30, 3): 11,
}
PLACES = {"all-search": (1, 2, 4, 5), "indoor": (1, 2)}


def files(modality: Modality, cameras: tuple[int, ...]) -> dict[tuple[int, int], list[str]]:
    """The files of each identity and camera, as published code goes through them."""
    return {
        (identity, camera): [
            f"cam{camera}/{identity:04d}/{n:04d}.jpg"
            for n in range(1, SYSU[modality, identity, camera] + 1)
        ]
        for identity, camera in product((7, 12, 30), cameras)
        if (modality, identity, camera) in SYSU
    }


def permutations(trials: int = 10) -> dict[tuple[int, int], np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        (identity, camera): np.stack([rng.permutation(count) for _ in range(trials)])
        for (_, identity, camera), count in SYSU.items()
    }


@pytest.mark.parametrize("protocol", ["official", "agw", "released"])
def test_sysu_has_two_searches_with_one_or_ten_images_of_each_camera(protocol):
    images = make_images(SYSU, shuffled=3)
    tasks = sysu(images, [(I, V), (V, I)], protocol, 4, permutations())
    full = protocol == "released"
    names = [(task.name, task.query, task.gallery) for task in tasks]
    assert names == [
        ("all-search, single-shot", I, V),
        ("all-search, multi-shot", I, V),
        ("indoor, single-shot", I, V),
        ("indoor, multi-shot", I, V),
        ("all-search, single-shot", V, I),
        ("all-search, multi-shot", V, I),
    ]
    # Multi-shot: min(n, 10) of each camera, which with replacement is always 10.
    sizes = [9, 90 if full else 3 + 10 + 10 + 2 + 1 + 1 + 2 + 10 + 4]
    sizes += [4, 40 if full else 3 + 10 + 1 + 2, 4, 40 if full else 2 + 1 + 2 + 10]
    for task, size in zip(tasks, sizes, strict=True):
        assert [len(trial.gallery) for trial in task.trials] == [size] * 4
        for trial in task.trials:
            assert trial.query.tolist() == np.flatnonzero(images.modalities == task.query).tolist()
            assert set(images.modalities[trial.gallery]) == {task.gallery}
            assert trial.cmc == "identity"
            if "indoor" in task.name:
                assert set(images.cameras[trial.gallery]) == {1, 2}


def test_the_official_galleries_by_hand():
    images = make_images({(V, 7, 1): 12, (V, 7, 2): 2, (I, 7, 3): 1, (I, 7, 6): 1}, shuffled=5)
    orders = {
        (7, 1): np.array([range(12), range(11, -1, -1)]),
        (7, 2): np.array([[0, 1], [1, 0]]),
    }
    tasks = {task.name: task for task in sysu(images, [(I, V)], "official", 2, orders)}
    first, second = tasks["all-search, single-shot"].trials
    assert shown(images, first) == ["cam1/0007/0001.jpg", "cam2/0007/0001.jpg"]
    assert shown(images, second) == ["cam1/0007/0012.jpg", "cam2/0007/0002.jpg"]
    first, second = tasks["all-search, multi-shot"].trials
    both = ["cam2/0007/0001.jpg", "cam2/0007/0002.jpg"]
    assert shown(images, first) == [f"cam1/0007/{n:04d}.jpg" for n in range(1, 11)] + both
    assert (
        shown(images, second) == [f"cam1/0007/{n:04d}.jpg" for n in range(12, 2, -1)] + both[::-1]
    )


@pytest.mark.parametrize("search", PLACES)
def test_seeded_galleries_are_those_of_published_code(search):
    images = make_images(SYSU, shuffled=4)
    tasks = {task.name: task for task in sysu(images, [(I, V)], "agw")}
    for trial, task in enumerate(tasks[f"{search}, single-shot"].trials):
        random.seed(trial)
        expected = [random.choice(names) for names in files(V, PLACES[search]).values()]
        assert shown(images, task) == expected
    for trial, task in enumerate(tasks[f"{search}, multi-shot"].trials):
        random.seed(trial)
        expected = []
        for names in files(V, PLACES[search]).values():
            expected += random.sample(names, min(10, len(names)))
        assert shown(images, task) == expected
        assert len(set(task.gallery)) == len(task.gallery)


def test_seeded_galleries_of_trial_0_by_hand():
    # random.seed(0); random.choice over 12, then 5, then 8 files takes files 7, 4 and 1, from 1.
    images = make_images({(V, 2, 1): 12, (V, 2, 4): 5, (V, 10, 2): 8, (I, 2, 6): 1})
    trial = sysu(images, [(I, V)], "agw")[0].trials[0]
    assert shown(images, trial) == [
        "cam1/0002/0007.jpg",
        "cam4/0002/0004.jpg",
        "cam2/0010/0001.jpg",
    ]


def test_released_galleries_are_drawn_with_replacement():
    images = make_images(SYSU, shuffled=4)
    tasks = {task.name: task for task in sysu(images, [(I, V)], "released")}
    for trial, task in enumerate(tasks["indoor, multi-shot"].trials):
        random.seed(trial)
        expected = []
        for names in files(V, (1, 2)).values():
            expected += random.choices(names, k=10)
        assert shown(images, task) == expected
        assert len(set(task.gallery)) < len(task.gallery)
        assert task.excluded is None
    single = tasks["indoor, single-shot"].trials[2]
    random.seed(2)
    assert shown(images, single) == [random.choice(names) for names in files(V, (1, 2)).values()]


@pytest.mark.parametrize("protocol", ["official", "agw"])
def test_cameras_2_and_3_ignore_each_other(protocol):
    images = with_intermediate(make_images(SYSU, shuffled=6))
    pairs = [(I, V), (V, I), (I, G), (G, I)]
    for task in sysu(images, pairs, protocol, 2, permutations()):
        for trial in task.trials:
            query, gallery = images.cameras[trial.query], images.cameras[trial.gallery]
            expected = [[{int(q), int(g)} == {2, 3} for g in gallery] for q in query]
            assert np.any(expected)
            assert hidden(trial).tolist() == expected


@pytest.mark.parametrize("protocol", ["official", "agw"])
@pytest.mark.parametrize("pair", [(V, V), (I, I), (G, G), (V, G), (G, V)])
def test_within_a_modality_sysu_ignores_the_own_camera(pair, protocol):
    images = with_intermediate(make_images(SYSU, shuffled=6))
    whole = sysu(images, [pair], protocol, 2, permutations())
    own = sysu(images, [pair], protocol, 2, permutations(), "identity_and_camera")
    searches = {"all-search"} if pair[1] == I else {"all-search", "indoor"}
    rules = ((whole, "without own camera"), (own, "without own identity by own camera"))
    for tasks, ending in rules:
        assert [task.name for task in tasks] == [
            f"{search}, {shot}, {ending}"
            for search in sorted(searches)
            for shot in ("single-shot", "multi-shot")
        ]
        for task in tasks:
            for trial in task.trials:
                assert len(trial.query) == np.sum(images.modalities == pair[0])
                expected = np.array(
                    [[images.cameras[q] == images.cameras[g] for g in trial.gallery]
                     for q in trial.query]
                )  # fmt: skip
                if tasks is own:
                    ids = images.identities
                    expected &= np.equal.outer(ids[trial.query], ids[trial.gallery])
                assert expected.any()
                assert np.array_equal(hidden(trial), expected)


def test_an_unknown_rule_within_a_modality_is_refused():
    images = make_images(SYSU)
    for make in (all_images, lambda i, p, same_modality: sysu(i, p, "agw", 1, None, same_modality)):
        with pytest.raises(
            InputError, match="= 'person' is unknown: give camera or identity_and_c"
        ):
            make(images, [(V, V)], same_modality="person")


@pytest.mark.parametrize(
    ("pair", "name", "cameras"),
    [
        ((V, V), "cameras 1, 4 in 2, 5", ((1, 4), (2, 5))),
        ((G, G), "cameras 1, 4 in 2, 5", ((1, 4), (2, 5))),
        ((I, I), "cameras 3 in 6", ((3,), (6,))),
    ],
)
def test_released_code_searches_a_modality_from_camera_to_camera(pair, name, cameras):
    images = with_intermediate(make_images(SYSU, shuffled=6))
    single, multi = sysu(images, [pair], "released", 3)
    assert (single.name, multi.name) == (f"{name}, single-shot", f"{name}, multi-shot")
    for trial in multi.trials:
        chosen = (images.modalities == pair[0]) & np.isin(images.cameras, cameras[0])
        assert trial.query.tolist() == np.flatnonzero(chosen).tolist()
        assert set(images.cameras[trial.gallery]) == set(cameras[1])
        assert set(images.modalities[trial.gallery]) == {pair[1]}
        assert trial.excluded is None


def test_intermediate_galleries_are_of_the_same_images_as_visible_ones():
    images = with_intermediate(make_images(SYSU, shuffled=6))
    for protocol in ("official", "agw", "released"):
        tasks = sysu(images, [(I, V), (I, G)], protocol, 3, permutations())
        for visible, made in zip(tasks[:4], tasks[4:], strict=True):
            assert (visible.name, made.gallery) == (made.name, G)
            for a, b in zip(visible.trials, made.trials, strict=True):
                assert shown(images, a) == shown(images, b)
                assert not set(a.gallery) & set(b.gallery)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_galleries_do_not_depend_on_the_order_of_the_index(seed):
    plain, mixed = make_images(SYSU), make_images(SYSU, shuffled=seed)
    for protocol in ("official", "agw", "released"):
        tasks = (sysu(x, [(I, V), (V, I)], protocol, 2, permutations()) for x in (plain, mixed))
        for a, b in zip(*tasks, strict=True):
            for s, t in zip(a.trials, b.trials, strict=True):
                assert shown(plain, s) == shown(mixed, t)


def whole_test_set() -> Counts:
    """96 people with the images per camera of SYSU-MM01; 56 of them indoors, 37 with fewer."""
    people = list(range(1, 97))
    indoor, outdoor = people[:56], people[56:]
    counts: Counts = {}

    def spread(modality: Modality, camera: int, total: int, among: list[int]) -> None:
        for place, identity in enumerate(among):
            counts[modality, identity, camera] = (total + place) // len(among)

    spread(V, 1, 1374, indoor)
    spread(V, 2, 1565, indoor)
    spread(V, 4, 1918, people[2:])
    spread(V, 5, 1918, people[1:])
    spread(I, 3, 1088, indoor)  # 2208 of the infrared images are of people seen indoors
    spread(I, 3, 1883 - 1088, outdoor[3:])
    spread(I, 6, 1920, people)
    return counts


def test_the_whole_test_set_has_the_published_counts():
    images = make_images(whole_test_set())
    assert is_test_set(images)
    assert {c: int(np.sum(images.cameras == c)) for c in range(1, 7)} == published.SYSU_TEST_IMAGES
    found = {
        task.name: (
            len(task.trials[0].query),
            len(task.trials[0].gallery),
            len(np.unique(images.identities[task.trials[0].gallery])),
            int(has_match(task.trials[0], images.identities).sum()),
        )
        for task in sysu(images, [(I, V)], "agw", 1)
    }
    assert found == {
        "all-search, single-shot": (3803, 301, 96, 3803),
        "all-search, multi-shot": (3803, 3010, 96, 3803),
        "indoor, single-shot": (3803, 112, 56, 2208),
        "indoor, multi-shot": (3803, 1120, 56, 2208),
    }
    assert is_test_set(with_intermediate(images))
    sysu(with_intermediate(images), [(I, G), (V, I)], "agw", 1)


@pytest.mark.parametrize(
    ("pair", "shot", "gallery", "camera", "identity_and_camera"),
    [
        # Cameras 3 and 6 saw 93 and 96 people: (1883 * 93 + 1920 * 96) / 3803 images of the 189.
        ((I, I), "single-shot", 189, 94.5146, 1),
        ((I, I), "multi-shot", 1890, 945.146, 10),
        # Cameras 1, 2, 4, 5 saw 56, 56, 94, 95: (2939 * 56 + 1918 * 189) / 6775 of the 301.
        ((V, V), "single-shot", 301, 77.7987, 1),
        ((G, G), "multi-shot", 3010, 777.987, 10),
    ],
)
def test_the_whole_test_set_loses_cameras(pair, shot, gallery, camera, identity_and_camera):
    images = with_intermediate(make_images(whole_test_set()))
    for rule, expected in (("camera", camera), ("identity_and_camera", identity_and_camera)):
        tasks = sysu(images, [pair], "agw", 1, same_modality=rule)
        (task,) = (task for task in tasks if task.name.startswith(f"all-search, {shot}"))
        (trial,) = task.trials
        assert len(trial.gallery) == gallery
        assert hidden(trial).sum(axis=1).mean() == pytest.approx(expected, abs=5e-4)


def test_a_whole_test_set_with_other_counts_is_refused():
    # Person 56's images of camera 1 are given to person 2: as many images of every camera, but
    # one gallery image less.
    counts = whole_test_set()
    counts[V, 2, 1] += counts.pop((V, 56, 1))
    with pytest.raises(
        InputError, match=r"all-search, single-shot: 300 gallery images and 3803 qu"
    ):
        sysu(make_images(counts), [(I, V)], "agw", 1)
    # Less than the whole set has no published counts.
    counts[V, 2, 1] -= 1
    images = make_images(counts)
    assert not is_test_set(images)
    assert len(sysu(images, [(I, V)], "agw", 1)[0].trials[0].gallery) == 300


def test_options_out_of_range_are_refused():
    images = make_images(SYSU)
    with pytest.raises(InputError, match="protocol = 'ours' is unknown: give official, agw or r"):
        sysu(images, [(I, V)], "ours")
    for refuse in (lambda: sysu(images, [(I, V)], "agw", 0), lambda: llcm(images, [(I, V)], 0)):
        with pytest.raises(InputError, match=r"evaluation\.trials = 0: give 1 or more"):
            refuse()


@pytest.mark.parametrize(
    ("counts", "pair", "message"),
    [
        (
            {**SYSU, (V, 7, 3): 1},
            (I, V),
            r"visible images of camera 3: in SYSU-MM01 .*1, 2, 4, 5 are",
        ),
        ({**SYSU, (I, 7, 1): 1}, (I, V), r"infrared images of camera 1: in SYSU-MM01 .* 3, 6 are"),
        (SYSU, (I, G), r"no intermediate image of cameras 1, 2, 4, 5 to evaluate"),
        ({(V, 7, 1): 1}, (I, V), r"no infrared image of cameras 3, 6 to evaluate infrared -> vis"),
        ({(V, 7, 4): 1, (I, 7, 3): 1}, (I, V), r"no visible image of cameras 1, 2 to evaluate"),
        ({(V, 7, 2): 1, (I, 7, 3): 1}, (I, V), r"all-search, single-shot: no query has an image"),
        ({(V, 7, 1): 1, (I, 12, 3): 1}, (I, V), r"all-search, single-shot: no query has an image"),
    ],
)
def test_images_that_cannot_be_evaluated_are_refused(counts, pair, message):
    with pytest.raises(InputError, match=message):
        sysu(make_images(counts), [pair], "agw")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({(7, 2): np.zeros((10, 11), int)}, r"orders 11 images of identity 7 by camera 2 "),
        ({(7, 2): None}, r"orders 0 images of identity 7 by camera 2 .* are 12 "),
        ({(12, 1): np.zeros((10, 3), int)}, r"orders 3 images of identity 12 by camera 1 "),
        ({(7, 1): np.zeros((9, 3), int)}, r"\.mat orders .* for 9 trials, but .* 10 trials"),
    ],
)
def test_permutations_of_other_images_are_refused(change, message):
    orders = {**permutations(), **change}
    orders = {place: order for place, order in orders.items() if order is not None}
    with pytest.raises(InputError, match=message):
        sysu(make_images(SYSU), [(I, V)], "official", 10, orders)


def test_permutations_of_people_and_cameras_not_asked_for_are_passed_over():
    orders = {**permutations(), (99, 1): np.zeros((10, 3), int), (7, 6): np.zeros((10, 8), int)}
    images = make_images(SYSU)
    sysu(images, [(I, V)], "official", 10, orders)
    with pytest.raises(InputError, match=r"orders 8 images of identity 7 by camera 6 .* are 1 "):
        sysu(images, [(V, I)], "official", 10, orders)
    with pytest.raises(InputError, match=r"permutations of exp/rand_perm_cam\.mat: give them"):
        sysu(images, [(I, V)], "official")
