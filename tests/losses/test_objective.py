import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lupi_jax.losses import (
    LossSettings,
    bimodal_triplet,
    color_free,
    color_free_mse,
    dual_triplet,
    identity_cross_entropy,
    objective,
    unimodal_triplet,
    weighted_regularized_triplet,
)
from lupi_jax.losses.extra import RESERVED
from lupi_jax.modality import Modality

V, T, Z = Modality.VISIBLE, Modality.INFRARED, Modality.INTERMEDIATE
LABELS = jnp.asarray([0, 0, 1, 1])


def batch(*names):
    rng = np.random.default_rng(0)
    drawn = {
        name: (
            jnp.asarray(rng.normal(size=(4, 6)), jnp.float32),
            jnp.asarray(rng.normal(size=(4, 3)), jnp.float32),
        )
        for name in (V, T, Z)
    }
    return {n: drawn[n][0] for n in names}, {n: drawn[n][1] for n in names}


def test_identity_cross_entropy_by_hand():
    # Probabilities 3/4 and 1/2 of the right class: (-ln 3/4 - ln 1/2) / 2.
    logits = jnp.asarray([[jnp.log(3.0), 0.0], [0.0, 0.0]])
    expected = -(np.log(0.75) + np.log(0.5)) / 2
    np.testing.assert_allclose(identity_cross_entropy(logits, jnp.asarray([0, 1])), expected)
    assert jnp.isnan(identity_cross_entropy(logits, jnp.asarray([0, 2])))
    with pytest.raises(ValueError, match="labels"):
        identity_cross_entropy(logits, jnp.asarray([[0], [1]]))


def test_total_by_hand():
    # Triplets as in test_triplet.test_dual_triplet_by_hand: 2.5 summed, 2.5 / 3 averaged.
    # Uniform logits over 4 classes: ln 4. Distances v - z are 3 and 1: mean 2 (Eq. 6), mean
    # squared error 5; weight 10.
    pooled = {V: [0, 10], T: [1, 12], Z: [3, 9]}
    pooled = {name: jnp.asarray(x, float)[:, None] for name, x in pooled.items()}
    logits = {name: jnp.zeros((2, 4)) for name in pooled}
    labels = jnp.asarray([0, 1])

    total, terms = objective(pooled, logits, labels, LossSettings(margin=7.5))
    assert list(terms) == ["identity", "triplet", "color_free"]
    np.testing.assert_allclose(list(terms.values()), [np.log(4), 2.5, 20], rtol=1e-6)
    np.testing.assert_allclose(total, np.log(4) + 22.5, rtol=1e-6)

    released = LossSettings(margin=7.5, triplet="mean", color_free="released")
    total, terms = objective(pooled, logits, labels, released)
    np.testing.assert_allclose(list(terms.values()), [np.log(4), 2.5 / 3, 50], rtol=1e-6)
    np.testing.assert_allclose(total, np.log(4) + 2.5 / 3 + 50, rtol=1e-6)


def test_the_direct_triplet_by_hand():
    # Of the four anchors only visible 10 is within the margin: 2 - 9 + 7.5 = 1/2. The mean of two
    # visible anchors is 1/4, the mean of both directions 1/8; weight 4.
    pooled = {V: [0, 10], T: [1, 12], Z: [3, 9]}
    pooled = {name: jnp.asarray(x, float)[:, None] for name, x in pooled.items()}
    logits = {name: jnp.zeros((2, 4)) for name in pooled}
    settings = LossSettings(margin=7.5, triplet="none", color_free="none", direct_weight=4.0)
    total, terms = objective(pooled, logits, jnp.asarray([0, 1]), settings)
    assert list(terms) == ["identity", "direct"]
    np.testing.assert_allclose(terms["direct"], 0.5, rtol=1e-6)
    np.testing.assert_allclose(total, np.log(4) + 0.5, rtol=1e-6)


@pytest.mark.parametrize("form", ["paper", "released"])
@pytest.mark.parametrize("stopped", ["none", "visible", "intermediate"])
def test_a_stopped_side_of_the_colour_free_loss_gets_no_gradient(form, stopped):
    pooled, logits = batch(V, T, Z)
    settings = LossSettings(triplet="none", color_free=form, color_free_stop=stopped)
    gradient = jax.grad(lambda x: objective(x, logits, LABELS, settings)[1]["color_free"])(pooled)
    moved = {str(name) for name in (V, Z) if bool(jnp.any(gradient[name] != 0))}
    assert moved == {"visible", "intermediate"} - {stopped}


@pytest.mark.parametrize("form", ["sum", "mean"])
@pytest.mark.parametrize(
    ("names", "triplet"),
    [
        ((V,), lambda f: unimodal_triplet(f[V], LABELS, 2.0)),
        ((T,), lambda f: unimodal_triplet(f[T], LABELS, 2.0)),
        ((Z,), lambda f: unimodal_triplet(f[Z], LABELS, 2.0)),
        ((V, T), lambda f: bimodal_triplet(f[V], f[T], LABELS, 2.0)),
        ((T, Z), lambda f: bimodal_triplet(f[Z], f[T], LABELS, 2.0)),
        ((Z, V), lambda f: bimodal_triplet(f[V], f[Z], LABELS, 2.0)),
    ],
)
def test_fewer_modalities(names, triplet, form):
    pooled, logits = batch(*names)
    total, terms = objective(pooled, logits, LABELS, LossSettings(margin=2.0, triplet=form))
    assert ("color_free" in terms) == ({V, Z} <= set(names))
    np.testing.assert_allclose(terms["triplet"], triplet(pooled), rtol=1e-6)
    identity = np.mean([identity_cross_entropy(logits[n], LABELS) for n in names])
    np.testing.assert_allclose(terms["identity"], identity, rtol=1e-6)
    np.testing.assert_allclose(total, sum(terms.values()), rtol=1e-6)


def test_order_of_the_mapping_does_not_matter():
    settings = LossSettings(margin=2.0)
    total, _ = objective(*batch(V, T, Z), LABELS, settings)
    other, _ = objective(*batch(Z, V, T), LABELS, settings)
    assert total == other
    pooled, logits = ({str(n): x for n, x in mapping.items()} for mapping in batch(V, T, Z))
    assert objective(pooled, logits, LABELS, settings)[0] == total


def test_every_setting_reaches_its_loss():
    pooled, logits = batch(V, T, Z)
    settings = LossSettings(
        margin=2.0,
        triplet="mean",
        color_free_weight=3.0,
        color_free_threshold=1.0,
        color_free_alpha=0.2,
        color_free_norm="l1_mean",
    )
    _, terms = objective(pooled, logits, LABELS, settings)
    expected = dual_triplet(pooled[V], pooled[T], pooled[Z], LABELS, margin=2.0)
    np.testing.assert_allclose(terms["triplet"], expected, rtol=1e-6)
    expected = 3 * color_free(
        pooled[V], pooled[Z], logits[V], logits[Z], threshold=1.0, alpha=0.2, norm="l1_mean"
    )
    np.testing.assert_allclose(terms["color_free"], expected, rtol=1e-6)
    _, terms = objective(
        pooled, logits, LABELS, dataclasses.replace(settings, color_free="released")
    )
    np.testing.assert_allclose(
        terms["color_free"], 3 * color_free_mse(pooled[V], pooled[Z]), rtol=1e-6
    )


@pytest.mark.parametrize("names", [(T,), (V, T), (V, T, Z)])
def test_the_weighted_regularized_triplet_is_over_all_rows(names):
    pooled, logits = batch(*names)
    settings = LossSettings(triplet="weighted_regularized", color_free="none")
    total, terms = objective(pooled, logits, LABELS, settings)
    rows = jnp.concatenate([pooled[name] for name in names])
    expected = weighted_regularized_triplet(rows, jnp.tile(LABELS, len(names)))
    np.testing.assert_allclose(terms["triplet"], expected, rtol=1e-6)
    np.testing.assert_allclose(total, terms["identity"] + expected, rtol=1e-6)


def test_terms_can_be_switched_off():
    total, terms = objective(
        *batch(V, T, Z), LABELS, LossSettings(triplet="none", color_free="none")
    )
    assert list(terms) == ["identity"]
    assert total == terms["identity"]


def test_jit_gradients_and_bfloat16():
    pooled, logits = batch(V, T, Z)
    settings = LossSettings(margin=2.0)

    def loss(inputs):
        return objective(inputs[0], inputs[1], LABELS, settings)

    eager = loss((pooled, logits))
    compiled, gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))((pooled, logits))
    np.testing.assert_allclose(compiled[0], eager[0], rtol=1e-6)
    for name, term in eager[1].items():
        np.testing.assert_allclose(compiled[1][name], term, rtol=1e-6)
    assert all(jnp.abs(gradient).max() > 0 for gradient in jax.tree.leaves(gradients))

    short = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (pooled, logits))
    total, terms = jax.eval_shape(loss, short)
    assert {total.dtype} | {term.dtype for term in terms.values()} == {jnp.dtype("float32")}


def test_bad_arguments_are_named():
    pooled, logits = batch(V, T)
    settings = LossSettings()
    with pytest.raises(ValueError, match="modalities"):
        objective({}, {}, LABELS, settings)
    with pytest.raises(ValueError, match="modalities"):
        objective(pooled, {V: logits[V]}, LABELS, settings)
    with pytest.raises(ValueError, match="thermal"):
        objective({"thermal": pooled[T]}, {"thermal": logits[T]}, LABELS, settings)
    with pytest.raises(ValueError, match="labels"):
        objective(pooled, logits, LABELS[:2], settings)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("triplet", "hard"),
        ("color_free", "mse"),
        ("color_free_norm", "l1"),
        ("margin", -0.1),
        ("margin", "0.1"),
        ("color_free_weight", float("nan")),
        ("color_free_threshold", float("inf")),
        ("color_free_alpha", -1.0),
    ],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(ValueError, match=f"^LossSettings: {field} = "):
        LossSettings(**{field: value})


def test_a_loss_of_a_users_own_may_not_use_the_names_of_the_terms():
    settings = LossSettings(direct_weight=1.0)
    _, terms = objective(*batch(V, T, Z), LABELS, settings)
    assert {*terms, "total", "modality"} == {*RESERVED}
