"""A synthetic person: body, hair, clothes and bag, each with its reflectances.

A reflectance has four numbers in [0, 1], linear in light, for red, green, blue and near infrared
(NIR, 700 to 1000 nm). A visible camera sees the first three, an infrared camera the last one.

The rules that link the spectra follow what cameras measure:

- Cloth: dyes absorb visible light but are nearly transparent in NIR, where the fibre determines
  the reflectance. So a garment's NIR reflectance is drawn independently of its dye. Black cotton
  can be the brightest thing in an NIR picture, and two equal reds may differ.
- Patterns: woven, embroidered and pigment-printed patterns keep some contrast in NIR, dyed ones
  lose it. So a pattern's NIR contrast is drawn independently. It is mostly weak, sometimes zero,
  and has either sign.
- Skin reflects more NIR than visible light, because melanin and blood absorb little NIR. So skin
  tones become similar.
- Hair also reflects more NIR, by an amount that differs between people.

So shape and texture are the same in both spectra, and colour is not. Lengths are in body heights,
from 0 at the top of the head to 1 at the sole, because a detector's crop hides the real height.
"""

import colorsys
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

Reflectance = tuple[float, float, float, float]

HairStyle = Literal["bald", "short", "bob", "long", "ponytail", "bun"]
UpperKind = Literal["vest", "t-shirt", "long sleeve", "hoodie", "jacket", "coat"]
LowerKind = Literal["trousers", "wide trousers", "leggings", "shorts", "skirt", "long skirt"]
PatternKind = Literal["plain", "stripes", "checks", "dots", "print", "block", "logo"]
BagKind = Literal["none", "backpack", "handbag", "shoulder bag"]

_Name = TypeVar("_Name", bound=str)

GAMMA = 2.2
"""Exponent that turns a perceived tone in [0, 1] into light."""

STREAM_PERSON = 1
"""Number of the random stream for people, which differs from pictures' and scenes'."""


@dataclass(frozen=True)
class Body:
    """Proportions of a body, in body heights.

    The ranges come from anthropometric tables of adults. They are a little wider, so that
    proportions tell people apart in a crop of about a hundred pixels.
    """

    head: float
    """Height of the head from chin to top, 0.125 to 0.145."""
    leg: float
    """Length from sole to hip joint, 0.46 to 0.54."""
    arm: float
    """Length from shoulder to wrist, 0.32 to 0.37."""
    shoulders: float
    """Width at the shoulder joints, 0.17 to 0.23."""
    hips: float
    """Width of the hips, 0.14 to 0.20."""
    girth: float
    """Thickness of trunk and limbs relative to the average, 0.8 to 1.4."""
    skin: Reflectance


@dataclass(frozen=True)
class Hair:
    """Hair, and a hat if there is one."""

    style: HairStyle
    volume: float
    """Thickness of the hair around the head, in body heights, 0.004 to 0.016."""
    colour: Reflectance
    hat: Reflectance | None
    """Reflectance of a hat or cap; `None` for a bare head."""


@dataclass(frozen=True)
class Pattern:
    """The pattern in which a garment has its second reflectance."""

    kind: PatternKind
    angle: float
    """Direction across stripes, in radians; pi / 2 makes horizontal stripes."""
    period: float
    """Length after which the pattern repeats, in body heights, 0.035 to 0.11."""
    duty: float
    """Share of a period that has the second reflectance, 0.3 to 0.6."""
    phases: tuple[float, float, float]
    """Offsets of the pattern in periods, each in [0, 1)."""


@dataclass(frozen=True)
class Garment:
    """An upper or a lower garment, with its cut, pattern and two reflectances."""

    kind: UpperKind | LowerKind
    hem: float
    """Lower end of the garment, in body heights from the top of the head."""
    sleeve: float
    """Share of the arm that is covered, 0 to 1; 0 for a lower garment."""
    ease: float
    """Width of the cloth relative to the limb in it, 0.95 to 1.85."""
    seam: float
    """Distance between the seams of a padded garment, in body heights; 0 without padding."""
    pattern: Pattern
    base: Reflectance
    accent: Reflectance
    """Reflectance of the pattern; unused if the pattern is plain."""


@dataclass(frozen=True)
class Bag:
    """A bag that the person carries in every picture."""

    kind: BagKind
    size: float
    """Height of the bag, in body heights, 0.10 to 0.24."""
    colour: Reflectance


@dataclass(frozen=True)
class Person:
    """The properties of a person that are the same in every picture."""

    body: Body
    hair: Hair
    upper: Garment
    inner: Reflectance
    """Reflectance of the shirt under an open upper garment."""
    open_front: float
    """Half the width of the opening, in body heights; 0 for a closed garment."""
    lower: Garment
    shoes: Reflectance
    boots: float
    """Share of the shin that the shoes cover, 0 to 0.6."""
    bag: Bag


def sample_person(seed: int, identity: int) -> Person:
    """Returns one person, as a pure function of seed and identity.

    Args:
        seed: seed of the data set, at least 0.
        identity: number of the person, at least 0.
    """
    rng = np.random.default_rng([seed, STREAM_PERSON, identity])
    body = Body(
        head=_uniform(rng, 0.125, 0.145),
        leg=_uniform(rng, 0.46, 0.54),
        arm=_uniform(rng, 0.32, 0.37),
        shoulders=_uniform(rng, 0.17, 0.23),
        hips=_uniform(rng, 0.14, 0.20),
        girth=_uniform(rng, 0.8, 1.4),
        skin=_skin(rng),
    )
    hair = _hair(rng)
    upper = _upper(rng)
    lower = _lower(rng, 1.0 - body.leg, body.leg)
    can_open = upper.kind in ("jacket", "coat")
    return Person(
        body=body,
        hair=hair,
        upper=upper,
        inner=_cloth(rng),
        open_front=_uniform(rng, 0.015, 0.04) if can_open and rng.random() < 0.5 else 0.0,
        lower=lower,
        shoes=_cloth(rng),
        boots=_uniform(rng, 0.2, 0.6) if rng.random() < 0.25 else 0.0,
        bag=_bag(rng),
    )


def pattern_mask(pattern: Pattern, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns where the accent shows, bool, in the shape of `x` and `y` (in body heights)."""
    cos, sin = np.cos(pattern.angle), np.sin(pattern.angle)
    first, second, third = pattern.phases
    u = (x * cos + y * sin) / pattern.period + first
    v = (y * cos - x * sin) / pattern.period + second
    if pattern.kind == "stripes":
        return u % 1.0 < pattern.duty
    if pattern.kind == "checks":
        return (u % 1.0 < pattern.duty) ^ (v % 1.0 < pattern.duty)
    if pattern.kind == "dots":
        return (u % 1.0 - 0.5) ** 2 + (v % 1.0 - 0.5) ** 2 < (0.2 + 0.3 * pattern.duty) ** 2
    if pattern.kind == "block":
        return y < 0.22 + 0.24 * first
    # In a print, three waves with different periods make blotches that do not repeat.
    waves = np.sin(4.0 * u + 6.3 * third) + np.sin(2.3 * v + 1.9 * u) + np.sin(4.7 * v - 2.9 * u)
    return waves > 1.6 - 3.0 * pattern.duty


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _pick(rng: np.random.Generator, weights: dict[_Name, float]) -> _Name:
    names = list(weights)
    shares = np.array([weights[name] for name in names])
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def _skin(rng: np.random.Generator) -> Reflectance:
    """Returns a skin tone; melanin changes it much in visible light and little in NIR."""
    tone = _uniform(rng, 0.0, 1.0)
    red, green, blue = 0.10 + 0.38 * tone, 0.055 + 0.24 * tone, 0.035 + 0.17 * tone
    return red, green, blue, 0.45 + 0.10 * tone + _uniform(rng, 0.0, 0.08)


def _dye(rng: np.random.Generator) -> tuple[float, float, float]:
    """Returns the visible reflectance of dyed cloth.

    About half of the cloth (54 %) is black, white, grey or denim, as most street clothing is. The
    rest may have any hue.
    """
    family = _pick(rng, {"black": 0.17, "white": 0.13, "grey": 0.12, "denim": 0.12, "any": 0.46})
    if family == "any":
        hue, saturation = _uniform(rng, 0.0, 1.0), _uniform(rng, 0.25, 0.75)
        value = _uniform(rng, 0.25, 0.8)
    elif family == "denim":
        hue, saturation = _uniform(rng, 0.56, 0.66), _uniform(rng, 0.3, 0.7)
        value = _uniform(rng, 0.25, 0.6)
    else:
        hue, saturation = _uniform(rng, 0.0, 1.0), _uniform(rng, 0.0, 0.1)
        low, high = {"black": (0.08, 0.22), "white": (0.8, 0.97), "grey": (0.3, 0.7)}[family]
        value = _uniform(rng, low, high)
    red, green, blue = (channel**GAMMA for channel in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _cloth(rng: np.random.Generator) -> Reflectance:
    """Returns dyed cloth; its NIR reflectance depends on the fibre, so it ignores the dye."""
    return *_dye(rng), _uniform(rng, 0.12, 0.8)


def _cloth_pair(rng: np.random.Generator) -> tuple[Reflectance, Reflectance]:
    """Returns the two reflectances of a patterned garment.

    The second dye is drawn until it differs visibly from the first. The NIR difference of the two
    is drawn independently; 15 % of the patterns vanish in NIR.
    """
    base = _cloth(rng)
    dye = _dye(rng)
    while max(abs(a - b) for a, b in zip(dye, base[:3], strict=True)) < 0.15:
        dye = _dye(rng)
    step = 0.0 if rng.random() < 0.15 else _uniform(rng, 0.15, 0.40)
    sign = 1.0 if rng.random() < 0.5 else -1.0
    nir = base[3] + sign * step
    if not 0.03 <= nir <= 0.92:
        nir = base[3] - sign * step
    return base, (*dye, nir)


def _pattern(rng: np.random.Generator, weights: dict[PatternKind, float]) -> Pattern:
    kind = _pick(rng, weights)
    angle = float(rng.choice([0.0, np.pi / 2, np.pi / 2, np.pi / 4, -np.pi / 4]))
    return Pattern(
        kind=kind,
        angle=angle,
        period=_uniform(rng, 0.035, 0.11),
        duty=_uniform(rng, 0.3, 0.6),
        phases=(float(rng.random()), float(rng.random()), float(rng.random())),
    )


def _upper(rng: np.random.Generator) -> Garment:
    kind: UpperKind = _pick(
        rng,
        {
            "vest": 0.08,
            "t-shirt": 0.28,
            "long sleeve": 0.2,
            "hoodie": 0.12,
            "jacket": 0.18,
            "coat": 0.14,
        },
    )
    sleeve = {"vest": 0.0, "t-shirt": _uniform(rng, 0.3, 0.55)}.get(kind, _uniform(rng, 0.9, 1.0))
    low, high = {"coat": (0.62, 0.80), "vest": (0.47, 0.54)}.get(kind, (0.49, 0.59))
    loose = {"hoodie": 0.2, "jacket": 0.25, "coat": 0.25}.get(kind, 0.0)
    pattern = _pattern(
        rng,
        {
            "plain": 0.27,
            "stripes": 0.22,
            "checks": 0.13,
            "dots": 0.09,
            "print": 0.09,
            "block": 0.08,
            "logo": 0.12,
        },
    )
    padded = kind in ("jacket", "coat") and pattern.kind == "plain" and rng.random() < 0.6
    base, accent = _cloth_pair(rng)
    return Garment(
        kind=kind,
        hem=_uniform(rng, low, high),
        sleeve=sleeve,
        ease=_uniform(rng, 1.1, 1.45) + loose,
        seam=_uniform(rng, 0.035, 0.07) if padded else 0.0,
        pattern=pattern,
        base=base,
        accent=accent,
    )


def _lower(rng: np.random.Generator, hip: float, leg: float) -> Garment:
    kind: LowerKind = _pick(
        rng,
        {
            "trousers": 0.38,
            "wide trousers": 0.13,
            "leggings": 0.13,
            "shorts": 0.14,
            "skirt": 0.13,
            "long skirt": 0.09,
        },
    )
    low, high = {"shorts": (0.3, 0.55), "skirt": (0.3, 0.55), "long skirt": (0.65, 0.85)}.get(
        kind, (0.86, 0.96)
    )
    ease = {"wide trousers": 1.6, "leggings": 1.0, "shorts": 1.4}.get(kind, 1.2)
    base, accent = _cloth_pair(rng)
    return Garment(
        kind=kind,
        hem=hip + leg * _uniform(rng, low, high),
        sleeve=0.0,
        ease=ease * _uniform(rng, 0.95, 1.15),
        seam=0.0,
        pattern=_pattern(
            rng, {"plain": 0.66, "stripes": 0.12, "checks": 0.11, "dots": 0.05, "print": 0.06}
        ),
        base=base,
        accent=accent,
    )


def _hair(rng: np.random.Generator) -> Hair:
    style: HairStyle = _pick(
        rng,
        {"bald": 0.07, "short": 0.4, "bob": 0.15, "long": 0.18, "ponytail": 0.12, "bun": 0.08},
    )
    lightness = _uniform(rng, 0.0, 1.0) ** 2
    brown = (0.02 + 0.35 * lightness, 0.014 + 0.24 * lightness, 0.01 + 0.13 * lightness)
    return Hair(
        style=style,
        volume=_uniform(rng, 0.004, 0.016),
        colour=(*brown, min(0.7, _uniform(rng, 0.12, 0.45) + 0.2 * lightness)),
        hat=_cloth(rng) if rng.random() < 0.14 else None,
    )


def _bag(rng: np.random.Generator) -> Bag:
    kind: BagKind = _pick(
        rng, {"none": 0.42, "backpack": 0.28, "handbag": 0.15, "shoulder bag": 0.15}
    )
    low, high = (0.17, 0.24) if kind == "backpack" else (0.10, 0.16)
    return Bag(
        kind=kind,
        size=_uniform(rng, low, high),
        colour=_cloth(rng),
    )
