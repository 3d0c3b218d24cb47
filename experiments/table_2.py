"""Table 2: both directions, against published methods.

python -m experiments.table_2 --data regdb --root RegDB
"""

from experiments.table_1 import LINES
from experiments.tables import Column, Table, run_table

TABLE = Table(
    2,
    "both directions, against published methods",
    tuple(
        Column(f"{pair} {figure}", pair)
        for pair in ("V->I", "I->V")
        for figure in ("R1", "R10", "mAP")
    ),
    LINES,
    printed_on="RegDB",
    notes="""
RegDB has ten splits with a network each: the mean and standard deviation are over them, and a
network is tested on its own split alone. The paper's LUPI has the same R10 and mAP here (visible
to infrared) as in Table 1 (indoor).
""",
)

if __name__ == "__main__":
    raise SystemExit(run_table(TABLE))
