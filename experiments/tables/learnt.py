"""Does it help to learn the mix of the intermediate image? The learnt mix and its ablations.

    python -m experiments.tables.learnt --data sysu --root SYSU-MM01

It compares in the same way as `experiments.tables.helps`.
"""

from experiments.tables.command import tabulate
from experiments.tables.helps import write_comparisons
from experiments.tables.sweep import Sweep
from experiments.tables.table import Records

AGAINST = (
    ("learnt", "baseline"),
    ("learnt", "released"),
    ("learnt", "baseline_direct"),
    ("learnt", "released_direct"),
    ("learnt", "learnt_alone"),
    ("learnt", "learnt_by_pixel"),
    ("learnt", "learnt_blended"),
    ("learnt_ring", "baseline"),
    ("learnt_ring", "released"),
    ("released_direct", "released"),
    ("released_direct", "baseline"),
    ("baseline_direct", "baseline"),
)
"""(method, its reference): the learnt mix against two and three modalities, with and without the
direct triplet, and against itself without one of its parts; then the direct triplet alone."""

CELLS = tuple(dict.fromkeys(cell for pair in AGAINST for cell in pair))


def render(sweep: Sweep, command: str, records: Records) -> None:
    """Write `learnt.{json,md}`."""
    title = f"Does it help to learn the mix of the intermediate image on {sweep.name}?"
    write_comparisons(sweep, command, records, AGAINST, "learnt", title)


if __name__ == "__main__":
    what = "Does it help to learn the mix of the intermediate image?"
    raise SystemExit(tabulate("tables.learnt", what, CELLS, render))
