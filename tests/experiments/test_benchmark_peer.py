"""What the benchmarks race against computes what we compute."""

import pytest


@pytest.mark.slow
def test_the_peer_has_our_loss_and_gradients() -> None:
    pytest.importorskip("torch")
    from experiments.benchmarks.same import difference

    assert difference() < 1e-6
