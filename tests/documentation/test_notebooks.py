"""The notebooks run from top to bottom, and are kept with what they gave."""

import os

import nbformat
import pytest
from pages import ROOT, name_of

from docs.execute_notebooks import LIMIT, NOTEBOOKS, execute

ALL = sorted(NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(autouse=True)
def _this_clone_and_few_threads(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


@pytest.mark.parametrize(
    "path",
    # A kernel starts and compiles for each; the one that uses most of the package stands for all.
    [
        pytest.param(p, marks=[pytest.mark.slow] * (p.stem != "own_data"), id=name_of(p))
        for p in ALL
    ],
)
def test_it_runs(path):
    kept, now = nbformat.read(path, as_version=4), execute(path)
    assert [kinds(cell) for cell in now.cells] == [kinds(cell) for cell in kept.cells]


def kinds(cell: nbformat.NotebookNode) -> list[str]:
    """What a cell gave, by kind: text on stdout, pictures. Talk on stderr may come or not."""
    found = []
    for output in cell.get("outputs", ()):
        if output.output_type == "stream" and output.name == "stdout":
            found.append("text")
        found += [kind for kind in output.get("data", ()) if kind.startswith("image/")]
    return found


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_it_is_kept_with_its_outputs_and_small(path):
    assert path.stat().st_size <= LIMIT
    code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    # Executed once, in a fresh kernel.
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error"]
