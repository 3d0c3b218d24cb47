"""Table 1: infrared queries, visible galleries, against published methods.

python -m experiments.table_1 --data sysu --root SYSU-MM01
"""

from experiments.tables import Column, Table, run_table

SEARCHES = {"all-search": "all-search, single-shot", "indoor": "indoor, single-shot"}

LINES = {
    "LUPI": "randg_aug",
    "LUPI, released recipe": "released_aug",
    "AGW [52]": "agw",
    "baseline, with erasing": "baseline_aug",
    "LUPI, without erasing": "randg",
    "LUPI, released recipe, without erasing": "released",
    "baseline, without erasing": "baseline",
}
"""Methods against the paper's, here and in Table 2."""

TABLE = Table(
    1,
    "infrared to visible, against published methods",
    tuple(
        Column(f"{short} {figure}", "I->V", search)
        for short, search in SEARCHES.items()
        for figure in ("R1", "R10", "mAP")
    ),
    LINES,
    notes="""
SYSU-MM01 is measured twice: by the data set's own protocol (official) and as the released code
does, without its camera rule. Other data sets have one search, and a dash under the other.
""",
)

if __name__ == "__main__":
    raise SystemExit(run_table(TABLE))
