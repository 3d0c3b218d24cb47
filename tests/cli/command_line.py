"""What the tests of several commands share."""

import dataclasses
from pathlib import Path

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = (
    "--config.steps=3",
    "--config.batch.identities=4",
    "--config.batch.images=2",
    "--config.data.image_size=32,32",
    "--config.log.every=1",
    "--config.log.checkpoint_every=2",
)


@dataclasses.dataclass(frozen=True)
class Demo:
    """Eight synthetic people to train on, four to test on, and a run of three steps."""

    data: Path
    workdir: Path

    def train(self, *more: str) -> list[str]:
        config = ["--config", f"{CONFIGS / 'synthetic.py'}", f"--config.data.root={self.data}"]
        return ["train", *config, "--workdir", str(self.workdir), *SMALL, *more]

    @property
    def run(self) -> list[str]:
        return ["--workdir", str(self.workdir)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def train_own(own: Path, *more: str) -> list[str]:
    config = ["--config", str(CONFIGS / "folder.py"), f"--config.data.root={own}"]
    workdir = ["--workdir", str(own.parent / "run"), "--config.data.feed=memmap"]
    return ["train", *config, *workdir, *SMALL, "--config.batch.identities=2", *more]
