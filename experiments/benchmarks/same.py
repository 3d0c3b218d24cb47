"""Check that the peer computes the same loss and gradients from the same weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from experiments.benchmarks import peer
from lupi_jax.losses import LossSettings, objective
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet, initialize, to_torch


def difference() -> float:
    """The largest difference of loss and gradients, relative to the largest value of the array.

    Computed in float64 on four 64 x 32 images per modality, of two identities.
    """
    with jax.enable_x64(True):
        model = EmbedNet(5)
        variables = initialize(model, jax.random.key(0), image_size=(64, 32))
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)
        rng = np.random.default_rng(0)
        images = {m: rng.standard_normal((4, 64, 32, 3)) for m in Modality}
        labels = np.array([0, 0, 3, 3])

        def loss(params: Any) -> jax.Array:
            given = {m: jnp.asarray(x) for m, x in images.items()}
            output: Any = model.apply(
                {**variables, "params": params}, given, train=True, mutable=["batch_stats"]
            )
            pooled, logits = (
                {str(m): x for m, x in zip(Modality, jnp.split(y, 3), strict=True)}
                for y in (output[0].pooled, output[0].logits)
            )
            settings = LossSettings(triplet="mean", color_free="released")
            return objective(pooled, logits, jnp.asarray(labels), settings)[0]

        ours, gradient = jax.value_and_grad(loss)(variables["params"])
        expected = to_torch({"params": gradient, "batch_stats": {}})
    net = peer.Net(5).double()
    net.load_state_dict({k: torch.tensor(x) for k, x in to_torch(variables).items()})
    moved = {str(m): torch.tensor(x).permute(0, 3, 1, 2) for m, x in images.items()}
    pooled, _, logits = net(moved)
    theirs = peer.objective(pooled, logits, torch.tensor(labels))
    theirs.backward()
    found = {k: p.grad.numpy() for k, p in net.named_parameters() if p.grad is not None}
    if found.keys() != expected.keys() - {"bottleneck.bias"}:
        raise ValueError(
            f"parameters that only one side has: {sorted(found.keys() ^ expected.keys())}"
        )
    errors = [
        # A bias before a normalisation has only rounding as its gradient: compare with 1e-3.
        np.abs(value - expected[name]).max() / max(np.abs(expected[name]).max(), 1e-3)
        for name, value in found.items()
    ]
    return float(max(abs(theirs.item() / float(ours) - 1), *errors))
