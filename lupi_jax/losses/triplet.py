"""Triplet losses across, between and inside modalities."""

import jax
import jax.numpy as jnp
from jax import Array

from lupi_jax.losses.distances import checked_labels, euclidean


def _mean_where(values: Array, valid: Array) -> Array:
    """The mean of the valid values. If no value is valid, 0 with gradient 0."""
    return jnp.sum(jnp.where(valid, values, 0)) / jnp.maximum(jnp.sum(valid), 1)


def cross_triplet(
    anchor: Array,
    positive: Array,
    negative: Array,
    anchor_labels: Array,
    positive_labels: Array,
    negative_labels: Array,
    margin: float = 0.3,
) -> Array:
    """Batch-hard triplet loss whose anchors, positives and negatives come from three pools.

    For each anchor, D_ap is the distance to the farthest row of `positive` with the same label,
    and D_an the distance to the nearest row of `negative` with another label. The loss is the mean
    of max(0, D_ap - D_an + margin). Of tied rows only the first receives a gradient. This is one
    term of Eq. 5, with the hinge and the sign that its printed form lacks.

    The mean is over the anchors that have a positive and a negative. The released code divides by
    the number of all anchors. In its batches every anchor has both, so the results agree.

    Args:
        anchor: [a, d] embeddings, not normalised in the paper.
        positive: [p, d] embeddings.
        negative: [n, d] embeddings.
        anchor_labels: [a] identities.
        positive_labels: [p] identities.
        negative_labels: [n] identities.
        margin: how much farther than the positive the negative must be; 0 or more.

    Returns:
        Scalar, 0 or more; 0 with zero gradient if no anchor has both a positive and a negative.

    Raises:
        ValueError: if shapes do not agree, or labels are not whole numbers.
    """
    anchor_labels = checked_labels("anchor_labels", anchor, anchor_labels)
    positive_labels = checked_labels("positive_labels", positive, positive_labels)
    negative_labels = checked_labels("negative_labels", negative, negative_labels)

    same = anchor_labels[:, None] == positive_labels[None, :]
    other = anchor_labels[:, None] != negative_labels[None, :]
    to_positive = euclidean(anchor, positive)
    to_negative = euclidean(anchor, negative)
    # max and min would split the gradient among tied rows. An index gives it to one of them.
    hardest_positive = jnp.argmax(jnp.where(same, to_positive, -jnp.inf), axis=1, keepdims=True)
    hardest_negative = jnp.argmin(jnp.where(other, to_negative, jnp.inf), axis=1, keepdims=True)
    d_ap = jnp.take_along_axis(to_positive, hardest_positive, axis=1)[:, 0]
    d_an = jnp.take_along_axis(to_negative, hardest_negative, axis=1)[:, 0]
    return _mean_where(jax.nn.relu(d_ap - d_an + margin), same.any(axis=1) & other.any(axis=1))


def dual_triplet(
    visible: Array,
    infrared: Array,
    intermediate: Array,
    labels: Array,
    margin: float = 0.3,
    reduction: str = "mean",
) -> Array:
    """Intermediate dual triplet loss (Eq. 5), three cross-modal triplets in a ring.

    The (anchor, positive, negative) modalities are (visible, infrared, intermediate),
    (infrared, intermediate, visible) and (intermediate, visible, infrared).

    Args:
        visible: [n, d] embeddings.
        infrared: [n, d] embeddings.
        intermediate: [n, d] embeddings.
        labels: [n] identities of the rows, the same in the three modalities.
        margin: see `cross_triplet`.
        reduction: "mean" of the three, as in the released code, or "sum", as in the paper.

    Returns:
        Scalar, 0 or more.

    Raises:
        ValueError: if shapes or types do not agree, or `reduction` is neither "mean" nor "sum".
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f'reduction: expected "mean" or "sum", got {reduction!r}')
    v, t, z = visible, infrared, intermediate
    total = (
        cross_triplet(v, t, z, labels, labels, labels, margin)
        + cross_triplet(t, z, v, labels, labels, labels, margin)
        + cross_triplet(z, v, t, labels, labels, labels, margin)
    )
    return total / 3 if reduction == "mean" else total


def bimodal_triplet(visible: Array, infrared: Array, labels: Array, margin: float = 0.3) -> Array:
    """Triplet loss between two modalities.

    Anchors of one modality take positives and negatives from the other, by `cross_triplet`. The
    result is the mean of both directions. The two-modality training of the paper's Table 3 uses
    this loss, here in the form of the released code.

    Args:
        visible: [n, d] embeddings.
        infrared: [n, d] embeddings.
        labels: [n] identities of the rows, the same in both modalities.
        margin: see `cross_triplet`.

    Returns:
        Scalar, 0 or more.

    Raises:
        ValueError: if shapes do not agree, or labels are not whole numbers.
    """
    v, t = visible, infrared
    one_way = cross_triplet(v, t, t, labels, labels, labels, margin=margin)
    other_way = cross_triplet(t, v, v, labels, labels, labels, margin=margin)
    return (one_way + other_way) / 2


def unimodal_triplet(features: Array, labels: Array, margin: float = 0.3) -> Array:
    """Batch-hard triplet loss inside one modality (Hermans et al., arXiv:1703.07737, 2017).

    This is `cross_triplet` of the features with themselves. An anchor counts among its own
    positives, as in the released code. That matters only for an identity with one row, whose loss
    is max(0, margin - D_an).

    Args:
        features: [n, d] embeddings.
        labels: [n] identities.
        margin: see `cross_triplet`.

    Returns:
        Scalar, 0 or more.

    Raises:
        ValueError: if shapes do not agree, or labels are not whole numbers.
    """
    return cross_triplet(features, features, features, labels, labels, labels, margin=margin)


def weighted_regularized_triplet(features: Array, labels: Array, epsilon: float = 1e-6) -> Array:
    """Weighted regularised triplet loss of AGW (Ye et al., arXiv:2001.04193, TPAMI 2021).

    The loss is softplus(sum_p w_p d_p - sum_n w_n d_n), averaged over the anchors that have a
    negative. The weights are a softmax of d_p over an anchor's positives and of -d_n over its
    negatives, which softly chooses the hardest ones and needs no margin. An anchor counts among
    its own positives, as in AGW's released code.

    Args:
        features: [n, d] embeddings, of one modality or of several stacked.
        labels: [n] identities.
        epsilon: added to sum_n exp(-d_n) and to sum_p exp(d_p - max d_p) under the weights, as in
            AGW's released code. If all negatives are farther than about 14, epsilon exceeds the
            whole sum and removes them from the loss. 0 keeps them.

    Returns:
        Scalar, 0 or more; 0 with gradient 0 if all rows have one label.

    Raises:
        ValueError: if shapes do not agree, or labels are not whole numbers.
    """
    labels = checked_labels("labels", features, labels)
    distances = euclidean(features, features)
    same = labels[:, None] == labels[None, :]
    has_negative = ~same.all(axis=1)

    def weighted(scores: Array, mask: Array, shift: Array | float) -> Array:
        # An empty row would be the softmax of nothing, NaN: its value is not used, so fill it.
        safe = jnp.where(mask | ~has_negative[:, None], scores, -jnp.inf)
        weights = jax.nn.softmax(safe, axis=1)
        if epsilon:
            log_sum = jax.nn.logsumexp(safe, axis=1, keepdims=True) - shift
            weights = weights * jax.nn.sigmoid(log_sum - jnp.log(epsilon))
        return jnp.sum(weights * distances, axis=1)

    farthest = jnp.max(jnp.where(same, distances, 0), axis=1, keepdims=True)
    gap = weighted(distances, same, farthest) - weighted(-distances, ~same, 0.0)
    return _mean_where(jax.nn.softplus(gap), has_negative)
