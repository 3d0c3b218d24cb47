"""How far long work is, told to whoever shows it: `lupi_jax.runtime.terminal`, or nobody."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Advance = Callable[[int, int], None]
"""To be called with what is done so far and what there is in all."""

Show = Callable[[str], Advance]
"""Begins to show a piece of work, by what it is counted in."""

T = TypeVar("T")


def silent(what: str) -> Advance:
    """Shows nothing."""
    return lambda done, total: None


def counted(items: Iterable[T], advance: Advance, done: int, total: int) -> Iterator[T]:
    """The same items; each counts as done, beyond the `done` before, once the next is asked for."""
    for number, item in enumerate(items, done + 1):
        yield item
        advance(number, total)
