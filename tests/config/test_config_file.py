"""Configurations from files and from the command line's overrides."""

import dataclasses
from pathlib import Path

import pytest

from lupi_jax import Config, InputError, parse_config
from lupi_jax.config import SourceConfig, check_config, to_fields
from lupi_jax.config.file import change_config, load_config, parse_overrides

FOLDER = Path(__file__).parents[2] / "configs"
CONFIGS = sorted(FOLDER.glob("*.py"))
EPOCHS = {"paper": 121, "released": 121, "baseline": 121, "agw": 81}


@pytest.mark.parametrize("variant", ["", ":paper", ":released", ":baseline", ":agw"])
@pytest.mark.parametrize("file", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_configurations_hold(file, variant):
    config = load_config(f"{file}{variant}", {"data.root": "somewhere"})
    assert config.data.root == "somewhere"
    default = "released" if file.stem == "synthetic" else "paper"
    assert config.recipe == (variant.removeprefix(":") or default)
    assert len(config.modalities) == (2 if variant in (":baseline", ":agw") else 3)
    assert config.data.name == file.stem
    if file.stem in ("sysu", "regdb", "llcm") and variant != ":agw":
        assert config.epochs == 121  # the released code's loop goes from 0 to 120
    small = file.stem in ("synthetic", "folder")
    assert (config.steps > 0, config.epochs > 0) == (small, not small)
    assert small or config.epochs == EPOCHS[config.recipe]
    by_field = load_config(str(file), {"data.root": "somewhere", "recipe": config.recipe})
    assert (by_field.steps, by_field.epochs) == (config.steps, config.epochs)
    assert config.model.backbone == ("thin" if small else "resnet50")
    assert config.pretrained == ("" if small else "hf://timm/resnet50.tv_in1k")


def test_there_are_shipped_configurations():
    assert {"synthetic", "folder", "sysu", "regdb", "llcm"} == {file.stem for file in CONFIGS}


def test_configurations_are_found_where_they_were_installed(tmp_path, monkeypatch):
    """As a wheel puts them, for who has no checkout; a file of one's own goes first."""
    site, shared = tmp_path / "lib", tmp_path / "share/lupi_jax/configs"
    (site / "lupi_jax-9.dist-info").mkdir(parents=True)
    (site / "lupi_jax-9.dist-info/METADATA").write_text("Name: lupi-jax\nVersion: 9\n")
    (site / "lupi_jax-9.dist-info/RECORD").write_text("../share/lupi_jax/configs/mine.py,,\n")
    shared.mkdir(parents=True)
    config_file(shared / "mine.py", PLAIN)
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(site)
    assert load_config("configs/mine.py", {}).steps == 5
    for gone in ("configs/none.py", "mine.py", "other/configs/mine.py"):
        with pytest.raises(InputError, match=f"no config file at {gone}"):
            load_config(gone, {})
    (site / "configs").mkdir()
    config_file(site / "configs/mine.py", PLAIN.replace("5", "6"))
    assert load_config("configs/mine.py", {}).steps == 6


def test_configurations_of_a_clone_are_found_from_anywhere(tmp_path, monkeypatch):
    """As `pip install -e` leaves them: beside the package, in no list of installed files."""
    monkeypatch.chdir(tmp_path)
    assert load_config("configs/folder.py", {"data.root": "x"}).steps == 600
    (tmp_path / "configs").mkdir()
    config_file(tmp_path / "configs/folder.py", PLAIN)
    assert load_config("configs/folder.py", {}).steps == 5


def config_file(path: Path, body: str) -> str:
    path.write_text("from ml_collections import ConfigDict\n" + body)
    return str(path)


PLAIN = "def get_config():\n    return ConfigDict({'steps': 5, 'data': {'root': 'x'}})\n"


def test_overrides_are_values_of_their_field(tmp_path):
    spec = config_file(tmp_path / "c.py", PLAIN)
    overrides = {
        "data.root": "1999",  # text stays text
        "data.image_size": "64,32",
        "model.non_local": "FALSE",
        "optimizer.milestones": "(10,)",
        "optimizer.factors": "[0.5]",
        "optimizer.rate": "1",
        "steps": "0",
        "epochs": "0.5",
        "loss.margin": "None",
    }
    config = load_config(spec, overrides)
    assert config == Config(
        epochs=0.5,
        data=dataclasses.replace(config.data, root="1999", image_size=(64, 32)),
        model=dataclasses.replace(config.model, non_local=False),
        optimizer=dataclasses.replace(
            config.optimizer, milestones=(10.0,), factors=(0.5,), rate=1.0
        ),
        views=dataclasses.replace(config.views, erase_fill="mean"),
    )


def test_values_of_python_are_given_without_text(tmp_path):
    """Nested or by dotted names, with paths, and as texts where a command line has texts."""
    spec = tmp_path / "c.py"
    config_file(spec, PLAIN)
    root = tmp_path / "data"
    nested = {
        "steps": 100,
        "data": {"root": root, "image_size": (64, 32)},
        "model.non_local": False,
    }
    config = load_config(spec, nested)
    assert (config.steps, config.data.image_size, config.model.non_local) == (100, (64, 32), False)
    assert config.data.root == str(root)
    flat = {"data.root": str(root), "data.image_size": "(64, 32)", "model": {"non_local": "false"}}
    assert load_config(str(spec), {**flat, "steps": "100"}) == config
    assert load_config(spec, {"data.root": root, "epochs": 2.0}).steps == 0  # either, not both
    for wrong, message in (
        ({"steps": root}, r"steps = PosixPath\(.*\) is not a whole number"),
        ({"data": {"root": 3}}, "data.root = 3 is not text"),
        ({"data": {"rot": root}}, r"data.rot is not a field \(did you mean data.root\?\)"),
        ({"steps": True}, "steps = True is not a whole number"),
    ):
        with pytest.raises(InputError, match=message):
            load_config(spec, wrong)


def test_a_recipe_needs_no_file():
    config = load_config(None, {"recipe": "agw", "data": {"root": "x"}, "loss.margin": None})
    assert config == parse_config({"recipe": "agw", "data.root": "x"})
    assert (config.epochs, config.loss.triplet) == (81.0, "weighted_regularized")
    with pytest.raises(InputError, match=r"^config: data\.root = '' is empty: name the data"):
        load_config()


def test_a_path_is_a_text_for_a_field_of_paths_only(tmp_path):
    assert SourceConfig(root=tmp_path).root == str(tmp_path)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"name = .*Path\(.*\) is not one of synthetic, folder"):
        SourceConfig(name=tmp_path)  # pyright: ignore[reportArgumentType]


def test_fields_that_contradict_each_other_are_found_in_an_object_too():
    whole = load_config(None, {"data.root": "x", "steps": 5})
    assert check_config(whole) is whole
    # Unlike `load_config`, the class itself fills nothing in, and compares nothing.
    made = Config(steps=5, epochs=2.0, modalities=("visible", "infrared"))
    with pytest.raises(InputError) as caught:
        check_config(made)
    for part in ("data.root = '' is empty", "one of steps and epochs", "loss.color_free needs"):
        assert part in str(caught.value)


def test_arguments_become_overrides():
    arguments = ["--config.a.b=1=2", "--config.steps", "-3", "--config.data.root="]
    assert parse_overrides(arguments) == {"a.b": "1=2", "steps": "-3", "data.root": ""}
    with pytest.raises(InputError, match=r"--config\.seed needs a value"):
        parse_overrides(["--config.seed"])
    with pytest.raises(InputError, match=r"unknown argument --seed: .*--config\.seed=1"):
        parse_overrides(["--seed=1"])
    with pytest.raises(InputError, match=r"unknown argument --config\.: .*--config\.seed=1"):
        parse_overrides(["--config.=3"])


@pytest.mark.parametrize(
    ("body", "variant", "message"),
    [
        (PLAIN, ":paper", r"c\.py has no variants: leave out ':paper'$"),
        ("x = 1\n", "", r"gives no configuration \(AttributeError: .*get_config"),
        ("def get_config(:\n", "", r"gives no configuration \(SyntaxError"),
        ("raise RuntimeError('out of sorts')\n", "", "RuntimeError: out of sorts"),
        (PLAIN.replace("5", "'5'"), "", "config: steps = '5' is not a whole number"),
    ],
)
def test_a_config_file_that_cannot_be_used_is_named(tmp_path, body, variant, message):
    with pytest.raises(InputError, match=message):
        load_config(config_file(tmp_path / "c.py", body) + variant, {})


def test_a_missing_config_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no config file at .*gone\.py: name a Python"):
        load_config(str(tmp_path / "gone.py"), {})


def test_an_override_below_a_plain_value_is_refused(tmp_path):
    spec = config_file(tmp_path / "c.py", PLAIN)
    message = r"bach\.images is not a field .*batch\.images\?\); steps\.every is not a field \(did"
    with pytest.raises(InputError, match=message):
        load_config(spec, {"steps.every": "1", "bach.images": "1"})


def test_only_allowed_fields_of_a_finished_run_change(tmp_path):
    run = load_config(config_file(tmp_path / "c.py", PLAIN), {})
    allowed = ["data.root", "data.workers"]
    moved = change_config(run, {"data.root": "y", "data.workers": "9"}, allowed)
    data = dataclasses.replace(run.data, root="y", workers=9)
    assert moved == dataclasses.replace(run, data=data)
    with pytest.raises(InputError, match=r"^seed, loss\.margin: .* data\.root, data\.workers$"):
        change_config(run, {"loss.margin": "1", "seed": "3", "data.root": "y"}, allowed)


def test_the_command_lines_length_wins_over_the_files(tmp_path: Path) -> None:
    file = tmp_path / "config.py"

    def length(of_file: str, **overrides: str) -> tuple[int, float]:
        file.write_text(
            "from ml_collections import ConfigDict\n\n"
            f"def get_config():\n    return ConfigDict({{'data': {{'root': 'x'}}, {of_file}}})\n"
        )
        config = load_config(str(file), overrides)
        return config.steps, config.epochs

    assert length("'steps': 600", epochs="2.5") == (0, 2.5)
    assert length("'epochs': 3.0", steps="7") == (7, 0)
    assert length("'recipe': 'agw'", steps="7") == (7, 0)
    assert length("'steps': 600", steps="7") == (7, 0)
    assert length("'steps': 600", epochs="0") == (600, 0)  # 0 asks for no other length
    assert length("'epochs': 3.0", steps="7", epochs="0") == (7, 0)
    for of_file, overrides in (
        ("'steps': 600", {"steps": "7", "epochs": "2"}),
        ("'steps': 600, 'epochs': 2.0", {}),
    ):
        with pytest.raises(InputError, match="set one of steps and epochs and leave the other 0"):
            length(of_file, **overrides)


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = ("data.root", "data.index", "data.prepared", "pretrained")
    spec = str(FOLDER / "folder.py")
    fields = to_fields(load_config(spec, dict.fromkeys(paths, "~/x/")))
    assert {fields[name] for name in paths} == {f"{tmp_path}/x"}
    # What needs no home is as it was written: a run's records do not change.
    fields = to_fields(load_config(spec, dict.fromkeys(paths, "./x/~")))
    assert {fields[name] for name in paths} == {"./x/~"}
    assert SourceConfig(root="~").root == str(tmp_path)
    with pytest.raises(InputError) as caught:
        load_config(spec, {"data.root": "~nobody-of-that-name/x"})
    assert str(caught.value) == (
        "config: data.root = ~nobody-of-that-name/x: ~nobody-of-that-name is not a known home "
        "directory: write the full path, or ./~nobody-of-that-name for a directory of that name"
    )


@pytest.mark.parametrize("none", ["None", "none", ""])
def test_none_means_no_weights(none: str) -> None:
    config = load_config(str(FOLDER / "sysu.py"), {"data.root": "x", "pretrained": none})
    assert config.pretrained == ""
    with pytest.raises(InputError, match=r"data\.root = '' is empty"):
        load_config(str(FOLDER / "sysu.py"), {"data.root": none})
