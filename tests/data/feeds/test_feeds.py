import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lupi_jax import Config, InputError, parse_config
from lupi_jax.data import (
    Batch,
    HostRows,
    Index,
    make_feed,
    make_sampler,
    prepare,
    read_folder,
    read_image,
)
from lupi_jax.data import images as images_module
from lupi_jax.data.feeds.tfdata import narration_held
from lupi_jax.data.images import parallel_map

SIZE = (40, 32)
PEOPLE = {"1": 3, "2": 1, "4": 2, "9": 4}
Feed = Callable[[int, int], Iterator[Batch]]


def config_of(root: Path, feed: str, identities: int = 3) -> Config:
    return parse_config(
        {
            "steps": 1,
            "seed": 3,
            "data": {"root": str(root), "image_size": SIZE, "feed": feed, "workers": 2},
            "batch": {"identities": identities, "images": 2},
        }
    )


@pytest.fixture
def root(tmp_path, write_layout) -> Path:
    infrared = {"1": 1, "2": 2, "4": 3, "9": 1}
    return write_layout(tmp_path / "data", {"train": {"visible": PEOPLE, "infrared": infrared}})


@pytest.fixture
def index(root) -> Index:
    return read_folder(root, "train")


@pytest.fixture(params=["memmap", "tfdata"])
def feed_of(request, root, tmp_path) -> Callable[..., Feed]:
    """Makes either feed of an index."""
    if request.param == "tfdata":
        pytest.importorskip("tensorflow")
    config = config_of(root, request.param)
    return lambda index, *share: make_feed(
        index, make_sampler(index, config), config, tmp_path / "cache", HostRows(*share)
    )


def assert_same(batches: list[Batch], others: list[Batch]) -> None:
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for name, value in batch.items():
            assert value.dtype == other[name].dtype
            np.testing.assert_array_equal(value, other[name])


def test_both_feeds_give_the_same_batches_bit_for_bit(index, root, tmp_path):
    pytest.importorskip("tensorflow")
    feeds = [
        make_feed(
            index,
            make_sampler(index, config_of(root, feed)),
            config_of(root, feed),
            tmp_path / "cache",
            HostRows(),
        )
        for feed in ("tfdata", "memmap")
    ]
    tfdata, memmap = (list(feed(0, 10)) for feed in feeds)
    assert_same(tfdata, memmap)
    assert len({batch["visible"].tobytes() for batch in memmap}) == 10


def test_a_batch_shows_the_people_of_its_labels(index, feed_of):
    people = {
        (modality, label): [
            read_image(index.root / path, SIZE).tobytes()
            for path in index.paths[(index.labels == label) & (index.modalities == modality)]
        ]
        for modality in ("visible", "infrared")
        for label in range(4)
    }
    batch = next(feed_of(index)(0, 1))
    assert set(batch) == {"visible", "infrared", "labels"}
    assert batch["labels"].shape == (6,)
    for modality in ("visible", "infrared"):
        assert batch[modality].shape == (6, *SIZE, 3)
        assert batch[modality].dtype == np.uint8
        for image, label in zip(batch[modality], batch["labels"], strict=True):
            assert image.tobytes() in people[modality, label]


def test_starting_late_gives_the_same_steps(index, feed_of):
    feed = feed_of(index)
    whole = list(feed(0, 8))
    assert_same(list(feed(5, 8)), whole[5:])
    assert list(feed(8, 8)) == []


def test_the_shares_of_two_processes_make_up_the_batch(index, feed_of):
    whole = list(feed_of(index)(0, 3))
    shares = [list(feed_of(index, process, 2)(0, 3)) for process in (0, 1)]
    assert [len(batch["labels"]) for batch in shares[0]] == [3, 3, 3]
    joined = [
        {name: np.concatenate([first[name], second[name]]) for name in first}
        for first, second in zip(*shares, strict=True)
    ]
    assert_same(joined, whole)


def test_a_batch_that_does_not_divide_among_processes_is_refused(index, feed_of):
    with pytest.raises(
        InputError, match=r"6 rows cannot be divided among 4 processes: change batch"
    ):
        next(feed_of(index, 0, 4)(0, 1))


@pytest.mark.parametrize("damage", ["truncated", "no image", "empty", "missing"])
def test_an_unreadable_image_is_named_and_nothing_else_said(index, feed_of, damage, capfd):
    # The only visible image of identity 2: within a few steps every feed needs it.
    file = index.root / "train/visible/2/c1_0000.jpg"
    content = {"truncated": file.read_bytes()[:-200], "no image": b"hello", "empty": b""}
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[damage])
    with pytest.raises(
        InputError, match=r"train/visible/2/c1_0000\.jpg: (unreadable|(?i:no such))"
    ):
        list(feed_of(index)(0, 10))
    assert "Traceback" not in capfd.readouterr().err


def test_the_decoded_images_are_found_again(index, root, tmp_path, monkeypatch):
    config = config_of(root, "memmap")
    sampler = make_sampler(index, config)

    def first() -> Batch:
        return next(make_feed(index, sampler, config, tmp_path / "cache", HostRows())(0, 1))

    expected = first()
    monkeypatch.setattr(
        "lupi_jax.data.feeds.cached.prepare", lambda *_, **__: pytest.fail("decoded twice")
    )
    assert_same([first()], [expected])


def test_a_changed_image_is_decoded_anew(index, root, tmp_path):
    file = index.root / "train/visible/2/c1_0000.jpg"
    image = Image.open(file)
    image.save(file, "BMP")  # which is as long whatever it shows
    config = config_of(root, "memmap", identities=4)
    stat = file.stat()

    def shown() -> np.ndarray:
        feed = make_feed(index, make_sampler(index, config), config, tmp_path, HostRows())
        batch = next(feed(0, 1))
        return batch["visible"][batch["labels"] == 1]

    before = shown()
    image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(file, "BMP")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert file.stat().st_size == stat.st_size
    assert (before != shown()).any()


@pytest.mark.parametrize("feed", ["memmap", "tfdata"])
def test_a_prepared_set_feeds_what_the_files_do(index, root, tmp_path, feed, monkeypatch):
    if feed == "tfdata":
        pytest.importorskip("tensorflow")
    config = config_of(root, feed)
    sampler = make_sampler(index, config)
    files = list(make_feed(index, sampler, config, tmp_path / "cache", HostRows())(0, 3))
    prepare(index, SIZE, tmp_path / "prepared")
    prepared = dataclasses.replace(
        config, data=dataclasses.replace(config.data, prepared=str(tmp_path / "prepared"))
    )
    monkeypatch.setattr(images_module, "read_image", lambda *_: pytest.fail("decoded again"))
    assert_same(
        list(make_feed(index, sampler, prepared, tmp_path / "none", HostRows())(0, 3)), files
    )
    assert not (tmp_path / "none").exists()


def test_an_image_is_resized_as_pillow_does_it(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    file = tmp_path / "image.png"
    Image.fromarray(pixels).save(file)
    np.testing.assert_array_equal(read_image(file, (30, 20)), pixels)
    resized = Image.fromarray(pixels).resize((32, 48), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(read_image(file, (48, 32)), np.asarray(resized))


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", ".jpg"), ("L", ".png"), ("P", ".png"), ("P", ".bmp"), ("RGB", ".bmp"), ("CMYK", ".jpg"),
     ("1", ".png"), ("RGBA", ".png"), ("LA", ".png")],
)  # fmt: skip
def test_every_common_kind_of_image_is_read(tmp_path, mode, suffix):
    colours = np.zeros((40, 32, 3), np.uint8)
    colours[:20], colours[20:] = (204, 51, 51), (0, 0, 153)  # of the web palette
    image = Image.fromarray(colours).convert(mode)
    file = tmp_path / f"image{suffix}"
    image.save(file)
    pixels = read_image(file, (40, 32))
    assert pixels.shape == (40, 32, 3)
    assert pixels.dtype == np.uint8
    if mode in ("L", "LA", "1"):
        assert (pixels == pixels[..., :1]).all()
        if mode != "1":
            assert pixels[5, 5, 0] == pytest.approx(97, abs=2)  # the luma of (204, 51, 51)
    else:
        assert pixels[5, 5].astype(int) == pytest.approx((204, 51, 51), abs=6)
        assert pixels[35, 5].astype(int) == pytest.approx((0, 0, 153), abs=6)


def test_deep_and_huge_images_are_refused(tmp_path, monkeypatch):
    deep = tmp_path / "thermal.png"
    Image.fromarray(np.full((40, 32), 40_000, np.uint16)).save(deep)
    with pytest.raises(InputError, match=r"thermal\.png: more than 8 bits per channel"):
        read_image(deep, (40, 32))
    monkeypatch.setattr("lupi_jax.data.decoding.MAX_PIXELS", 40 * 32 - 1)
    Image.new("RGB", (32, 40)).save(tmp_path / "huge.png")
    with pytest.raises(InputError, match=r"huge\.png: 32 x 40 pixels are too many"):
        read_image(tmp_path / "huge.png", (40, 32))


def test_threads_keep_the_order_and_stay_a_little_ahead():
    asked = []

    def items() -> Iterator[int]:
        for item in range(20):
            asked.append(item)
            yield item

    results = parallel_map(lambda x: x * x, items(), workers=3, ahead=4)
    assert [next(results), next(results)] == [0, 1]
    assert len(asked) == 6
    assert list(results) == [x * x for x in range(2, 20)]


def test_a_failing_thread_fails_in_its_place():
    results = parallel_map(partial(divmod, 12), iter([3, 2, 0, 1]), workers=2, ahead=4)
    assert [next(results), next(results)] == [(4, 0), (6, 0)]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_the_feed_is_chosen_by_what_is_installed(index, root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    cache = tmp_path / "cache"
    next(
        make_feed(
            index,
            make_sampler(index, config_of(root, "auto")),
            config_of(root, "auto"),
            cache,
            HostRows(),
        )(0, 1)
    )
    assert len(list(cache.glob("*/*.npy"))) == 1


def test_of_what_a_library_says_as_it_starts_only_the_narration_is_kept_back(capfd):
    with narration_held():
        os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are ...\n")
        os.write(2, b"I0000 00:00:1795.46 5491 port.cc:153] oneDNN custom operations are on.\n")
        os.write(2, b"E0000 00:00:1795.47 5491 port.cc:160] that is an error\n")
    os.write(2, b"afterwards\n")
    said = "E0000 00:00:1795.47 5491 port.cc:160] that is an error\nafterwards\n"
    assert capfd.readouterr().err == said


class Broken:
    """Stands first among the finders of modules: TensorFlow is there, and its import raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "tensorflow":
            raise self.error


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libfoo.so.1: cannot open shared object file", name="libfoo"),
        AttributeError("module 'numpy' has no attribute 'bool8'"),
        TypeError("Descriptors cannot be created directly.\nDowngrade protobuf."),
        SystemExit(3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_broken_tensorflow_is_said_once_and_passed_over(
    index, root, tmp_path, monkeypatch, capfd, error
):
    monkeypatch.setattr(sys, "meta_path", [Broken(error), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)

    def feed_by(name: str) -> Feed:
        config = config_of(root, name)
        return make_feed(index, make_sampler(index, config), config, tmp_path, HostRows())

    capfd.readouterr()
    auto, _ = feed_by("auto"), feed_by("auto")  # as `lupi train --trials` does
    why = f"TensorFlow (importing it raises {type(error).__name__}("
    said = capfd.readouterr().err
    assert said.startswith(
        f"note: data.feed = auto selects memmap here, because data.feed = 'tfdata' needs {why}"
    )
    assert said.count("\n") == 1
    assert_same(list(auto(0, 2)), list(feed_by("memmap")(0, 2)))
    with pytest.raises(InputError) as caught:
        next(feed_by("tfdata")(0, 1))
    assert str(caught.value).startswith(f"data.feed = 'tfdata' needs {why}")
    assert "\n" not in str(caught.value)


def test_the_tensorflow_feed_without_tensorflow_says_what_to_do(index, root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    feed = make_feed(
        index,
        make_sampler(index, config_of(root, "tfdata")),
        config_of(root, "tfdata"),
        tmp_path,
        HostRows(),
    )
    with pytest.raises(InputError, match=r"install 'lupi-jax\[data\]', or set data.feed to memmap"):
        next(feed(0, 1))
