"""A run that the tests of faults compare with."""

from pathlib import Path

import pytest
from twelve_steps import KEPT, steps_saved, train

from lupi_jax.cli import main


@pytest.fixture(scope="session")
def whole(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve steps without disturbance."""
    workdir = tmp_path_factory.mktemp("whole")
    assert main(train(people, workdir)) == 0
    assert steps_saved(workdir) == {*KEPT}
    return workdir
