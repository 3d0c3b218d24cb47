"""Renders a picture of a person in front of a scene, seen by a camera."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lupi_jax.modality import Modality
from lupi_jax.synthetic.cameras import (
    CAMERAS,
    SCENERY,
    Camera,
    Material,
    Scene,
    build_scene,
    smooth_noise,
)
from lupi_jax.synthetic.difficulty import Difficulty, dress
from lupi_jax.synthetic.figure import draw_person
from lupi_jax.synthetic.people import GAMMA, Person, Reflectance, sample_person
from lupi_jax.synthetic.pose import Placement, sample_pose

STREAM_PICTURE = 3
"""Number of the random stream for pictures, which differs from people's and scenes'."""

_OVERSAMPLING = 2
"""Points per pixel and axis. The 2 x 2 mean smooths the edges of shapes."""


@dataclass(frozen=True)
class View:
    """What is in front of a camera at one moment, in the visible and the infrared spectrum."""

    materials: np.ndarray
    """`Material` of each point, uint8 [2 * height, 2 * width]."""
    light: np.ndarray
    """Factor of shading, texture and shadow, about 1, float32 [2 * height, 2 * width]."""
    table: np.ndarray
    """Reflectance of each `Material` in red, green, blue and NIR, float32 [materials, 4]."""

    def radiance(self, bands: slice) -> np.ndarray:
        """Returns the light in these columns of `table`, float32 [2 * height, 2 * width, bands]."""
        return self.table[:, bands][self.materials] * self.light[..., None]


def render(
    seed: int,
    identity: int,
    camera: int,
    n: int,
    *,
    height: int = 144,
    width: int = 72,
    difficulty: Difficulty = "hard",
) -> np.ndarray:
    """Renders one picture, as a pure function of the arguments.

    Args:
        seed: seed of the data set, at least 0.
        identity: number of the person, at least 0.
        camera: number of the camera, a key of `CAMERAS`; it determines the spectrum.
        n: number of the picture of this person by this camera, at least 0.
        height: height of the picture in pixels.
        width: width of the picture in pixels.
        difficulty: "hard", or "easy" to keep most of the brightness of cloth in infrared.

    Returns:
        uint8 [height, width, 3]. The three channels of an infrared picture are equal.
    """
    rng = np.random.default_rng([seed, STREAM_PICTURE, identity, camera, n])
    person = dress(sample_person(seed, identity), difficulty)
    view = compose(rng, seed, person, CAMERAS[camera], height, width)
    return _expose(rng, view, CAMERAS[camera], height, width)


def compose(
    rng: np.random.Generator, seed: int, person: Person, camera: Camera, height: int, width: int
) -> View:
    """Puts a person into a camera's scene, loosely cropped and sometimes partly hidden.

    Args:
        rng: source of random numbers for pose, crop and occlusion.
        seed: seed of the data set, which determines the scene.
        person: the person to draw.
        camera: the camera, which determines the scene.
        height: height of the picture in pixels.
        width: width of the picture in pixels.
    """
    rows, columns = height * _OVERSAMPLING, width * _OVERSAMPLING
    pose = sample_pose(rng)
    placement = Placement(
        scale=rows * float(np.clip(rng.normal(0.86, 0.05), 0.72, 1.02)),
        x=columns * (0.5 + float(np.clip(rng.normal(0.0, 0.06), -0.14, 0.14))),
        y=rows * (0.5 + float(np.clip(rng.normal(0.0, 0.025), -0.06, 0.06))),
        roll=float(rng.normal(0.0, 0.035)),
    )
    scene = build_scene(seed, camera.scene, rows, columns)
    materials, texture = _window(rng, scene, rows, columns)
    texture = _shadow(texture, placement)
    figure, shading = draw_person(person, pose, placement, rows, columns)
    folds = 1.0 + 0.10 * smooth_noise(rng, rows, columns, placement.scale * 0.05)
    is_person = figure != Material.NOTHING
    materials = np.where(is_person, figure, materials)
    light = np.where(is_person, shading * folds, texture)
    box: Reflectance = (0.0, 0.0, 0.0, 0.0)
    if rng.random() < 0.25:
        box = _occlude(rng, materials, light)
    return View(materials, light.astype(np.float32), _table(person, box))


def _table(person: Person, box: Reflectance) -> np.ndarray:
    rows: dict[Material, Reflectance] = {
        **SCENERY,
        Material.SKIN: person.body.skin,
        Material.HAIR: person.hair.colour,
        Material.HAT: person.hair.hat or person.hair.colour,
        Material.UPPER: person.upper.base,
        Material.UPPER_ACCENT: person.upper.accent,
        Material.INNER: person.inner,
        Material.LOWER: person.lower.base,
        Material.LOWER_ACCENT: person.lower.accent,
        Material.SHOES: person.shoes,
        Material.BAG: person.bag.colour,
        Material.BOX: box,
    }
    table = np.zeros((len(Material), 4), np.float32)
    for material, reflectance in rows.items():
        table[material] = reflectance
    return table


def _window(
    rng: np.random.Generator, scene: Scene, rows: int, columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns a random part of a panorama, as large as the picture: materials and texture."""
    top = int(rng.integers(scene.materials.shape[0] - rows + 1))
    left = int(rng.integers(scene.materials.shape[1] - columns + 1))
    part = slice(top, top + rows), slice(left, left + columns)
    return scene.materials[part], scene.texture[part]


def _shadow(texture: np.ndarray, placement: Placement) -> np.ndarray:
    """Returns the texture with the shadow that the feet cast on the ground."""
    mask = Image.new("L", (texture.shape[1], texture.shape[0]))
    x, y = placement.to_canvas([(0.0, 0.99)])[0]
    rx, ry = 0.17 * placement.scale, 0.03 * placement.scale
    ImageDraw.Draw(mask).ellipse((x - rx, y - ry, x + rx, y + ry), fill=255)
    soft = mask.filter(ImageFilter.BoxBlur(placement.scale * 0.02))
    return texture * (1.0 - 0.55 / 255.0 * np.asarray(soft, dtype=np.float32))


def _occlude(rng: np.random.Generator, materials: np.ndarray, light: np.ndarray) -> Reflectance:
    """Puts a post, a bush or a box in front of the person, in place.

    Returns the box's reflectance.
    """
    rows, columns = materials.shape
    image = Image.new("L", (columns, rows))
    draw = ImageDraw.Draw(image)
    kind = int(rng.integers(3))
    x = float(rng.uniform(0.1, 0.9)) * columns
    if kind == 0:
        half = float(rng.uniform(0.03, 0.07)) * columns
        draw.rectangle((x - half, 0, x + half, rows), fill=int(Material.METAL))
    elif kind == 1:
        level = rows * float(rng.uniform(0.72, 0.9))
        for dx, dy, size in rng.uniform((-0.45, 0.0, 0.08), (0.45, 0.25, 0.18), (14, 3)):
            box = (dx - size) * columns + x, level + dy * rows - size * columns
            box += (dx + size) * columns + x, level + dy * rows + size * columns
            draw.ellipse(box, fill=int(Material.FOLIAGE))
    else:
        half, top = float(rng.uniform(0.15, 0.35)) * columns, float(rng.uniform(0.68, 0.88)) * rows
        draw.rectangle((x - half, top, x + half, rows), fill=int(Material.BOX))
    hidden = np.asarray(image)
    mask = hidden != Material.NOTHING
    grain = 1.0 + (0.25 if kind == 1 else 0.08) * smooth_noise(rng, rows, columns, rows / 45)
    np.copyto(materials, hidden, where=mask)
    np.copyto(light, np.clip(grain, 0.3, 1.7), where=mask)
    red, green, blue, nir = rng.uniform(0.05, 0.6, 4)
    return float(red), float(green), float(blue), float(nir)


def _expose(
    rng: np.random.Generator, view: View, camera: Camera, height: int, width: int
) -> np.ndarray:
    """Returns the picture of a view, after light, optics, tone curve and sensor noise."""
    infrared = camera.modality is Modality.INFRARED
    radiance = view.radiance(slice(3, 4) if infrared else slice(0, 3))
    channels = radiance.shape[-1]
    pixels = radiance.reshape(height, _OVERSAMPLING, width, _OVERSAMPLING, channels)
    pixels = pixels.mean(axis=(1, 3))
    y = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None]
    lamp = 1.0 - camera.falloff * (x**2 + y**2) / 2 + float(rng.normal(0.0, 0.10)) * x
    gain = camera.level * float(np.exp(rng.normal(0.0, 0.15)))
    light = np.asarray(camera.light[:channels], np.float32)
    tint = np.exp(rng.normal(0.0, 0.03, channels)).astype(np.float32)
    tone = np.clip(pixels * (lamp[..., None] * gain) * light * tint, 0.0, 1.2) ** (1 / GAMMA)
    tone = 0.5 + (tone - 0.5) * camera.contrast
    sharp = Image.fromarray(np.clip(tone * 255, 0, 255).astype(np.uint8).squeeze())
    blur = camera.blur * float(rng.uniform(0.8, 1.5)) * height / 144
    noise = camera.noise * rng.standard_normal((height, width, channels), dtype=np.float32)
    seen = np.asarray(sharp.filter(ImageFilter.GaussianBlur(blur)), np.float32)
    seen = seen.reshape(height, width, channels) + noise
    seen = np.clip(np.rint(seen), 0, 255).astype(np.uint8)
    return np.repeat(seen, 3, axis=-1) if infrared else seen
