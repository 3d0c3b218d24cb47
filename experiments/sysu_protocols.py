"""SYSU-MM01's three protocols side by side on one set of features.

    lupi export --workdir RUN --split test --out trained.npz
    python experiments/sysu_protocols.py --features trained=trained.npz --root SYSU-MM01 \
        --name sysu

Measures how far the deviations of LUPI's released code (`released`) and the usual seeded galleries
(`agw`) move the figures of the data set's own protocol (`official`). Writes
`experiments/results/<name>/sysu_protocols.{json,md}`.
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from lupi_jax.data import read_permutations
from lupi_jax.errors import InputError
from lupi_jax.evaluation import evaluate_features, load_features
from lupi_jax.evaluation.metrics.protocols import SysuProtocol, sysu
from lupi_jax.modality import Modality
from lupi_jax.training.run import versions

PROTOCOLS: tuple[SysuProtocol, ...] = ("official", "agw", "released")
PAIRS = ((Modality.INFRARED, Modality.VISIBLE),)


def measure(file: Path, root: str, trials: int) -> list[dict[str, Any]]:
    """Rows of `evaluate_features` for the neck's feature, each with its "protocol"."""
    features = load_features(file)
    permutations = read_permutations(root)
    rows = []
    for protocol in PROTOCOLS:
        start = time.perf_counter()
        tasks = sysu(features.index, PAIRS, protocol, trials, permutations)
        found = evaluate_features(features, tasks, names=("neck",))
        print(f"{file}, {protocol}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        rows += [{"protocol": protocol, **row} for row in found]
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: percent, mean ± deviation over trials, and the difference to official."""
    official = {(r["network"], r["search"]): r for r in rows if r["protocol"] == "official"}
    lines = [
        "| network | search | protocol | gallery | probes with a match | R1 | mAP | mINP "
        "| R1 - official | mAP - official |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda r: (r["network"], r["search"])):
        own = official[row["network"], row["search"]]
        cells = [
            *(row[name] for name in ("network", "search", "protocol")),
            *(str(row[name]) for name in ("gallery_images", "valid_queries")),
            *(
                f"{100 * row[f]:.2f} ± {100 * row['std'][f]:.2f}"
                for f in ("rank1", "mean_ap", "mean_inp")
            ),
            *(f"{100 * (row[f] - own[f]):+.2f}" for f in ("rank1", "mean_ap")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Measure all features, and write the table."""
    parser = argparse.ArgumentParser(description="Compare SYSU-MM01's protocols.")
    parser.add_argument(
        "--features",
        nargs="+",
        required=True,
        metavar="NETWORK=FILE",
        help="names of networks, each with the file that `lupi export` wrote (required)",
    )
    parser.add_argument("--root", required=True, help="directory of SYSU-MM01 (required)")
    parser.add_argument(
        "--name", required=True, help="name of the data, for the results' folder (required)"
    )
    parser.add_argument("--trials", type=int, default=10, help="galleries per search (10)")
    options = parser.parse_args()
    try:
        rows = []
        for item in options.features:
            network, equals, file = item.partition("=")
            if not equals:
                raise InputError(f"--features {item}: give NETWORK=FILE")
            found = measure(Path(file), options.root, options.trials)
            rows += [{"network": network, **row} for row in found]
    except InputError as error:
        print(f"sysu_protocols: {error}", file=sys.stderr)
        return 2
    folder = Path(__file__).parent / "results" / options.name
    folder.mkdir(parents=True, exist_ok=True)
    features = [f"{item.partition('=')[0]}=FEATURES.npz" for item in options.features]
    command = shlex.join(
        [
            *("python", "experiments/sysu_protocols.py", "--features", *features),
            *("--root", "SYSU-MM01", "--name", options.name, "--trials", str(options.trials)),
        ]
    )
    result = {"command": command, "versions": versions(), "results": rows}
    (folder / "sysu_protocols.json").write_text(json.dumps(result, indent=1) + "\n")
    text = f"""# SYSU-MM01's protocols on {options.name}

    {command}

Infrared queries, visible galleries, the feature after the BN neck. Percent, mean ± standard
deviation over {options.trials} galleries. {", ".join(f"{k} {v}" for k, v in versions().items())}.

{table(rows)}
"""
    (folder / "sysu_protocols.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
