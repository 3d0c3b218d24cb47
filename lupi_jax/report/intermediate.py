"""The images and grey levels of a page's section about the privileged modality."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lupi_jax.data import Index, make_reader
from lupi_jax.modality import Modality
from lupi_jax.report.choices import choose_images
from lupi_jax.report.thumbnails import Thumbnail, thumbnail
from lupi_jax.training import Run
from lupi_jax.views import LUMA, luma, make_intermediate, mean_weights, random_channel, share_at
from lupi_jax.views.adaptive import OFFSET
from lupi_jax.views.channels import draw_weights

DRAWS = 6  # number of intermediate images
COMPARED = 3  # number of people with a row of images of each kind
MIXES = 3  # number of random mixes in such a row
SAMPLE = (20, 5)
"""The largest number of people, and of images per person and modality, whose greys count."""

_BEYOND = round(255 * OFFSET)
LEVELS = np.arange(-_BEYOND, 256 + _BEYOND)
"""The grey levels that a mix may have."""

Mix = tuple[NDArray, str, tuple[float, ...]]
"""Pixels, their name, and the weights of the mix: R, G, B and perhaps an offset, or ()."""

Shown = tuple[Thumbnail, str, tuple[float, ...]]
"""The same, with a picture for the page instead of the pixels."""


@dataclasses.dataclass(frozen=True, eq=False)
class Greys:
    """How often each grey level comes up in images of one kind.

    Attributes:
      name: name of the kind.
      counts: [len(LEVELS)] number of pixels.
      distance: distance to the infrared images in grey levels, see `grey_distance`.
    """

    name: str
    counts: NDArray[np.int64]
    distance: float


@dataclasses.dataclass(frozen=True, eq=False)
class Learnt:
    """What a page shows of a learnt mix.

    Attributes:
      people: (identity, images) of a few people: a visible image, the learnt mix and random mixes
        of it, an infrared image.
      greys: grey levels of the infrared images, and of luma, random and learnt mixes of the visible
        images of the same people.
      images: number of the visible and of the infrared images that `greys` are about.
      share: share of the learnt mix in an image of training at the run's step.
    """

    people: list[tuple[int, list[Shown]]]
    greys: list[Greys]
    images: tuple[int, int]
    share: float


def count_greys(images: NDArray) -> NDArray[np.int64]:
    """How many pixels of grey images [n, h, w, 3] have each of `LEVELS`, rounded."""
    nearest = np.rint(images[..., 0]).astype(np.int64).clip(LEVELS[0], LEVELS[-1])
    return np.bincount(nearest.ravel() - LEVELS[0], minlength=len(LEVELS))


def grey_distance(counts: NDArray, others: NDArray) -> float:
    """The 1-Wasserstein distance of two counts of `LEVELS`, in grey levels.

    This is by how much a pixel has to change on average for the histograms to become equal.
    """
    return float(stats.wasserstein_distance(LEVELS, LEVELS, counts, others))


def learnt_mix(run: Run, index: Index) -> Learnt | None:
    """Compare a run's learnt images with random mixes and with infrared images of the same people.

    None if nobody has visible and infrared images.
    """
    rows = choose_images(index, run.config.seed, *SAMPLE)
    kinds = index.modalities[rows]
    visible, infrared = (rows[kinds == m] for m in (Modality.VISIBLE, Modality.INFRARED))
    if not (len(visible) and len(infrared)):
        return None
    read = make_reader(index, run.config.data.image_size, run.config.data.prepared)
    images, seen = (np.stack([read(int(row)) for row in own]) for own in (visible, infrared))
    counts = {
        "infrared": count_greys(seen),
        "learnt mix": count_greys(run.learnt_images(images)),
        "random mix": count_greys(_random(run, images)),
        "luma": count_greys(np.asarray(luma(images))),
    }
    target = counts["infrared"]
    greys = [Greys(name, own, grey_distance(own, target)) for name, own in counts.items()]
    people = []
    for identity in np.unique(index.identities[visible])[:COMPARED]:
        first, other = (
            int(np.flatnonzero(index.identities[own] == identity)[0]) for own in (visible, infrared)
        )
        shown: list[Mix] = [
            (images[first], f"visible, cam {index.cameras[visible[first]]}", ()),
            *_mixes(run, images[first]),
            (seen[other], f"infrared, cam {index.cameras[infrared[other]]}", ()),
        ]
        people.append((int(identity), [_thumbnail(*each, f"ID {identity}") for each in shown]))
    sample = len(visible), len(infrared)
    share = float(share_at(jnp.asarray(run.step or 0), run.config.views))
    return Learnt(people, greys, sample, share)


def _mixes(run: Run, image: NDArray) -> list[Mix]:
    """The learnt mix and random mixes of one visible image."""
    means = mean_weights(jnp.asarray(image[None]), run.config.views, run.generator)
    weights = tuple(float(mean) for mean in means.values())
    learnt = run.learnt_images(image[None])[0]
    mixed = _random(run, np.stack([image] * MIXES))
    return [
        (learnt, "learnt mix", weights),
        *((mixed[i], f"random mix {i + 1}", _drawn(run, i)) for i in range(MIXES)),
    ]


def _random(run: Run, images: NDArray) -> NDArray:
    return np.asarray(random_channel(jax.random.key(run.config.seed), images))


def _drawn(run: Run, place: int) -> tuple[float, ...]:
    """The weights of a random mix, which sum to 1, by the place of its image in a batch."""
    key = jax.random.fold_in(jax.random.key(run.config.seed), place)
    drawn = np.asarray(draw_weights(key))
    return tuple((drawn / drawn.sum()).tolist())


def draws(run: Run, index: Index) -> list[Shown]:
    """A visible image, its luma, and draws of intermediate images.

    The weights of a mix sum to 1; what is not a mix of known weights has ().
    """
    visible = np.flatnonzero(index.modalities == Modality.VISIBLE)
    if not len(visible):
        return []
    data, views = run.config.data, run.config.views
    rows = choose_images(index, run.config.seed, 1, 1)
    row = next((r for r in rows if index.modalities[r] == Modality.VISIBLE), visible[0])
    image = make_reader(index, data.image_size, data.prepared)(int(row))
    shown: list[Mix] = [
        (image, "original", ()),
        (np.asarray(luma(image)), "luma", LUMA),
    ]
    if views.intermediate not in ("luma", "adaptive"):  # an untrained network has no learnt mix
        key = jax.random.key(run.config.seed)
        made = np.asarray(make_intermediate(key, np.stack([image] * DRAWS), views))
        mixed = views.intermediate == "random_channel"
        for i, pixels in enumerate(made):
            shown.append((pixels, f"draw {i + 1}", _drawn(run, i) if mixed else ()))
    return [_thumbnail(*each, "a visible image") for each in shown]


def _thumbnail(pixels: NDArray, name: str, weights: tuple[float, ...], owner: str) -> Shown:
    whole = pixels.clip(0, 255).round().astype(np.uint8)
    return thumbnail(whole, f"{name} of {owner}"), name, weights
