"""From pictures to features: accepted kinds give the right features, others are refused."""

import dataclasses
import io
import struct
import warnings
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import lupi_jax as lupi
from lupi_jax import InputError, Modality
from lupi_jax.config import Config, SourceConfig
from lupi_jax.data import read_image
from lupi_jax.evaluation import embedding
from lupi_jax.evaluation.extracting import _pixels
from lupi_jax.training import Run

SIZE = (48, 32)
CONFIG = Config(data=SourceConfig(image_size=SIZE))
MODEL = lupi.EmbedNet(4, backbone="thin", non_local=False, image_size=SIZE)


@pytest.fixture(scope="module")
def run(draw_variables) -> Run:
    return Run(MODEL, draw_variables(MODEL, SIZE), CONFIG, "step 3", 3, {})


@pytest.fixture(scope="module")
def extract(run) -> lupi.Extractor:
    return lupi.extractor(run, batch_size=4)


@pytest.fixture
def pixels() -> np.ndarray:
    """Of another size and shape than the network's."""
    return np.random.default_rng(1).integers(0, 256, (61, 37, 3), np.uint8)


@pytest.fixture
def file(tmp_path, pixels) -> Path:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_a_file_an_image_and_its_pixels_give_the_same_bits(run, extract, file, pixels):
    given = [file, str(file), Image.open(file), Image.fromarray(pixels), pixels, jnp.array(pixels)]
    found = extract(given, Modality.INFRARED)
    assert found.shape == (6, MODEL.features)
    assert found.dtype == np.float32
    assert type(found) is np.ndarray
    assert all(np.array_equal(row, found[0]) for row in found)
    image = read_image(file, SIZE)[None]
    own = lupi.extract_features(MODEL, run.variables, image, Modality.INFRARED)
    np.testing.assert_allclose(found[0], own[0], atol=2e-6)
    pooled = lupi.extract_features(MODEL, run.variables, image, Modality.INFRARED, "pooled")
    found = extract([file], "infrared", feature="pooled")
    np.testing.assert_allclose(found, pooled, atol=2e-6)
    visible = lupi.extract_features(MODEL, run.variables, image, Modality.VISIBLE)
    np.testing.assert_allclose(extract([pixels], "visible"), visible, atol=2e-6)


def test_a_photograph_is_turned_in_a_file_and_in_memory(extract, tmp_path, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    upright = np.rot90(pixels, -1)
    found = extract([tmp_path / "a.png", Image.open(tmp_path / "a.png"), upright], "visible")
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[2])
    assert np.abs(found[0] - extract([pixels], "visible")).max() > 1e-3


def test_bgr_is_of_arrays_in_colour_alone(extract, file, pixels):
    right, grey = extract([pixels, pixels[..., 0]], "visible")
    given = [file, Image.open(file), pixels[..., ::-1], pixels[..., 0]]
    found = extract(given, "visible", bgr=True)
    for row, expected in zip(found, (right, right, right, grey), strict=True):
        np.testing.assert_array_equal(row, expected)
    wrong = extract([pixels], "visible", bgr=True)[0]
    assert np.abs(wrong - right).max() > 1e-3


def test_grey_images_are_three_equal_channels(extract, tmp_path, pixels):
    grey = np.stack([pixels[..., 0], pixels[..., 1]])
    expected = extract(grey[..., None].repeat(3, axis=-1), "infrared")
    Image.fromarray(grey[0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(extract([tmp_path / "grey.png"], "infrared")[0], expected[0])
    for given in (grey, grey[..., None], list(grey), [grey[0], grey[1][..., None]]):
        np.testing.assert_array_equal(extract(given, "infrared"), expected)


def test_one_program_serves_any_number_of_any_size(extract):
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (h, 40, 3), np.uint8) for h in (20, 31, 48, 90, 200, 33, 34)]
    before = embedding._embed._cache_size()
    whole = extract(images, "visible")
    one_by_one = np.concatenate([extract([image], "visible") for image in images])
    np.testing.assert_array_equal(whole, one_by_one)
    assert embedding._embed._cache_size() - before <= 1


@pytest.mark.parametrize("empty", [[], (), np.empty((0, 5, 5, 3), np.uint8), np.array([])])
def test_nothing_gives_no_features(extract, empty):
    found = extract(empty, "visible")
    assert (found.shape, found.dtype) == ((0, MODEL.features), np.float32)


def test_a_table_of_paths_or_a_generator_is_a_sequence(extract, file):
    expected = extract([file, file], "visible")
    for given in (np.array([str(file)] * 2), np.array([file] * 2, object), iter([file, file])):
        np.testing.assert_array_equal(extract(given, "visible"), expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((9, 9, 3), np.float32), "image 1 is float32, whose range is not known"),
        (np.zeros((9, 9, 3), np.int64), "image 1 is int64, whose"),
        (np.zeros((9, 9), np.uint16), "image 1 is uint16, whose"),
        (np.zeros((9, 9), bool), "image 1 is bool, whose"),
        (np.zeros((9, 9, 4), np.uint8), r"\(9, 9, 4\): leave out .* image\[..., :3\], or .* PIL"),
        (np.zeros((3, 9, 9), np.uint8), r"\(3, 9, 9\): put the channels last, image.transpose"),
        (np.zeros((9, 9, 2), np.uint8), r"\(9, 9, 2\): give \[h, w, 3\], or grey \[h, w\]"),
        (np.zeros((1, 9, 9, 3), np.uint8), r"\(1, 9, 9, 3\): give \[h, w, 3\]"),
        (np.zeros((0, 9, 3), np.uint8), r"image 1 has shape \(0, 9, 3\)"),
        (b"\x89PNG", "image 1 is a bytes: give a path, a PIL image or a uint8 array"),
        (None, "image 1 is a NoneType"),
        ("gone.png", r"gone\.png: no such file"),
        (Image.new("I;16", (9, 9)), "image 1: more than 8 bits per channel"),
    ],
)
def test_what_nobody_can_know_is_refused_by_its_place(extract, image, message):
    with pytest.raises(ValueError, match=message):
        extract([np.zeros((9, 9, 3), np.uint8), image], "visible")


@pytest.mark.parametrize("shape", [(9, 9), (9, 9, 3), (9, 9, 1), (9, 9, 4), (1, 2, 9, 9, 3)])
def test_one_array_is_all_images_or_refused(extract, shape):
    with pytest.raises(ValueError, match=r"images must be a sequence, or an array .* \[image\]"):
        extract(np.zeros(shape, np.uint8), "visible")


def test_one_image_is_no_sequence(extract, file):
    for given in (file, str(file), Image.open(file), b"a.png"):
        with pytest.raises(ValueError, match=r"give one image as \[image\]"):
            extract(given, "visible")


def test_channels_first_and_floats_in_one_array_are_refused(extract):
    with pytest.raises(ValueError, match=r"image 0 has shape \(3, 9, 9\): put the channels last"):
        extract(np.zeros((2, 3, 9, 9), np.uint8), "visible")
    with pytest.raises(ValueError, match="image 0 is float64"):
        extract(np.zeros((2, 9, 9, 3)), "visible")


def test_a_damaged_image_in_memory_is_named(extract, tmp_path, file):
    (tmp_path / "cut.png").write_bytes(file.read_bytes()[:-3000])
    with pytest.raises(InputError, match="image 1 cannot be decoded"):
        extract([file, Image.open(tmp_path / "cut.png")], "visible")


def test_modalities_are_what_cameras_give_and_the_network_has(run, extract, pixels):
    with pytest.raises(ValueError, match=r"visible or infrared, not .*intermediate.* of visible"):
        extract([pixels], Modality.INTERMEDIATE)
    with pytest.raises(ValueError, match="visible or infrared, not 'thermal'"):
        extract([pixels], "thermal")
    params = {k: v for k, v in run.variables["params"].items() if k != "stem_infrared"}
    lacking = dataclasses.replace(run, variables={**run.variables, "params": params})
    with pytest.raises(ValueError, match="visible and intermediate images and cannot embed infra"):
        lupi.extractor(lacking)([pixels], "infrared")
    with pytest.raises(ValueError, match="feature must be neck or pooled, not 'logits'"):
        extract([pixels], "visible", feature="logits")


def test_an_extractor_of_a_run_is_the_network_of_its_checkpoint(
    save_run, write_layout, tmp_path, pixels
):
    two = {"1": 1, "2": 1}
    root = write_layout(tmp_path / "own", {"train": {"visible": two, "infrared": two}})
    model = {"backbone": "thin", "non_local": False}
    data = {"root": str(root), "image_size": list(SIZE)}
    config = lupi.parse_config({"steps": 2, "data": data, "model": model})
    for step in (1, 2):
        save_run(tmp_path / "run", config, step, 2, key=step)
    newest = lupi.extractor(tmp_path / "run")
    first = lupi.extractor(tmp_path / "run", checkpoint=1)
    assert repr(newest) == "Extractor(step 2, 48 x 32 pixels)"
    found = newest([pixels], "visible")
    assert np.abs(found - first([pixels], "visible")).max() > 1e-3
    network, variables = lupi.load(str(tmp_path / "run"))
    assert network.image_size == SIZE
    image = np.asarray(Image.fromarray(pixels).resize(SIZE[::-1], Image.Resampling.LANCZOS))
    own = lupi.extract_features(network, variables, image[None], Modality.VISIBLE)
    np.testing.assert_allclose(found, own, atol=2e-6)
    with pytest.raises(ValueError, match="this network was trained at 48 x 32"):
        lupi.extract_features(network, variables, pixels[None], Modality.VISIBLE)
    with pytest.raises(InputError, match="no checkpoint under"):
        lupi.extractor(tmp_path / "nothing")
    with pytest.raises(ValueError, match="batch_size must be positive"):
        lupi.extractor(tmp_path / "run", batch_size=0)
    with pytest.raises(ValueError, match="checkpoint and untrained apply only to a directory"):
        lupi.extractor(newest.run, checkpoint="best")
    workers = {"data.workers": 2}
    assert lupi.extractor(newest.run, overrides=workers).run.config.data.workers == 2
    with pytest.raises(InputError, match=r"^data.image_size: cannot change for a trained network"):
        lupi.extractor(tmp_path / "run", overrides={"data.image_size": (64, 32)})


def test_an_image_of_a_format_that_paths_do_not_have_is_refused(tmp_path):
    """Pillow would start Ghostscript to load the first."""
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    with Image.open(tmp_path / "a.eps") as image, pytest.raises(InputError, match="format EPS"):
        _pixels("image 1", image, (32, 16), False)


def write_deep(file: Path, colour: int) -> None:
    """A PNG of 16 bits per channel, which Pillow itself does not write in colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", 4, 6, 16, colour, 0, 0, 0)
    channels = {2: 3, 4: 2, 6: 4}[colour]
    rows = zlib.compress((b"\0" + bytes(range(8)) * channels) * 6)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


@pytest.mark.parametrize("colour", [2, 4, 6])
@pytest.mark.parametrize("loaded", [True, False])
def test_an_image_of_16_bits_is_refused_whether_it_is_loaded_or_not(
    extract, tmp_path, colour, loaded
):
    write_deep(tmp_path / "deep.png", colour)
    for source in (tmp_path / "deep.png", io.BytesIO((tmp_path / "deep.png").read_bytes())):
        image = Image.open(source)
        if loaded:
            image.load()
        with pytest.raises(InputError, match="image 0: more than 8 bits per channel"):
            extract([image], "visible")


def test_a_loaded_image_of_8_bits_is_taken_even_where_its_file_is_gone(extract, tmp_path, pixels):
    file = tmp_path / "plain.png"
    Image.fromarray(pixels).save(file)
    image = Image.open(file)
    image.load()
    file.unlink()
    np.testing.assert_array_equal(extract([image], "visible"), extract([pixels], "visible"))


def test_pictures_that_do_not_look_like_their_modality_are_noted(extract, pixels):
    grey = pixels[..., 0]
    with pytest.warns(UserWarning, match="1 of 2 images look coloured, .* infrared stem: if they"):
        extract([pixels, grey], "infrared")
    with pytest.warns(UserWarning, match="all of 1 image look grey, .* if they are infrared, say"):
        extract([grey], "visible")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extract([pixels, grey], "visible")
        extract([grey], "infrared")
