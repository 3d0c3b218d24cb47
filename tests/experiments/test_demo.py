"""The shipped demonstration, whole: minutes, so `make test-slow` runs it."""

import json
from pathlib import Path

import pytest

from lupi_jax.cli import main

CONFIG = Path(__file__).parents[2] / "configs" / "synthetic.py"


@pytest.mark.slow
def test_training_triples_the_untrained_network_s_map(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, workdir = str(tmp_path / "people"), str(tmp_path / "run")
    assert main(["make-synthetic", "--out", data, "--identities", "256", "--seed", "0"]) == 0
    train = ["train", "--config", str(CONFIG), "--workdir", workdir]
    assert main([*train, f"--config.data.root={data}"]) == 0
    mean_ap = {}
    for name, options in (("trained", []), ("untrained", ["--untrained"])):
        capsys.readouterr()
        assert main(["evaluate", "--workdir", workdir, "--json", *options]) == 0
        rows = json.loads(capsys.readouterr().out)["results"]
        for row in rows:
            if row["feature"] == "neck":
                mean_ap[name, row["query"]] = row["mean_ap"]
    for query in ("infrared", "visible"):
        assert mean_ap["trained", query] >= 3 * mean_ap["untrained", query], mean_ap
