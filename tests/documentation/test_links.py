"""Links within the repository lead somewhere, and to a heading that is there."""

import json
import re
from pathlib import Path

import pytest
from pages import PAGES, ROOT, name_of, prose

NOTEBOOKS = tuple(sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")))
LINK = re.compile(r"\]\(([^)\s]+)\)")


def text_of(file: Path) -> str:
    """The Markdown of a page or of a notebook's cells, without code."""
    if file.suffix != ".ipynb":
        return prose(file.read_text())
    cells = json.loads(file.read_text())["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def anchors(file: Path) -> set[str]:
    """What headings are called in links, as GitHub and MyST make it of their text."""
    headings = re.findall(r"^#+ (.+)$", text_of(file), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in headings}


def broken(file: Path) -> list[str]:
    wrong = []
    for link in LINK.findall(text_of(file)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        fits = target.exists() and target.is_relative_to(ROOT)
        if not fits or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("file", [*PAGES, *NOTEBOOKS], ids=name_of)
def test_links_lead_somewhere(file):
    assert broken(file) == []


def test_a_link_to_nothing_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "other.md").write_text("## What it is, and is not\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#what-it-is-and-is-not) [c](https://example.org/x)\n"
        "[d](gone.md) [e](other.md#gone) [f](../page.md)\n"
    )
    assert broken(page) == ["gone.md", "other.md#gone", "../page.md"]
