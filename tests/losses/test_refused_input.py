"""Arrays that are no embeddings, logits or labels, with and without `jit`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lupi_jax import losses
from lupi_jax.losses.distances import euclidean
from lupi_jax.settings import LossSettings

ROWS = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3)), jnp.float32)
LABELS = np.array([0, 0, 1, 1])


def of_labels(labels, rows=ROWS):
    both = {"visible": rows, "infrared": rows}
    return {
        "identity_cross_entropy": lambda: losses.identity_cross_entropy(rows, labels),
        "cross_triplet": lambda: losses.cross_triplet(rows, rows, rows, labels, LABELS, LABELS),
        "its negatives": lambda: losses.cross_triplet(rows, rows, rows, LABELS, LABELS, labels),
        "dual_triplet": lambda: losses.dual_triplet(rows, rows, rows, labels),
        "bimodal_triplet": lambda: losses.bimodal_triplet(rows, rows, labels),
        "unimodal_triplet": lambda: losses.unimodal_triplet(rows, labels),
        "weighted_regularized_triplet": lambda: losses.weighted_regularized_triplet(rows, labels),
        "objective": lambda: losses.objective(both, both, labels, LossSettings()),
    }


WRONG_LABELS = {
    "floating": (LABELS / 1.0, "expected whole numbers, got float"),
    "NaN": (np.array([0, 0, 1, np.nan]), "expected whole numbers, got float"),
    "truth values": (LABELS > 0, "expected whole numbers, got bool"),
    "objects": (LABELS.astype(object), "expected whole numbers, got object"),
    "text": (LABELS.astype(str), "expected whole numbers, got <U"),
    "beyond int32": (LABELS + np.array([0, 2**32, 0, 0]), "expected numbers from -2147483648 to"),
    "too few": (LABELS[:3], r"expected one label per row of \[n, d\], got \(3,\) for \(4, 3\)"),
    "columns": (LABELS[:, None], r"expected one label per row of \[n, d\], got \(4, 1\)"),
}


@pytest.mark.parametrize("loss", of_labels(LABELS))
@pytest.mark.parametrize(("labels", "message"), WRONG_LABELS.values(), ids=WRONG_LABELS)
def test_wrong_labels_are_named(loss, labels, message):
    with pytest.raises(ValueError, match=message):
        of_labels(labels)[loss]()


@pytest.mark.parametrize("loss", of_labels(LABELS))
def test_types_and_shapes_are_checked_under_jit_too(loss):
    for labels in (LABELS / 1.0, LABELS > 0, LABELS[:3]):
        with pytest.raises(ValueError, match="expected"):
            jax.eval_shape(lambda labels: of_labels(labels)[loss](), jnp.asarray(labels))
    jax.eval_shape(lambda labels: of_labels(labels)[loss](), LABELS)


@pytest.mark.parametrize("loss", of_labels(LABELS))
@pytest.mark.parametrize("rows", [ROWS + 1j, ROWS > 0])
def test_rows_are_real_numbers(loss, rows):
    with pytest.raises(ValueError, match="expected embeddings and logits of real numbers, got"):
        of_labels(LABELS, rows)[loss]()


@pytest.mark.parametrize("rows", [ROWS + 1j, ROWS > 0, ROWS[0], ROWS[None]])
def test_the_colour_free_losses_check_what_they_get(rows):
    with pytest.raises(ValueError, match="expected"):
        losses.color_free_mse(rows, rows)
    with pytest.raises(ValueError, match="expected"):
        losses.color_free(rows, rows, ROWS, ROWS)
    with pytest.raises(ValueError, match="expected"):
        losses.color_free(ROWS, ROWS, rows, rows)
    with pytest.raises(ValueError, match="expected"):
        euclidean(rows, rows)


def test_rows_of_one_modality_do_not_take_labels_of_another():
    """Three rows and five are as many as twice four labels."""
    rows = {"visible": ROWS[:3], "infrared": jnp.concatenate([ROWS, ROWS[:1]])}
    with pytest.raises(
        ValueError, match="objective, labels of visible: expected one label per row"
    ):
        losses.objective(rows, rows, LABELS, LossSettings(triplet="weighted_regularized"))
