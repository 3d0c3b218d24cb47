"""Patterns for the habits that `docs/contributing.md` speaks of, and where they may stand."""

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from pages import ROOT

_EACH = (
    "batch|camera|channel|class|device|direction|epoch|feature|host|identity|image|kernel|level|line|"
    "link|machine|message|method|minute|modality|network|node|pair|person|process|program|query|row|"
    "run|second|seed|side|split|stem|step|table|task|trial|user"
)
_COUNTED = (
    "batches|bytes|cells|draws|epochs|files|hours|identities|images|lines|minutes|people|pixels|"
    "places|queries|rows|runs|seconds|seeds|steps|stems|times|views|MB|MiB|KB|kB|GB|GiB|s|ms|µs"
)
_NUMBER = r"(?:one|two|three|four|five|eight|ten|\d[\d.,]*)"
# "1 is a person" and "where a row has" are no rates.
_NOT_COUNTED = "against|and|as|at|by|for|from|has|have|if|in|is|of|on|or|than|to|where|with"
_NOT_A_VERB = r"(?! (?!as\b|is\b|this\b)[a-z]+s\b|')"

HABITS = {
    "is none": r"\b(?:is|are|was|were|be) none\b",
    "is no X": r"\b(?:is|are|was|were) no (?!longer\b|more\b|less\b|need\b|other\b|way\b)[a-z]",
    "has none": r"\b(?:has|have|had|gives?|needs?) none\b",
    "a for per": (
        rf"\b(?:(?:{_NUMBER}|an?) (?!(?:{_NOT_COUNTED})\b)[a-z]+|{_COUNTED})"
        rf" an? (?:{_EACH})\b{_NOT_A_VERB}"
    ),
    "that of": r"\b(?:that|those) of\b",
    "as X have it": r"\bas (?:[\w']+ ){1,3}(?:have|has|had) it\b",
    "hold against": r"\b(?:hold|holds|held|holding) [^.:;|]{0,30}?against\b",
    "within reach": r"\bwithin reach\b",
    "of which, of whom": r"\bof (?:which|whom)\b|\bwhom nobody\b",
    "but for": r"\bbut for\b",
    "wants": r"\bwants (?:a|an|one|two|\d+|at least)\b",
}
"""{habit: pattern}; a space stands for any white space."""

LEAD = re.compile(r"^(?:[-*] +|\d+\. +)?\*\*[^*]+\*\*", re.MULTILINE)
"""A paragraph or an item that opens in bold: a heading, or an ordinary word, is better."""

_HELP = re.compile(r"(?:of|in|on|at|by|for) ", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"^ +\w+: of ", re.MULTILINE)
_PATTERNS = {name: re.compile(text.replace(" ", r"\s+")) for name, text in HABITS.items()}

Finding = tuple[int, str, str]
"""A line of a text, counted from 1; the habit; what stands there."""


def habits_of(text: str, line: int = 1) -> Iterator[Finding]:
    """What the patterns find in a text that begins on a line of its file."""
    for name, pattern in _PATTERNS.items():
        for match in pattern.finditer(text):
            yield _finding(text, line, name, match)


def _finding(text: str, line: int, name: str, match: re.Match[str]) -> Finding:
    around = text[max(0, match.start() - 20) : match.end() + 20]
    return line + text.count("\n", 0, match.start()), name, " ".join(around.split())


def in_markdown(text: str) -> Iterator[Finding]:
    """Findings outside fences, code, addresses of links and tables of before and after."""
    text = re.sub(r"^```.*?^```$", _blank, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^\| before \| after \|\n(?:\|.*\n)*", _blank, text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]+`|\]\([^)]+\)", _blank, text)
    yield from habits_of(text)
    for match in LEAD.finditer(text):
        yield _finding(text, 1, "bold lead", match)


def _blank(match: re.Match[str]) -> str:
    """As many lines, and one word that no pattern knows."""
    return "CODE" + "\n" * match[0].count("\n")


def in_notebook(text: str) -> Iterator[Finding]:
    """Findings in Markdown cells; the line is the cell's number."""
    for number, cell in enumerate(json.loads(text)["cells"]):
        if cell["cell_type"] == "markdown":
            for _, name, what in in_markdown("".join(cell["source"])):
                yield number, name, what


def in_python(text: str) -> Iterator[Finding]:
    """Findings in strings, docstrings and comments; help texts and attributes without a noun."""
    for line, comment in _comments(text):
        yield from habits_of(comment, line)
    inner = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in node.values}
            yield from habits_of("".join(map(_shown, node.values)), node.lineno)
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner
        ):
            yield from habits_of(node.value, node.lineno)
            for match in _ATTRIBUTE.finditer(node.value):
                yield _finding(node.value, node.lineno, "attribute without a noun", match)
        elif isinstance(node, ast.keyword) and node.arg == "help":
            yield from _helpless(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "field":
            yield from _helpless(*node.args[1:2])


def _helpless(*values: ast.expr) -> Iterator[Finding]:
    for value in values:
        parts = value.values if isinstance(value, ast.JoinedStr) else [value]
        text = "".join(map(_shown, parts))
        if _HELP.match(text):
            yield value.lineno, "help without a noun", text[:40]


def _shown(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "VALUE"


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Blocks of comments in lines that follow one another, each with its first line."""
    first, lines = 0, []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        if lines and token.start[0] != first + len(lines):
            yield first, "\n".join(lines)
            lines = []
        first = first if lines else token.start[0]
        lines.append(token.string.lstrip("# "))
    if lines:
        yield first, "\n".join(lines)


def findings(file: Path) -> list[str]:
    """`FILE:LINE: HABIT: TEXT` for each habit in a file."""
    readers = {".md": in_markdown, ".ipynb": in_notebook, ".py": in_python}
    read = readers.get(file.suffix, habits_of)
    name = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
    return [f"{name}:{line}: {habit}: {what}" for line, habit, what in read(file.read_text())]
