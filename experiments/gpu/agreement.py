"""Compare the GPU's numbers with the CPU's, the released code's and an exported network's."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.benchmarks.turns import in_own_process
from experiments.gpu.commands import configuration
from experiments.gpu.figures import Figure, attempt, say
from experiments.gpu.running import Command, environment, variables
from experiments.gpu.setup import Setup
from lupi_jax.data.decoding import decode

if TYPE_CHECKING:
    from experiments.parity import Row

TOLERANCE = 1e-4

ALONE = """
import sys
sys.modules["lupi_jax"] = sys.modules["flax"] = None  # importing one raises ImportError
from pathlib import Path
import jax.export
import numpy as np

program, images, features = map(Path, sys.argv[1:])
embed = jax.export.deserialize(bytearray(program.read_bytes())).call
np.save(features, np.asarray(embed(np.load(images))))
"""


def agreement(setup: Setup) -> None:
    """Compare float32 features: exported network and CPU, with two precisions on the GPU."""
    single = replace(setup.sizes.work, dtype="float32")
    _, config = arguments = configuration(setup, single)
    images = setup.at("compared.npy")
    np.save(images, _read_images(setup))
    found = {
        precision: in_own_process(features, config, images, precision)
        for precision in ("highest", "default")
    }
    exported = str(setup.at("network"))
    export = Command(setup, "export", "export", *arguments, "--untrained", "--stablehlo", exported)
    export.require()
    program, made = Path(exported) / "visible.bin", setup.at("exported.npy")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, program, images, made],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"jax.export alone: {done.stderr.strip().splitlines()[-1:]}")
    _say("exported network", np.load(made), found)
    # Last, because it takes longest.
    with variables(JAX_PLATFORMS="cpu"):
        on_cpu = in_own_process(features, config, images, "highest")
    _say("the CPU's features", on_cpu, found)


def _say(name: str, other: np.ndarray, found: dict[str, np.ndarray]) -> None:
    """Say how far `other` is from the features found here at each precision."""
    for precision, own in found.items():
        title = f"{name} against features here, {precision} precision"
        note = f"largest difference of an entry, {len(own)} features of length 1"
        target = TOLERANCE if precision == "highest" else None
        say(Figure(title, float(np.abs(own - other).max()), "", note, at_most=target))


def _read_images(setup: Setup) -> np.ndarray:
    files = sorted((setup.folder / "test" / "visible").rglob("*.jpg"))[: setup.sizes.compared]
    return np.stack([np.asarray(decode(file, file)) for file in files])


def features(config: str, images: Path, precision: str) -> np.ndarray:
    """Features [n, d] of the untrained network of a configuration file."""
    from lupi_jax.config.file import load_config
    from lupi_jax.evaluation import extract_features
    from lupi_jax.modality import Modality
    from lupi_jax.training import load_untrained

    run = load_untrained(load_config(config, {"evaluation.precision": precision}))
    return extract_features(run.model, run.variables, np.load(images), Modality.VISIBLE)


def parity(setup: Setup) -> None:
    """Compare with the released code, case by case, like `lupi parity --precision float32`."""
    cases: list[str | None] = [None]
    if not setup.tiny:
        from experiments.parity import networks

        cases += networks()
    for case in cases:
        name = case or "losses and retrieval figures"

        def measure(case: str | None = case, name: str = name) -> None:
            rows = in_own_process(parity_rows, case)
            worst = max(rows, key=lambda row: row.error / row.tolerance)
            note = (
                f"out of {len(rows)} quantities. {worst.quantity} is nearest to its tolerance, or "
                f"furthest above it ({worst.error:.1e} of {worst.tolerance:.1e})"
            )
            above = [f"{row.quantity}: {row.error:.1e}" for row in rows if not row.passed]
            title = f"{name}: above their tolerance"
            say(Figure(title, len(above), "", note, at_most=0, detail=tuple(above)))

        attempt(name, measure)


def parity_rows(case: str | None) -> "list[Row]":
    """The rows of one network in float32, or for None of the losses and retrieval figures."""
    from experiments.parity import (
        FIGURES,
        check_losses,
        check_metrics,
        check_network,
        load_network,
    )

    if case is None:
        return check_metrics(FIGURES) + check_losses(FIGURES)
    return check_network(load_network(case), "float32")
