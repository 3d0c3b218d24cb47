"""How hard rendered people are to find again across the spectrum.

"hard" is the rule of `people`: the brightness of cloth in near infrared (NIR) says nothing about
its look in visible light, so only shape and texture cross. "easy" lets brightness cross as well:
cloth that looks dark by day is mostly dark in NIR, while its hue stays lost. Nothing else differs.
Bodies, poses, cameras, scenes, noise and what stands in front are the same, and so is every visible
picture.
"""

import dataclasses
from typing import Literal

from lupi_jax.synthetic.people import GAMMA, Garment, Person, Reflectance

Difficulty = Literal["hard", "easy"]

TONE_KEPT: dict[Difficulty, float] = {"hard": 0.0, "easy": 0.8}
"""Share of its visible brightness that cloth has in NIR, 0 to 1; the rest is drawn without it."""

_GREY = (0.2126, 0.7152, 0.0722)
"""Shares of red, green and blue light in the brightness that an eye sees (Rec. 709)."""


def dress(person: Person, difficulty: Difficulty) -> Person:
    """Returns a person whose clothes and bag look in NIR as the difficulty says.

    Args:
        person: as `sample_person` returns one.
        difficulty: "hard" returns the person unchanged; a key of `TONE_KEPT`.
    """
    kept = TONE_KEPT[difficulty]
    if kept == 0.0:
        return person  # and not what rounding would make of it

    def cloth(colour: Reflectance) -> Reflectance:
        red, green, blue, nir = colour
        grey = sum(share * light for share, light in zip(_GREY, colour, strict=False))
        # The mean is of tones, as they are seen: one of light would be bright wherever NIR is.
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
