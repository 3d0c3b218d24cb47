"""The part with plain PyTorch: three forms of its training, next to ours."""

import importlib.util
from typing import Any

from experiments.benchmarks.turns import in_own_process
from experiments.gpu.commands import END_TO_END
from experiments.gpu.compute import EXTRACTION, median_turn, rate_name
from experiments.gpu.figures import Figure, NotPossibleError, attempt, say
from experiments.gpu.setup import Setup

FORMS = {
    "eager": "eager, TF32",
    "autocast": "channels last, bfloat16 autocast",
    "compiled": "torch.compile of channels last, bfloat16 autocast",
}
RACES = (
    ("step", "eager"),
    ("step", "autocast"),
    ("end_to_end", "eager"),
    ("end_to_end", "autocast"),
    ("extraction", "eager"),
    ("step", "compiled"),
    ("end_to_end", "compiled"),
)
"""What is timed, in this order, because compiling may take long."""


def peers(setup: Setup) -> None:
    """Measure the peer's step, training in each form, and extraction; compare with earlier parts.

    Raises:
      NotPossibleError: PyTorch is not installed, or sees no GPU.
    """
    if importlib.util.find_spec("torch") is None:
        raise NotPossibleError("PyTorch is not installed")
    if not setup.tiny and in_own_process(_device) != "cuda":
        raise NotPossibleError("PyTorch is installed, and sees no GPU")
    for what, form in RACES:
        name = f"{what.replace('_', ' ')}: {FORMS[form]}"

        def race(what: str = what, form: str = form, name: str = name) -> None:
            rate = _rate(setup, what, form)
            say(Figure(name, rate, "images/s"))
            _say_ratios(setup, what, form, name, rate)

        attempt(name, race)


def _rate(setup: Setup, what: str, form: str) -> float:
    sizes = setup.sizes
    if what == "extraction":
        arguments: dict[str, Any] = {"count": sizes.extracted}
        images = sizes.extracted
    else:
        backend = "eager" if setup.tiny else "inductor"
        arguments = {"steps": sizes.steps, "form": form, "backend": backend}
        images = 3 * sizes.work.rows * sizes.steps
    return images / in_own_process(_time, what, {"work": sizes.work, **arguments}, sizes.rounds)


def _say_ratios(setup: Setup, what: str, form: str, name: str, rate: float) -> None:
    """Say our rates over the peer's, if an earlier part has found ours."""
    trained = ("end_to_end", END_TO_END.format(feed="memmap"))
    mine = {
        "step": ("step", rate_name(setup.sizes.work)),
        "end_to_end": trained,
        "extraction": ("extraction", EXTRACTION.format(dtype="bfloat16", precision="default")),
    }
    pairs = [(mine[what], 4.0 if (what, form) == ("end_to_end", "eager") else None)]
    if (what, form) == ("step", "autocast"):
        pairs.append((trained, 2.3))
    for (part, figure), target in pairs:
        known = setup.known(part, figure)
        if known is not None:
            title = f"ours ({part.replace('_', ' ')}, {figure}) over {name}"
            say(Figure(title, known / rate, "times", at_least=target))


def _device() -> str:
    from experiments.benchmarks import peer

    return peer.DEVICE


def _time(what: str, arguments: dict[str, Any], rounds: int) -> float:
    from experiments.benchmarks import peer

    turn, _ = getattr(peer, what)(**arguments)
    turn()
    return median_turn(turn, rounds)
