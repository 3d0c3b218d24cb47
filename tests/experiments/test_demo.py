"""The shipped demonstration, whole: minutes, so `make test-slow` runs it."""

import json
import re
import shlex
from pathlib import Path

import pytest

from lupi_jax.cli import main

ROOT = Path(__file__).parents[2]


def demo_commands() -> list[list[str]]:
    """The arguments of `lupi` in each command of `make demo`, in its order."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    rule = re.search(r"^demo:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert rule is not None
    words = [shlex.split(line) for line in rule[1].splitlines()]
    assert all(line[0] == "$(BIN)/lupi" for line in words)
    return [line[1:] for line in words]


def test_what_is_recorded_of_the_demonstration_are_its_commands() -> None:
    page = (ROOT / "experiments/results/demo/demo.md").read_text().replace("\\\n", " ")
    told = [shlex.split(line)[1:] for line in page.splitlines() if line.startswith("    lupi ")]
    commands = demo_commands()
    assert [command[0] for command in commands] == [
        *("make-synthetic", "train", "evaluate", "evaluate", "search")
    ]
    assert told == commands[:-1]


@pytest.mark.slow
def test_training_finds_new_people_that_an_untrained_network_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    for command in demo_commands():
        assert main(command) == 0
    rank1, mean_ap = {}, {}
    for file in (tmp_path / "runs/demo/evaluation").glob("test-step*.json"):
        for row in json.loads(file.read_text())["results"]:
            if row["feature"] == "neck":
                key = file.stem == "test-step0", row["query"]
                rank1[key], mean_ap[key] = row["rank1"], row["mean_ap"]
    for query in ("infrared", "visible"):
        assert rank1[False, query] >= 0.35, rank1
        assert mean_ap[False, query] >= 0.25, mean_ap
        assert mean_ap[False, query] >= 3 * mean_ap[True, query], mean_ap
    assert (tmp_path / "runs/demo/search.png").is_file()
