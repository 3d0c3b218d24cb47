"""The parts in the order in which they run, the most valuable first."""

from typing import NamedTuple


class Part(NamedTuple):
    """A part.

    Attributes:
      title: heading on the page.
      function: dotted name of a function that takes a `Setup`.
      seconds: the most that the part may take.
    """

    title: str
    function: str
    seconds: float


BEGIN = Part("Begin", "experiments.gpu.begin.begin", 60)
"""The beginning of every run: the device, the versions, the images."""

PARTS = {
    "cold_start": Part("Cold and warm start", "experiments.gpu.commands.cold_start", 150),
    "step": Part("The step in bfloat16", "experiments.gpu.compute.step", 150),
    "end_to_end": Part("Training end to end", "experiments.gpu.commands.end_to_end", 150),
    "evaluation": Part("Evaluation", "experiments.gpu.commands.evaluation", 80),
    "at_once": Part("Evaluations at once", "experiments.gpu.commands.at_once", 150),
    "extraction": Part("Feature extraction", "experiments.gpu.compute.extraction", 90),
    "agreement": Part("The same features", "experiments.gpu.agreement.agreement", 90),
    "peers": Part("Plain PyTorch", "experiments.gpu.peers.peers", 120),
    "step_float32": Part("The step in float32", "experiments.gpu.compute.step_float32", 120),
    "parity": Part("Parity in float32", "experiments.gpu.agreement.parity", 90),
    "variants": Part("Variants of the step", "experiments.gpu.compute.variants", 200),
}
