import dataclasses
import json
import typing
from typing import Any

import pytest

from lupi_jax import InputError, parse_config
from lupi_jax.config import changeable, differences, field_types, parse_record, to_fields
from lupi_jax.config.recipes import SETTINGS
from lupi_jax.declared import Options
from lupi_jax.evaluation.searched import same_modality_rule
from lupi_jax.models import BACKBONES
from lupi_jax.models.resnet import SHARED_FROM

MINIMAL = {"steps": 10, "data": {"root": "people"}}


def merged(**fields: Any) -> dict[str, Any]:
    """The least a configuration needs, and `group__field=value`s."""
    values: dict[str, Any] = {"steps": 10, "data": {"root": "people"}}
    for name, value in fields.items():
        *groups, leaf = name.split("__")
        inner = values
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[leaf] = value
    return values


OPEN = merged(loss={"extra": "m:f", "extra_settings": {"a": 1.0, "b": 2.0}})


def problem(values: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        parse_config(values)
    message = str(caught.value)
    assert message.startswith("config: ")
    assert "\n" not in message
    return message.removeprefix("config: ")


def test_the_defaults_are_the_originals():
    config = parse_config(MINIMAL)
    assert config.data.image_size == (288, 144)
    assert (config.batch.identities, config.batch.images) == (8, 4)
    assert (config.optimizer.rate, config.optimizer.trunk_factor) == (0.1, 0.1)
    assert (config.optimizer.warmup, config.optimizer.unit) == (10.0, "epochs")
    assert config.optimizer.milestones == (20.0, 50.0)
    assert config.loss.margin == 0.3
    assert not config.views.share_crop_and_flip
    assert config.loss.color_free_weight == 10.0
    assert config.model.backbone == "resnet50"


RECIPES = {
    "paper": (3, "sum", "paper", "mean", False),
    "released": (3, "mean", "released", "released", True),
    "baseline": (2, "mean", "none", "mean", False),
    "agw": (2, "weighted_regularized", "none", "mean", False),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_fills_what_is_left_open(recipe):
    loss = {"triplet": None, "color_free": None}
    config = parse_config(merged(recipe=recipe, modalities=None, loss=loss))
    filled = (
        len(config.modalities),
        config.loss.triplet,
        config.loss.color_free,
        config.views.erase_fill,
        config.views.quantize_intermediate,
    )
    assert filled == RECIPES[recipe]
    assert config.model.stem_relu == (recipe == "agw")
    assert config.model.shared_from == ("layer1" if recipe == "agw" else "layer2")


EPOCHS = {"paper": 121, "released": 121, "baseline": 121, "agw": 81}


@pytest.mark.parametrize("recipe", EPOCHS)
def test_a_recipe_says_how_long_where_nothing_else_does(recipe):
    config = parse_config({k: v for k, v in merged(recipe=recipe).items() if k != "steps"})
    assert (config.steps, config.epochs) == (0, EPOCHS[recipe])
    assert parse_config(merged(recipe=recipe, steps=7)).epochs == 0
    left_out = merged(recipe=recipe, steps=None, epochs=3)
    assert (parse_config(left_out).steps, parse_config(left_out).epochs) == (0, 3)


def test_a_record_from_before_a_field_is_read_as_it_was():
    old = dataclasses.asdict(parse_config(merged(recipe="agw")))
    del old["model"]["shared_from"]
    assert parse_config(old).model.shared_from == "layer1"  # what the recipe says today
    assert parse_record(json.loads(json.dumps(old))).model.shared_from == "layer2"
    for backbone, non_local, then in (
        ("resnet18", True, "resnet18_non_local"),
        ("resnet18", False, "resnet18"),
        ("resnet50", True, "resnet50"),
    ):
        old["model"].update(backbone=backbone, non_local=non_local)
        assert parse_record(old).model.backbone == then
    new = parse_config(merged(recipe="agw", model__backbone="resnet18", data__name="sysu"))
    assert parse_record(json.loads(json.dumps(dataclasses.asdict(new)))) == new


@pytest.mark.parametrize(
    ("name", "protocol", "then"),
    [
        ("sysu", "official", "identity_and_camera"),
        ("sysu", "agw", "identity_and_camera"),
        ("sysu", "released", "auto"),  # which has no rule to choose
        ("folder", "official", "auto"),  # by which it still is that rule
        ("regdb", "official", "auto"),
    ],
)
def test_an_old_record_keeps_its_rule_within_a_modality(name, protocol, then):
    """Before there was `evaluation.same_modality`, every rule was Market-1501's."""
    new = parse_config(merged(data__name=name, evaluation__protocol=protocol))
    assert same_modality_rule(new) == ("camera" if name == "sysu" else "identity_and_camera")
    old = dataclasses.asdict(new)
    del old["evaluation"]["same_modality"]
    assert parse_record(old).evaluation.same_modality == then
    if protocol != "released":
        assert same_modality_rule(parse_record(old)) == "identity_and_camera"


@pytest.mark.parametrize(
    ("setting", "modalities", "pairs"),
    [
        ("infrared_privileged", ("visible", "infrared"), ("visible_to_visible",)),
        ("visible_privileged", ("visible", "infrared"), ("infrared_to_infrared",)),
        (
            "intermediate_privileged",
            ("visible", "infrared", "intermediate"),
            ("infrared_to_visible", "visible_to_infrared"),
        ),
    ],
)
def test_the_settings_of_figure_1(setting, modalities, pairs):
    config = parse_config(merged(recipe="released", setting=setting))
    assert (config.modalities, config.evaluation.pairs) == (modalities, pairs)
    assert config.loss.color_free == ("released" if len(modalities) == 3 else "none")
    other = parse_config(merged(setting=setting, modalities=("infrared",)))
    assert (other.modalities, other.evaluation.pairs) == (("infrared",), pairs)


@pytest.mark.parametrize(
    "modalities",
    [("visible",), ("infrared",), ("intermediate",), ("visible", "infrared")],
)
def test_without_its_pair_the_colour_free_term_goes_by_itself(modalities):
    config = parse_config(merged(modalities=modalities))
    assert (config.modalities, config.loss.color_free) == (modalities, "none")


def test_what_is_written_wins_over_the_recipe():
    config = parse_config(
        merged(
            recipe="released",
            loss__color_free="paper",
            views__quantize_intermediate=False,
            views__erase_fill="zero",
            modalities=["visible", "intermediate"],
        )
    )
    assert config.loss.color_free == "paper"
    assert config.views.quantize_intermediate is False
    assert config.views.erase_fill == "zero"
    assert config.modalities == ("visible", "intermediate")
    assert config.loss.triplet == "mean"  # left to the recipe


def test_every_mistake_is_found_at_once_in_one_line():
    message = problem(
        merged(
            steps=-3,
            sead=1,
            recipe="papr",
            batch__identities=0,
            batch__images="four",
            optimizer__rte=0.1,
            optimizer__rate=0.0,
            data__image_size=(96, 16),
            views__erase_area=(0.5, 0.2),
            loss__margin=-0.1,
            model={"backbone": "resnet101"},
            dtype="float16",
        )
    )
    found = set(message.split("; "))
    assert found == {
        "sead is not a field (did you mean seed?)",
        "optimizer.rte is not a field (did you mean optimizer.rate?)",
        "recipe = 'papr' is not one of paper, released, baseline, agw",
        "batch.images = 'four' is not a whole number",
        "model.backbone = 'resnet101' is not one of resnet50, resnet34, resnet18, vit_small, "
        "thin, resnet18_non_local, or MODULE:NAME of your own",
        "dtype = 'float16' is not one of float32, bfloat16, float64",
        "steps = -3 must not be negative",
        "batch.identities = 0 must be positive",
        "optimizer.rate = 0.0 must be positive",
        "data.image_size = (96, 16) must be at least 32 on each side",
        "views.erase_area = (0.5, 0.2) must be 0 <= low <= high <= 1",
        "loss.margin = -0.1 must not be negative",
    }


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"loss.extra_settings.a": 3.0}, {"a": 3.0, "b": 2.0}),
        ({"loss.extra_settings.c": "(4, 5)"}, {"a": 1.0, "b": 2.0, "c": (4, 5)}),
        ({"loss": {"extra_settings": {"b": 6}}}, {"a": 1.0, "b": 6}),
        ({"loss.extra_settings": "{'b': 7}"}, {"b": 7}),  # as a whole, it replaces all
        ({"loss.extra_settings": "{'b': 7}", "loss.extra_settings.a": "8"}, {"a": 8, "b": 7}),
        ({"loss.extra_settings": Options(b=9)}, {"b": 9}),
        ({"loss.extra_settings": None}, {}),
    ],
)
@pytest.mark.parametrize("form", [to_fields, dataclasses.asdict, lambda config: OPEN])
def test_one_setting_of_an_own_part_is_changed_and_the_others_stay(form, said, expected):
    config = parse_config(OPEN)
    assert parse_config(form(config), said).loss.extra_settings == expected


def test_settings_that_are_no_mapping_are_named_beside_one_of_them():
    message = problem({**OPEN, "loss.extra_settings": 5})
    assert message.startswith("loss.extra_settings = 5 is not a mapping of names to numbers, texts")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "data.root = '' is empty: name the data set's directory"),
        (merged(seed=1.0), "seed = 1.0 is not a whole number"),
        (merged(seed=True), "seed = True is not a whole number"),
        (merged(seed=2**32), "seed = 4294967296 must be below 2^32"),
        (merged(model__non_local=1), "model.non_local = 1 is not true or false"),
        (merged(optimizer__rate=float("nan")), "optimizer.rate = nan is not a number"),
        (merged(optimizer__rate=float("inf")), "optimizer.rate = inf is not a number"),
        (merged(data__image_size=(96, 48, 3)), "(96, 48, 3) is not a tuple of 2 whole numbers"),
        (merged(data__image_size=96), "data.image_size = 96 is not a tuple of 2 whole numbers"),
        (merged(modalities="visible"), "modalities = 'visible' is not a tuple of texts"),
        (merged(modalities=("visible", "visible")), "must be different names out of visible"),
        (merged(modalities=("thermal",)), "must be different names out of visible"),
        (merged(modalities=()), "must be different names out of visible"),
        (merged(views__flip=1.5), "views.flip = 1.5 must lie in [0, 1]"),
        (merged(views__erase_aspect=0.0), "views.erase_aspect = 0.0 must lie in (0, 1]"),
        (merged(optimizer__milestones=(50, 20)), "must not be negative, nor decrease"),
        (merged(optimizer__milestones=(-1, 20)), "must not be negative, nor decrease"),
        (merged(optimizer__factors=(0.1, -1)), "optimizer.factors = (0.1, -1.0) must not be neg"),
        (merged(data__workers=0), "data.workers = 0 must be positive"),
        (merged(optimiser__rate=0.1), "did you mean optimizer.rate?"),
        (merged(batch=5), "batch is not a field"),
        (merged(data__name="regdb", data__trial=11), "data.trial = 11 must be from 1 to 10"),
        (
            merged(evaluation__pairs=("visible_to_thermal",)),
            "must be different names out of visible_to_visible, visible_to_infrared",
        ),
    ],
)
def test_a_wrong_field_is_named(values, message):
    assert message in problem(values)


CROSS = [
    (merged(epochs=2.0), "set one of steps and epochs and leave the other 0"),
    (merged(steps=0), "set one of steps and epochs and leave the other 0"),
    (
        merged(optimizer__factors=(0.1,)),
        "optimizer.factors must have the same length as optimizer.milestones",
    ),
    (
        merged(evaluation__protocol="agw"),
        "evaluation.protocol applies only to data.name = sysu: leave it out",
    ),
    (
        merged(
            data__name="sysu", evaluation__protocol="released", evaluation__same_modality="camera"
        ),
        "evaluation.protocol = released needs evaluation.same_modality = auto",
    ),
    (
        merged(evaluation__trials=3),
        "evaluation.trials applies only to data.name = sysu or llcm: leave it out",
    ),
    (merged(data__trial=2), "data.trial applies only to data.name = regdb: leave it out"),
    (
        merged(
            modalities=("visible", "intermediate"),
            data__validation_identities=5,
            log__validate_every=5,
        ),
        "a validation can only use evaluation.pairs of modalities that are trained on",
    ),
    (merged(log__validate_every=5), "need each other: set both or neither"),
    (merged(data__validation_identities=5), "need each other: set both or neither"),
    (
        merged(data__name="sysu", data__validation_split=True),
        "need each other: set both or neither",
    ),
    (
        merged(
            data__name="sysu",
            data__validation_split=True,
            data__validation_identities=5,
            log__validate_every=5,
        ),
        "need each other: set both or neither",
    ),
    (
        merged(data__name="regdb", data__validation_split=True, log__validate_every=5),
        "data.validation_split needs data.name = sysu or a data.index",
    ),
    (
        merged(data__name="sysu", data__index="images.csv"),
        "data.index applies only to data.name = folder: leave it out",
    ),
    (
        merged(modalities=("visible", "infrared"), loss__color_free="released"),
        "loss.color_free needs visible and intermediate in modalities: set it to none",
    ),
    (
        merged(modalities=("visible", "intermediate"), loss__direct_weight=1.0),
        "loss.direct_weight needs visible and infrared in modalities: set it to 0",
    ),
]


@pytest.mark.parametrize(("values", "message"), CROSS)
def test_fields_that_contradict_each_other_are_named(values, message):
    assert problem(values).endswith(message)


def test_a_rule_between_fields_is_silent_where_one_of_them_is_wrong_already():
    assert problem(merged(steps="many")) == "steps = 'many' is not a whole number"
    assert "color_free" not in problem(merged(recipe="basline", modalities=("visible",)))


@pytest.mark.parametrize(
    "values",
    [
        MINIMAL,
        merged(steps=0, epochs=2, recipe="released"),
        merged(log__validate_every=5, data__validation_identities=3),
        merged(log__validate_every=5, data__name="sysu", data__validation_split=True),
        merged(log__validate_every=5, data__index="images.csv", data__validation_split=True),
        merged(optimizer__milestones=(), optimizer__factors=(), optimizer__rate=1),
        merged(recipe="baseline", modalities=("infrared",)),
    ],
)
def test_a_configuration_survives_json(values):
    config = parse_config(values)
    again = parse_config(json.loads(json.dumps(dataclasses.asdict(config))))
    assert again == config
    assert differences(config, again) == []
    assert hash(again) == hash(config)


def test_fields_say_when_they_may_change():
    moved, resumed = changeable("evaluated"), changeable("resumed")
    assert set(moved) - set(resumed) == {"data.trial", "data.identity_zero"}
    assert set(resumed) - set(moved) == {
        "steps",
        "epochs",
        "step_timeout",
        "data.feed",
        "data.prefetch",
        "log.every",
        "log.hooks",
        "log.checkpoint_every",
        "log.keep",
    }
    assert moved == (
        "data.root",
        "data.index",
        "data.identity_zero",
        "data.prepared",
        "data.trial",
        "data.workers",
        "evaluation.pairs",
        "evaluation.protocol",
        "evaluation.same_modality",
        "evaluation.trials",
        "evaluation.reranking",
        "evaluation.precision",
    )


def test_differences_are_named_by_their_fields():
    a = parse_config(merged(recipe="paper"))
    b = parse_config(merged(recipe="paper", seed=4, optimizer__rate=0.2))
    assert differences(a, b) == ["seed", "optimizer.rate"]


def test_the_networks_that_may_be_asked_for_are_those_there_are():
    types = field_types()
    assert sorted(typing.get_args(types["model.shared_from"])) == sorted(SHARED_FROM)
    ours, own = typing.get_args(types["model.backbone"])
    assert ({*typing.get_args(ours)}, own) == ({*BACKBONES}, str)


def test_every_field_has_a_name_and_a_type():
    fields = to_fields(parse_config(MINIMAL))
    assert fields.keys() == field_types().keys()
    assert fields["loss.color_free_alpha"] == 0.5


def test_images_held_on_the_device_need_shard_map() -> None:
    values = {"steps": 1, "parallel": "pmap", "data": {"root": "people", "feed": "device"}}
    with pytest.raises(InputError, match=r"data[.]feed = device needs parallel = shard_map"):
        parse_config(values)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_what_a_configuration_was_filled_with_would_be_read_as_it_is(recipe, setting):
    config = parse_config(merged(recipe=recipe, setting=setting, optimizer__rate=1))
    groups = {
        each.name: dataclasses.replace(group)  # reads every field
        for each in dataclasses.fields(config)
        if dataclasses.is_dataclass(group := getattr(config, each.name))
    }
    again = dataclasses.replace(config, **groups)
    assert (repr(again), hash(again)) == (repr(config), hash(config))
    assert again == config
