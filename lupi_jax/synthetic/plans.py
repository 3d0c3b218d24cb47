"""One plan per layout, which lists the pictures of a made-up set by person and camera."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lupi_jax.data.sources.regdb import TRIALS
from lupi_jax.synthetic.cameras import CAMERAS, INFRARED_CAMERAS, VISIBLE_CAMERAS
from lupi_jax.synthetic.writing import Content, Picture, tally

REGDB_CAMERAS = {"Visible": 4, "Thermal": 6}
"""{folder of RegDB's pictures: synthetic camera that takes them}."""

SYSU_FOLDERS = tuple(f"cam{camera}" for camera in CAMERAS)

LLCM_CAMERAS = {"vis": (1, 2, 3, 4, 5, 6, 7, 8, 9), "nir": (1, 2, 4, 5, 6, 7, 8, 9)}
"""{name of a modality: LLCM's cameras}. A camera has the same number in both modalities."""

LLCM_FOLDERS = tuple(
    f"test_{name}/cam{c}" for name, cameras in LLCM_CAMERAS.items() for c in cameras
)

_STREAM_TRIAL = 4
"""Number of the random stream for RegDB's splits; people, scenes and pictures have others."""


class People(NamedTuple):
    """The size of a set, with the identities 1 to n; the last identities are the test set."""

    identities: int
    images_per_modality: int
    test_fraction: float
    seed: int

    @property
    def splits(self) -> dict[str, range]:
        """The training identities (at least two) and the test identities (at least one)."""
        tested = min(max(1, round(self.identities * self.test_fraction)), self.identities - 2)
        numbers = range(1, self.identities + 1)
        return {"train": numbers[:-tested], "test": numbers[-tested:]}


def plan_folder(people: People) -> Content:
    """Returns `{train,test}/{visible,infrared}/<identity>/c<camera>_<number>.jpg`.

    The cameras of a modality take a person's pictures in turn.
    """
    pictures = [
        Picture(f"{split}/{modality}/{identity:04d}/c{camera}_{n:04d}.jpg", identity, camera, n)
        for split, members in people.splits.items()
        for identity in members
        for modality, cameras in (("visible", VISIBLE_CAMERAS), ("infrared", INFRARED_CAMERAS))
        for camera, n in _turns(cameras, people.images_per_modality)
    ]
    return Content(pictures, tally(pictures, people.splits))


def plan_sysu(people: People) -> Content:
    """Returns `cam{1..6}/<identity>/<number>.jpg` and `exp/{train,val,test}_id.txt`.

    As in SYSU-MM01, not every camera sees everybody. Within each split, all six cameras see half
    of the identities, the indoor cameras (1, 2, 3) see a quarter, and the outdoor cameras (4, 5,
    6) the rest. The cameras of a modality that see a person take the pictures in turn. A quarter
    of the identities outside the test set are for validation. The set lacks the permutations in
    `exp/rand_perm_cam.mat`, so galleries have to be drawn by seed.
    """
    train, test = people.splits["train"], people.splits["test"]
    validated = max(1, len(train) // 4)
    splits = {"train": train[:-validated], "val": train[-validated:], "test": test}
    pictures = []
    for members in splits.values():
        for place, identity in enumerate(members):
            seen_by = {1: (1, 2, 3), 3: (4, 5, 6)}.get(place % 4, tuple(CAMERAS))
            for modality in (VISIBLE_CAMERAS, INFRARED_CAMERAS):
                cameras = [camera for camera in modality if camera in seen_by]
                pictures += [
                    sysu_picture(identity, camera, n)
                    for camera, n in _turns(cameras, people.images_per_modality)
                ]
    lists = {f"exp/{name}_id.txt": _comma_separated(ids) for name, ids in splits.items()}
    return Content(pictures, tally(pictures, splits), lists, SYSU_FOLDERS)


def plan_regdb(people: People) -> Content:
    """Returns `Visible/<identity>/`, `Thermal/<identity>/` and the lists of ten splits in `idx/`.

    RegDB's second camera is thermal (8 to 14 micrometres, body heat). This stand-in has
    near-infrared pictures instead, which are good for the layout and the protocol, but not for the
    physics. As in RegDB, each split halves the identities at random, one visible and one infrared
    camera see everybody, and files are bitmaps, which are lossless. A line of a list is
    `Visible/7/person_v_00001_7.bmp 0`, a path and a label. Labels count from 0 within the list.
    """
    numbers = range(1, people.identities + 1)
    pictures = {
        (folder, identity): [
            Picture(f"{folder}/{identity}/person_{letter}_{n:05d}_{identity}.bmp", identity, c, n)
            for n in range(1, people.images_per_modality + 1)
        ]
        for identity in numbers
        for (folder, c), letter in zip(REGDB_CAMERAS.items(), "vt", strict=True)
    }
    half = people.identities // 2
    lists = {}
    for trial in TRIALS:
        rng = np.random.default_rng([people.seed, _STREAM_TRIAL, trial])
        order = (rng.permutation(people.identities) + 1).tolist()
        for split, members in (("train", order[:half]), ("test", order[half:])):
            for folder in REGDB_CAMERAS:
                listed = [pictures[folder, identity] for identity in members]
                lists[f"idx/{split}_{folder.lower()}_{trial}.txt"] = _labelled(listed)
    everything = [picture for group in pictures.values() for picture in group]
    # All ten splits have the same counts, since everybody has the same number of pictures.
    counts = tally(everything, {"train": numbers[:half], "test": numbers[half:]})
    return Content(everything, counts, lists)


def plan_llcm(people: People) -> Content:
    """Returns `{vis,nir}/<identity>/`, `test_{vis,nir}/cam<n>/<identity>/` and the lists in `idx/`.

    As in LLCM, nine cameras see people in visible light, and eight of them also in near infrared.
    The six synthetic cameras stand in for them in turn; LLCM's camera 5, for example, is drawn as
    camera 1 in visible light. A line of a training list is
    `vis/0001/0001_c01_s000000_f0001_vis.jpg 0`, a path and a label. Labels count from 0.
    """
    images = people.images_per_modality
    lists = {"idx/test_id.txt": _comma_separated(people.splits["test"])}
    pictures = []
    for name in LLCM_CAMERAS:
        trained = [llcm_pictures(name, name, k, images) for k in people.splits["train"]]
        lists[f"idx/train_{name}.txt"] = _labelled(trained)
        pictures += [picture for group in trained for picture in group]
    pictures += llcm_test_pictures(people.splits["test"], images)
    return Content(pictures, tally(pictures, people.splits), lists, LLCM_FOLDERS)


def sysu_picture(identity: int, camera: int, n: int) -> Picture:
    """Returns the n-th picture of a person by a camera; n counts from 1."""
    return Picture(f"cam{camera}/{identity:04d}/{n:04d}.jpg", identity, camera, n)


def llcm_camera(name: str, camera: int) -> int:
    """Returns the synthetic camera for LLCM's camera in a modality, "vis" or "nir"."""
    cameras = VISIBLE_CAMERAS if name == "vis" else INFRARED_CAMERAS
    return cameras[(camera - 1) % len(cameras)]


def llcm_test_pictures(identities: Sequence[int], images: int) -> list[Picture]:
    """Returns test pictures: `images` per identity and modality, by LLCM's cameras in turn."""
    return [
        picture
        for name in LLCM_CAMERAS
        for identity in identities
        for picture in llcm_pictures("test_{name}/cam{camera}", name, identity, images)
    ]


def llcm_pictures(folder: str, name: str, identity: int, images: int) -> list[Picture]:
    """Returns a person's pictures in one modality, by LLCM's cameras in turn.

    Each person starts with another camera, so that all cameras are used even with few pictures.

    Args:
        folder: folder of the pictures; may contain `{name}` (modality) and `{camera}` (number).
        name: the modality, "vis" or "nir".
        identity: number of the person.
        images: number of pictures.
    """
    cameras = LLCM_CAMERAS[name]
    first = identity % len(cameras)
    pictures = []
    for camera, turn in _turns(cameras[first:] + cameras[:first], images):
        # The number differs between cameras that are drawn as the same synthetic camera.
        n = (turn - 1) * len(LLCM_CAMERAS["vis"]) + camera
        path = f"{identity:04d}/{identity:04d}_c{camera:02d}_s000000_f{n:04d}_{name}.jpg"
        place = folder.format(name=name, camera=camera)
        pictures.append(Picture(f"{place}/{path}", identity, llcm_camera(name, camera), n))
    return pictures


def _turns(cameras: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    """Yields (camera, number of the picture by this camera, from 1) for `count` pictures."""
    for place in range(count):
        yield cameras[place % len(cameras)], place // len(cameras) + 1


def _comma_separated(identities: Sequence[int]) -> bytes:
    return (",".join(map(str, identities)) + "\n").encode()


def _labelled(people: Sequence[Sequence[Picture]]) -> bytes:
    """A list of images; a person's label is the place in `people`, from 0."""
    lines = [f"{p.path} {label}\n" for label, pictures in enumerate(people) for p in pictures]
    return "".join(lines).encode()
