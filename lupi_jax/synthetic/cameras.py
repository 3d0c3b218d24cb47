"""Six cameras, and the scenes behind the people.

The cameras are placed as in SYSU-MM01. Cameras 1, 2, 4 and 5 are visible, 3 and 6 infrared.
Cameras 1, 2 and 3 are indoors; 2 and 3 look at the same room. A scene is a panorama of materials
that depends on the seed. Since people walk through the whole field of view, each picture shows
another window of the panorama.

Every material has a visible and a near-infrared (NIR) reflectance. Chlorophyll makes foliage and
grass bright in NIR. Rayleigh scattering falls with the fourth power of the wavelength, so a blue
sky is dark in NIR. Asphalt, concrete and metal are about as grey in NIR as in visible light.
"""

import enum
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from lupi_jax.modality import Modality
from lupi_jax.synthetic.people import Reflectance

SceneName = Literal["hall", "room", "street", "park", "yard"]

STREAM_SCENE = 2
"""Number of the random stream for scenes, which differs from people's and pictures'."""

PANORAMA_WIDTH = 5
PANORAMA_HEIGHT = 1.25
"""Width and height of a panorama, relative to a picture."""


class Material(enum.IntEnum):
    """What a point shows; the value is the material's row in a table of reflectances."""

    NOTHING = 0
    PLASTER = 1
    POSTER = 2
    DOOR = 3
    FLOOR = 4
    BRICK = 5
    CONCRETE = 6
    ASPHALT = 7
    FOLIAGE = 8
    GRASS = 9
    SKY = 10
    GLASS = 11
    BARK = 12
    METAL = 13
    SKIN = 14
    HAIR = 15
    HAT = 16
    UPPER = 17
    UPPER_ACCENT = 18
    INNER = 19
    LOWER = 20
    LOWER_ACCENT = 21
    SHOES = 22
    BAG = 23
    BOX = 24


SCENERY: dict[Material, Reflectance] = {
    Material.PLASTER: (0.50, 0.47, 0.41, 0.52),
    Material.POSTER: (0.10, 0.22, 0.45, 0.60),
    Material.DOOR: (0.22, 0.11, 0.05, 0.42),
    Material.FLOOR: (0.24, 0.25, 0.22, 0.30),
    Material.BRICK: (0.30, 0.12, 0.08, 0.36),
    Material.CONCRETE: (0.33, 0.32, 0.30, 0.34),
    Material.ASPHALT: (0.13, 0.13, 0.135, 0.14),
    Material.FOLIAGE: (0.05, 0.11, 0.03, 0.48),
    Material.GRASS: (0.09, 0.17, 0.05, 0.50),
    Material.SKY: (0.45, 0.60, 0.85, 0.12),
    Material.GLASS: (0.07, 0.09, 0.10, 0.07),
    Material.BARK: (0.11, 0.08, 0.05, 0.25),
    Material.METAL: (0.28, 0.28, 0.29, 0.28),
}
"""Reflectance of each material in a scene; for the sky, its radiance."""


@dataclass(frozen=True)
class Camera:
    """A camera with its scene, light and sensor."""

    number: int
    modality: Modality
    scene: SceneName
    light: tuple[float, float, float]
    """Red, green and blue of the light, about 1; all equal for an infrared camera."""
    level: float
    """Exposure times light level; with 1 a white surface appears white."""
    falloff: float
    """Loss of light at the edge of the picture, 0 to 1; large for an infrared lamp at the lens."""
    blur: float
    """Standard deviation of the optical blur, in pixels if the picture is 144 pixels high."""
    noise: float
    """Standard deviation of the sensor noise, in grey levels from 0 to 255."""
    contrast: float
    """Factor on the contrast about middle grey; 1 changes nothing."""
    jpeg_quality: int


_VIS, _NIR = Modality.VISIBLE, Modality.INFRARED
CAMERAS: dict[int, Camera] = {
    camera.number: camera
    for camera in (
        Camera(1, _VIS, "hall", (1.06, 1.00, 0.88), 0.95, 0.10, 0.5, 4.0, 1.00, 88),
        Camera(2, _VIS, "room", (1.10, 0.98, 0.80), 0.80, 0.20, 0.7, 6.0, 0.95, 85),
        Camera(3, _NIR, "room", (1.00, 1.00, 1.00), 1.15, 0.45, 0.8, 5.0, 0.85, 85),
        Camera(4, _VIS, "street", (0.97, 1.00, 1.06), 1.10, 0.05, 0.6, 4.0, 1.05, 85),
        Camera(5, _VIS, "park", (1.02, 1.02, 0.94), 0.90, 0.10, 0.9, 5.0, 0.90, 80),
        Camera(6, _NIR, "yard", (1.00, 1.00, 1.00), 1.05, 0.35, 0.9, 6.0, 0.90, 80),
    )
}
"""The six cameras by number."""

VISIBLE_CAMERAS = tuple(n for n, camera in CAMERAS.items() if camera.modality is _VIS)
INFRARED_CAMERAS = tuple(n for n, camera in CAMERAS.items() if camera.modality is _NIR)


@dataclass(frozen=True)
class Scene:
    """The panorama behind the people in a camera's pictures."""

    materials: np.ndarray
    """`Material` of each point, uint8 [rows, columns]."""
    texture: np.ndarray
    """Factor on the reflectance of each point, about 1, float32 [rows, columns]."""


@lru_cache(maxsize=8)
def build_scene(seed: int, name: SceneName, height: int, width: int) -> Scene:
    """Returns a panorama, a pure function of the arguments. It is cached, since pictures share it.

    Args:
        seed: seed of the data set, at least 0.
        name: name of the scene.
        height: rows of a picture's canvas; the panorama has `PANORAMA_HEIGHT` times as many.
        width: columns of a picture's canvas; the panorama has `PANORAMA_WIDTH` times as many.
    """
    names: tuple[SceneName, ...] = ("hall", "room", "street", "park", "yard")
    rng = np.random.default_rng([seed, STREAM_SCENE, names.index(name)])
    rows, columns = round(height * PANORAMA_HEIGHT), width * PANORAMA_WIDTH
    image = Image.new("L", (columns, rows))
    draw = ImageDraw.Draw(image)
    texture = 1.0 + 0.10 * smooth_noise(rng, rows, columns, height / 3)
    texture *= 1.0 + 0.06 * smooth_noise(rng, rows, columns, max(2.0, height / 100))
    if name in ("hall", "room"):
        _paint_indoors(draw, rng, rows, columns, doors=name == "room")
        texture *= _tiles(rows, columns, height / 5)
    elif name == "street":
        _paint_street(draw, rng, rows, columns)
    else:
        _paint_garden(draw, rng, rows, columns, bushy=name == "park")
    materials = np.asarray(image)
    if name == "street":
        bricks = materials == Material.BRICK
        texture = np.where(bricks, texture * _bricks(rows, columns, height / 26), texture)
    leaves = (materials == Material.FOLIAGE) | (materials == Material.GRASS)
    rustle = 1.0 + 0.25 * smooth_noise(rng, rows, columns, max(2.0, height / 45))
    texture = np.where(leaves, texture * rustle, texture)
    return Scene(materials, np.clip(texture, 0.3, 1.7).astype(np.float32))


def smooth_noise(rng: np.random.Generator, rows: int, columns: int, cell: float) -> np.ndarray:
    """Returns noise with mean about 0 and standard deviation below 1, float32 [rows, columns].

    Args:
        rng: source of random numbers.
        rows: height of the result.
        columns: width of the result.
        cell: distance between independent values, in points.
    """
    size = (max(2, round(rows / cell)), max(2, round(columns / cell)))
    coarse = Image.fromarray(rng.standard_normal(size, dtype=np.float32))
    return np.asarray(coarse.resize((columns, rows), Image.Resampling.BICUBIC))


def _paint_indoors(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, rows: int, columns: int, *, doors: bool
) -> None:
    """Paints a plastered wall over a floor, with doors and glass, or (hall) posters and glass."""
    edge = int(rows * rng.uniform(0.62, 0.72))
    draw.rectangle((0, 0, columns, edge), fill=Material.PLASTER)
    x = float(rng.uniform(0.0, 0.1)) * columns
    while x < columns:
        width = float(rng.uniform(0.06, 0.14)) * columns
        if doors:
            material = Material.GLASS if rng.random() < 0.25 else Material.DOOR
            draw.rectangle((x, rows * 0.12, x + width, edge), fill=material)
        else:
            top = float(rng.uniform(0.1, 0.3)) * rows
            material = Material.POSTER if rng.random() < 0.6 else Material.GLASS
            draw.rectangle((x, top, x + width * 0.8, top + 0.2 * rows), fill=material)
        x += width + float(rng.uniform(0.04, 0.15)) * columns
    draw.rectangle((0, edge - rows // 60, columns, edge), fill=Material.METAL)
    draw.rectangle((0, edge, columns, rows), fill=Material.FLOOR)


def _paint_street(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, rows: int, columns: int
) -> None:
    """Paints a brick front with windows, a pavement and the road."""
    edge = int(rows * rng.uniform(0.5, 0.6))
    draw.rectangle((0, 0, columns, edge), fill=Material.BRICK)
    x = float(rng.uniform(0.0, 0.1)) * columns
    while x < columns:
        width = float(rng.uniform(0.05, 0.10)) * columns
        draw.rectangle((x, rows * 0.1, x + width, rows * 0.34), fill=Material.GLASS)
        sill = (x - rows * 0.02, rows * 0.34, x + width + rows * 0.02, rows * 0.36)
        draw.rectangle(sill, fill=Material.CONCRETE)
        x += width + float(rng.uniform(0.05, 0.15)) * columns
    draw.rectangle((0, edge, columns, rows), fill=Material.CONCRETE)
    draw.rectangle((0, edge + rows * 0.18, columns, rows), fill=Material.ASPHALT)


def _paint_garden(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, rows: int, columns: int, *, bushy: bool
) -> None:
    """Paints sky, trees and hedges over grass and a path; the yard has more sky and a wall."""
    edge = int(rows * (0.55 if bushy else 0.5))
    draw.rectangle((0, 0, columns, edge), fill=Material.SKY)
    if not bushy:
        draw.rectangle((columns * 0.3, rows * 0.15, columns * 0.7, edge), fill=Material.CONCRETE)
    for _ in range(7 if bushy else 4):
        x, top = float(rng.uniform(0, columns)), float(rng.uniform(0.0, 0.25)) * rows
        draw.rectangle((x, top, x + rows * 0.04, edge), fill=Material.BARK)
        _paint_leaves(draw, rng, x, top, rows * (0.3 if bushy else 0.22), 12)
    for x in np.arange(0, columns, rows * 0.18):
        radius = rows * float(rng.uniform(0.08, 0.16))
        _paint_leaves(draw, rng, float(x), edge - radius * 0.5, radius, 5)
    draw.rectangle((0, edge, columns, rows), fill=Material.GRASS)
    path = Material.CONCRETE if bushy else Material.ASPHALT
    draw.rectangle((0, edge + rows * 0.1, columns, rows * 0.93), fill=path)


def _paint_leaves(
    draw: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    x: float,
    y: float,
    radius: float,
    count: int,
) -> None:
    for dx, dy, size in rng.uniform((-1, -1, 0.3), (1, 1, 0.6), (count, 3)) * radius:
        box = (x + dx - size, y + dy - size, x + dx + size, y + dy + size)
        draw.ellipse(box, fill=Material.FOLIAGE)


def _tiles(rows: int, columns: int, size: float) -> np.ndarray:
    """Returns faint joints between floor tiles as a factor; it is 1 in the upper part."""
    y, x = np.mgrid[:rows, :columns]
    slant = (x - columns / 2) / (0.5 + y / rows)
    joint = ((slant % size) < size / 18) | ((y % (size / 2)) < size / 22)
    return np.where(joint & (y > 0.72 * rows), 0.75, 1.0)


def _bricks(rows: int, columns: int, course: float) -> np.ndarray:
    """Returns bricks and mortar in a running bond as a factor; `course` is a row with its joint."""
    y, x = np.mgrid[:rows, :columns]
    row = np.floor(y / course)
    joint = (y % course < course / 5) | ((x + row * course * 1.3) % (course * 2.6) < course / 5)
    return np.where(joint, 1.45, 1.0 - 0.12 * np.sin(row * 12.9 + np.floor(x / course / 2.6) * 7.7))
