import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("tensorflow", "orbax", "matplotlib.pyplot", "torch", "pyarrow")
SLOW = (*HEAVY, "jax", "flax", "numpy", "scipy", "matplotlib", "rich")

FEED_WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = None  # importing it raises ImportError
from pathlib import Path
import lupi_jax.cli, lupi_jax.training  # all that `lupi train` needs
from lupi_jax import parse_config
from lupi_jax.data import HostRows, make_feed, make_sampler, read_index

root, cache = sys.argv[1:]
config = parse_config({
    "steps": 2,
    "data": {"root": root, "image_size": (32, 32)},
    "batch": {"identities": 2, "images": 2},
})
index = read_index(config.data, "train")
sampler = make_sampler(index, config)
batches = list(make_feed(index, sampler, config, Path(cache), HostRows())(0, config.steps))
print(len(batches), batches[1]["infrared"].shape, sorted(batches[1]))
"""


def run(code: str, *arguments: object) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("lupi_jax", SLOW),
        ("lupi_jax.cli.program", SLOW),
        ("lupi_jax.data", HEAVY),
        ("lupi_jax.synthetic", HEAVY),
        ("lupi_jax.evaluation", HEAVY),
    ],
)
def test_importing_loads_nothing_heavy(module, absent):
    code = f"import sys, {module}\nprint([name for name in {absent} if name in sys.modules])"
    assert run(code) == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["x"]])
def test_help_waits_for_nothing_heavy(arguments):
    code = f"""
import contextlib, io, sys
from lupi_jax.cli import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as said:
    with contextlib.redirect_stderr(said):
        main({arguments})
assert said.getvalue()
print([name for name in {SLOW} if name in sys.modules])"""
    assert run(code) == "[]"


def test_everything_of_the_public_face_is_there():
    code = (
        "import lupi_jax as lupi\n"
        "print([name for name in lupi.__all__ if name not in dir(lupi)])\n"
        "print([name for name in lupi.__all__ if not hasattr(lupi, name)])\n"
        "print(lupi.load_weights.__module__, lupi.load_untrained.__name__)\n"
        "print(lupi.losses.__name__, lupi.evaluation.__name__)\n"
        "print(hasattr(lupi, 'nothing'))"
    )
    loaders, modules = (
        "lupi_jax.training.loading load_untrained",
        "lupi_jax.losses lupi_jax.evaluation",
    )
    assert run(code).splitlines() == ["[]", "[]", loaders, modules, "False"]


def test_the_signature_of_a_public_function_can_be_read():
    """As `help` shows it, and not as what NumPy's names for types are made of."""
    import lupi_jax as lupi

    packages = (lupi, lupi.evaluation, lupi.data, lupi.losses, lupi.models, lupi.training)
    named = [getattr(package, name) for package in packages for name in package.__all__]
    functions = {each for each in named if inspect.isfunction(each)}
    assert len(functions) > 30
    for function in functions:
        for parameter in inspect.signature(function).parameters.values():
            said = str(parameter.replace(default=inspect.Parameter.empty))
            assert len(said) < 110, f"{function.__name__}: {said}"


def test_training_modules_and_the_memory_mapped_feed_need_no_tensorflow(tmp_path, write_layout):
    people = {"1": 2, "5": 1, "6": 3}
    split = {"visible": people, "infrared": people}
    root: Path = write_layout(tmp_path / "data", {"train": split})
    said = run(FEED_WITHOUT_TENSORFLOW, root, tmp_path / "cache")
    assert said == "2 (4, 32, 32, 3) ['infrared', 'labels', 'visible']"
