from pathlib import Path

import numpy as np
import pytest

from lupi_jax import InputError, Modality, parse_config
from lupi_jax.data import IdentitySampler, Index, make_sampler
from lupi_jax.data.feeds.sampler import RowsByLabel

# Images of identities 3, 5, 8 and 13 in each modality, mixed up: uneven, and single ones.
COUNTS = {"visible": (5, 1, 2, 3), "infrared": (1, 4, 1, 2)}
IDENTITIES = np.array([3, 5, 8, 13])


def make_index() -> Index:
    rows = [
        (person, modality)
        for modality, counts in COUNTS.items()
        for person, count in zip(IDENTITIES, counts, strict=True)
        for _ in range(count)
    ]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    return Index(
        Path(),
        np.array([f"{i}.jpg" for i in range(len(rows))]),
        np.array([person for person, _ in rows], np.int32),
        np.ones(len(rows), np.int32),
        np.array([modality for _, modality in rows]),
    )


def sampler_of(index: Index, identities: int = 2, images: int = 3, seed: int = 0, **fields):
    batch = {"identities": identities, "images": images}
    config = {"seed": seed, "steps": 1, "data": {"root": "-"}, "batch": batch, **fields}
    return make_sampler(index, parse_config(config))


def drawn(sampler: IdentitySampler, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of both tables and labels of the first steps, [steps, P K] each."""
    batches = [sampler(step) for step in range(steps)]
    visible, infrared, labels = (
        np.stack([batch[name] for batch in batches]) for name in ("visible", "infrared", "labels")
    )
    return visible, infrared, labels


def test_a_batch_is_a_function_of_seed_and_step_alone():
    index = make_index()
    one, other = sampler_of(index), sampler_of(index)
    late = other(7)
    for step in (3, 0, 7):
        batch, again = one(step), late if step == 7 else other(step)
        assert list(batch) == ["visible", "infrared", "labels"]
        for name, values in batch.items():
            assert values.dtype == np.int32
            assert values.tolist() == again[name].tolist()
    of_steps = {tuple(one(step)["visible"]) for step in range(20)}
    of_seeds = {tuple(sampler_of(index, seed=s)(0)["visible"]) for s in range(20)}
    assert len(of_steps) == len(of_seeds) == 20


def test_identities_are_drawn_without_replacement_and_lie_together():
    sampler = sampler_of(make_index(), identities=3, images=2)
    assert sampler.batch_size == 6
    _, _, labels = drawn(sampler, 50)
    assert labels.dtype == np.int32
    assert (labels[:, 0::2] == labels[:, 1::2]).all()
    assert all(len(set(row)) == 3 for row in labels.tolist())


def test_labels_belong_to_the_rows_of_both_modalities():
    index = make_index()
    visible, infrared, labels = drawn(sampler_of(index), 50)
    for rows, modality in ((visible, "visible"), (infrared, "infrared")):
        assert (index.modalities[rows] == modality).all()
        assert (index.identities[rows] == IDENTITIES[labels]).all()
        assert (index.labels[rows] == labels).all()


def test_images_are_drawn_with_replacement_where_there_are_too_few():
    index = make_index()
    visible, _, labels = drawn(sampler_of(index), 60)
    by_person = visible.reshape(60, 2, 3), labels[:, ::3]
    # Identity 5 (label 1) has one visible image, which fills its three places.
    assert set(by_person[0][by_person[1] == 1].ravel()) == set(
        np.flatnonzero((index.identities == 5) & (index.modalities == "visible"))
    )
    # Identity 3 (label 0) has five: three places hold repeats at times, but not always.
    distinct = {len(set(rows)) for rows in by_person[0][by_person[1] == 0].tolist()}
    assert distinct >= {2, 3}


def test_every_image_is_reached_and_each_of_a_person_as_often():
    index = make_index()
    steps = 4000
    visible, infrared, labels = drawn(sampler_of(index, images=1), steps)
    # Two of four identities per step: each in half of the steps, within 5 standard deviations.
    assert np.bincount(labels.ravel()) == pytest.approx([steps / 2] * 4, abs=5 * steps**0.5 / 2)
    for rows, modality in ((visible, "visible"), (infrared, "infrared")):
        often = np.bincount(rows.ravel(), minlength=len(index))
        for person, count in zip(IDENTITIES, COUNTS[modality], strict=True):
            own = often[(index.identities == person) & (index.modalities == modality)]
            expected = steps / 2 / count
            assert own == pytest.approx([expected] * count, abs=5 * expected**0.5)
            assert own.min() > 0


def test_the_modalities_are_drawn_apart():
    people = np.arange(2).repeat(4)
    rows = RowsByLabel.group(np.arange(8), people, 2)
    sampler = IdentitySampler(0, {"visible": rows, "infrared": rows}, 2, 2, 4)
    first, second, _ = drawn(sampler, 200)
    # Independent draws of one of four images agree in a quarter of the places.
    assert np.mean(first == second) == pytest.approx(0.25, abs=0.06)


def test_one_modality_takes_one_table():
    index = make_index()
    fields = {"modalities": ("visible", "intermediate")}
    batch = sampler_of(index, **fields)(0)
    assert list(batch) == ["visible", "labels"]
    rows, labels = batch["visible"], batch["labels"]
    assert (index.modalities[rows] == Modality.VISIBLE).all()
    assert (index.labels[rows] == labels).all()


def test_all_identities_fit_in_a_batch_but_not_more():
    index = make_index()
    labels = sampler_of(index, identities=4)(0)["labels"]
    assert sorted(labels[::3]) == [0, 1, 2, 3]
    with pytest.raises(InputError, match=r"batch\.identities = 5 is more than the 4 training"):
        sampler_of(index, identities=5)
