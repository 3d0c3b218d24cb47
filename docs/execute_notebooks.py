"""Execute the notebooks of the documentation and keep their outputs: `make notebooks`.

    python -m docs.execute_notebooks                    # all of docs/notebooks
    python -m docs.execute_notebooks docs/notebooks/own_data.ipynb

Each notebook is executed from top to bottom in a fresh kernel and written back in place.
"""

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parent / "notebooks"

LIMIT = 300_000
"""The most bytes that a notebook with its outputs may have."""


def execute(path: Path) -> NotebookNode:
    """The notebook with new outputs; the file stays unchanged.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell fails; the text says which and how.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False).execute()
    # The kernel's description of itself differs from machine to machine.
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata = {}
            cell.outputs = _joined(cell.outputs)
    return notebook


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs with the pieces of one stream joined, because the cuts are random."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == "stream" == last.output_type and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def main() -> int:
    """Execute the named notebooks, or all, and write them back."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks to execute (all)")
    for path in parser.parse_args().notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        start = time.perf_counter()
        text = nbformat.writes(execute(path)) + "\n"
        if len(text.encode()) > LIMIT:
            print(f"{path}: {len(text.encode())} bytes are more than {LIMIT}", file=sys.stderr)
            return 1
        path.write_text(text)
        print(f"{path}: {len(text.encode()) // 1000} kB, {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
