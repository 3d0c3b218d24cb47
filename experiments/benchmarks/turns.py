"""Contestants that take turns, each in a process of its own that waits while the other runs."""

import importlib
import multiprocessing as mp
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, NamedTuple


class Times(NamedTuple):
    """What a contestant took.

    Attributes:
      first: seconds of its first turn, which compiles.
      turns: seconds of each later turn.
      facts: what it says of itself.
    """

    first: float
    turns: list[float]
    facts: dict[str, Any]


def _serve(maker: str, arguments: dict[str, Any], parent: Connection) -> None:
    module, name = maker.rsplit(".", 1)
    turn, facts = getattr(importlib.import_module(module), name)(**arguments)
    start = time.perf_counter()
    turn()
    parent.send((facts, time.perf_counter() - start))
    while parent.recv():
        turn()  # not timed: memory and caches were the other's
        start = time.perf_counter()
        turn()
        parent.send(time.perf_counter() - start)


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` gives, computed where it leaves no device's memory taken."""
    with ProcessPoolExecutor(1, mp.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def take_turns(
    contestants: Mapping[str, tuple[str, dict[str, Any]]], rounds: int
) -> dict[str, Times]:
    """Let each run once, then `rounds` times in turn, in reverse order every second time.

    Before each turn that counts the same is done once without being timed.

    Args:
      contestants: {name: (dotted name of a function, its arguments)}; called in a process of its
        own, the function gives what a turn is, a callable that returns when all is done, and facts.
      rounds: turns of each that count.
    """
    context = mp.get_context("spawn")
    links: dict[str, Connection] = {}
    processes = []
    for name, (maker, arguments) in contestants.items():
        links[name], theirs = context.Pipe()
        process = context.Process(target=_serve, args=(maker, arguments, theirs))
        process.start()
        processes.append(process)
        theirs.close()  # so that the end of the process is seen here
    try:
        begun = {name: link.recv() for name, link in links.items()}

        def turn(name: str) -> float:
            links[name].send(True)
            return links[name].recv()

        turns: dict[str, list[float]] = {name: [] for name in links}
        for number in range(rounds):
            for name in list(links)[:: -1 if number % 2 else 1]:
                turns[name].append(turn(name))
        return {name: Times(begun[name][1], turns[name], begun[name][0]) for name in links}
    finally:
        for process in processes:
            process.terminate()
            process.join()
