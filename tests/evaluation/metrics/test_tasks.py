import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol_images import hidden

from lupi_jax.evaluation.metrics import Trial
from lupi_jax.evaluation.metrics.tasks import has_match


def test_images_of_the_querys_own_group_are_not_there():
    groups = np.array([4, 7, 4, 9, 7])
    trial = Trial(np.array([0, 1, 3]), np.array([2, 4, 4, 1]), "image", groups)
    assert hidden(trial).tolist() == [
        [True, False, False, False],
        [False, True, True, True],
        [False, False, False, False],
    ]
    assert Trial(np.array([0]), np.array([1]), "image").excluded is None


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 4), st.booleans())
def test_a_match_is_an_image_of_the_identity_that_is_there(seed, n, values, grouped):
    rng = np.random.default_rng(seed)
    identities = rng.integers(0, values, n)
    groups = rng.integers(0, values, n) if grouped else None
    query, gallery = rng.integers(0, n, rng.integers(1, 9)), rng.integers(0, n, rng.integers(1, 9))
    trial = Trial(query, gallery, "image", groups)
    expected = [
        any(
            identities[q] == identities[g] and (groups is None or groups[q] != groups[g])
            for g in gallery
        )
        for q in query
    ]
    assert has_match(trial, identities).tolist() == expected
