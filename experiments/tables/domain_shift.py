"""How far apart the modalities lie, before and after training.

    python -m experiments.tables.domain_shift --data sysu --root SYSU-MM01

Maximum mean discrepancy between the features of test images (Gretton et al., JMLR 2012), as in the
paper's supplement, next to how well each modality finds the other (Table 3).
"""

import numpy as np

from experiments.tables.command import tabulate, write
from experiments.tables.sweep import Sweep
from experiments.tables.table import Column, Records, provenance
from lupi_jax.evaluation.metrics import mean_and_std

CELLS = (
    "untrained",
    "visible",
    "infrared",
    "intermediate",
    "baseline",
    "grayscale",
    "randg",
)
PAIRS = (("visible", "infrared"), ("intermediate", "infrared"), ("visible", "intermediate"))
ACCURACIES = (
    Column("I->V mAP", "I->V", "all-search, multi-shot"),
    Column("I->G mAP", "I->G", "all-search, multi-shot"),
)


def render(sweep: Sweep, command: str, records: Records) -> None:
    """Write `domain_shift.{json,md}`."""
    made, facts = provenance(sweep, command, records)
    rows = []
    for cell in records:
        for kernel in ("median", "fixed"):
            row = {"cell": cell, "kernel": kernel, "shift": {}}
            for pair in PAIRS:
                found = [
                    test
                    for record in records[cell]
                    for test in record["shift"]
                    if tuple(test["pair"]) == pair and test["kernel"] == kernel
                ]
                mean, std = mean_and_std([test["value"] for test in found])
                row["shift"]["-".join(pair)] = {
                    "mean": mean,
                    "std": std,
                    "by_chance": float(np.mean([test["by_chance"] for test in found])),
                    "p_values": [test["p_value"] for test in found],
                    "bandwidths": [test["bandwidths"] for test in found],
                    "images": found[0]["images"],
                }
            for column in ACCURACIES:
                values = [
                    column.value(next(iter(record["results"].values()))) for record in records[cell]
                ]
                row[column.heading] = float(np.mean(values))
            rows.append(row)
    lines = []
    for row in rows:
        cells = [row["cell"], row["kernel"]]
        for pair in PAIRS:
            test = row["shift"]["-".join(pair)]
            spread = f" ± {test['std']:.3f}" if test["std"] is not None else ""
            chance, largest = test["by_chance"], max(test["p_values"])
            cells.append(f"{test['mean']:.3f}{spread} (chance {chance:.3f}, p {largest:.3f})")
        cells += [f"{row[column.heading]:.2f}" for column in ACCURACIES]
        lines.append("| " + " | ".join(cells) + " |")
    fixed = ", ".join(map(str, rows[1]["shift"]["visible-infrared"]["bandwidths"][0]))
    images = rows[0]["shift"]["visible-infrared"]["images"]
    text = f"""# How far apart the modalities lie on {sweep.name}

{made}
Unbiased estimate of the squared maximum mean discrepancy (Gaussian kernel) between the features
(length 1) of {images[0]} and {images[1]} test images of two modalities: mean ± standard deviation
over {sweep.what_repeats}.

In brackets are the value expected by chance and the largest p-value (0.001 is the smallest
possible), from 999 permutations of the modalities within each identity (V - G: within each image).
The value by chance is below zero because the same people are on both sides.

With kernel "median" the bandwidth is the median distance of these features, so the figure does not
depend on how far features spread. Kernel "fixed" is the mean over bandwidths
{fixed}, the same for all networks. The last columns are the mAP of infrared queries
(SYSU-MM01: all-search, multi-shot, as in Table 3).

| cell | kernel | V - I | G - I | V - G | I->V mAP | I->G mAP |
|---|---|---|---|---|---|---|
{chr(10).join(lines)}
"""
    write(sweep.results, "domain_shift", text, {**facts, "rows": rows})


if __name__ == "__main__":
    what = "How far apart do the modalities lie, before and after training?"
    raise SystemExit(tabulate("tables.domain_shift", what, CELLS, render))
