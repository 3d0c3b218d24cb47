"""Table 3: what is trained on against what is tested on.

python -m experiments.table_3 --data sysu --root SYSU-MM01
"""

from experiments.tables import Column, Table, run_table

TABLE = Table(
    3,
    "training modalities against test pairs",
    tuple(
        Column(f"{pair} {figure}", pair, "all-search, multi-shot")
        for pair in ("V->V", "I->I", "G->G", "I->V", "I->G")
        for figure in ("R1", "mAP")
    ),
    {
        "V": "visible",
        "I": "infrared",
        "G": "intermediate",
        "I-V": "baseline",
        "I-V-G": "grayscale",
        "I-G": "colourless",
    },
    notes="""
G are visible images made grey by fixed weights. A network of one modality takes all images
through its one stem. Within a modality, the paper and SYSU-MM01's protocols leave out every image
by the query's own camera; elsewhere the images of its identity by that camera are left out
(`evaluation.same_modality`), or, where nobody is seen by two cameras, the query alone and what is
made of it. The released code (SYSU-MM01) searches for cameras 1 and 4 in 2 and 5, and for 3 in 6,
instead. I-G is not in the paper: its I->G beside the I->V of I-V shows what colour adds where there
are two modalities.
The paper's text gives 11.2 for I->V R1 of a network trained on G, its table 14.20.
""",
)

if __name__ == "__main__":
    raise SystemExit(run_table(TABLE))
