"""Report the progress of long work, which `lupi_jax.runtime.terminal` can show."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Advance = Callable[[int, int], None]
"""Function to call with the count done so far and the total count."""

Show = Callable[[str], Advance]
"""Function that begins to show a piece of work, given the unit that it is counted in."""

T = TypeVar("T")


def silent(what: str) -> Advance:
    """Show nothing."""
    return lambda done, total: None


def counted(items: Iterable[T], advance: Advance, done: int, total: int) -> Iterator[T]:
    """Pass on the items. Each counts as done, after `done` earlier ones, when the next is taken."""
    for number, item in enumerate(items, done + 1):
        yield item
        advance(number, total)
