"""Does the intermediate modality help? LUPI against two modalities, paired, at one budget.

    python -m experiments.tables.helps --data sysu --root SYSU-MM01

Each method is compared with its baseline on the same queries and with the same seeds. The intervals
are a bootstrap's over queries and over identities, and Student's over identities and seeds
(`lupi_jax.evaluation.compare`).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.tables.command import tabulate, write
from experiments.tables.sweep import Sweep
from experiments.tables.table import Records, provenance
from lupi_jax.errors import InputError
from lupi_jax.evaluation import Comparison, compare
from lupi_jax.evaluation.metrics.comparison import interval_of_mean

AGAINST = (
    ("randg", "baseline"),
    ("released", "baseline"),
    ("grayscale", "baseline"),
    ("randg", "grayscale"),
    ("randg_aug", "baseline_aug"),
    ("baseline_aug", "baseline"),
)
"""(method, what it is held against): with the intermediate modality and without; random channels
against fixed grey; and random erasing, which the paper counts with its method, on both sides."""

CELLS = tuple(dict.fromkeys(cell for pair in AGAINST for cell in pair))
DIRECTIONS = {"infrared_to_visible": "I->V", "visible_to_infrared": "V->I"}


def compared(records: Records, method: str, baseline: str, direction: str) -> Comparison:
    """Average precision, percent, of a method minus that of its baseline.

    Networks of different splits have different queries: they are taken together then, so that a
    person who is tested in several splits comes with all of them.
    """

    def values(cell: str) -> list[np.ndarray]:
        found = (np.array(r["average_precision"][direction]["values"]) for r in records[cell])
        return [np.where(each < 0, np.nan, each / 100) for each in found]

    ours, theirs = values(method), values(baseline)
    people = [record["average_precision"][direction]["identities"] for record in records[method]]
    if all(each == people[0] for each in people):
        return compare(ours, theirs, people[0])
    flat = np.concatenate
    together = compare(flat(ours), flat(theirs), flat(people))
    by_split = np.array([np.nanmean(a - b) for a, b in zip(ours, theirs, strict=True)])
    spread, splits = float(by_split.std(ddof=1)), len(by_split)
    # Each split has people of its own, so that its spread over splits holds theirs.
    over_both = interval_of_mean(together.difference, [(spread**2 / splits, splits - 1)])
    return dataclasses.replace(together, by_seed=by_split, spread=spread, over_both=over_both)


def watched(record: dict[str, Any]) -> str:
    """What the last steps say of a run: has it learnt, has it collapsed?"""
    last = record["last"]
    losses = ", ".join(f"{k[5:]} {last[k]:.3f}" for k in last if k.startswith("loss/"))
    return f"{losses}, accuracy {100 * last['accuracy']:.0f}"


def render(sweep: Sweep, command: str, records: Records) -> None:
    """Write `helps.{json,md}`."""
    made, facts = provenance(sweep, command, records)
    lines, rows = [], []
    pairs = [pair for pair in AGAINST if set(pair) <= records.keys()]
    if not pairs:
        raise InputError(f"--cells: give both of a pair, {', '.join(' '.join(p) for p in AGAINST)}")
    for method, baseline in pairs:
        for direction, short in DIRECTIONS.items():
            found = compared(records, method, baseline, direction)
            row = {
                "method": method,
                "against": baseline,
                "direction": direction,
                "difference": found.difference,
                "by_seed": found.by_seed.tolist(),
                "over_queries": found.over_queries,
                "over_identities": found.over_identities,
                "over_both": None if len(found.by_seed) < 2 else found.over_both,
                "queries": found.queries,
                "identities": found.identities,
            }
            rows.append(row)
            lines.append(
                f"| {method} - {baseline} | {short} | {found.difference:+.2f} | "
                f"{', '.join(f'{x:+.2f}' for x in found.by_seed)} | "
                f"{_interval(found.over_queries)} ({found.queries}) | "
                f"{_interval(found.over_identities)} ({found.identities}) | "
                f"{_interval(found.over_both) if len(found.by_seed) > 1 else '-'} |"
            )
    first = next(iter(records.values()))[0]
    margin = first["fields"]["loss.margin"]
    losses = [
        f"| {cell} | {record['seed']} | {watched(dict(record))} |"
        for cell in records
        for record in records[cell]
    ]
    text = f"""# Does the intermediate modality help on {sweep.name}?

{made}
Difference of mAP in points, method minus what it is held against, at the same steps, batches and
seeds: the mean, each of the {sweep.what_repeats}, and three 95 % intervals. The first two are a
bootstrap's over queries and over their identities (how many in brackets), with the networks as
they are. The last is Student's over identities and {sweep.what_repeats}: what to expect of
training again and testing on other identities. Of several searches it is the first (SYSU-MM01:
all-search, single-shot).

| method | direction | mAP | each of the {sweep.what_repeats} | queries | identities | identities \
and {sweep.what_repeats} |
|---|---|---|---|---|---|---|
{chr(10).join(lines)}

Have they learnt? Losses and the classifier's accuracy (percent, of augmented training images) of
the last steps. A network that knows nothing has an identity loss of ln({first["classes"]}) =
{np.log(first["classes"]):.2f}; a triplet loss at its margin of {margin} (three times that, where
the recipe sums) is one of features that are all alike.

| cell | {sweep.what_repeats[:-1]} | last steps |
|---|---|---|
{chr(10).join(losses)}
"""
    write(sweep.results, "helps", text, {**facts, "rows": rows})


def _interval(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:+.2f} to {bounds[1]:+.2f}"


if __name__ == "__main__":
    raise SystemExit(tabulate("helps", "Does the intermediate modality help?", CELLS, render))
