"""The picture of the method in README: `python -m docs.method_picture`, then look at it.

It shows one rendered person in three modalities: a visible image, intermediate images made from it
by random mixes of its channels (Eq. 4), and an infrared image of the same person.
"""

from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from lupi_jax.synthetic import render
from lupi_jax.views import random_channel

SEED, IDENTITY = 0, 3
VISIBLE_CAMERA, INFRARED_CAMERA = 1, 3
MIXES = 4
KEY = jax.random.key(0)


def _formula(row: int) -> str:
    """The mix that `random_channel` draws for a row."""
    weights = np.asarray(jax.random.uniform(jax.random.fold_in(KEY, row), (3,)))
    red, green, blue = weights / weights.sum()
    return f"intermediate\n{red:.2f}R + {green:.2f}G + {blue:.2f}B"


def main() -> None:
    """Draw the picture into docs/method.png."""
    visible = render(SEED, IDENTITY, VISIBLE_CAMERA, 1, height=256, width=112)
    infrared = render(SEED, IDENTITY, INFRARED_CAMERA, 1, height=256, width=112)
    copies = np.stack([visible] * MIXES)
    mixes = np.asarray(random_channel(KEY, copies)).round().astype(np.uint8)
    titles = ["visible\n", *map(_formula, range(MIXES)), "infrared\n"]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    every = figure.subplots(1, len(titles))
    for axes, title, image in zip(every, titles, [visible, *mixes, infrared], strict=True):
        axes.imshow(image, vmin=0, vmax=255)
        axes.set_title(title, fontsize=8)
        axes.axis("off")
    figure.supxlabel(
        "Training sees all three modalities, a search visible and infrared images only.",
        fontsize=10,
    )
    figure.savefig(Path(__file__).parent / "method.png", dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main()
