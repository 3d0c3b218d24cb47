"""What the tables say of the runs they are made of, and of what the paper prints."""

import itertools
import json
import re
from collections import defaultdict

import numpy as np
import pytest
from scipy import stats

from experiments.tables import helps
from experiments.tables.cells import CELLS
from experiments.tables.command import guarded
from experiments.tables.paper import TABLES
from experiments.tables.sweep import ROOT, Sweep, read_records
from experiments.tables.table import MEMORY, Column, markdown, parameters, provenance, rows_of
from lupi_jax.errors import StoppedError
from lupi_jax.modality import Modality
from lupi_jax.models import EmbedNet

EXPERIMENTS = ROOT / "experiments"
SEARCHES = ("all-search, single-shot", "all-search, multi-shot", "indoor, single-shot")


def row(query, gallery, search, rank1, mean_ap):
    figures = {"rank1": rank1, "rank10": 1.0, "mean_ap": mean_ap}
    names = {"query": query, "gallery": gallery, "search": search}
    return [
        {**names, "feature": "pooled", **dict.fromkeys(figures, 0.0)},
        {**names, "feature": "neck", **figures},
    ]


def record(*values, protocols=("all images",), searches=("all images",)):
    """A run with (R1, mAP) of infrared to visible, the same of all searches."""
    pairs = [(q, g) for q in ("visible", "infrared", "intermediate")
             for g in ("visible", "infrared", "intermediate")]  # fmt: skip
    rows = [r for q, g in pairs for s in searches for r in row(q, g, s, *values)]
    return {"results": dict.fromkeys(protocols, rows)}


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.script)
def test_the_papers_figures_have_a_column_each_and_cells_exist(table):
    for figures in table.printed().values():
        assert figures.keys() <= set(table.headings)
    assert set(table.cells) <= CELLS.keys()


def test_the_papers_figures_are_as_the_text_compares_them():
    sysu, regdb = TABLES[0].printed(), TABLES[1].printed()
    assert len(sysu) == 27
    assert len(regdb) == 23
    ours, agw, best = sysu["LUPI"], sysu["AGW [52]"], sysu["MPANet [45]"]
    assert ours["all-search R1"] - agw["all-search R1"] == pytest.approx(23.58)
    assert ours["indoor R1"] - best["indoor R1"] == pytest.approx(5.61)
    assert ours["indoor mAP"] - best["indoor mAP"] == pytest.approx(1.78)
    assert regdb["LUPI"]["V->I R1"] - regdb["CAJ [50]"]["V->I R1"] == pytest.approx(2.92)
    assert regdb["MPANet [45]"]["V->I R10"] is None
    three, four, five = (table.printed() for table in TABLES[2:])
    assert three["I-V-G"]["I->V R1"] == four["Grayscale"]["multi-shot R1"] == 65.16
    assert three["I"]["I->I mAP"] == four["Infrared (train-test)"]["multi-shot mAP"]
    assert five["Ours"]["R1"] == four["RandG"]["single-shot R1"] == 64.50
    # Where the paper contradicts itself, both figures are kept.
    assert (ours["all-search mAP"], four["RandG + Aug"]["single-shot mAP"]) == (67.56, 66.76)
    assert (three["I-V"]["I->V mAP"], four["Baseline"]["multi-shot mAP"]) == (41.57, 38.17)


def test_means_and_deviations_over_seeds_stand_beside_the_papers():
    records = {cell: [record(0.1, 0.2)] for cell in TABLES[4].cells}
    records["randg"] = [record(0.40, 0.25), record(0.50, 0.35), record(0.60, 0.75)]
    rows = rows_of(TABLES[4], records)
    here, paper = (r for r in rows if r["line"] == "Ours")
    assert (here["source"], here["networks"]) == ("here, all images", 3)
    assert here["figures"]["R1"]["mean"] == pytest.approx(50)
    assert here["figures"]["R1"]["std"] == pytest.approx(10)  # of a sample: n - 1
    assert here["figures"]["mAP"]["mean"] == pytest.approx(45)
    assert (paper["source"], paper["figures"]["R1"]["mean"]) == ("paper, SYSU-MM01", 64.50)
    text = markdown(TABLES[4], rows)
    assert "| Ours | here, all images | 50.00 ± 10.00 | 100.00 ± 0.00 | 45.00 ± 26.46 |" in text
    assert "|  | paper, SYSU-MM01 | 64.50 | 95.19 | 61.05 | - | - | - |" in text
    assert "| Baseline | here, all images | 10.00 |" in text  # one seed has no deviation


def test_sysu_is_shown_by_both_protocols_and_all_its_searches():
    sysu = record(0.3, 0.2, protocols=("official", "released"), searches=SEARCHES)
    rows = rows_of(TABLES[0], {cell: [sysu] for cell in TABLES[0].cells})
    sources = [r["source"] for r in rows if r["line"] == "LUPI"]
    assert sources == ["here, official", "here, released", "paper, SYSU-MM01"]
    assert len(rows[-1]["figures"]) == 6


def test_where_there_is_one_search_it_is_shown_once():
    rows = rows_of(TABLES[0], {cell: [record(0.3, 0.2)] for cell in TABLES[0].cells})
    here = next(r for r in rows if r["line"] == "LUPI")
    assert list(here["figures"]) == ["all-search R1", "all-search R10", "all-search mAP"]


def test_a_multi_shot_column_is_of_the_multi_shot_search():
    single, multi = SEARCHES[:2]
    rows = row("infrared", "visible", single, 0.1, 0.2) + row(
        "infrared", "visible", multi, 0.3, 0.4
    )
    found = {c.heading: c.value(rows) for c in TABLES[3].columns if c.pair == "I->V"}
    assert found == pytest.approx(
        {"single-shot R1": 10, "multi-shot R1": 30, "single-shot mAP": 20, "multi-shot mAP": 40}
    )


def test_a_search_within_a_modality_is_found_whatever_it_leaves_out():
    """SYSU-MM01's searches say so at the end of their names."""
    ending = ", without own camera"
    rows = [
        r
        for place, search in enumerate(SEARCHES, 1)
        for r in row("visible", "visible", f"{search}{ending}", place / 10, 0.5)
    ]
    found = {c.heading: c.value(rows) for c in TABLES[2].columns if c.pair == "V->V"}
    assert found == pytest.approx({"V->V R1": 20, "V->V mAP": 50})


def test_a_search_of_another_name_has_as_many_shots():
    """The released protocol searches a modality for itself in cameras of its own."""
    rows = [
        r
        for place, shot in enumerate(("single", "multi"), 1)
        for r in row("visible", "visible", f"cameras 1, 4 in 2, 5, {shot}-shot", place / 10, 0.5)
    ] + row("infrared", "visible", SEARCHES[1], 0.3, 0.4)
    found = {c.heading: c.value(rows) for c in TABLES[2].columns if c.pair in ("V->V", "I->V")}
    assert found == pytest.approx({"V->V R1": 20, "V->V mAP": 50, "I->V R1": 30, "I->V mAP": 40})


def test_help_is_the_paired_difference_in_points():
    def of(*values):
        return {
            "average_precision": {
                "infrared_to_visible": {"identities": [1, 1, 2, 3], "values": values}
            }
        }

    records = {"randg": [of(5000, 6000, -1, 1000), of(5000, 5000, -1, 1000)],
               "baseline": [of(4000, 6000, -1, 1000), of(2000, 5000, -1, 1000)]}  # fmt: skip
    found = helps.compared(records, "randg", "baseline", "infrared_to_visible")
    assert found.by_seed == pytest.approx([10 / 3, 10])
    assert found.difference == pytest.approx(20 / 3)
    assert (found.queries, found.identities) == (3, 2)
    assert np.isfinite(found.over_queries).all()
    # By seed 10/3 and 10; by person (15 + 5) / 2 of two queries and 0 of one. In squared points:
    # 200/9 / 2 of the seeds and (20/3)^2 * 2 / (9/4) / 2 = 200/9 * 8/9 of the people, one degree
    # of freedom each.
    seeds, people = 200 / 9 / 2, (20 - 40 / 3) ** 2 / 1.5**2
    freedom = (seeds + people) ** 2 / (seeds**2 + people**2)
    half = stats.t.ppf(0.975, freedom) * (seeds + people) ** 0.5
    assert found.over_both == pytest.approx((20 / 3 - half, 20 / 3 + half))


def test_splits_of_other_people_are_taken_together():
    """RegDB: place for place their queries are not the same, nor need they be as many."""

    def of(values, identities):
        found = {"identities": identities, "values": values}
        return {"average_precision": {"infrared_to_visible": found}}

    people = [1, 1, 2, 3], [2, 3, 4, 5, 5]
    records = {
        "randg": [of([5000, 6000, -1, 1000], people[0]), of([3000, 5000, 100, 2000, 0], people[1])],
        "baseline": [of([4000, 6000, -1, 1000], people[0]), of([2000, 5000, 0, 0, 0], people[1])],
    }
    found = helps.compared(records, "randg", "baseline", "infrared_to_visible")
    assert found.by_seed == pytest.approx([10 / 3, (10 + 0 + 1 + 20 + 0) / 5])
    assert found.difference == pytest.approx((10 + 31) / 8)
    # 1, 3 of the first split; 2, 3, 4, 5 of the second: person 3 comes with both its queries.
    assert (found.queries, found.identities) == (8, 5)
    # Student's interval over two splits: 12.7062 times half of what lies between them.
    half = 12.706205 * (31 / 5 - 10 / 3) / 2
    assert found.over_both == pytest.approx((41 / 8 - half, 41 / 8 + half), abs=1e-4)


@pytest.mark.parametrize("data", ["synthetic", "rgbnir", "rgbnir_1600"])
def test_the_headlines_are_those_of_the_recorded_comparisons(data):
    text = (EXPERIMENTS / "README.md").read_text()
    recorded = json.loads((EXPERIMENTS / "results" / data / "helps.json").read_text())["rows"]
    rows = {(row["method"], row["against"], row["direction"]): row for row in recorded}
    for method, against in helps.AGAINST[:3] + helps.AGAINST[4:5]:
        if (method, against, "infrared_to_visible") not in rows:
            continue
        there, back = (rows[method, against, direction] for direction in helps.DIRECTIONS)
        intervals = (*there["over_identities"], *there["over_both"])
        shown = "({:+.1f} to {:+.1f}; {:+.1f} to {:+.1f})".format(*intervals)
        assert f"| {there['difference']:+.1f} / {back['difference']:+.1f} {shown} |" in text


def test_the_figures_of_the_learnt_mix_are_the_means_of_the_recorded_runs():
    section = (EXPERIMENTS / "README.md").read_text().partition("### A mix that learns")[2]
    lines = section.partition("\n###")[0].splitlines()
    shown = {
        found[1]: found[2]
        for found in (re.match(r"\| .*`(\w+)`\)* \|(.*)\|", x) for x in lines)
        if found
    }
    assert {"baseline", "released", "learnt"} <= shown.keys()
    folders = ("rgbnir", "rgbnir_1600", "rgbnir_batch_8x4", "rgbnir_batch_8x4_1600", "synthetic")
    for place, folder in enumerate(folders):
        records = read_records(EXPERIMENTS / "results" / folder).values()
        for cell, figures in shown.items():
            of_it = [r["results"].values() for r in records if r["cell"] == cell]
            text = figures.split("|")[place].strip()
            assert bool(text) == bool(of_it), (cell, folder)
            if not of_it:
                continue
            rows = [Column("I->V mAP"), Column("V->I mAP", "V->I")]
            means = [np.mean([c.value(next(iter(each))) for each in of_it]) for c in rows]
            assert text == f"{means[0]:.1f} / {means[1]:.1f} ({len(of_it)})", (cell, folder)


def test_the_demonstration_s_figures_are_those_of_its_recorded_evaluations():
    folder = EXPERIMENTS / "results" / "demo"
    text = (folder / "demo.md").read_text()
    means = defaultdict(list)
    for seed, name in itertools.product((0, 1, 2), ("untrained", "trained")):
        result = json.loads((folder / f"seed_{seed}" / f"{name}.json").read_text())
        assert (result["config"]["seed"], result["people_unseen_in_training"]) == (seed, True)
        for row in result["results"]:
            if row["feature"] != "neck":
                continue
            figures = [100 * row[f] for f in ("rank1", "rank10", "mean_ap", "mean_inp")]
            shown = " | ".join(f"{figure:.2f}" for figure in figures)
            assert f"| {name} | {seed} | {row['query']} -> {row['gallery']} | {shown} |" in text
            means[name, row["query"]].append(figures)
            if name == "trained":  # what the demonstration is for, with every seed
                assert figures[0] >= 35
                assert figures[2] >= 25
    readme = (EXPERIMENTS.parent / "README.md").read_text()
    mean_ap = {key: np.mean([figures[2] for figures in seeds]) for key, seeds in means.items()}
    both = [
        " / ".join(f"{mean_ap[name, query]:.1f}" for query in ("infrared", "visible"))
        for name in ("untrained", "trained")
    ]
    assert f"untrained {both[0]}, trained {both[1]} |" in readme


def test_records_of_two_versions_name_both(tmp_path):
    fields = {"data.image_size": [32, 16], "batch.identities": 2, "batch.images": 2,
              "model.backbone": "thin"}  # fmt: skip
    records = [
        {"step": 2, "fields": fields, "commit": "a", "device": "1 x cpu", "versions": {"jax": v}}
        for v in ("0.8", "0.9", "0.8")
    ]
    sweep = Sweep(tmp_path, {}, "x", tmp_path, ({"seed": "0"},))
    text, facts = provenance(sweep, "command", {"randg": records})
    assert facts["versions"] == {"jax": "0.8 and 0.9"}
    assert "jax 0.8 and 0.9" in text


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "x: interrupted; run the same command to resume"),
        (StoppedError("stopped after step 1"), 75, "x: stopped after step 1; run the same command"),
    ],
)
def test_what_ends_a_sweep_says_so(error, status, line, capsys):
    def end() -> None:
        raise error

    assert guarded("x", end) == status
    assert capsys.readouterr().err.startswith(line)


def test_table_4_counts_parameters_beside_the_papers():
    """By hand: a ResNet-50 without fc 23,508,032; one more stem; AGW's blocks of 512 and 1024."""
    conv1_and_bn1, layer1 = 9_408 + 128, 215_808
    blocks = 2 * (3 * 513 + 4 * 512) + 3 * (3 * 1025 + 4 * 1024)
    both = (Modality.VISIBLE, Modality.INFRARED)
    for shared_from, non_local, trained_on, expected in (
        ("layer1", False, both, 23_508_032 + conv1_and_bn1),
        ("layer1", True, both, 23_508_032 + conv1_and_bn1 + blocks),
        ("layer2", True, both, 23_508_032 + conv1_and_bn1 + layer1 + blocks),
        # The third modality is gone at test time, and one stem serves a network of one.
        ("layer2", False, tuple(Modality), 23_508_032 + conv1_and_bn1 + layer1),
        ("layer2", True, (Modality.INFRARED,), 23_508_032 + blocks),
    ):
        model = EmbedNet(395, non_local=non_local, shared_from=shared_from)
        assert parameters(model, trained_on) == expected
    # The paper's, to a decimal: its baseline is as small as one that shares layer1.
    printed = {line: figures[MEMORY] for line, figures in TABLES[3].printed().items()}
    assert printed.pop("Infrared (train-test)") == printed["Baseline"] == 23.5
    assert printed["Grayscale"] == printed["RandG"] == printed["RandG + Aug"] == 23.7


def test_table_4_shows_the_size_of_its_networks():
    fields = {"modalities": ["visible", "infrared"], "model.backbone": "thin"}
    own, shared = record(0.1, 0.2), record(0.3, 0.4)
    own["fields"] = fields  # recorded before there was the field
    shared["fields"] = fields | {"model.shared_from": "layer1"}
    rows = rows_of(TABLES[3], {"baseline": [own], "baseline_shared": [shared]})
    text = markdown(TABLES[3], rows)
    lines = {tuple(line.split("|")[1:3]): line.split("|")[-2].strip() for line in text.splitlines()}
    assert lines["  ", "  "] == MEMORY
    assert lines[" Baseline ", " here, all images "] == "1.255"
    assert lines["  ", " paper, SYSU-MM01 "] == "23.5"
    assert lines[" Baseline, shared layer1 ", " here, all images "] == "1.236"
