import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lupi_jax.cli import main
from lupi_jax.data.sources.manifest import difficulty
from lupi_jax.synthetic import read_manifest, render
from lupi_jax.synthetic.cameras import CAMERAS, INFRARED_CAMERAS
from lupi_jax.synthetic.difficulty import dress
from lupi_jax.synthetic.people import Person, Reflectance, sample_person

GREY = np.array([0.2126, 0.7152, 0.0722])


def cloths(person: Person) -> list[Reflectance]:
    garments = [worn for g in (person.upper, person.lower) for worn in (g.base, g.accent)]
    hat = [] if person.hair.hat is None else [person.hair.hat]
    return [*garments, *hat, person.inner, person.shoes, person.bag.colour]


@pytest.mark.parametrize("camera", CAMERAS)
def test_easy_changes_infrared_pictures_alone(camera: int) -> None:
    hard, easy = (
        render(3, 2, camera, 1, height=96, width=48, difficulty=name) for name in ("hard", "easy")
    )
    changed = np.abs(easy.astype(int) - hard).max(axis=-1) > 5
    if camera in INFRARED_CAMERAS:
        # The person's clothes, not the scene: the noise is the same.
        assert 0.05 < changed.mean() < 0.5
        assert not changed[:, :4].any()
        assert np.ptp(easy, axis=-1).max() == 0
    else:
        np.testing.assert_array_equal(easy, hard)


def test_cloth_keeps_four_fifths_of_its_tone() -> None:
    person = sample_person(0, 1)
    grey = 0.5**2.2  # a tone of 0.5 in every channel; a tone of 1 in NIR
    dressed = dress(dataclasses.replace(person, shoes=(grey, grey, grey, 1.0)), "easy").shoes
    assert dressed[:3] == (grey, grey, grey)
    assert dressed[3] ** (1 / 2.2) == pytest.approx(0.8 * 0.5 + 0.2 * 1.0)
    # Of pure light, green is the brightest: 0.7152 of white.
    green = dress(dataclasses.replace(person, shoes=(0.0, 1.0, 0.0, 0.0)), "easy").shoes
    assert green[3] == pytest.approx(0.7152 * 0.8**2.2)


def test_what_is_not_cloth_stays_and_hard_changes_nothing() -> None:
    for identity in range(30):
        person = sample_person(0, identity)
        assert dress(person, "hard") is person
        easy = dress(person, "easy")
        assert (easy.body, easy.hair.colour) == (person.body, person.hair.colour)
        before, after = cloths(person), cloths(easy)
        assert [colour[:3] for colour in after] == [colour[:3] for colour in before]
        assert all(a[3] != b[3] for a, b in zip(after, before, strict=True))
        assert all(0.0 <= a[3] <= 1.0 for a in after)


def test_brightness_crosses_the_spectrum_when_easy_and_hue_does_not() -> None:
    people = [dress(sample_person(0, identity), "easy") for identity in range(1000)]
    base = np.array([person.upper.base for person in people])
    tone, nir = (base[:, :3] @ GREY) ** (1 / 2.2), base[:, 3] ** (1 / 2.2)
    assert np.corrcoef(tone, nir)[0, 1] > 0.9
    # What brightness leaves unsaid of red against blue is not in NIR either: |r| of 1000
    # independent pairs exceeds 0.104 once in a thousand.
    hue = base[:, 0] - base[:, 2]
    rest = [values - np.polyval(np.polyfit(tone, values, 3), tone) for values in (hue, nir)]
    assert abs(np.corrcoef(*rest)[0, 1]) < 0.104


@pytest.mark.parametrize(
    ("asked", "recorded"),
    [(["--difficulty=easy"], "easy"), (["--difficulty=hard"], None), ([], None)],
)
def test_a_set_says_that_it_is_easy(tmp_path: Path, asked: list[str], recorded: str | None) -> None:
    size = ["--height=96", "--width=48", "--workers=1"]
    few = ["--identities=3", "--images-per-modality=1", "--seed=2"]
    assert main(["make-synthetic", "--out", str(tmp_path / "set"), *few, *size, *asked]) == 0
    # Sets of before say nothing, and are hard: they can still be gone on with.
    assert read_manifest(tmp_path / "set").get("difficulty") == recorded
    assert difficulty(tmp_path / "set") == (recorded or "hard")
    assert difficulty(tmp_path) is None
    expected = render(2, 1, 3, 1, height=96, width=48, difficulty=recorded or "hard")
    with Image.open(tmp_path / "set/train/infrared/0001/c3_0001.jpg") as image:
        assert np.abs(np.asarray(image).astype(int) - expected).mean() < 4
