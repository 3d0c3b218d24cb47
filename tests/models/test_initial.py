"""How a fresh network's parameters are distributed, against what PyTorch and AGW's code draw."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from scipy import stats

from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet, initialize
from lupi_jax.models.layers import Conv, NonLocal

Draws = dict[str, np.ndarray]
STEMS = ("stem_visible", "stem_infrared")


@pytest.fixture(scope="module")
def drawn() -> Draws:
    """A thin network's variables by their path, with non-local blocks and 50 identities."""
    model = EmbedNet(50, backbone="thin", stem_relu=True, shared_from="layer1")
    both = (Modality.VISIBLE, Modality.INFRARED)
    variables = initialize(model, jax.random.key(11), both, (32, 32))
    return {"/".join(path[1:]): np.asarray(x) for path, x in flatten_dict(variables).items()}


def normal(deviation: float, mean: float = 0.0) -> Callable[[np.ndarray], Any]:
    return stats.norm(mean, deviation).cdf


def uniform(bound: float) -> Callable[[np.ndarray], Any]:
    return stats.uniform(-bound, 2 * bound).cdf


def assert_drawn_from(values: np.ndarray, cdf: Callable[[np.ndarray], Any], name: str) -> None:
    """Kolmogorov and Smirnov: a right one fails once in ten thousand draws, and these are fixed."""
    assert stats.kstest(values.ravel().astype(np.float64), cdf).pvalue > 1e-4, name


def test_convolutions_are_he_s_by_fan_out(drawn: Draws) -> None:
    """torchvision: kaiming_normal_(mode="fan_out"); AGW's resnet.py: sqrt(2 / (k k out)) too."""
    names = [n for n in drawn if n.endswith("kernel") and "non_local" not in n]
    names.remove("classifier/kernel")
    assert len(names) == 13  # a conv1 in each stem, two in each of four blocks, three downsamplings
    for name in names:
        size, _, _, out = drawn[name].shape
        assert_drawn_from(drawn[name], normal(math.sqrt(2 / (size * size * out))), name)


def test_classifier_and_neck(drawn: Draws) -> None:
    """`weights_init_classifier` and `weights_init_kaiming` of both released codes."""
    assert drawn["classifier/kernel"].shape == (256, 50)
    assert_drawn_from(drawn["classifier/kernel"], normal(0.001), "classifier")
    assert_drawn_from(drawn["neck/scale"], normal(0.01, mean=1.0), "neck")
    assert not drawn["neck/bias"].any()


def test_normalisations(drawn: Draws) -> None:
    """PyTorch's: weight 1, bias 0, mean 0, variance 1; a non-local block's last: weight 0."""
    for name, values in drawn.items():
        module, _, leaf = name.rpartition("/")
        if module.endswith("out_bn"):
            assert np.all(values == (1 if leaf == "var" else 0)), name
        elif "bn" in module or (module == "neck" and leaf in ("mean", "var")):
            assert np.all(values == (1 if leaf in ("scale", "var") else 0)), name


def test_non_local_weights_and_biases_are_pytorch_s_default() -> None:
    """torch.nn.Conv2d: U(-1, 1) / sqrt(fan-in) for both; fan-in is 1 for the way back."""
    channels = 256
    x = jax.ShapeDtypeStruct((1, 2, 2, channels), np.float32)

    def block(key: jax.Array) -> Any:
        return NonLocal().init(key, jax.numpy.zeros(x.shape), train=False)["params"]

    many = jax.jit(jax.vmap(block))(jax.random.split(jax.random.key(5), 400))
    for name in ("g", "theta", "phi"):
        bound = 1 / math.sqrt(channels)
        for leaf in ("kernel", "bias"):
            values = np.asarray(many[name][leaf])
            assert np.abs(values).max() <= bound
            assert_drawn_from(values, uniform(bound), f"{name}/{leaf}")
        assert many[name]["bias"].shape == (400, 1)
    for leaf in ("kernel", "bias"):
        values = np.asarray(many["out"][leaf])[:100]
        assert values.shape[-1] == channels
        assert_drawn_from(values, uniform(1.0), f"out/{leaf}")
    # Each is drawn by itself.
    biases = [np.asarray(many[name]["bias"]).ravel() for name in ("g", "theta", "phi")]
    assert np.abs(np.corrcoef(biases) - np.eye(3)).max() < 0.2


def test_a_bias_counts_every_product_of_its_kernel() -> None:
    """A 3 x 3 convolution of 4 channels sums 36."""
    model = Conv(2000, kernel_size=3, use_bias=True)
    bias = model.init(jax.random.key(0), np.zeros((1, 4, 4, 4), np.float32))["params"]["bias"]
    assert_drawn_from(np.asarray(bias), uniform(1 / 6), "bias")
    assert np.abs(bias).max() > 0.99 / 6


def test_biases_are_drawn_beside_the_weights_not_before_them() -> None:
    """A network of a seed has the weights it had before its biases were drawn."""
    x = np.zeros((1, 4, 4, 3), np.float32)
    key = jax.random.key(9)
    without = Conv(5).init(key, x)["params"]
    with_bias = Conv(5, use_bias=True).init(key, x)["params"]
    np.testing.assert_array_equal(with_bias["kernel"], without["kernel"])


def test_stems_start_as_copies_where_layer1_is_shared(drawn: Draws) -> None:
    stems = [{n.partition("/")[2]: x for n, x in drawn.items() if n.startswith(m)} for m in STEMS]
    assert {n.partition("/")[0] for n in stems[0]} == {"conv1", "bn1"}
    assert stems[0].keys() == stems[1].keys()
    for name, values in stems[0].items():
        np.testing.assert_array_equal(values, stems[1][name])
