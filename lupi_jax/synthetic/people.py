"""What a synthetic person is: body, hair, clothes and bag, each with its reflectances.

A reflectance is four numbers in [0, 1], linear in light: red, green, blue and near infrared
(NIR, 700 to 1000 nm). A visible camera sees the first three, an infrared camera the last one.

The rules that link the spectra follow what cameras measure:

- *Cloth.* Dyes absorb visible light and are nearly transparent in NIR, where the fibre decides.
  A garment's NIR reflectance is therefore drawn independently of its dye: black cotton can be
  the brightest thing in an NIR picture, and two reds need not look alike.
- *Pattern.* Weave, embroidery and pigment prints keep some contrast in NIR, dyed ones lose it.
  The NIR contrast of a pattern is drawn on its own: mostly weak, sometimes nil, of either sign.
- *Skin* reflects more NIR than visible light (melanin and blood absorb little there), so skin
  tones draw together. *Hair* gains reflectance too, by an amount that differs between people.

So shape and texture cross the spectrum and colour does not. Lengths are in body heights: the top
of the head is 0 and the sole is 1, because a detector's crop removes the absolute height.
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
"""Exponent from the tone that is seen, in [0, 1], to light."""

STREAM_PERSON = 1
"""Separates the random numbers of a person's look from those of pictures and scenes."""


@dataclass(frozen=True)
class Body:
    """Proportions, in body heights.

    The ranges are those of adults in anthropometric tables, a little widened, since they have to
    tell people apart on a crop of about a hundred pixels.
    """

    head: float
    """Height of the head, chin to top: 0.125 to 0.145."""
    leg: float
    """Sole to hip joint: 0.46 to 0.54."""
    arm: float
    """Shoulder to wrist: 0.32 to 0.37."""
    shoulders: float
    """Width at the shoulder joints: 0.17 to 0.23."""
    hips: float
    """Width of the hips: 0.14 to 0.20."""
    girth: float
    """Thickness of trunk and limbs relative to the average: 0.8 to 1.4."""
    skin: Reflectance


@dataclass(frozen=True)
class Hair:
    """Hair, or the hat on it."""

    style: HairStyle
    volume: float
    """How far the hair stands off the head, in body heights: 0.004 to 0.016."""
    colour: Reflectance
    hat: Reflectance | None
    """Reflectance of a hat or cap, `None` for a bare head."""


@dataclass(frozen=True)
class Pattern:
    """How the second reflectance of a garment is laid out over it."""

    kind: PatternKind
    angle: float
    """Direction across stripes, in radians: pi / 2 makes horizontal stripes."""
    period: float
    """Repeat length, in body heights: 0.035 to 0.11."""
    duty: float
    """Share of a period that has the second reflectance: 0.3 to 0.6."""
    phases: tuple[float, float, float]
    """Where the repeat starts, each in [0, 1)."""


@dataclass(frozen=True)
class Garment:
    """An upper or a lower garment: cut, pattern and two reflectances."""

    kind: UpperKind | LowerKind
    hem: float
    """Where it ends, in body heights from the top of the head."""
    sleeve: float
    """Share of the arm that is covered, 0 to 1; 0 for a lower garment."""
    ease: float
    """Width of the cloth relative to the limb in it: 0.95 to 1.85."""
    seam: float
    """Distance between the quilting seams of a padded garment, in body heights; 0 for none."""
    pattern: Pattern
    base: Reflectance
    accent: Reflectance
    """Reflectance of the pattern; unused where the pattern is plain."""


@dataclass(frozen=True)
class Bag:
    """A bag that is on the person in every picture."""

    kind: BagKind
    size: float
    """Height of the bag, in body heights: 0.10 to 0.24."""
    colour: Reflectance


@dataclass(frozen=True)
class Person:
    """Everything about a person that does not change between pictures."""

    body: Body
    hair: Hair
    upper: Garment
    inner: Reflectance
    """The shirt that shows where an upper garment is worn open."""
    open_front: float
    """Half-width of that opening, in body heights; 0 for a closed garment."""
    lower: Garment
    shoes: Reflectance
    boots: float
    """How far the shoes cover the shin, as a share of it: 0 to 0.6."""
    bag: Bag


def sample_person(seed: int, identity: int) -> Person:
    """Returns the look of one person: a pure function of the two numbers.

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
    """Returns bool, of the shape of `x` and `y` (body heights): where the accent shows."""
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
    # A print: three waves that do not share a period make blotches that do not repeat.
    waves = np.sin(4.0 * u + 6.3 * third) + np.sin(2.3 * v + 1.9 * u) + np.sin(4.7 * v - 2.9 * u)
    return waves > 1.6 - 3.0 * pattern.duty


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _pick(rng: np.random.Generator, weights: dict[_Name, float]) -> _Name:
    names = list(weights)
    shares = np.array([weights[name] for name in names])
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def _skin(rng: np.random.Generator) -> Reflectance:
    """Returns a skin tone: melanin spreads it over the visible, hardly over NIR."""
    tone = _uniform(rng, 0.0, 1.0)
    red, green, blue = 0.10 + 0.38 * tone, 0.055 + 0.24 * tone, 0.035 + 0.17 * tone
    return red, green, blue, 0.45 + 0.10 * tone + _uniform(rng, 0.0, 0.08)


def _dye(rng: np.random.Generator) -> tuple[float, float, float]:
    """Returns the visible reflectance of dyed cloth.

    Half of it is black, white, grey or denim, since most street clothing is; the rest has any hue.
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
    """Returns dyed cloth: its NIR reflectance is that of the fibre, drawn without the dye."""
    return *_dye(rng), _uniform(rng, 0.12, 0.8)


def _cloth_pair(rng: np.random.Generator) -> tuple[Reflectance, Reflectance]:
    """Returns the two reflectances of a patterned garment.

    The second dye is drawn again until it can be told from the first, as a designer would. The
    NIR step between the two is drawn on its own: one pattern in seven vanishes in NIR.
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
