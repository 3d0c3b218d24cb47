"""Does a release work on a fresh machine? `make dist-check`.

Builds sdist and wheel, and lists stray and missing files. Then installs each without extras into a
fresh environment, and runs there, without TensorFlow, the first commands of the README and the
examples of parts of a user's own. Last it adds the extra `report` and writes a report. The package
index has to provide the dependencies, so this is not one of the tests.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

SDIST = ("PKG-INFO", "LICENSE", "README.md", "CHANGELOG.md", "MANIFEST.in", "pyproject.toml")

PROGRAM = """
import importlib.util
import lupi_jax
print("lupi_jax from", lupi_jax.__file__)
assert all(hasattr(lupi_jax, name) for name in lupi_jax.__all__)
for name in ("tensorflow", "torch", "pyarrow"):
    assert importlib.util.find_spec(name) is None, name
    print(name, "is absent")
"""

TRAIN = (
    "--config.steps=2",
    "--config.batch.identities=2",
    "--config.data.image_size=32,32",
    "--config.optimizer.milestones=(1,)",
    "--config.optimizer.factors=(0.1,)",
)

COMMANDS = (
    ("--help",),
    ("--version",),
    ("make-synthetic", "--out", "data/synthetic", "--identities", "6"),
    ("check-data", "--data", "synthetic", "--root", "data/synthetic"),
    ("train", "--config", "configs/synthetic.py", "--workdir", "runs/demo", *TRAIN),
    ("evaluate", "--workdir", "runs/demo"),
    ("export", "--workdir", "runs/demo", "--out", "features.safetensors"),
    ("export", "--workdir", "runs/demo", "--stablehlo", "network"),
)


EXAMPLES = (
    *("--config.model.backbone=small_net:SmallNet", "--config.model.backbone_settings.width=8"),
    *("--config.model.pooling=average", "--config.log.hooks=('print_rows:PrintRows',)"),
    "--config.views.extra=infrared_gamma:bend_infrared",
)
LOSSES = (
    "hetero_center:hetero_center",
    "weighted_triplet:weighted_triplet",
    "modality_adversary:ModalityAdversary",
)


def own_parts() -> list[tuple[str, ...]]:
    """The commands that use the examples of docs/examples, which lie in the working directory."""
    commands = []
    for number, loss in enumerate(LOSSES):
        own = (*TRAIN, *EXAMPLES, f"--config.loss.extra={loss}")
        workdir = f"runs/own-{number}"
        commands += [
            ("train", "--config", "configs/synthetic.py", "--workdir", workdir, *own),
            ("evaluate", "--workdir", workdir),
        ]
    return [*commands, ("export", "--workdir", workdir, "--stablehlo", "own")]


def tracked(folder: str) -> set[str]:
    """The files below `folder` that git tracks."""
    names = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True)
    return set(names.stdout.splitlines())


def faults_of(names: set[str], wanted: set[str], allowed: set[str]) -> list[str]:
    """The stray and the missing files of a distribution."""
    return [
        *(f"stray: {name}" for name in sorted(names - wanted - allowed)),
        *(f"missing: {name}" for name in sorted(wanted - names)),
    ]


def check_contents(sdist: Path, wheel: Path) -> list[str]:
    """Stray and missing files; both have to hold the whole package and the configurations."""
    with tarfile.open(sdist) as packed:
        paths = [Path(member.name) for member in packed.getmembers() if member.isfile()]
    names = {"/".join(path.parts[1:]) for path in paths}
    made = {name for name in names if name.startswith("lupi_jax.egg-info/")}
    wanted = tracked("lupi_jax") | tracked("configs") | {*SDIST}
    faults = faults_of(names, wanted, made | {"setup.cfg"})
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    stem = "-".join(wheel.name.split("-")[:2])
    share = f"{stem}.data/data/share/lupi_jax"
    wanted = tracked("lupi_jax") | {f"{share}/{name}" for name in tracked("configs")}
    made = {name for name in names if name.startswith(f"{stem}.dist-info/")}
    return [*faults, *faults_of(names, wanted, made)]


def check_use(distribution: Path, folder: Path) -> None:
    """Install into a new environment, and use it away from any checkout."""
    print(f"--- {distribution.name}", flush=True)
    venv.create(folder / "venv", with_pip=True)
    binaries, place = folder / "venv" / "bin", folder / "place"
    place.mkdir()
    for example in (ROOT / "docs" / "examples").glob("*.py"):
        shutil.copy(example, place)
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    install = [binaries / "pip", "install", "--quiet", "--disable-pip-version-check", distribution]
    for command in (
        install,
        [binaries / "python", "-c", PROGRAM],
        *([binaries / "lupi", *arguments] for arguments in (*COMMANDS, *own_parts())),
        [*install[:-1], f"{distribution}[report]"],
        [binaries / "lupi", "report", "--workdir", "runs/own-0", "--out", "own.html"],
    ):
        shown = "-c ..." if PROGRAM in command else " ".join(map(str, command[1:]))
        print("$", command[0].name, shown, flush=True)
        subprocess.run(command, cwd=place, env=kept, check=True)
    # Only the sources hold what developers run. The command says so.
    refused = subprocess.run(
        [binaries / "lupi", "parity"], cwd=place, env=kept, capture_output=True, text=True
    )
    assert refused.returncode == 2, refused
    assert "experiments.parity" in refused.stderr, refused


def main() -> int:
    """Build both, check their files, install and use them; returns 1 if anything is wrong."""
    with tempfile.TemporaryDirectory(prefix="lupi-dist-") as made:
        folder = Path(made)
        subprocess.run([sys.executable, "-m", "build", "--outdir", made, str(ROOT)], check=True)
        (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
        faults = check_contents(sdist, wheel)
        print("\n".join(faults) or "the files are complete, none is stray", flush=True)
        for distribution in (wheel, sdist):
            own = folder / distribution.suffix[1:]
            own.mkdir()
            check_use(distribution, own)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
