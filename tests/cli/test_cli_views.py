"""Runs with views of a user's own, from a directory outside of the clone."""

import functools
import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import CONFIGS, train_own

from lupi_jax.cli import main
from lupi_jax.modality import Modality

EXAMPLE = CONFIGS.parent / "docs/examples/infrared_gamma.py"
BENT = ("--config.views.extra=infrared_gamma:bend_infrared",)
RED = ("--config.views.intermediate=red_images:red",)
CODE = """
import jax.numpy as jnp

def red(key, image):
    return jnp.broadcast_to(image[..., :1], image.shape)
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with the modules, from which commands run."""
    directory = tmp_path / "mine"
    directory.mkdir()
    shutil.copy(EXAMPLE, directory)
    (directory / "red_images.py").write_text(CODE)
    monkeypatch.chdir(directory)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield directory
    forget()


def forget() -> None:
    """Make Python look for the modules again, as another process would."""
    for name in ("infrared_gamma", "red_images"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def test_the_example_bends_infrared_within_its_strength(directory, monkeypatch):
    monkeypatch.syspath_prepend(directory)
    bend = importlib.import_module("infrared_gamma").bend_infrared
    image = np.full((2, 2, 3), 63.75, np.float32)  # a quarter of the range
    key = jax.random.key(0)
    np.testing.assert_array_equal(bend(key, image, Modality.VISIBLE), image)
    made = jax.vmap(lambda k: bend(k, image, Modality.INFRARED, strength=np.log(2)))(
        jax.random.split(key, 500)
    )
    # The power lies between 1/2 and 2, so grey between 255 / 2 and 255 / 16.
    assert made.min() == pytest.approx(15.94, rel=0.02)
    assert made.max() == pytest.approx(127.5, rel=0.02)
    assert np.median(made) == pytest.approx(63.75, rel=0.1)


def test_a_view_that_cannot_be_used_is_refused_before_a_run_begins(own, refused):
    message = refused(*train_own(own, "--config.views.extra=nowhere:view"))
    assert message.startswith("views.extra = nowhere:view: no module nowhere: run the")
    message = refused(*train_own(own, *BENT, "--config.views.extra_settings.power=2"))
    assert message.startswith(
        "views.extra = infrared_gamma:bend_infrared takes (key, image, modality, strength) and "
        "gets 3 inputs, got an unexpected keyword argument 'power'"
    )
    message = refused(*train_own(own, "--config.views.intermediate=infrared_gamma:bend_infrared"))
    assert "gets 2 inputs, missing a required argument: 'modality'" in message
    message = refused(*train_own(own, "--config.views.extra_settings.power=2"))
    assert message == "config: views.extra_settings needs a part of your own in views.extra"
    message = refused(*train_own(own, "--config.views.intermediate=channel"))
    assert message.endswith(
        "is not one of random_channel, luma, channel_exchange, adaptive, or MODULE:NAME of your own"
    )
    assert not (own.parent / "run").exists()


def test_a_run_with_views_of_one_s_own_is_trained_and_evaluated(
    directory, own, tmp_path, monkeypatch, refused, capfd
):
    for folder in [*own.glob("test/*/*")]:
        folder.rename(folder.with_name(f"4{folder.name}"))  # others than those in training
    monkeypatch.syspath_prepend(directory)
    example, bent = importlib.import_module("infrared_gamma"), []
    bend = example.bend_infrared

    @functools.wraps(bend)
    def noted(key, image, modality, strength=0.0):
        bent.append((modality, image.shape, strength))
        return bend(key, image, modality, strength)

    monkeypatch.setattr(example, "bend_infrared", noted)
    views = (*BENT, "--config.views.extra_settings.strength=0.25", *RED)
    assert main(train_own(own, "--config.steps=2", *views)) == 0
    assert set(bent) == {(m, (32, 32, 3), 0.25) for m in Modality}
    run = ["--workdir", str(own.parent / "run")]
    pairs = "--config.evaluation.pairs=('infrared_to_intermediate',)"
    bent.clear()
    capfd.readouterr()
    assert main(["evaluate", *run, pairs]) == 0
    assert "intermediate" in capfd.readouterr().out
    assert bent == []  # only training needs it

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(directory)])
    forget()
    for command in (["evaluate", *run, pairs], ["report", *run, "--out", "report.html"]):
        message = refused(*command)
        assert message.startswith("views.intermediate = red_images:red: no module")
    assert list(elsewhere.iterdir()) == []
    # No pair of this evaluation needs an intermediate image, and none needs `views.extra`.
    assert main(["evaluate", *run]) == 0
