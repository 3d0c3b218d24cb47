"""The model of what a step costs reads the real step."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", 2)
sys.path.insert(0, sys.argv[1])
import scaling
lowered = scaling.lower_step(scaling.Case(2, 2, images=2))
print(scaling.longest_chain(lowered.as_text(dialect="hlo")))
print(scaling.all_reduce_seconds(8e9, ((8, 1e9, 0.0), (4, 1e9, 0.0))))
"""


def test_a_resnet_50_waits_for_168_exchanges_in_a_row() -> None:
    folder = Path(__file__).parents[2] / "experiments"
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    chain, seconds = done.stdout.split()
    # 55 batch normalisations one after the other: the mean, the variance, a sum backward. A gather
    # of features, its gradient, and the sum of all gradients.
    assert int(chain) == 55 * 3 + 3
    # Rings: 14 messages of 1 GB, then 6 of a quarter of the GB that each device has.
    assert float(seconds) == 14 + 6 * 0.25
