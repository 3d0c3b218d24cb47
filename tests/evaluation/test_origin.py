"""What a network is known by: everything that decides a feature, and nothing else."""

import jax
import numpy as np
import pytest

import lupi_jax as lupi
from lupi_jax.declared import Options
from lupi_jax.evaluation.origin import (
    describe_origin,
    fingerprint_network,
    origin_of,
    same_origin,
)

SIZE = (32, 32)
MODEL = lupi.EmbedNet(4, backbone="thin", non_local=False)


@pytest.fixture(scope="module")
def variables(draw_variables):
    return draw_variables(MODEL, SIZE)


def changed(variables, place: str, change):
    def at(path, leaf):
        return change(leaf) if jax.tree_util.keystr(path) == place else leaf

    return jax.tree_util.tree_map_with_path(at, variables)


def test_a_fingerprint_is_of_values_alone(variables):
    found = fingerprint_network(MODEL, variables, SIZE)
    assert len(found) == 16
    assert int(found, 16) >= 0
    on_device = jax.device_put(variables, jax.devices()[0])
    assert fingerprint_network(MODEL, on_device, SIZE) == found
    turned = {name: dict(reversed(variables[name].items())) for name in reversed(variables)}
    assert fingerprint_network(MODEL, turned, SIZE) == found
    others = (MODEL.clone(precision="highest"), lupi.EmbedNet(9, "thin", non_local=False))
    assert all(fingerprint_network(model, variables, SIZE) == found for model in others)
    classifier = changed(variables, "['params']['classifier']['kernel']", lambda x: x + 1)
    assert fingerprint_network(MODEL, classifier, SIZE) == found


def test_whatever_decides_a_feature_changes_it(variables, monkeypatch):
    found = {fingerprint_network(MODEL, variables, SIZE)}
    found.add(fingerprint_network(MODEL, variables, (32, 48)))
    found.add(fingerprint_network(MODEL, variables, (48, 32)))
    for change in ({"pooling": "average"}, {"stem_relu": True}):
        found.add(fingerprint_network(MODEL.clone(**change), variables, SIZE))
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    weight = next(p for p, x in leaves if "stem_infrared" in jax.tree_util.keystr(p) and x.ndim > 1)
    for place in (
        "['params']['neck']['scale']",
        "['batch_stats']['neck']['mean']",
        jax.tree_util.keystr(weight),
    ):
        bit = changed(variables, place, lambda x: np.nextafter(x, np.float32(9)))
        found.add(fingerprint_network(MODEL, bit, SIZE))
    monkeypatch.setattr("lupi_jax.evaluation.origin.DECODING", 99)
    found.add(fingerprint_network(MODEL, variables, SIZE))
    assert len(found) == 9


def test_settings_of_a_backbone_decide_a_feature_even_if_no_weight_changes(variables):
    plain = fingerprint_network(MODEL, variables, SIZE)
    found = [
        fingerprint_network(MODEL.clone(backbone_settings=settings), variables, SIZE)
        for settings in (Options(), Options(a=1, b=(2, 3)), Options(b=(2, 3), a=1), Options(a=2))
    ]
    assert found[0] == plain  # fingerprints of older exports stay valid
    assert found[1] == found[2]
    assert len(set(found)) == 3


def test_only_networks_that_are_known_are_the_same_or_not(variables):
    own = origin_of(MODEL, variables, SIZE)
    other = {
        "network_fingerprint": "12",
        "run": "runs/a",
        "checkpoint": "step 3",
        "image_size": [96, 48],
    }
    assert describe_origin(other) == "network 12 (runs/a, step 3, 96 x 48 pixels)"
    assert describe_origin({"run": None, "network_fingerprint": "12"}) == "network 12"
    assert same_origin({**own, "run": "moved"}, own) is True
    assert same_origin(other, own) is False
    for origin in ({}, {"run": "runs/older"}, {"network_fingerprint": ["12"]}):
        assert same_origin(origin, own) is None
        assert same_origin(own, origin) is None
    assert describe_origin({"network_fingerprint": "12", "image_size": 7}) == "network 12"
