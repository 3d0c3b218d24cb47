"""What the benchmarks race against computes what we compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lupi_jax.losses import LossSettings, objective
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet, initialize, to_torch


@pytest.mark.slow
def test_the_peer_has_our_loss_and_gradients() -> None:
    torch = pytest.importorskip("torch")
    from experiments.benchmarks import peer

    with jax.enable_x64(True):
        model = EmbedNet(5)
        variables = initialize(model, jax.random.key(0), image_size=(64, 32))
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)
        rng = np.random.default_rng(0)
        images = {m: rng.standard_normal((4, 64, 32, 3)) for m in Modality}
        labels = np.array([0, 0, 3, 3])

        def loss(params):
            given = {m: jnp.asarray(x) for m, x in images.items()}
            embedding, _ = model.apply(
                {**variables, "params": params}, given, train=True, mutable=["batch_stats"]
            )
            pooled, logits = (
                {str(m): x for m, x in zip(Modality, jnp.split(y, 3), strict=True)}
                for y in (embedding.pooled, embedding.logits)
            )
            settings = LossSettings(triplet="mean", color_free="released")
            return objective(pooled, logits, labels, settings)[0]

        ours, gradient = jax.value_and_grad(loss)(variables["params"])
        expected = to_torch({"params": gradient, "batch_stats": {}})
    net = peer.Net(5).double()
    weights = {name: torch.from_numpy(x) for name, x in to_torch(variables).items()}
    net.load_state_dict(weights)
    moved = {str(m): torch.from_numpy(x).permute(0, 3, 1, 2) for m, x in images.items()}
    pooled, _, logits = net(moved)
    theirs = peer.objective(pooled, logits, torch.from_numpy(labels))
    theirs.backward()
    assert theirs.item() == pytest.approx(float(ours), rel=1e-9)
    found = {name: p.grad.numpy() for name, p in net.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys() - {"bottleneck.bias"}
    for name, value in found.items():
        scale = max(np.abs(expected[name]).max(), 1e-3)
        np.testing.assert_allclose(value / scale, expected[name] / scale, atol=1e-6, err_msg=name)
