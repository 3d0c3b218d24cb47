"""What commands say of images that have changed since a network was trained on them."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import train_own
from PIL import Image

from lupi_jax.cli import main
from lupi_jax.config import parse_config
from lupi_jax.runtime.files import alone

CHECK = ["check-data", "--data", "folder", "--workers", "1"]


@pytest.fixture
def workdir(own: Path, save_run: Callable[..., None]) -> Path:
    """Of a run on `own`, which is tested on others."""
    for modality in ("visible", "infrared"):
        for person in (1, 2, 3):
            (own / f"test/{modality}/{person}").rename(own / f"test/{modality}/{person + 3}")
    data = {"root": str(own), "image_size": (32, 32)}
    model = {"backbone": "thin", "non_local": False}
    config = parse_config({"recipe": "baseline", "steps": 3, "data": data, "model": model})
    save_run(own.parent / "run", config, 3, 3)
    return own.parent / "run"


def turn_over(file: Path) -> None:
    """Another picture under the same name."""
    with Image.open(file) as image:
        turned = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    turned.save(file)


def test_an_evaluation_names_what_the_network_was_trained_on_and_has_changed(own, workdir, capfd):
    def evaluate(split: str) -> tuple[str, dict]:
        capfd.readouterr()
        assert main(["evaluate", "--workdir", str(workdir), "--split", split, "--json"]) == 0
        out, err = capfd.readouterr()
        return next((x for x in err.splitlines() if x.startswith("note:")), ""), json.loads(out)

    note, before = evaluate("train")
    assert note == ""
    assert "files" not in before
    turn_over(own / "train/infrared/2/c1_0000.jpg")
    note, after = evaluate("train")
    assert note == (
        f"note: {own}: 1 image changed since this network was trained on them, the first is "
        "train/infrared/2/c1_0000.jpg"
    )
    assert after["images"]["fingerprint"] == before["images"]["fingerprint"]
    assert after["images"]["content"] != before["images"]["content"]
    turn_over(own / "test/infrared/5/c1_0000.jpg")  # which it was not trained on
    assert evaluate("test")[0] == ""


def test_a_check_finds_every_change_since_training(own, workdir, capfd, refused):
    arguments = [*CHECK, "--root", str(own), "--run", str(workdir)]
    file = own / "train/visible/1/c2_0001.jpg"
    before, content = file.stat(), file.read_bytes()
    file.write_bytes(content[:-20] + bytes(18) + content[-2:])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # it looks as it was
    capfd.readouterr()
    main([*CHECK, "--root", str(own), "--json"])
    found = json.loads(capfd.readouterr().out)["problems"]
    assert main([*arguments, "--json"]) == 2
    more = json.loads(capfd.readouterr().out)["problems"]
    assert [line for line in more if line not in found] == [
        f"{file} has changed since {workdir} read it: restore it, or train again in another "
        "--workdir"
    ]
    file.write_bytes(content)
    main([*arguments, "--json"])
    assert json.loads(capfd.readouterr().out)["problems"] == found


def test_a_check_needs_a_run(own, refused):
    line = refused(*CHECK, "--root", own, "--run", own)
    assert line == f"no checkpoint under {own}: give the --workdir of a `lupi train` run"


def test_zeroed_pixels_of_a_prepared_set_are_named(own, workdir, tmp_path, capfd, refused):
    place = tmp_path / "prepared"
    prepare = ["prepare", "--data", "folder", "--root", str(own), "--size", "32x32"]
    assert main([*prepare, "--out", str(place), "--workers", "1"]) == 0
    shard = place / "images-00000.npy"
    content = shard.read_bytes()
    shard.write_bytes(content[:128] + bytes(len(content) - 128))
    line = f"{shard} is missing or damaged: run `lupi prepare --out {place}` again to mend it"
    fields = (f"--config.data.prepared={place}", "--config.data.feed=memmap")
    assert refused("evaluate", "--workdir", workdir, fields[0]) == line
    train = train_own(own, *fields, f"--workdir={tmp_path / 'new'}")
    capfd.readouterr()
    assert main(train) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"lupi: {line}")
    assert main([*prepare, "--out", str(place), "--workers", "1"]) == 0
    assert main(["evaluate", "--workdir", str(workdir), fields[0]]) == 0


def test_of_two_that_prepare_at_once_the_second_stops(own, tmp_path, capfd):
    place = tmp_path / "prepared"
    place.mkdir()
    prepare = ["prepare", "--data", "folder", "--root", own, "--size", "32x32", "--out", place]
    with alone(place):
        assert main([*map(str, prepare), "--workers", "1"]) == 2
    assert capfd.readouterr().err.splitlines()[-1] == (
        f"lupi: {place}: another process is writing there: wait until it is done, or give another "
        "directory"
    )
    assert list(place.iterdir()) == []
