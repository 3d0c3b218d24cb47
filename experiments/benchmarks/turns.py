"""Contestants that take turns, each in its own process, which waits while the other runs."""

import importlib
import multiprocessing as mp
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, NamedTuple


class Times(NamedTuple):
    """The time that a contestant took.

    Attributes:
      first: seconds of the first turn, which compiles.
      turns: seconds of each later turn.
      facts: facts that the contestant reports.
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
        turn()  # without timing, because memory and caches were the other's
        start = time.perf_counter()
        turn()
        parent.send(time.perf_counter() - start)


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `function`, computed in a process that frees the device's memory."""
    with ProcessPoolExecutor(1, mp.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def take_turns(
    contestants: Mapping[str, tuple[str, dict[str, Any]]], rounds: int
) -> dict[str, Times]:
    """Run each once, then `rounds` times in turns, in reverse order every second time.

    Before each turn that counts, the contestant runs the same once without timing.

    Args:
      contestants: {name: (dotted name of a function, its arguments)}. The function is called in a
        process of its own. It returns a turn, which is a callable that returns when the work is
        done, and facts.
      rounds: turns of each contestant that count.
    """
    context = mp.get_context("spawn")
    links: dict[str, Connection] = {}
    processes = []
    for name, (maker, arguments) in contestants.items():
        links[name], theirs = context.Pipe()
        process = context.Process(target=_serve, args=(maker, arguments, theirs))
        process.start()
        processes.append(process)
        theirs.close()  # so that this process sees the end of the other
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
