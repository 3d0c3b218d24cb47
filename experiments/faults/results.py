"""Tables of results, in Markdown and as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lupi_jax.runtime.files import write_whole
from lupi_jax.training.run import versions

FOLDER = Path(__file__).parents[1] / "results"


def machine() -> str:
    """What the results were made with."""
    own = ", ".join(f"{name} {version}" for name, version in versions().items())
    return (
        f"{os.cpu_count()} CPU cores, {platform.machine()}, "
        f"Python {platform.python_version()}, {own}."
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(content: object) -> str:
    return str(content).replace("|", "\\|").replace("\n", " ")


def write_results(folder: Path, name: str, result: dict[str, Any], text: str) -> None:
    """Write `<name>.json` and `<name>.md` into a directory, and show the latter."""
    content = json.dumps({**result, "versions": versions()}, indent=1) + "\n"
    write_whole(folder / f"{name}.json", content)
    write_whole(folder / f"{name}.md", text)
    print(text)
