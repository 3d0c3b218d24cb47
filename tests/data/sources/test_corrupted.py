"""Far more than a hundred damaged data sets: each checked, and read as training reads it.

A case is one fault in one layout. The checker must name what is wrong, in lines that any terminal
can show; training must refuse, or see every image of the whole set, unless only the count tells.
"""

import dataclasses
import json
import os
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from whole_sets import LAYOUTS, MANIFEST, Site, save, write_whole

from lupi_jax import InputError
from lupi_jax.config import SourceConfig
from lupi_jax.data import read_image, read_index
from lupi_jax.data.sources.check import check_data
from lupi_jax.data.sources.manifest import GENERATOR


def train_on(source: SourceConfig) -> Counter:
    """Read both splits and every image, as training and evaluation do; count the rows."""
    rows = Counter()
    for split in ("train", "test"):
        index = read_index(source, split)
        for path in index.paths:
            assert read_image(index.root / path, (8, 4)).shape == (8, 4, 3)
        columns = (index.identities, index.cameras, index.modalities)
        rows.update((split, *row) for row in zip(*(c.tolist() for c in columns), strict=True))
    return rows


def png(width: int, height: int, bits: int = 8, pixels: bytes = b"") -> bytes:
    """A grey PNG file; its header may promise more than there is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def beside(site: Site, name: str | bytes, content: bytes = b"what is this?") -> None:
    """A file in the victim's directory."""
    with open(os.path.join(os.fsencode(site.person), os.fsencode(name)), "wb") as file:
        file.write(content)


def link_to_itself(file: Path) -> None:
    file.symlink_to(file.name)


ALL, REFUSED, OTHERS = "all", "refused", "others"
"""What training sees: every image and nothing else, nothing, or other images."""


class Fault(NamedTuple):
    """The damage; what a problem must name ("" without a problem); what training sees."""

    damage: Callable[[Site], object]
    named: str
    trains: str = REFUSED


# {victim}, {person}, {stem}, {other}, {twin}, {tested} stand for the layout's own.
IMAGE_FAULTS = {
    "cut": Fault(lambda s: s.file.write_bytes(s.file.read_bytes()[:70]), "{victim}"),
    "zero bytes": Fault(lambda s: s.file.write_bytes(b""), "{victim}"),
    "a text": Fault(lambda s: s.file.write_bytes(b"no image at all" * 40), "{victim}"),
    "zeros": Fault(lambda s: s.file.write_bytes(bytes(5000)), "{victim}"),
    "a JPEG's first bytes": Fault(lambda s: s.file.write_bytes(b"\xff\xd8\xff\xe0"), "{victim}"),
    "2.5 gigapixels promised": Fault(lambda s: s.file.write_bytes(png(50_000, 50_000)), "{victim}"),
    "81 megapixels promised": Fault(lambda s: s.file.write_bytes(png(9_000, 9_000)), "{victim}"),
    "no size": Fault(lambda s: s.file.write_bytes(png(0, 0)), "{victim}"),
    "16 bits": Fault(lambda s: s.file.write_bytes(png(2, 1, 16, b"\0abcd")), "{victim}"),
    "no pixels": Fault(lambda s: s.file.write_bytes(png(8, 4)), "{victim}"),
    "a directory": Fault(lambda s: s.put(Path.mkdir), "{victim}"),
    "a link to itself": Fault(lambda s: s.put(link_to_itself), "{victim}"),
    "a link to nothing": Fault(lambda s: s.put(lambda f: f.symlink_to("gone")), "{victim}"),
    "a link to a directory": Fault(lambda s: s.put(lambda f: f.symlink_to("..")), "{victim}"),
    "a pipe": Fault(lambda s: s.put(os.mkfifo), "{victim}"),
    "a device": Fault(lambda s: s.put(lambda f: f.symlink_to("/dev/zero")), "{victim}"),
    "named as text": Fault(lambda s: s.suffix(".txt"), "{stem}.txt"),
    "named as HEIC": Fault(lambda s: s.suffix(".heic"), "{stem}.heic"),
    "no suffix": Fault(lambda s: s.suffix(""), "{stem} "),
    "its person a file": Fault(lambda s: s.swap(Path.touch), "{person}"),
    "its person a pipe": Fault(lambda s: s.swap(os.mkfifo), "{person}"),
    "its person a link to itself": Fault(lambda s: s.swap(link_to_itself), "{person}"),
    "its person misnamed": Fault(lambda s: s.person.rename(s.person.parent / "anna"), "/anna "),
    "the bytes of a test image": Fault(
        lambda s: s.copy(s.layout.tested, s.layout.victim), "in train and in test", ALL
    ),
    "a link to a test image": Fault(
        lambda s: s.put(lambda f: f.symlink_to(s.root / s.layout.tested)), "{tested}", ALL
    ),
    "the bytes of another person": Fault(
        lambda s: s.copy(s.layout.other, s.layout.victim), "of the identities 1, 2: keep one", ALL
    ),
    "the bytes of its twin": Fault(
        lambda s: s.copy(s.layout.twin, s.layout.victim), "visible and infrared", ALL
    ),
    "a PNG under its name": Fault(lambda s: save(s.file, format="PNG"), "", ALL),
    "grey": Fault(lambda s: save(s.file, "L", format="PNG"), "", ALL),
    "a palette": Fault(lambda s: save(s.file, "P", format="PNG"), "", ALL),
    "for print": Fault(lambda s: save(s.file, "CMYK", format="JPEG"), "", ALL),
    "kept elsewhere": Fault(lambda s: s.elsewhere(s.file), "", ALL),
    "its person kept elsewhere": Fault(lambda s: s.elsewhere(s.person), "", ALL),
    "its modality kept elsewhere": Fault(lambda s: s.elsewhere(s.person.parent), "", ALL),
    "hidden files beside it": Fault(lambda s: beside(s, ".DS_Store"), "", ALL),
    "a hidden copy beside it": Fault(lambda s: beside(s, "._0001.jpg"), "", ALL),
    "previews beside it": Fault(lambda s: beside(s, "Thumbs.db"), "", ALL),
}

# What lies beside an image: nothing that RegDB's or LLCM's lists would lead training to.
STRAY_FAULTS = {
    "a README": Fault(lambda s: beside(s, "README.txt"), "README.txt"),
    "a copy": Fault(lambda s: beside(s, "copy of c1.jpg"), "copy of c1.jpg"),
    "a Unicode name": Fault(lambda s: beside(s, "人 ü.jpg"), "人 ü.jpg"),
    "no UTF-8": Fault(lambda s: beside(s, b"c1_\xff.jpg", s.file.read_bytes()), "c1_\\xff.jpg"),
    "a line break": Fault(lambda s: beside(s, "c1_\n.jpg"), "c1_\\n.jpg"),
    "a pipe": Fault(lambda s: os.mkfifo(s.person / "c1_pipe.jpg"), "c1_pipe.jpg"),
    "a directory": Fault(lambda s: s.write(f"{s.person}/c1_more.jpg/a.jpg", "a"), "c1_more.jpg"),
    "a circle": Fault(lambda s: (s.person / "circle").symlink_to(".."), "/circle "),
}

LIST_FAULTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing": (Path.unlink, " is missing", REFUSED),
    "empty": (lambda f: f.write_bytes(b""), " is empty", REFUSED),
    "blank": (lambda f: f.write_bytes(b"\n \r\n"), " is empty", REFUSED),
    "a directory": (lambda f: (f.unlink(), f.mkdir()), " (Is a directory)", REFUSED),
    "a link to itself": (lambda f: (f.unlink(), link_to_itself(f)), " (Too many", REFUSED),
    "a pipe": (lambda f: (f.unlink(), os.mkfifo(f)), " (it is a pipe or a device)", REFUSED),
    "bytes": (lambda f: f.write_bytes(b"\xff\xfe\xfa"), ", line 1 is not UTF-8", REFUSED),
    "UTF-16": (
        lambda f: f.write_text(f.read_text(), "utf-16-le"),
        ", line 1 is not UTF-8",
        REFUSED,
    ),
    "something else": (lambda f: f.write_text("<html>\n"), "", REFUSED),
    "from Windows": (
        lambda f: f.write_bytes(b"\xef\xbb\xbf" + f.read_bytes().replace(b"\n", b" \r\n\r\n")),
        "",
        ALL,
    ),
}

ROOT_FAULTS = {
    "the root is missing": Fault(lambda s: s.root.rename(s.root.parent / "moved"), "{root}"),
    "the root is a file": Fault(
        lambda s: (s.root.rename(s.root.parent / "moved"), s.root.touch()), "{root}"
    ),
    "the root is empty": Fault(
        lambda s: (s.root.rename(s.root.parent / "moved"), s.root.mkdir()), "{root}"
    ),
    "unfinished": Fault(
        lambda s: (s.root / MANIFEST).rename(s.root / "synthetic.partial.json"),
        "unfinished synthetic data",
        ALL,
    ),
    "a damaged manifest": Fault(lambda s: s.write(MANIFEST, "{"), MANIFEST, ALL),
    "a manifest without counts": Fault(
        lambda s: s.write(MANIFEST, json.dumps({"generator": GENERATOR})), MANIFEST, ALL
    ),
    "a manifest with other counts": Fault(
        lambda s: s.write(MANIFEST, (s.root / MANIFEST).read_text().replace(": 2", ": 1002")),
        "not 1002",
        ALL,
    ),
    "an image at the top": Fault(lambda s: save(s.root / "more.PNG"), "/more.PNG", ALL),
    "images in a folder of their own": Fault(lambda s: save(s.root / "val/1/a.jpg"), "/val ", ALL),
    "texts": Fault(lambda s: (s.write("README", "?"), s.write("docs/a.txt", "?")), "", ALL),
    "a circle at the top": Fault(lambda s: (s.root / "self").symlink_to("."), "/self ", ALL),
}

FOLDER_FAULTS = {
    "an image less": Fault(lambda s: s.file.unlink(), "split train: 5 images", OTHERS),
    "an image more": Fault(
        lambda s: save(s.person / "c9_1.jpg"), "split train: 7 images, not 6 (visible)", OTHERS
    ),
    "no visible image of one": Fault(
        lambda s: shutil.rmtree(s.person), "no visible image of 1 identity (1)", OTHERS
    ),
    "an empty directory": Fault(lambda s: s.swap(Path.mkdir), "{person} holds no image"),
    "no test split": Fault(lambda s: s.remove("test"), "no images under {root}/test"),
    "a split that is a file": Fault(
        lambda s: (s.remove("test"), s.write("test", "")), "no images under {root}/test"
    ),
    "no infrared image": Fault(
        lambda s: s.remove("train/infrared"), "no infrared image at all", OTHERS
    ),
    "a modality that is a file": Fault(
        lambda s: (s.remove("train/infrared"), s.write("train/infrared", "")),
        "train/infrared (Not a",
    ),
    "a modality of another name": Fault(
        lambda s: (s.root / "train/infrared").rename(s.root / "train/Infrared"), "train/Infrared "
    ),
    "a file among modalities": Fault(lambda s: s.write("train/a.jpg", "a"), "train/a.jpg "),
    "a file among people": Fault(lambda s: save(s.root / "test/visible/c1_1.jpg"), "/c1_1.jpg "),
    "an identity twice": Fault(
        lambda s: save(s.root / "train/visible/1/c1_0009.jpg"),
        "train/visible/1 and 0001 are both identity 1",
    ),
    "an identity of ten digits": Fault(
        lambda s: save(s.root / "test/visible/1234567890/c1_1.jpg"), "1234567890 "
    ),
    "foreign digits": Fault(lambda s: save(s.root / "test/visible/\u0663/c1_1.jpg"), "\u0663 "),
    "a camera without number": Fault(lambda s: s.rename("cx_0001.jpg"), "cx_0001.jpg"),
    "no camera": Fault(lambda s: s.rename("0001.jpg"), "0001/0001.jpg"),
    "one directory too many": Fault(
        lambda s: save(s.person / "day/c1_0003.jpg"), "0001/day does not belong here"
    ),
    "trained and tested on": Fault(
        lambda s: s.copy("train/visible/0001", "test/visible/0001"),
        "1 identity in both train and test (1)",
        OTHERS,
    ),
    "one file twice": Fault(
        lambda s: (s.person / "c3_1.jpg").symlink_to(s.file), "one file under several", OTHERS
    ),
    "an unusual name": Fault(lambda s: s.rename("c1_人 ü '[b]'.jpg"), "", ALL),
    "upper case": Fault(lambda s: s.suffix(".JPG"), "", ALL),
    "another suffix": Fault(lambda s: s.suffix(".bmp"), "", ALL),
}

SYSU_FAULTS = {
    "an image less": Fault(
        lambda s: s.file.unlink(), "split train: 11 images, not 12 (visible)", OTHERS
    ),
    "a camera less": Fault(lambda s: s.remove("cam6"), "cam6 (No such file"),
    "a camera that is a file": Fault(
        lambda s: (s.remove("cam6"), s.write("cam6", "")), "cam6 (Not a directory)"
    ),
    "another camera": Fault(lambda s: save(s.root / "cam7/0001/0001.jpg"), "/cam7 ", ALL),
    "upper case": Fault(lambda s: s.suffix(".JPG"), "0001.JPG"),
    "a short name": Fault(lambda s: s.rename("1.jpg"), "0001/1.jpg"),
    "foreign digits": Fault(lambda s: s.rename("\u0660\u0660\u0660\u0661.jpg"), "\u0661.jpg"),
    "a short number": Fault(lambda s: s.person.rename(s.person.parent / "1"), "cam1/1 "),
    "no image of a person": Fault(
        lambda s: [s.remove(f"cam{c}/0005") for c in range(1, 7)], "without an image (5)"
    ),
    "no infrared image of a person": Fault(
        lambda s: [s.remove(f"cam{c}/0005") for c in (3, 6)], "no infrared image of 1", OTHERS
    ),
    "an unknown id": Fault(lambda s: s.write("exp/test_id.txt", "4,5,77"), "without an image (77)"),
    "an id twice": Fault(
        lambda s: s.write("exp/test_id.txt", "4,5,4"),
        "item 3: expected numbers of up to 9 digits, each once, got '4'",
    ),
    "an id in two lists": Fault(lambda s: s.write("exp/test_id.txt", "4,5,1"), " test_id.txt (1)"),
    "a comma too many": Fault(lambda s: s.write("exp/val_id.txt", "3,"), "got ''"),
    "an id of letters": Fault(lambda s: s.write("exp/val_id.txt", "3,l"), "got 'l'"),
    "an id of foreign digits": Fault(lambda s: s.write("exp/val_id.txt", "\u0663"), "'\u0663'"),
    "an id lost": Fault(
        lambda s: s.write("exp/train_id.txt", "1"), "split train: 2 identities", OTHERS
    ),
    "people of no list": Fault(lambda s: save(s.root / "cam1/0099/0001.jpg"), "", ALL),
    "a file named as people": Fault(lambda s: s.write("cam1/0098", "a"), "cam1/0098 ", ALL),
    "damaged permutations": Fault(
        lambda s: s.write("exp/rand_perm_cam.mat", b"MATLAB"), "rand_perm_cam.mat", ALL
    ),
    "piped permutations": Fault(
        lambda s: os.mkfifo(s.root / "exp/rand_perm_cam.mat"), "rand_perm_cam.mat", ALL
    ),
}

_LIST = "idx/train_visible_1.txt"
REGDB_FAULTS = {
    "an image less": Fault(lambda s: s.file.unlink(), "{victim} is listed in"),
    "a modality less": Fault(lambda s: s.remove("Thermal"), "/Thermal is listed in {root}/idx"),
    "no lists": Fault(lambda s: s.remove("idx"), "{root}/idx is missing"),
    "a list less": Fault(lambda s: s.remove("idx/test_visible_7.txt"), "test_visible_7.txt", ALL),
    "an unknown person": Fault(
        lambda s: s.append(_LIST, "Visible/99/v_1.bmp 2"), "Visible/99 is listed in"
    ),
    "a line twice": Fault(lambda s: s.append(_LIST, f"{s.layout.victim} 0"), "line 5: expected "),
    "a path out": Fault(lambda s: s.append(_LIST, "Visible/../../a.bmp 0"), "got 'Visible/.."),
    "a path of the machine": Fault(lambda s: s.append(_LIST, "/etc/passwd 0"), "got '/etc/passwd"),
    "a path of the other modality": Fault(
        lambda s: s.append(_LIST, "Thermal/1/t_1.bmp 0"), "got 'Thermal/1/t_1.bmp 0'"
    ),
    "foreign digits": Fault(lambda s: s.append(_LIST, "Visible/\u0661/v_1.bmp 0"), "\u0661"),
    "a name too long": Fault(
        lambda s: s.append(_LIST, f"Visible/1/{'v' * 300} 0"), "vvv is listed in"
    ),
    "no label": Fault(lambda s: s.append(_LIST, "Visible/1/v_3.bmp"), "line 5: expected "),
    "a label of another": Fault(
        lambda s: (save(s.root / "Visible/1/v_3.bmp"), s.append(_LIST, "Visible/1/v_3.bmp 1")),
        "line 5: label 1 and person 1 disagree",
    ),
    "a person on both sides": Fault(
        lambda s: s.append("idx/test_visible_1.txt", f"{s.layout.victim} 2"),
        "test lists of split 1 (1)",
    ),
    "a line lost": Fault(
        lambda s: s.write(_LIST, "Visible/1/v_1.bmp 0\nVisible/2/v_1.bmp 1\n"),
        "split train 1: 2 images, not 4 (visible, camera 1)",
        OTHERS,
    ),
    "a person of no list": Fault(lambda s: save(s.root / "Visible/9/v_1.bmp"), "Visible/9 ", ALL),
    "an unusual name": Fault(lambda s: s.rename("人 ü [b].bmp"), "", ALL),
    "an empty person": Fault(lambda s: s.write("Visible/9/Thumbs.db", "?"), "", ALL),
}

LLCM_FAULTS = {
    "an image less": Fault(lambda s: s.file.unlink(), "{victim} is listed in"),
    "a test image less": Fault(
        lambda s: s.remove(s.layout.tested), "split test: 3 images, not 4 (visible)", OTHERS
    ),
    "a test image cut": Fault(
        lambda s: (s.root / s.layout.tested).write_bytes(b"\xff\xd8\xff"), "{tested}: unreadable"
    ),
    "a camera less": Fault(lambda s: s.remove("test_nir/cam8"), "test_nir/cam8 (No such file"),
    "another camera": Fault(lambda s: save(s.root / "test_nir/cam10/0003/a.jpg"), "test_nir/cam10"),
    "no test images": Fault(lambda s: s.remove("test_vis"), "test_vis (No such file"),
    "a file among people": Fault(lambda s: s.write("test_vis/cam9/a.jpg", "a"), "cam9/a.jpg"),
    "a stray test file": Fault(lambda s: s.write("test_vis/cam1/0003/a.txt", "a"), "0003/a.txt"),
    "a person of no list": Fault(
        lambda s: save(s.root / "test_vis/cam1/0009/a.jpg"), "cam1/0009 ", ALL
    ),
    "an unknown id": Fault(lambda s: s.write("idx/test_id.txt", "3,4,77"), "without an image (77)"),
    "a person on both sides": Fault(
        lambda s: s.write("idx/test_id.txt", "3,4,1"), " test_id.txt (1)"
    ),
    "one image by two paths": Fault(
        lambda s: s.append("idx/train_vis.txt", "vis/./0001/0001_c01_1_vis.jpg 0"),
        "line 5: expected ",
    ),
    "a path out": Fault(lambda s: s.append("idx/train_vis.txt", "../1/a.jpg 0"), "../1/a.jpg"),
    "an unusual name": Fault(lambda s: s.rename("人_c01 ü.jpg"), "", ALL),
    "upper case": Fault(lambda s: s.rename("0001_c01_1_VIS.JPG"), "", ALL),
}


def cases() -> Iterator[tuple[str, str, Fault]]:
    own = {"folder": FOLDER_FAULTS, "sysu": SYSU_FAULTS, "regdb": REGDB_FAULTS, "llcm": LLCM_FAULTS}
    for name, layout in LAYOUTS.items():
        for what, fault in (*IMAGE_FAULTS.items(), *ROOT_FAULTS.items(), *own[name].items()):
            yield name, what, fault
        for what, fault in STRAY_FAULTS.items():
            trains = ALL if name in ("regdb", "llcm") else REFUSED
            yield name, f"beside it: {what}", fault._replace(trains=trains)
        for path in layout.lists:
            for what, (damage, named, trains) in LIST_FAULTS.items():
                named = path + named if trains == REFUSED else ""

                def change(site: Site, damage=damage, path=path) -> None:
                    damage(site.root / path)

                yield name, f"{path}: {what}", Fault(change, named, trains)


CASES = list(cases())


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> dict[str, tuple[Path, Counter]]:
    """Each layout's whole data set, and what training sees of it."""
    root = tmp_path_factory.mktemp("whole")
    sets = {layout: write_whole(root / layout, layout) for layout in LAYOUTS}
    return {
        layout: (path, train_on(SourceConfig(name=layout, root=str(path))))
        for layout, path in sets.items()
    }


def test_there_are_more_than_a_hundred():
    assert len(CASES) > 200
    assert {layout for layout, *_ in CASES} == set(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_whole_has_no_problem(whole, layout):
    root, everything = whole[layout]
    report = check_data(SourceConfig(name=layout, root=str(root), workers=1))
    assert report.problems == ()
    images = {"folder": 20, "sysu": 30, "regdb": 16, "llcm": 16}[layout]
    assert (report.rows[-1].split, report.rows[-1].images) == ("all", images)
    assert sum(everything.values()) == images


@pytest.mark.parametrize(
    ("layout", "fault"),
    [pytest.param(layout, fault, id=f"{layout}: {what}") for layout, what, fault in CASES],
)
def test_a_fault_is_named_and_nothing_is_lost(whole, tmp_path, layout, fault):
    original, everything = whole[layout]
    root = Path(shutil.copytree(original, tmp_path / layout))
    site = Site(root, LAYOUTS[layout])
    fault.damage(site)
    source = SourceConfig(name=layout, root=str(root), workers=1)

    report = check_data(source)
    words = {**site.layout._asdict(), "root": root, "stem": Path(site.layout.victim).stem}
    named = fault.named.format(person=Path(site.layout.victim).parent, **words)
    if named:
        assert any(named in problem for problem in report.problems), report.problems
    else:
        assert report.problems == ()
    assert all(problem.isprintable() for problem in report.problems)
    assert len(report.problems) <= 10  # what follows from one fault is not told over and over
    json.dumps(dataclasses.asdict(report))

    try:
        trains = ALL if train_on(source) == everything else OTHERS
    except InputError:
        trains = REFUSED
    assert trains == fault.trains
