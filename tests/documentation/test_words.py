"""Habits that `docs/contributing.md` speaks of stay out of texts, and README stays short."""

from pathlib import Path

import pytest
from pages import PAGES, ROOT, name_of
from words import HABITS, findings, in_markdown, in_notebook, in_python

WORDS_OF_README = 700
CHECKED = (
    "experiments",
    "configs",
    "docs",
    "lupi_jax",
)
"""Folders whose Python files are checked."""

FILES = (
    *PAGES,
    ROOT / "CITATION.cff",
    *sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")),
    *sorted((ROOT / "experiments").rglob("*.md")),
    *sorted(file for folder in CHECKED for file in (ROOT / folder).rglob("*.py")),
    *sorted((ROOT / "lupi_jax").glob("*.py")),
)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_the_words_are_plain(file: Path):
    found = findings(file)
    assert not found, "\n" + "\n".join(found)


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= WORDS_OF_README


@pytest.mark.parametrize(
    ("habit", "text"),
    [
        ("is none", "None where there is none."),
        ("is no X", "a file that is no\n  image"),
        ("has none", "a ResNet-18 has none"),
        ("a for per", "a network with a stem a modality"),
        ("a for per", "16 x 2 images\na modality, 80 x 40 pixels"),
        ("a for per", "| seconds a step |"),
        ("a for per", "3 µs a message"),
        ("that of", "the rate is that of the trunk"),
        ("as X have it", "erased as the released code has it"),
        ("hold against", "numbers to hold the network against"),
        ("within reach", "the data are not within reach"),
        ("of which, of whom", "people whom nobody named"),
        ("but for", "the same but for its length"),
        ("wants", "It wants 16 training identities"),
    ],
)
def test_a_habit_is_found_by_its_name(habit, text):
    assert [name for _, name, _ in in_markdown(text)] == [habit]


def test_every_habit_has_a_pattern_that_a_test_knows():
    marks = test_a_habit_is_found_by_its_name.pytestmark
    assert {case[0] for mark in marks for case in mark.args[1]} == HABITS.keys()


@pytest.mark.parametrize(
    "text",
    [
        "It is no longer there, and there is no need to wait.",
        "A run names a device, a step is one update, 0 is a person.",
        "Two lists share a person; where a row has an image, a line says so.",
        "one stem per modality, 22 ms per step",
        "It holds the lock. A second training runs against it.",
        "A word in **bold** within a sentence.",
        "`is none` and\n\n```text\nis none\n```\n",
        "| before | after |\n|---|---|\n| that of the trunk | the trunk's |\n",
    ],
)
def test_plain_words_pass(text):
    assert list(in_markdown(text)) == []


def test_a_paragraph_that_opens_in_bold_is_found():
    text = "# Title\n\n**Leaving.** The network.\n\n- **Speed** of it.\n\nIt is **bold**.\n"
    assert [(line, name) for line, name, _ in in_markdown(text)] == [
        (3, "bold lead"),
        (5, "bold lead"),
    ]


def test_python_is_read_in_strings_docstrings_and_comments():
    code = '''
"""Done."""

def f(x):
    """First.

    Args:
      x: of a run.
    """
    is_none = x  # there
    # is none
    print(f"{x} is no number", "that " "of")
    add(help="of a run")
    add(help=f"of {x}")
    add("of a run", help="directory of the run")
    field(1, "Of a run.")
'''
    assert [(line, name) for line, name, _ in sorted(in_python(code))] == [
        (8, "attribute without a noun"),
        (11, "is none"),
        (12, "is no X"),
        (12, "that of"),
        (13, "help without a noun"),
        (14, "help without a noun"),
        (16, "help without a noun"),
    ]


def test_a_notebook_s_markdown_is_read_with_the_number_of_the_cell():
    text = (
        '{"cells": [{"cell_type": "code", "source": ["is none"]},'
        ' {"cell_type": "markdown", "source": ["There\\n", "is none."]}]}'
    )
    assert list(in_notebook(text)) == [(1, "is none", "There is none.")]


def test_a_finding_names_file_line_habit_and_text(tmp_path):
    file = tmp_path / "page.md"
    file.write_text("Yes.\n\nThe rate is that of the trunk.\n")
    assert findings(file) == [f"{file}:3: that of: Yes. The rate is that of the trunk."]
