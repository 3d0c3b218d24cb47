"""Synthetic people: a visible-infrared data set that needs no agreement and no download.

- `people` draws bodies and clothes; `difficulty` decides how much of them infrared shows.
- `pose` and `figure` draw a person, `cameras` has the cameras and scenes, `render` makes a picture.
- `plans` lists the pictures of a made-up set, `stand_ins` the pictures in published lists.
- `layouts` checks the arguments, and `writing` writes the files.

A picture depends on the seed, the difficulty, the identity, the camera and the picture's number.
"""

from lupi_jax.data.sources.manifest import read_manifest
from lupi_jax.synthetic.layouts import LAYOUTS, make_synthetic
from lupi_jax.synthetic.render import render

__all__ = ["LAYOUTS", "make_synthetic", "read_manifest", "render"]
