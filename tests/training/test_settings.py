"""Every training of the paper's tables is a configuration that makes a step."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from lupi_jax import Config, InputError, SourceConfig, parse_config, train
from lupi_jax.data import source_modalities
from lupi_jax.modality import Modality
from lupi_jax.training.network import fresh_variables, make_model
from lupi_jax.training.optimizer import learning_rate, make_optimizer
from lupi_jax.training.parallel import ParallelStep
from lupi_jax.training.step import AXIS, TrainState, train_step

V, T, Z = (str(m) for m in Modality)
BOTH = {"identity", "triplet"}
ALL = BOTH | {"color_free"}
PLAIN = {"erase": 0.0}  # "RandG" without "Aug"
TRAININGS = [
    # Table 3
    ({"modalities": (V,)}, {V}, BOTH),
    ({"modalities": (T,)}, {T}, BOTH),
    ({"modalities": (Z,)}, {Z}, BOTH),
    ({"modalities": (T, V)}, {T, V}, BOTH),
    ({"modalities": (T, V, Z)}, {T, V, Z}, ALL),
    # Fig. 1 (a), (b), (c)
    ({"setting": "infrared_privileged"}, {T, V}, BOTH),
    ({"setting": "visible_privileged"}, {T, V}, BOTH),
    ({"setting": "intermediate_privileged"}, {T, V, Z}, ALL),
    # Table 4
    ({"views": {"intermediate": "luma", "erase": 0.0}}, {T, V, Z}, ALL),
    ({"views": {"erase": 0.0}}, {T, V, Z}, ALL),
    ({"views": {"erase": 0.0, "share_crop_and_flip": True}}, {T, V, Z}, ALL),
    ({"recipe": "baseline"}, {T, V}, BOTH),
    # Table 5
    ({"views": PLAIN, "loss": {"triplet": "none", "color_free": "none"}}, {T, V, Z}, {"identity"}),
    ({"views": PLAIN, "loss": {"color_free": "none"}}, {T, V, Z}, BOTH),
    ({"views": PLAIN, "loss": {"triplet": "none"}}, {T, V, Z}, {"identity", "color_free"}),
    ({"loss": {"triplet": "weighted_regularized"}}, {T, V, Z}, ALL),
    ({"recipe": "agw"}, {T, V}, BOTH),
]


@pytest.mark.parametrize("recipe", ["paper", "released"])
@pytest.mark.parametrize(("fields", "modalities", "terms"), TRAININGS)
def test_a_training_of_the_paper(recipe, fields, modalities, terms):
    values = {"recipe": recipe, "steps": 1, "data": {"root": "x", "image_size": (32, 32)}}
    config = parse_config({**values, "model": {"backbone": "thin"}, **fields})
    model = make_model(config, 4, AXIS)
    tx, rate = make_optimizer(config.optimizer, 1), learning_rate(config.optimizer, 1)
    step = partial(train_step, config=config, model=model, tx=tx, rate=rate)
    batch = {"labels": jnp.zeros((1, 8), jnp.int32)}
    for modality in source_modalities(config.modalities):
        batch[str(modality)] = jnp.zeros((1, 8, 32, 32, 3), jnp.uint8)

    def first_step():
        state = TrainState.create(fresh_variables(config, model), tx)
        return jax.vmap(step, in_axes=(None, 0, None), axis_name=AXIS)(state, batch, 0)

    state, metrics = jax.eval_shape(first_step)  # traced, not compiled: is there such a step?
    stems = {name.removeprefix("stem_") for name in state.params if name.startswith("stem_")}
    assert stems == modalities
    assert {k for k in metrics if k.startswith("loss/")} == {f"loss/{t}" for t in terms | {"total"}}


def test_runs_of_several_seeds_share_a_program():
    programs = set()
    for seed in (0, 1):
        config = parse_config(
            {"seed": seed, "steps": 1, "data": {"root": "x", "image_size": (32, 32)}}
            | {"model": {"backbone": "thin", "non_local": False}}
        )
        model = make_model(config, 4, AXIS)
        tx = make_optimizer(config.optimizer, 1)
        state = jax.eval_shape(
            lambda c=config, m=model, t=tx: TrainState.create(fresh_variables(c, m), t)
        )
        batch = {"labels": jax.ShapeDtypeStruct((8,), jnp.int32)}
        for modality in (V, T):
            batch[modality] = jax.ShapeDtypeStruct((8, 32, 32, 3), jnp.uint8)
        rate = learning_rate(config.optimizer, 1)
        step = partial(train_step, config=config, model=model, tx=tx, rate=rate)
        programs.add(ParallelStep(step, seed=seed).lower(state, batch).as_text())
    assert len(programs) == 1


def test_a_configuration_made_in_python_is_checked_before_it_trains(tmp_path):
    config = Config(steps=5, epochs=2.0, data=SourceConfig(root=str(tmp_path)))
    with pytest.raises(InputError, match="set one of steps and epochs and leave the other 0"):
        train(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
