"""The guide to what a run writes names just the figures that a run writes."""

import re
import struct
from pathlib import Path

import pytest
from pages import ROOT
from tensorboardX.proto import event_pb2

from lupi_jax import parse_config, train
from lupi_jax.training.logging import read_metrics

PAGE = (ROOT / "docs/guides/outputs.md").read_text()


@pytest.fixture(scope="module")
def workdir(people, tmp_path_factory) -> Path:
    """Two steps by the recipe that has every term of the loss, with a validation."""
    folder = tmp_path_factory.mktemp("outputs") / "run"
    config = parse_config(
        {
            "recipe": "released",
            "steps": 2,
            "data": {"root": str(people), "image_size": (32, 32), "feed": "memmap"},
            "data.validation_identities": 2,
            "batch": {"identities": 2, "images": 2},
            "model": {"backbone": "thin", "non_local": False, "pooling": "average"},
            "log": {"every": 1, "validate_every": 2},
        }
    )
    train(config, folder)
    return folder


def documented(split: str) -> dict[str, str]:
    """{field: tag} in the table under the heading of a split."""
    (section,) = re.findall(rf"\n### `{split}`\n(.*?)(?=\n##|\Z)", PAGE, re.DOTALL)
    return dict(re.findall(r"^\| `([\w/]+)` \| `([\w/]+)` \|", section, re.MULTILINE))


def tags_in(folder: Path) -> set[str]:
    """The tags of TensorBoard's event files: records of a length, its checksum, data, theirs."""
    tags, data = set(), b"".join(file.read_bytes() for file in folder.iterdir())
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = event_pb2.Event.FromString(data[12 : 12 + length])  # type: ignore[attr-defined]
        tags |= {value.tag for value in event.summary.value}
        data = data[16 + length :]
    return tags


def test_every_field_of_the_metrics_file_has_its_row(workdir):
    rows = read_metrics(workdir)
    assert {row["split"] for row in rows} == {"train", "validation"}
    for split in ("train", "validation"):
        written = {name for row in rows if row["split"] == split for name in row}
        assert written == {"step", "split", *documented(split)}


def test_every_tag_of_tensorboard_has_its_row(workdir):
    tags = {tag for split in ("train", "validation") for tag in documented(split).values()}
    assert tags_in(workdir / "tensorboard") == tags
    for split in ("train", "validation"):
        assert all(tag == f"{split}/{name}" for name, tag in documented(split).items())


def test_what_lies_in_the_directory_is_named(workdir):
    named = re.findall(r"^\| `([\w.]+)[/`]", PAGE, re.MULTILINE)
    assert {entry.name for entry in workdir.iterdir()} <= {*named, "lock"}
