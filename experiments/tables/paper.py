"""Tables 1 to 5 of the paper: what each varies, and its columns."""

from experiments.tables.table import Column, Table

_SEARCHES = {"all-search": "all-search, single-shot", "indoor": "indoor, single-shot"}

_LINES = {
    "LUPI": "randg_aug",
    "LUPI, released recipe": "released_aug",
    "AGW [52]": "agw",
    "baseline, with erasing": "baseline_aug",
    "LUPI, without erasing": "randg",
    "LUPI, released recipe, without erasing": "released",
    "baseline, without erasing": "baseline",
}
"""{line of the table: cell}, for Tables 1 and 2."""

TABLE_1 = Table(
    1,
    "infrared to visible, against published methods",
    tuple(
        Column(f"{short} {figure}", "I->V", search)
        for short, search in _SEARCHES.items()
        for figure in ("R1", "R10", "mAP")
    ),
    _LINES,
    notes="""
SYSU-MM01 is measured twice: by the data set's own protocol (official), and like the released code,
without the camera rule. Other data sets have one search, and a dash under the other.
""",
)

TABLE_2 = Table(
    2,
    "both directions, against published methods",
    tuple(
        Column(f"{pair} {figure}", pair)
        for pair in ("V->I", "I->V")
        for figure in ("R1", "R10", "mAP")
    ),
    _LINES,
    printed_on="RegDB",
    notes="""
RegDB has ten splits with one network per split. The mean and standard deviation are over the
splits, and a network is tested only on its own split. The paper's LUPI has the same R10 and mAP
here (visible to infrared) as in Table 1 (indoor).
""",
)

TABLE_3 = Table(
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
G are visible images made grey by fixed weights. A network of one modality takes all images through
its only stem.

Within a modality, the paper and SYSU-MM01's protocols leave out every image by the query's own
camera. The other data sets leave out the images of the query's identity by that camera
(`evaluation.same_modality`), or, if no person is seen by two cameras, only the query and what is
made from it. The released code (SYSU-MM01) searches for cameras 1 and 4 in 2 and 5, and for 3 in 6,
instead.

I-G is not in the paper. Its I->G next to the I->V of I-V shows what colour adds to two modalities.
The paper's text gives 11.2 for the I->V R1 of a network trained on G, its table 14.20.
""",
)

_SHOTS = {"single-shot": "all-search, single-shot", "multi-shot": "all-search, multi-shot"}

TABLE_4 = Table(
    4,
    "what each component adds",
    (
        *(
            Column(f"{short} {figure}", "I->V", search)
            for figure in ("R1", "mAP")
            for short, search in _SHOTS.items()
        ),
        Column("V->I R1", "V->I"),
        Column("V->I mAP", "V->I"),
    ),
    {
        "Pre-trained": "untrained",
        "Visible-trained": "visible",
        "Baseline": "baseline",
        "Baseline, shared layer1": "baseline_shared",
        "Baseline + Aug": "baseline_aug",
        "Grayscale": "grayscale",
        "RandG": "randg",
        "RandG + Aug": "randg_aug",
    },
    notes="""
All columns are infrared to visible except the last two, which the paper does not have. The paper
does not have the baseline with erasing ("Aug") either.

"Memory" is a network's size at test time, in millions of parameters: the stems for visible and
infrared images, and the trunk. By this size the paper's baseline (23.5, with a third modality 23.7)
most likely shares layer1 between the modalities, like AGW. A ResNet-50 has 23.55 here with a shared
layer1 ("Baseline, shared layer1"), and 23.76 with one layer1 per modality ("Baseline": the network
of the lines below it, without the third modality).

"Pre-trained" is a network before its first step, with the weights that the configuration starts
from. "Infrared (train-test)" is I->I of Table 3's infrared network.

The paper contradicts itself here twice (experiments/tables/published): 66.76 against 67.56 mAP of
RandG + Aug in Table 1, and 38.17 against 41.57 mAP of the baseline in Table 3.

"Aug" is random erasing here, which the paper never names. Crop and flip are always drawn apart. For
the lines in which they are shared, use
--cells grayscale,randg --config.views.share_crop_and_flip=true.
""",
    memory=True,
)

TABLE_5 = Table(
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
Three modalities with random channels, without erasing. "Baseline" has only the identity loss; it is
not the two-modality baseline of Table 4. The first three columns are infrared to visible, as in the
paper. An intermediate image and its visible twin draw crop and flip apart, unless
--config.views.share_crop_and_flip=true.
""",
)

TABLES = (TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5)
