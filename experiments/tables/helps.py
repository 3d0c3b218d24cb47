"""Does the intermediate modality help? LUPI against two modalities, paired, with the same budget.

    python -m experiments.tables.helps --data sysu --root SYSU-MM01

Each method is compared with its baseline on the same queries and with the same seeds. There are
three intervals (`lupi_jax.evaluation.compare`): bootstraps over queries and over identities, and
Student's over identities and seeds.
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
"""(method, its reference): with the intermediate modality and without; random channels against
fixed grey; and random erasing, which the paper counts as part of its method, on both sides."""

CELLS = tuple(dict.fromkeys(cell for pair in AGAINST for cell in pair))
DIRECTIONS = {"infrared_to_visible": "I->V", "visible_to_infrared": "V->I"}


def compared(records: Records, method: str, baseline: str, direction: str) -> Comparison:
    """Average precision, percent, of a method minus its baseline's.

    Networks of different splits have different queries. They are pooled then, so a person who is
    tested in several splits is drawn with the queries of all splits.
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
    # Each split has its own people, so the spread over splits includes the spread over people.
    over_both = interval_of_mean(together.difference, [(spread**2 / splits, splits - 1)])
    return dataclasses.replace(together, by_seed=by_split, spread=spread, over_both=over_both)


def watched(record: dict[str, Any]) -> str:
    """Losses and accuracy of a run's last steps: has it learnt, has it collapsed?"""
    last = record["last"]
    losses = ", ".join(f"{k[5:]} {last[k]:.3f}" for k in last if k.startswith("loss/"))
    return f"{losses}, accuracy {100 * last['accuracy']:.0f}"


def render(sweep: Sweep, command: str, records: Records) -> None:
    """Write `helps.{json,md}`."""
    title = f"Does the intermediate modality help on {sweep.name}?"
    write_comparisons(sweep, command, records, AGAINST, "helps", title)


def write_comparisons(
    sweep: Sweep,
    command: str,
    records: Records,
    against: Sequence[tuple[str, str]],
    name: str,
    title: str,
) -> None:
    """Write `<name>.{json,md}`, which compares every (method, its reference) of `against`.

    Raises:
      InputError: no pair has both of its cells in the records.
    """
    made, facts = provenance(sweep, command, records)
    lines, rows = [], []
    pairs = [pair for pair in against if set(pair) <= records.keys()]
    if not pairs:
        raise InputError(
            f"--cells: give both cells of a pair: {', '.join(' '.join(p) for p in against)}"
        )
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
    text = f"""# {title}

{made}
Differences of mAP in points: the method minus its reference, with the same steps, batches and
seeds. The table gives the mean, the difference for each of the {sweep.what_repeats}, and three
95 % intervals. The first two are bootstraps over queries and over their identities (the number is
in brackets), with the networks as they are. The last is Student's over identities and
{sweep.what_repeats}: what to expect if you train again and test on other identities. If a
data set has several searches, the first one counts (SYSU-MM01: all-search, single-shot).

| method | direction | mAP | each of the {sweep.what_repeats} | queries | identities | identities \
and {sweep.what_repeats} |
|---|---|---|---|---|---|---|
{chr(10).join(lines)}

Losses and the classifier's accuracy (percent, on augmented training images) of the last steps show
whether a run has learnt. A network that knows nothing has an identity loss of
ln({first["classes"]}) = {np.log(first["classes"]):.2f}. A triplet loss at its margin of
{margin} (three times that if the recipe sums) means that all features are alike.

| cell | {sweep.what_repeats[:-1]} | last steps |
|---|---|---|
{chr(10).join(losses)}
"""
    write(sweep.results, name, text, {**facts, "rows": rows})


def _interval(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:+.2f} to {bounds[1]:+.2f}"


if __name__ == "__main__":
    what = "Does the intermediate modality help?"
    raise SystemExit(tabulate("tables.helps", what, CELLS, render))
