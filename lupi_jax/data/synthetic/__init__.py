"""Synthetic people: a visible-infrared data set that needs no agreement and no download.

Who a person is lies in `people`, how one stands and is drawn in `pose` and `figure`, where one is
seen in `cameras`, one picture in `render`, and the folders of real data sets in `layouts`. A
picture is a function of the seed, the identity, the camera and its number alone.
"""

from lupi_jax.data.synthetic.layouts import (
    LAYOUTS,
    read_manifest,
    write_folder,
    write_regdb,
    write_sysu_mm01,
)
from lupi_jax.data.synthetic.render import render

__all__ = [
    "LAYOUTS",
    "read_manifest",
    "render",
    "write_folder",
    "write_regdb",
    "write_sysu_mm01",
]
