"""`lupi index`: a table made from names, shown first, and nobody's file lost."""

import os
from pathlib import Path

import pytest

import lupi_jax as lupi
from lupi_jax.cli import main

PATTERN = r"(?P<modality>rgb|ir)/p(?P<identity>\d+)_(?P<camera>\d)_.*"
MAPPED = ["--modality", "rgb=visible,ir=infrared"]


@pytest.fixture
def images(tmp_path, write_image) -> Path:
    """Twelve images of three people, named in a way of their own."""
    for folder, camera in (("rgb", 1), ("ir", 3)):
        for person in (1, 2, 3):
            for name in ("a", "b"):
                write_image(tmp_path / f"images/{folder}/p{person:03d}_{camera}_{name}.png")
    return tmp_path / "images"


@pytest.fixture
def index(images) -> list[str]:
    return ["index", "--root", str(images), "--pattern", PATTERN, *MAPPED, "--split", "test"]


def test_a_table_that_a_check_finds_nothing_wrong_with(images, index, capfd):
    table = images.parent / "new" / "images.csv"
    assert main([*index, "--out", str(table)]) == 0
    check = ["check-data", "--data", "folder", "--root", str(images), "--index", str(table)]
    out, err = capfd.readouterr()
    assert out == ""
    assert err == f"{table}: 12 images; next: lupi {' '.join(check)}\n"
    lines = table.read_text().splitlines()
    assert lines[0] == "path,identity,camera,modality,split"
    assert lines[1] == "ir/p001_3_a.png,1,3,infrared,test"
    assert lines[-1] == "rgb/p003_1_b.png,3,1,visible,test"
    assert main(check) == 0
    said = capfd.readouterr().err
    assert "note: no image of split train: these data cannot be trained on\n" in said
    before = table.stat()
    assert main([*index, "--out", str(table)]) == 0
    assert table.stat() == before


def test_one_call_makes_the_table_of_the_command(images, index, tmp_path):
    (images / "odd.png").write_bytes((images / "rgb").glob("*.png").__next__().read_bytes())
    assert main([*index, "--skip-unmatched", "--out", str(tmp_path / "by-command.csv")]) == 0
    renamed = {"rgb": "visible", "ir": "infrared"}
    place = tmp_path / "by-call.csv"
    said = {"modality": renamed, "split": "test"}
    with pytest.raises(lupi.InputError, match=r"does not match 1 of 13 images \(odd\.png\)"):
        lupi.make_table(images, PATTERN, place, **said)
    found = lupi.make_table(str(images), PATTERN, place, skip_unmatched=True, **said)
    assert place.read_bytes() == (tmp_path / "by-command.csv").read_bytes()
    assert found.rows[0] == ("ir/p001_3_a.png", "1", "3", "infrared", "test", "")
    assert found.unmatched == ["odd.png"]
    with pytest.raises(lupi.InputError, match="a file with other content is there"):
        lupi.make_table(images, PATTERN, place, skip_unmatched=True, **{**said, "split": "train"})
    with pytest.raises(lupi.InputError, match=r"camera 5: every path has the group camera"):
        lupi.make_table(images, PATTERN, camera=5, skip_unmatched=True, **said)
    with pytest.raises(lupi.InputError, match=r"table\.parquet: name a file that ends in \.csv"):
        lupi.make_table(images, PATTERN, tmp_path / "table.parquet", **said)


def test_a_dry_look_shows_rows_and_counts_and_writes_nothing(images, index, capfd):
    (images / "notes.txt").touch()
    assert main(index) == 0
    out, err = capfd.readouterr()
    assert err.startswith(f"note: {images}: files passed over: 1 (.txt)")
    assert f"{images}: the first 10 of 12 images" in out
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    assert cells[0] == ["ir/p001_3_a.png", "1", "3", "infrared", "test"]
    assert cells[10:] == [
        ["test", "infrared", "both", "3", "6"],
        ["test", "visible", "both", "3", "6"],
    ]
    assert sorted(os.listdir(images.parent)) == ["images"]


def test_names_that_say_nothing(images):
    """A gallery without labels, for an export."""
    table = images.parent / "gallery.csv"
    says = ["--identity", "-1", "--camera", "0", "--modality", "visible", "--split", "test"]
    index = ["index", "--root", str(images), "--pattern", ".*", *says, "--out", str(table)]
    assert main(index) == 0
    assert table.read_text().splitlines()[-1] == "rgb/p003_1_b.png,-1,0,visible,test"


def test_names_that_do_not_match_are_an_error_unless_left_out(images, index, refused, capfd):
    for n in range(7):
        (images / f"rgb/x{n}.png").touch()
    table = images.parent / "images.csv"
    named = ", ".join(f"rgb/x{n}.png" for n in range(5))
    assert refused(*index, "--out", table) == (
        f"{images}: --pattern does not match 7 of 19 images ({named}, ...): correct it, or leave "
        "them out with --skip-unmatched"
    )
    assert not table.exists()
    assert main([*index, "--out", str(table), "--skip-unmatched"]) == 0
    err = capfd.readouterr().err
    assert err.startswith(f"left out: 7 images that --pattern does not match ({named}, ...)\n")
    assert len(table.read_text().splitlines()) == 13
    assert main(index) == 2  # what matches is shown
    assert "ir/p001_3_a.png" in capfd.readouterr().out
    nothing = [*index, "--pattern", PATTERN.replace("/p", "/q"), "--skip-unmatched"]
    assert refused(*nothing).endswith(
        "does not match 19 of 19 images (ir/p001_3_a.png, "
        "ir/p001_3_b.png, ir/p002_3_a.png, ir/p002_3_b.png, ir/p003_3_a.png, ...): correct it"
    )


def test_a_file_of_somebody_else_stays(images, index, refused):
    table = images.parent / "images.csv"
    table.write_text("path,identity,camera,modality,split\nir/p001_3_a.png,9,3,infrared,test\n")
    before = table.read_bytes()
    assert refused(*index, "--out", table) == (
        f"--out {table}: a file with other content is there: delete it, or give another name"
    )
    assert table.read_bytes() == before
    assert "name a file that ends in .csv" in refused(*index, "--out", images / "ir")
    os.mkfifo(images.parent / "pipe.csv")
    assert "it is a pipe or a device" in refused(*index, "--out", images.parent / "pipe.csv")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--identity", "7"], "--identity 7: every path has the group identity: leave out"),
        (["--modality", "rgb=visible,ir"], "--modality rgb=visible,ir: separate OLD=NEW pairs"),
        (["--modality", "rgb=visible,rgb=infrared"], "each OLD once, such as rgb=visible,ir="),
        (["--split", "exam"], "images: split is exam: give --split as train, val or test"),
        (
            ["--modality", "rgb=visible"],
            "images: modality is ir: translate with --modality rgb=visible,ir=NEW, where NEW is "
            "visible or infrared",
        ),
        (
            ["--modality", "rgb=RGB,ir=NIR", "--role", "queries"],
            "images: modality is NIR, RGB: translate with --modality rgb=NEW,ir=NEW, where NEW is "
            "visible or infrared; role is queries: give --role as query, gallery or empty (both)",
        ),
        (["--camera", "1=3,3=-1"], "camera '-1' is not a whole number from 0 to 2147483647 (and 5"),
    ],
)
def test_values_that_cannot_be_used(images, index, refused, more, message):
    table = images.parent / "images.csv"
    assert message in refused(*index, *more, "--out", table)
    assert not table.exists()


def test_words_of_a_path_are_translated_as_the_message_says(images, refused, capfd):
    index = ["index", "--root", str(images), "--pattern", PATTERN, "--split", "test"]
    assert refused(*index) == (
        f"{images}: modality is ir, rgb: translate with --modality ir=NEW,rgb=NEW, where NEW is "
        "visible or infrared"
    )
    assert main([*index, "--modality", "ir=infrared,rgb=visible"]) == 0


def test_a_ready_pattern_and_what_comes_next(tmp_path, write_image, capfd):
    root = tmp_path / "market"
    for path in (
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "bounding_box_test/-1_c1s1_000401_03.jpg",
        "bounding_box_test/0000_c2s1_000151_01.jpg",
        "bounding_box_test/0003_c2s1_000151_01.jpg",
        "query/0003_c3s1_000151_01.jpg",
        "gt_bbox/0003_c3s1_000151_01.jpg",
    ):
        write_image(root / path)
    table = tmp_path / "market.csv"
    assert main(["index", "--root", str(root), "--pattern", "market1501", "--out", str(table)]) == 0
    left_out, line = capfd.readouterr().err.splitlines()
    assert left_out == "left out: 1 image in gt_bbox, gt_query"
    assert line.startswith(f"{table}: 5 images; next: ")
    check = line.partition("next: lupi ")[2].split()
    assert check[-2:] == ["--identity-zero", "distractor"]
    assert main(check) == 0
    out, err = capfd.readouterr()
    assert "note: no infrared image: nothing can be trained" in err
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    assert ["test", "visible", "all", "gallery", "1", "3"] in cells
    assert ["test", "visible", "all", "query", "1", "1"] in cells
