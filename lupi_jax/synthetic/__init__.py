"""Synthetic people: a visible-infrared data set that needs no agreement and no download.

Who a person is lies in `people`, how much of that an infrared camera sees in `difficulty`, how one
stands and is drawn in `pose` and `figure`, where one is seen in `cameras` and one picture in
`render`. The folders of real data sets are in `plans`, their full-size stand-ins in `stand_ins`,
what may be asked for in `layouts` and the files in `writing`.
A picture is a function of the seed, the difficulty, the identity, the camera and its number alone.
"""

from lupi_jax.data.sources.manifest import read_manifest
from lupi_jax.synthetic.layouts import LAYOUTS, write_set
from lupi_jax.synthetic.render import render

__all__ = ["LAYOUTS", "read_manifest", "render", "write_set"]
