"""How hard rendered people are to find again across the spectrum.

"hard" follows `people`: the brightness of cloth in near infrared (NIR) does not depend on its look
in visible light, so only shape and texture are the same in both. With "easy", brightness is similar
in both: cloth that looks dark by day is mostly dark in NIR, while its hue is still lost. Bodies,
poses, cameras, scenes, noise and occluding objects are the same in both settings, and so is every
visible picture.
"""

import dataclasses
from typing import Literal

from lupi_jax.synthetic.people import GAMMA, Garment, Person, Reflectance

Difficulty = Literal["hard", "easy"]

TONE_KEPT: dict[Difficulty, float] = {"hard": 0.0, "easy": 0.8}
"""Weight of the visible brightness in the NIR brightness of cloth, 0 to 1. The rest of the weight
is on a brightness that is drawn independently."""

_GREY = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue light in perceived brightness (Rec. 709)."""


def dress(person: Person, difficulty: Difficulty) -> Person:
    """Returns a person whose clothes and bag have the NIR reflectance of a difficulty.

    Args:
        person: a person from `sample_person`.
        difficulty: a key of `TONE_KEPT`; "hard" returns the person unchanged.
    """
    kept = TONE_KEPT[difficulty]
    if kept == 0.0:
        return person  # exactly; the computation below would round

    def cloth(colour: Reflectance) -> Reflectance:
        red, green, blue, nir = colour
        grey = sum(share * light for share, light in zip(_GREY, colour, strict=False))
        # Tones are averaged, not light: a mean of light would be bright wherever NIR is bright.
        tone = kept * grey ** (1 / GAMMA) + (1 - kept) * nir ** (1 / GAMMA)
        return red, green, blue, tone**GAMMA

    def garment(worn: Garment) -> Garment:
        return dataclasses.replace(worn, base=cloth(worn.base), accent=cloth(worn.accent))

    hat = None if person.hair.hat is None else cloth(person.hair.hat)
    return dataclasses.replace(
        person,
        hair=dataclasses.replace(person.hair, hat=hat),
        upper=garment(person.upper),
        inner=cloth(person.inner),
        lower=garment(person.lower),
        shoes=cloth(person.shoes),
        bag=dataclasses.replace(person.bag, colour=cloth(person.bag.colour)),
    )
