import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lupi_jax.data.synthetic import LAYOUTS, read_manifest, render, write_folder
from lupi_jax.data.synthetic.cameras import (
    CAMERAS,
    INFRARED_CAMERAS,
    VISIBLE_CAMERAS,
    Material,
    build_scene,
)
from lupi_jax.data.synthetic.people import sample_person
from lupi_jax.data.synthetic.render import STREAM_PICTURE, View, compose
from lupi_jax.errors import InputError

SMALL: dict[str, Any] = {"height": 48, "width": 24}
GREY = np.array([0.2126, 0.7152, 0.0722])


def tree(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def view_of(identity: int, camera: int, n: int = 1, height: int = 96, width: int = 48) -> View:
    rng = np.random.default_rng([0, STREAM_PICTURE, identity, camera, n])
    return compose(rng, 0, identity, CAMERAS[camera], height, width)


def mean_of(view: View, material: Material) -> tuple[float, float] | None:
    """Visible grey and NIR of a material in a view; None where too little of it is in sight."""
    seen = view.materials == material
    if seen.sum() < 30:
        return None
    light = view.radiance(slice(0, 4))[seen].mean(axis=0)
    return float(light[:3] @ GREY), float(light[3])


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_picture_is_a_function_of_its_arguments(camera: int) -> None:
    first = render(5, 3, camera, 2)
    render(6, 4, camera, 1)
    build_scene.cache_clear()
    assert first.shape == (144, 72, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(render(5, 3, camera, 2), first)
    for other in (render(6, 3, camera, 2), render(5, 4, camera, 2), render(5, 3, camera, 3)):
        assert np.abs(other.astype(int) - first).mean() > 5


def test_infrared_pictures_are_grey_and_visible_ones_are_not() -> None:
    for camera in CAMERAS:
        channels = render(0, 1, camera, 1).astype(int)
        spread = np.ptp(channels, axis=-1)
        if camera in INFRARED_CAMERAS:
            assert spread.max() == 0
        else:
            assert spread.mean() > 8


def test_cameras_are_those_of_sysu_mm01() -> None:
    assert VISIBLE_CAMERAS == (1, 2, 4, 5)
    assert INFRARED_CAMERAS == (3, 6)
    assert CAMERAS[2].scene == CAMERAS[3].scene
    assert len({camera.scene for camera in CAMERAS.values()}) == 5


@pytest.mark.parametrize(("height", "width"), [(32, 16), (288, 144), (64, 64)])
def test_every_size_shows_a_person(height: int, width: int) -> None:
    view = view_of(1, 1, height=height, width=width)
    share = (view.materials >= Material.SKIN).mean()
    assert 0.05 < share < 0.6
    assert render(0, 1, 1, 1, height=height, width=width).shape == (height, width, 3)


def test_dye_says_nothing_about_near_infrared() -> None:
    people = [sample_person(0, identity) for identity in range(2000)]
    base, accent, lower = (
        np.array(reflectances)
        for reflectances in zip(
            *((p.upper.base, p.upper.accent, p.lower.base) for p in people), strict=True
        )
    )
    # With 2000 independent pairs |r| exceeds 0.073 once in a thousand.
    for cloth in (base, accent, lower, accent - base):
        for visible in (cloth[:, :3] @ GREY, cloth[:, 0]):
            assert abs(np.corrcoef(visible, cloth[:, 3])[0, 1]) < 0.073


def test_drawn_garments_are_uncorrelated_across_the_spectrum_and_equal_within_it() -> None:
    first, second = [], []
    for identity in range(1, 201):
        one = mean_of(view_of(identity, 1), Material.UPPER)
        other = mean_of(view_of(identity, 6), Material.UPPER)
        if one and other:
            first.append(one)
            second.append(other)
    assert len(first) > 150
    (visible, _), (visible_again, nir) = np.transpose(first), np.transpose(second)
    _, same, across = np.corrcoef([visible, visible_again, nir])[0]
    # The spread of r over 150 independent pairs is 0.08.
    assert abs(across) < 0.25
    assert same > 0.9


def test_pattern_contrast_is_weaker_in_near_infrared_and_sometimes_nil() -> None:
    patterned = [sample_person(0, identity).upper for identity in range(1000)]
    steps = np.array([abs(cloth.accent[3] - cloth.base[3]) for cloth in patterned])
    assert 0.11 < (steps == 0).mean() < 0.19
    assert steps.max() <= 0.40 + 1e-9
    assert all(0.0 <= value <= 1.0 for cloth in patterned for value in cloth.accent + cloth.base)


def test_skin_foliage_sky_and_asphalt_across_the_spectrum() -> None:
    materials = [Material[name] for name in ("SKIN", "FOLIAGE", "SKY", "CONCRETE", "ASPHALT")]
    ratios: dict[Material, list[float]] = {material: [] for material in materials}
    for identity in range(1, 41):
        for camera in (5, 6):
            view = view_of(identity, camera)
            for material in materials:
                seen = mean_of(view, material)
                if seen:
                    ratios[material].append(seen[1] / seen[0])
    assert min(len(values) for values in ratios.values()) > 10
    assert min(ratios[Material.SKIN]) > 1.3
    assert min(ratios[Material.FOLIAGE]) > 4
    assert max(ratios[Material.SKY]) < 0.3
    for grey in (Material.CONCRETE, Material.ASPHALT):
        assert 0.9 < min(ratios[grey]) <= max(ratios[grey]) < 1.15


def test_foliage_and_sky_change_places_in_the_finished_pictures() -> None:
    order: dict[int, list[bool]] = {5: [], 6: []}
    for camera, found in order.items():
        for identity in range(1, 41):
            materials = view_of(identity, camera, height=144, width=72).materials[::2, ::2]
            picture = render(0, identity, camera, 1) @ GREY
            sky, leaves = materials == Material.SKY, materials == Material.FOLIAGE
            if min(sky.sum(), leaves.sum()) > 40:
                found.append(bool(picture[leaves].mean() > picture[sky].mean()))
    assert min(map(len, order.values())) > 10
    assert not any(order[5])
    assert all(order[6])


def test_folder_has_disjoint_identities_and_exact_counts(tmp_path: Path) -> None:
    written = write_folder(
        tmp_path / "set", identities=5, images_per_modality=6, test_fraction=0.4, **SMALL
    )
    assert written
    names = {"train": {"0001", "0002", "0003"}, "test": {"0004", "0005"}}
    files = {
        "visible": ["c1_0001", "c1_0002", "c2_0001", "c2_0002", "c4_0001", "c5_0001"],
        "infrared": ["c3_0001", "c3_0002", "c3_0003", "c6_0001", "c6_0002", "c6_0003"],
    }
    for split, identities in names.items():
        for modality, expected in files.items():
            folder = tmp_path / "set" / split / modality
            assert {path.name for path in folder.iterdir()} == identities
            for identity in identities:
                found = sorted(path.name for path in (folder / identity).iterdir())
                assert found == [f"{name}.jpg" for name in expected]
    assert len(tree(tmp_path / "set")) == 5 * 12 + 1
    manifest = read_manifest(tmp_path / "set")
    assert manifest.pop("counts") == {
        "train": {"identities": 3, "visible": 18, "infrared": 18},
        "test": {"identities": 2, "visible": 12, "infrared": 12},
    }
    expected = {"layout": "folder", "seed": 0, "identities": 5, "images_per_modality": 6}
    expected |= {"generator": "lupi_jax.data.synthetic", "version": 1, "test_fraction": 0.4}
    assert manifest == expected | SMALL


def test_files_of_an_infrared_folder_are_grey_up_to_jpeg(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", identities=3, images_per_modality=4, **SMALL)
    for path in (tmp_path / "set").rglob("*.jpg"):
        with Image.open(path) as image:
            assert image.mode == "RGB"
            assert image.size == (24, 48)
            spread = np.ptp(np.asarray(image).astype(int), axis=-1)
        if "infrared" in path.parts:
            assert spread.max() <= 2
        else:
            assert spread.mean() > 5


def test_a_file_does_not_depend_on_how_many_others_are_written(tmp_path: Path) -> None:
    write_folder(tmp_path / "few", identities=3, images_per_modality=2, seed=4, **SMALL)
    write_folder(tmp_path / "more", identities=7, images_per_modality=6, seed=4, **SMALL)
    LAYOUTS["sysu"](tmp_path / "sysu", identities=7, images_per_modality=6, seed=4, **SMALL)

    def by_picture(root: Path) -> dict[tuple[str, str], bytes]:
        return {(path.parent.name, path.name): path.read_bytes() for path in root.rglob("c*_*.jpg")}

    few, more = by_picture(tmp_path / "few"), by_picture(tmp_path / "more")
    assert len(few) == 12
    assert few.items() <= more.items()
    assert len(set(more.values())) == len(more) == 84
    assert (tmp_path / "sysu/cam1/0001/0002.jpg").read_bytes() == more["0001", "c1_0002.jpg"]


def test_the_seed_decides_every_byte(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_folder(tmp_path / name, identities=3, images_per_modality=2, seed=seed, **SMALL)
        build_scene.cache_clear()
    first, again, other = (tree(tmp_path / name) for name in "abc")
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_sysu_lists_everybody_once_and_not_every_camera_sees_everybody(tmp_path: Path) -> None:
    root = tmp_path / "set"
    LAYOUTS["sysu"](root, identities=15, images_per_modality=4, test_fraction=0.4, **SMALL)
    lists = {}
    for split in ("train", "val", "test"):
        text = (root / "exp" / f"{split}_id.txt").read_text()
        assert text.count("\n") == 1
        lists[split] = [int(number) for number in text.split(",")]
    assert [len(lists[split]) for split in ("train", "val", "test")] == [7, 2, 6]
    assert sorted(itertools.chain(*lists.values())) == list(range(1, 16))
    cameras = {
        identity: {n for n in range(1, 7) if (root / f"cam{n}" / f"{identity:04d}").is_dir()}
        for identity in range(1, 16)
    }
    everywhere, indoors, outdoors = set(range(1, 7)), {1, 2, 3}, {4, 5, 6}
    seen = [cameras[identity] for identity in lists["test"][:4]]
    assert seen == [everywhere, indoors, everywhere, outdoors]
    for seen_by in cameras.values():
        assert seen_by & {1, 2, 4, 5}
        assert seen_by & {3, 6}
    everybody, indoor = (root / "cam3" / f"{identity:04d}" for identity in lists["test"][:2])
    assert sorted(path.stem for path in indoor.iterdir()) == ["0001", "0002", "0003", "0004"]
    assert sorted(path.stem for path in everybody.iterdir()) == ["0001", "0002"]
    assert len(list(root.glob("cam*/*/*.jpg"))) == 15 * 8


def test_regdb_splits_are_disjoint_halves(tmp_path: Path) -> None:
    root = tmp_path / "set"
    LAYOUTS["regdb"](root, identities=7, images_per_modality=2, **SMALL)
    assert len(list((root / "idx").iterdir())) == 40
    halves = set()
    for trial in range(1, 11):
        members = {}
        for split in ("train", "test"):
            for modality, letter in (("Visible", "v"), ("Thermal", "t")):
                name = f"{split}_{modality.lower()}_{trial}.txt"
                lines = [line.split() for line in (root / "idx" / name).read_text().splitlines()]
                count = 3 if split == "train" else 4
                assert [int(label) for _, label in lines] == [k // 2 for k in range(2 * count)]
                owners = [path.split("/")[1] for path, _ in lines]
                expected = [
                    f"{modality}/{owner}/person_{letter}_{k % 2 + 1:05d}_{owner}.bmp"
                    for k, owner in enumerate(owners)
                ]
                assert [path for path, _ in lines] == expected
                assert all((root / path).is_file() for path, _ in lines)
                members[split, modality] = owners
        for split in ("train", "test"):
            assert members[split, "Visible"] == members[split, "Thermal"]
        train, test = set(members["train", "Visible"]), set(members["test", "Visible"])
        assert (len(train), len(test), len(train | test)) == (3, 4, 7)
        halves.add(frozenset(train))
    assert len(halves) > 5
    with Image.open(root / "Thermal/2/person_t_00001_2.bmp") as image:
        np.testing.assert_array_equal(np.asarray(image), render(0, 2, 6, 1, height=48, width=24))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_manifest_is_last_and_a_second_call_does_nothing(tmp_path: Path, layout: str) -> None:
    root, calls = tmp_path / "deep" / "set", []

    def watch(done: int, total: int) -> None:
        assert (root / "synthetic.partial.json").is_file()
        assert not (root / "synthetic.json").exists()
        calls.append((done, total))

    def write() -> bool:
        return LAYOUTS[layout](root, identities=3, images_per_modality=2, progress=watch, **SMALL)

    assert write() is True
    assert calls == [(k, 12) for k in range(1, 13)]
    assert not (root / "synthetic.partial.json").exists()
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write() is False
    assert len(calls) == 12
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == times
    counts = read_manifest(root)["counts"]
    assert sum(split["visible"] + split["infrared"] for split in counts.values()) == 12


def test_an_interrupted_set_is_not_whole_and_can_be_finished(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    size = {"identities": 3, "images_per_modality": 3, **SMALL}
    write_folder(whole, **size)
    with pytest.raises(KeyboardInterrupt):
        write_folder(cut, progress=stop, **size)
    assert len(tree(cut)) == 7 + 1
    with pytest.raises(InputError, match="half-written"):
        read_manifest(cut)
    with pytest.raises(InputError, match="other parameters"):
        write_folder(cut, seed=1, **size)
    assert len(tree(cut)) == 7 + 1
    (cut / ".synthetic-1.tmp").touch()  # what a killed process may leave
    assert write_folder(cut, **size) is True
    (cut / ".synthetic-1.tmp").unlink()
    assert tree(cut) == tree(whole)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match="not empty and not a synthetic set"):
        write_folder(tmp_path, identities=3, **SMALL)
    assert tree(tmp_path) == {"photo.jpg": b"mine"}


OTHERS = [{"seed": 1}, {"identities": 4}, {"images_per_modality": 2}, {"height": 50}, {"width": 26}]


@pytest.mark.parametrize("change", OTHERS)
def test_a_set_with_other_parameters_is_left_alone(tmp_path: Path, change: dict[str, int]) -> None:
    size = {"identities": 3, "images_per_modality": 1, **SMALL}
    write_folder(tmp_path, **size)
    before = tree(tmp_path)
    with pytest.raises(InputError, match="other parameters"):
        write_folder(tmp_path, **{**size, **change})
    with pytest.raises(InputError, match="other parameters"):
        LAYOUTS["sysu"](tmp_path, **size)
    assert tree(tmp_path) == before


def test_a_damaged_manifest_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no synthetic\.json"):
        read_manifest(tmp_path)
    for text in ("{", "[]", json.dumps({"generator": "other"})):
        (tmp_path / "synthetic.json").write_text(text)
        with pytest.raises(InputError, match="not the manifest"):
            read_manifest(tmp_path)
        with pytest.raises(InputError, match="other parameters"):
            write_folder(tmp_path, identities=3, **SMALL)


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_place_that_cannot_be_a_folder_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(InputError) as caught:
        write_folder(tmp_path / where, identities=3, **SMALL)
    assert str(tmp_path / where) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_write_that_fails_is_an_input_error(tmp_path: Path) -> None:
    def block(done: int, total: int) -> None:
        shutil.rmtree(tmp_path / "set" / "train")
        (tmp_path / "set" / "train").touch()

    with pytest.raises(InputError, match="cannot write synthetic data"):
        write_folder(tmp_path / "set", identities=3, progress=block, **SMALL)
    assert not (tmp_path / "set" / "synthetic.json").exists()


BAD = {"identities": (2, 10_000, 4.0), "seed": (-1,), "images_per_modality": (0, 10_000)}
BAD |= {"height": (31, 1025), "width": (15, 1025)}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", BAD)
def test_a_parameter_out_of_range_is_named(tmp_path: Path, layout: str, name: str) -> None:
    for value in BAD[name]:
        with pytest.raises(InputError, match=rf"^{name}="):
            LAYOUTS[layout](tmp_path / "set", **{name: value})
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan")])
def test_a_test_fraction_out_of_range_is_named(tmp_path: Path, value: float) -> None:
    for write in (write_folder, LAYOUTS["sysu"]):
        with pytest.raises(InputError, match=r"^test_fraction="):
            write(tmp_path / "set", test_fraction=value)
    assert not (tmp_path / "set").exists()
