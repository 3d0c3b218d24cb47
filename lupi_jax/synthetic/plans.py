"""Who is pictured by which camera in a set that nobody published: a plan for each layout."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lupi_jax.data.sources.regdb import TRIALS
from lupi_jax.synthetic.cameras import CAMERAS, INFRARED_CAMERAS, VISIBLE_CAMERAS
from lupi_jax.synthetic.writing import Content, Picture, tally

REGDB_CAMERAS = {"Visible": 4, "Thermal": 6}
"""The camera that stands in for each of RegDB's two, by the folder of its pictures."""

SYSU_FOLDERS = tuple(f"cam{camera}" for camera in CAMERAS)

LLCM_CAMERAS = {"vis": (1, 2, 3, 4, 5, 6, 7, 8, 9), "nir": (1, 2, 4, 5, 6, 7, 8, 9)}
"""LLCM's cameras by the name of their modality; one has the same number in both."""

LLCM_FOLDERS = tuple(
    f"test_{name}/cam{c}" for name, cameras in LLCM_CAMERAS.items() for c in cameras
)

_STREAM_TRIAL = 4
"""Separates the random numbers of RegDB's splits from those of people, scenes and pictures."""


class People(NamedTuple):
    """How many people a set shows: the identities 1 to n, the last of which are tested on."""

    identities: int
    images_per_modality: int
    test_fraction: float
    seed: int

    @property
    def splits(self) -> dict[str, range]:
        """The identities that are trained on, two at least, and tested on, one at least."""
        tested = min(max(1, round(self.identities * self.test_fraction)), self.identities - 2)
        numbers = range(1, self.identities + 1)
        return {"train": numbers[:-tested], "test": numbers[-tested:]}


def plan_folder(people: People) -> Content:
    """Returns `{train,test}/{visible,infrared}/<identity>/c<camera>_<number>.jpg`.

    The pictures of a modality take turns through its cameras.
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

    As in SYSU-MM01, not every camera sees everybody: within each split half of the identities are
    seen by all six cameras, a quarter indoors only (1, 2, 3) and a quarter outdoors only (4, 5,
    6). The pictures of a modality take turns through the cameras that see the identity. A quarter
    of the identities that are not tested on are for validation. There are no permutations
    (`exp/rand_perm_cam.mat`): galleries have to be drawn by a seeded generator.
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

    RegDB's second camera is thermal (8 to 14 micrometres, body heat). This stand-in puts
    near-infrared pictures in its place: they exercise the layout and the protocol, not the
    physics. As in RegDB the identities of each split are halved at random, one visible and one
    infrared camera see everybody, and files are bitmaps, which lose nothing. A line of a list is
    `Visible/7/person_v_00001_7.bmp 0`: a path and a label, counted from 0 within the list.
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
    # Every split has as many, since everybody has as many pictures.
    counts = tally(everything, {"train": numbers[:half], "test": numbers[half:]})
    return Content(everything, counts, lists)


def plan_llcm(people: People) -> Content:
    """Returns `{vis,nir}/<identity>/`, `test_{vis,nir}/cam<n>/<identity>/` and the lists in `idx/`.

    As in LLCM, nine cameras see people in visible and eight of them in near-infrared light. The
    six synthetic cameras take turns in their places: LLCM's camera 5 is drawn as camera 1, in
    visible light. A line of a training list is `vis/0001/0001_c01_s000000_f0001_vis.jpg 0`: a path
    and a label, counted from 0.
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
    """Returns a picture by its number, from 1, among those of a person by a camera."""
    return Picture(f"cam{camera}/{identity:04d}/{n:04d}.jpg", identity, camera, n)


def llcm_camera(name: str, camera: int) -> int:
    """Returns the synthetic camera in the place of LLCM's camera of a modality, "vis" or "nir"."""
    cameras = VISIBLE_CAMERAS if name == "vis" else INFRARED_CAMERAS
    return cameras[(camera - 1) % len(cameras)]


def llcm_test_pictures(identities: Sequence[int], images: int) -> list[Picture]:
    """Returns as many pictures of each identity in each modality, over LLCM's cameras."""
    return [
        picture
        for name in LLCM_CAMERAS
        for identity in identities
        for picture in llcm_pictures("test_{name}/cam{camera}", name, identity, images)
    ]


def llcm_pictures(folder: str, name: str, identity: int, images: int) -> list[Picture]:
    """Returns a person's pictures in one modality, in turns through LLCM's cameras.

    The first turn is another camera's for the next person, so that few pictures use them all.

    Args:
        folder: where, with `{name}` and `{camera}` for the modality and the camera's number.
        name: the modality, "vis" or "nir".
        identity: number of the person.
        images: how many.
    """
    cameras = LLCM_CAMERAS[name]
    first = identity % len(cameras)
    pictures = []
    for camera, turn in _turns(cameras[first:] + cameras[:first], images):
        # Distinct for cameras that are drawn as the same one.
        n = (turn - 1) * len(LLCM_CAMERAS["vis"]) + camera
        path = f"{identity:04d}/{identity:04d}_c{camera:02d}_s000000_f{n:04d}_{name}.jpg"
        place = folder.format(name=name, camera=camera)
        pictures.append(Picture(f"{place}/{path}", identity, llcm_camera(name, camera), n))
    return pictures


def _turns(cameras: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    """Yields camera and number (from 1, within the camera) of `count` pictures of a person."""
    for place in range(count):
        yield cameras[place % len(cameras)], place // len(cameras) + 1


def _comma_separated(identities: Sequence[int]) -> bytes:
    return (",".join(map(str, identities)) + "\n").encode()


def _labelled(people: Sequence[Sequence[Picture]]) -> bytes:
    """A list of images: a person's label is the place in `people`, from 0."""
    lines = [f"{p.path} {label}\n" for label, pictures in enumerate(people) for p in pictures]
    return "".join(lines).encode()
