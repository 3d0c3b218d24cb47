"""The site builds without a warning, and has what it is for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT

from docs.config_fields import PAGE, page
from lupi_jax.config import field_types


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", "-d", folder / "doctrees"]
    done = subprocess.run(
        [*command, "docs", folder / "html"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_the_reference_has_public_functions_and_every_field(site):
    losses = (site / "api" / "losses.html").read_text()
    assert 'id="lupi_jax.losses.dual_triplet"' in losses
    training = (site / "api" / "training.html").read_text()
    assert 'id="lupi_jax.training.train"' in training
    fields = (site / "guides" / "configuration.html").read_text()
    assert [name for name in field_types() if f">{name}<" not in fields] == []


def test_notebooks_are_shown_with_their_pictures(site):
    assert "<img" in (site / "notebooks" / "intermediate_domain.html").read_text()


def test_links_out_of_the_site_are_names(site):
    page = (site / "guides" / "clusters.html").read_text()
    assert "experiments/launch/slurm.sbatch" in page
    assert 'href="../../experiments' not in page


def test_the_page_of_fields_is_what_the_code_says():
    assert PAGE.read_text() == page(), "run: python -m docs.config_fields"


def test_the_page_of_fields_gives_their_types_defaults_and_recipes():
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| (.*) \|$", page(), re.MULTILINE))
    assert list(rows) == list(field_types())
    assert rows["loss.triplet"].startswith(
        "`sum`; released, baseline: `mean`; agw: `weighted_regularized` | Triplet loss. "
    )
    assert rows["loss.margin"] == (
        "`0.3` | Margin of the triplet losses. | a number, must not be negative"
    )
    assert rows["log.keep"].endswith("must be positive; may change when a run is resumed")
    assert "\n## `optimizer`\n\nThe optimiser, with two learning rates" in page()
