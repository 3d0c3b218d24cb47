"""Figures, how a part reports them, and the record that keeps them."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, TypeVar

Found = TypeVar("Found")


class NotPossibleError(Exception):
    """A part cannot run here; the text says why in one line."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """One measurement.

    Attributes:
      name: name of the figure, unique within its part.
      value: the number; None if it could not be measured, and `note` says why.
      unit: unit of the number.
      note: what else the reader needs.
      at_least: the target, if more is better.
      at_most: the target, if less is better.
      detail: lines to keep in the JSON file, not on the page.
    """

    name: str
    value: float | None
    unit: str = ""
    note: str = ""
    at_least: float | None = None
    at_most: float | None = None
    detail: tuple[str, ...] = ()

    @classmethod
    def read(cls, fields: dict[str, Any]) -> "Figure":
        """A figure from its fields as JSON holds them."""
        return cls(**{**fields, "detail": tuple(fields["detail"])})

    @property
    def target(self) -> str:
        """The target in words, "" without a target."""
        if self.at_least is not None:
            return f"at least {number(self.at_least)} {self.unit}".rstrip()
        if self.at_most is not None:
            return f"at most {number(self.at_most)} {self.unit}".rstrip()
        return ""

    @property
    def met(self) -> bool | None:
        """Whether the target was met; None without a target."""
        if not self.target:
            return None
        if self.value is None:
            return False
        low = -float("inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return low <= self.value <= high

    def __str__(self) -> str:
        text = "not measured" if self.value is None else f"{number(self.value)} {self.unit}"
        parts = [f"{self.name}: {text.rstrip()}"]
        if self.target:
            parts.append(f"target {self.target}, {'met' if self.met else 'missed'}")
        return "; ".join([*parts, self.note] if self.note else parts)


def number(value: float) -> str:
    """A number for people: four significant digits, whole numbers in full."""
    return f"{value:.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


_channel: TextIO | None = None  # None: standard output


def keep_channel() -> None:
    """Keep standard output for figures: everything else goes to standard error."""
    global _channel
    _channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)


def _hand_over(message: dict[str, Any]) -> None:
    print(json.dumps(message), file=_channel, flush=True)


def say(figure: Figure) -> None:
    """Hand a figure to the command, at once."""
    _hand_over(dataclasses.asdict(figure))


def say_fact(name: str, value: Any) -> None:
    """Hand a fact about the machine to the command."""
    _hand_over({"fact": name, "value": value})


def say_not_possible(why: str) -> None:
    """Tell the command that this part cannot run here."""
    _hand_over({"not_possible": why})


def attempt(name: str, measure: Callable[[], Found]) -> Found | None:
    """The result of `measure`. If it fails, a figure `name` says why, and the part continues."""
    try:
        return measure()
    except NotPossibleError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        say(Figure(name, None, note=f"{type(error).__name__}: {text[:300]}"))
        return None


class Record:
    """All that is known so far, kept in `gpu.json`.

    Attributes:
      facts: facts about the run: command, device, versions, date, ...
      parts: {name: {"status", "why", "seconds", "date", "figures"}}.
    """

    def __init__(self, path: Path) -> None:
        """Read `path` if it exists."""
        self.path = path
        known = json.loads(path.read_text()) if path.is_file() else {}
        self.facts: dict[str, Any] = known.get("facts", {})
        self.parts: dict[str, dict[str, Any]] = known.get("parts", {})

    def figures(self, part: str) -> list[Figure]:
        """The figures of a part, in their order."""
        found = self.parts.get(part, {}).get("figures", [])
        return [Figure.read(figure) for figure in found]

    def value(self, part: str, name: str) -> float | None:
        """One number, None if it is not known."""
        return next((f.value for f in self.figures(part) if f.name == name), None)

    def save(self) -> None:
        """Write the file, whole or not at all."""
        write(self.path, json.dumps({"facts": self.facts, "parts": self.parts}, indent=1) + "\n")


def write(path: Path, text: str) -> None:
    """Put a text file in place, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)
