"""README and the guides as what a test can ask of them: their fenced blocks, and names in code.

Comments directly above a fence, invisible to a reader, say what a test needs to know of a block:

    <!-- not run: REASON -->    it is parsed only
    <!-- given: COMMAND -->     run before it; what the text says is there
    <!-- with: ARGUMENTS -->    put after each `lupi train`, as the data are tiny
    <!-- file: NAME -->         the block is written to that file, as the text says
"""

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
COMMANDS, PYTHON = "sh", "python"
# Directory trees, tables, formulas and citations, and what Sphinx alone understands.
OTHER = ("text", "bibtex", "{toctree}", "{eval-rst}")

_COMMENT = re.compile(r"<!-- (not run|given|with|file): (.*) -->")
_FENCE = re.compile(r"```(\S*)")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
      line: line of the fence.
      language: word after the fence.
      text: text between the fences.
      reason: why it is not run, or "".
      given: shell commands to run before it.
      extra: arguments put after each `lupi train`.
      file: name of the file that holds the block, or "" for a block that is run.
    """

    line: int
    language: str
    text: str
    reason: str = ""
    given: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    file: str = ""

    @property
    def commands(self) -> list[str]:
        """Its lines, those that a backslash continues put together, without empty ones."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if shlex.split(line, comments=True)]


def read_blocks(text: str) -> list[Block]:
    """All fenced blocks.

    Raises:
      ValueError: a fence is not closed, or a comment for a block stands elsewhere.
    """
    blocks, notes = [], []
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        comment, fence = _COMMENT.fullmatch(line), _FENCE.match(line)
        if comment:
            notes.append((comment[1], comment[2]))
        elif fence:
            inside = list(_until_closed(lines, number))
            blocks.append(_block(number, fence[1], "\n".join(inside), notes))
            notes = []
        elif notes:
            raise ValueError(f"line {number}: comments for a block, but no block below them")
    return blocks


def _until_closed(lines: Iterator[tuple[int, str]], opened: int) -> Iterator[str]:
    for _, line in lines:
        if line == "```":
            return
        yield line
    raise ValueError(f"line {opened}: this fence is not closed")


def _block(number: int, language: str, text: str, notes: list[tuple[str, str]]) -> Block:
    def of(kind: str) -> list[str]:
        return [value for name, value in notes if name == kind]

    return Block(
        line=number,
        language=language,
        text=text,
        reason=" ".join(of("not run")),
        given=tuple(of("given")),
        file=" ".join(of("file")),
        extra=tuple(word for value in of("with") for word in shlex.split(value)),
    )


def lupi_arguments(command: str) -> list[str] | None:
    """What `lupi` is given on a line, if it is on it at all, as by itself or after `srun`."""
    words = shlex.split(command, comments=True)
    return words[words.index("lupi") + 1 :] if "lupi" in words else None


def declared(field: str) -> str:
    """The declared field behind a name; any FIELD_settings.NAME is one of FIELD_settings."""
    return re.sub(r"(?<=_settings)\..*", "", field)


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def inline_code(text: str) -> list[str]:
    """What stands between single backticks in the prose."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(text))]


def name_of(page: Path) -> str:
    """What a test calls a page."""
    return page.relative_to(ROOT).as_posix()
