"""Table 5: the dual triplet and the colour-free loss, each on and off.

python -m experiments.table_5 --data sysu --root SYSU-MM01
"""

from experiments.tables import Column, Table, run_table

TABLE = Table(
    5,
    "the dual triplet and the colour-free loss",
    (
        *(Column(figure, "I->V") for figure in ("R1", "R10", "mAP")),
        *(Column(f"V->I {figure}", "V->I") for figure in ("R1", "R10", "mAP")),
    ),
    {
        "Baseline": "identity",
        "Triplet Loss": "triplet",
        "Color Loss": "color_free",
        "Ours": "randg",
    },
    notes="""
Three modalities with random channels, without erasing. "Baseline" has the identity loss alone; it
is not the two-modality baseline of Table 4. The first three columns are infrared to visible, as
in the paper. Crop and flip of an intermediate image are drawn apart from its visible twin's, unless
--config.views.share_crop_and_flip=true.
""",
)

if __name__ == "__main__":
    raise SystemExit(run_table(TABLE))
