import dataclasses
import json
import xml.dom.minidom

import matplotlib
import numpy as np
import pytest
from PIL import Image

from lupi_jax.errors import shown
from lupi_jax.report import pictures
from lupi_jax.report.charts import panel_chart
from lupi_jax.report.pictures import RankingRow, ranking_picture, training_curves, training_panels

GREEN, RED, GREY = (0, 158, 115), (213, 94, 0), (128, 128, 128)
BLUE, PINK = (0, 114, 178), (204, 121, 167)


def plain(*colour, h=40, w=20):
    return np.full((h, w, 3), colour, np.uint8)


def pixels_of(path, colour):
    """[n, 2] rows and columns of the pixels that have exactly this colour."""
    with Image.open(path) as image:
        return np.argwhere((np.asarray(image.convert("RGB")) == colour).all(axis=-1))


def box(path, colour):
    """Top, bottom, left and right of the pixels of a colour."""
    at = pixels_of(path, colour)
    assert len(at), f"no pixel is {colour}"
    return *at[:, 0][[0, -1]], at[:, 1].min(), at[:, 1].max()


def test_ranking_frames_each_result_by_its_verdict(tmp_path):
    path = tmp_path / "new" / "folder" / "ranking.png"
    row = RankingRow(
        query=plain(1, 2, 250),
        query_title="cam3 0007",
        gallery=[plain(250, 1, 250), plain(250, 250, 1), plain(1, 250, 250)],
        titles=["0.10", "0.20", "$_$"],  # text, though no valid formula
        correct=[True, np.False_, None],  # type: ignore[list-item]
    )
    ranking_picture(path, [row])
    query = box(path, (1, 2, 250))
    results = [box(path, c) for c in ((250, 1, 250), (250, 250, 1), (1, 250, 250))]
    # The query leads, results follow in order, all on one line.
    lefts = [query[2], *(r[2] for r in results)]
    assert lefts == sorted(lefts)
    assert all(abs(r[0] - query[0]) <= 5 and abs(r[1] - query[1]) <= 5 for r in results)
    # Every frame has its own colour, and its own style: a right result's is unbroken, a wrong one's
    # has some gaps, an unknown one's is about half gaps.
    styles = ((GREEN, 1, 1), (RED, 0.7, 0.97), (GREY, 0.25, 0.7))
    for result, (colour, least, most) in zip(results, styles, strict=True):
        for share in frame_shares(path, colour, result):
            assert least <= share <= most


def test_a_match_has_a_frame_of_its_own(tmp_path):
    path = tmp_path / "ranking.png"
    row = RankingRow(
        query=plain(1, 2, 250),
        query_title="a",
        gallery=[plain(250, 1, 250), plain(250, 250, 1), plain(1, 250, 250)],
        titles=["x", "y", "z"],
        correct=[None, None, True],
        matched=[True, False, True],
    )
    ranking_picture(path, [row])
    places = [box(path, colour) for colour in ((250, 1, 250), (250, 250, 1), (1, 250, 250))]
    for place, colour, least, most in zip(
        places, (BLUE, GREY, GREEN), (1, 0.25, 1), (1, 0.7, 1), strict=True
    ):
        for share in frame_shares(path, colour, place):
            assert least <= share <= most


def frame_shares(path, colour, inside):
    """Of the left, right, upper and lower frame around a box: the share drawn in a colour."""
    with Image.open(path) as image:
        hit = (np.asarray(image.convert("RGB")) == colour).all(axis=-1)
    top, bottom, left, right = inside
    rows, columns, width = slice(top, bottom + 1), slice(left, right + 1), 5
    strips = (
        hit[rows, left - width : left],
        hit[rows, right + 1 : right + 1 + width],
        hit[top - width : top, columns].T,
        hit[bottom + 1 : bottom + 1 + width, columns].T,
    )
    return [strip.any(axis=1).mean() for strip in strips]


def test_ranking_rows_may_differ_in_length_and_image_size(tmp_path):
    path = tmp_path / "ranking.png"
    wide = plain(250, 1, 250, h=20, w=30)
    rows = [
        RankingRow(plain(1, 2, 250), "a", [plain(9, 9, 200)] * 3, ["x"] * 3, [None] * 3),
        RankingRow(plain(2, 1, 250), "b", [wide], ["two\nlines"], [True]),
    ]
    ranking_picture(path, rows)
    first, second = box(path, (1, 2, 250)), box(path, (2, 1, 250))
    assert first[1] < second[0]
    assert (first[2], first[3]) == (second[2], second[3])
    top, bottom, left, right = box(path, (250, 1, 250))
    assert (right - left) / (bottom - top) == pytest.approx(30 / 20, rel=0.1)  # not stretched


def test_ten_rows_of_ten_keep_every_cell_readable(tmp_path):
    path = tmp_path / "ranking.png"
    image = plain(1, 2, 250)
    ranking_picture(path, [RankingRow(image, "q", [image] * 10, ["t"] * 10, [True] * 10)] * 10)
    with Image.open(path) as picture:
        width, height = picture.size
    assert width / 11 >= 120
    assert height / 10 >= 240


def texts_of(rows, title="") -> tuple[list[str], list[str]]:
    """What a ranking picture says above its rows, and under its images."""
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "_save", lambda figure, path: drawn.append(figure))
        ranking_picture("none.png", rows, title)
    (figure,) = drawn
    return [text.get_text() for text in figure.texts], [a.get_xlabel() for a in figure.axes]


def test_marks_and_names_stand_under_the_images_and_are_explained_above():
    image = plain(1, 2, 250)
    results = ["ID 4 \u00b7 cam 1", "ID 5 \u00b7 cam 2", "0205\nc3_0001"]
    row = RankingRow(image, "ID 4 \u00b7 cam 3", [image] * 3, results, [True, False, None])
    above, under = texts_of([row], "infrared \u2192 visible")
    assert under == ["ID 4\ncam 3", "\u2713 ID 4\ncam 1", "\u2717 ID 5\ncam 2", "0205\nc3_0001"]
    assert above[0] == "infrared \u2192 visible"
    text = " ".join(above[1:])
    assert "\u2713 and a solid frame: the query's person." in text
    assert "\u2717 and a dashed frame: another person." in text
    assert text.endswith("Dotted frame: identity not known.")
    unknown = RankingRow(image, "a", [image], ["b"], [None])
    above, _ = texts_of([unknown])
    assert above[0].startswith("Left: the query.")
    assert "\u2713" not in " ".join(above)


def test_a_match_is_marked_beside_the_verdict():
    correct = [True, True, False, None, None]
    row = RankingRow(plain(1, 2, 250), "q", [plain(9, 9, 200)] * 5, ["t"] * 5, correct)
    matched = dataclasses.replace(row, matched=[True, False, True, True, False])
    above, under = texts_of([row])
    assert under == ["q", "✓ t", "✓ t", "✗ t", "t", "t"]
    assert "≈" not in " ".join(above)
    above, under = texts_of([matched])
    assert under == ["q", "✓≈ t", "✓ t", "✗≈ t", "≈ t", "t"]
    assert " ".join(above).endswith(" ≈: within the threshold, in a solid blue frame.")
    known = dataclasses.replace(row, correct=[True] * 5, matched=[True] * 5)
    assert " ".join(texts_of([known])[0]).endswith("cam: the camera. ≈: within the threshold.")


def metrics_rows():
    rows = [
        {"step": s, "split": "train", "loss/identity": 5.0 - s / 10, "loss/triplet": 0.5}
        | {"loss/total": 6.0 - s / 10, "loss/color_free": 0.9, "rate": 0.1, "seconds": 3.0}
        for s in range(0, 40, 2)
    ]
    rows += [{"step": s, "split": "validation", "mean_ap": 0.3, "rank1": 0.4} for s in (20, 39)]
    return rows


def test_training_curves_draw_a_line_a_term_and_a_panel_a_kind(tmp_path):
    path = tmp_path / "folder" / "curves.png"
    rows = metrics_rows()
    training_curves(path, [json.loads(json.dumps(row)) for row in rows])
    with Image.open(path) as image:
        width = image.width
    assert set(pixels_of(path, BLUE)[:, 1] * 3 // width) == {0, 1, 2}  # total, learning rate, mAP
    assert set(pixels_of(path, RED)[:, 1] * 3 // width) == {0, 2}  # identity, rank-1
    for colour in (GREEN, PINK):  # triplet, color-free
        assert set(pixels_of(path, colour)[:, 1] * 3 // width) == {0}
    # At their first points the total, 6, lies above identity, 5, above triplet, 0.5.
    starts = [
        min(pixels_of(path, colour).tolist(), key=lambda at: at[1])[0]
        for colour in (BLUE, RED, GREEN)
    ]
    assert starts == sorted(set(starts))


@pytest.mark.parametrize(
    ("rows", "panels"),
    [
        ([{"step": 3, "split": "train", "loss/total": 1.0}], 1),
        ([{"step": 3, "split": "validation", "mean_ap": 0.5}], 1),
        ([{"step": 3, "split": "train", "rate": 0.1}, {"step": 4, "split": "train"}], 1),
        ([r for r in metrics_rows() if r["split"] == "train"], 2),
        ([{"step": 0, "split": "train", "loss/total": float("nan"), "rate": 0.1}], 2),
        ([{"step": 0, "split": "other"}, *metrics_rows()[:1]], 2),
    ],
)
def test_what_is_missing_is_not_drawn(tmp_path, rows, panels):
    path = tmp_path / "curves.png"
    training_curves(path, rows)
    with Image.open(path) as image:
        assert image.width == 630 * panels
    assert len(pixels_of(path, BLUE))  # a single point is visible too


def test_compared_methods_are_told_apart_and_named_below(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(pictures, "_save", lambda figure, path: figures.append(figure))
    losses, maps = metrics_rows()[:2], [{"step": 5, "split": "validation", "mean_ap": 0.5}]
    methods = {f"method {i}": [losses, losses + maps] for i in range(1, 12)}
    pictures.compared_curves(tmp_path / "curves.png", {"validated alone": [maps], **methods})
    (figure,) = figures
    loss, validation = figure.axes
    looks = [(line.get_color(), line.get_linestyle()) for line in loss.lines]
    assert looks[0::2] == looks[1::2]  # two runs of a method look alike
    assert len(set(looks)) == 11
    assert len({(line.get_color(), line.get_linestyle()) for line in validation.lines}) == 12
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.texts} == {"validated alone", *methods}


ODD = {
    "$x^2$": "$x^2$",
    "$_$": "$_$",  # no valid formula
    "_hidden": " _hidden",
    "[red]a[/red]": "[red]a[/red]",
    "<b>&amp;": "<b>&amp;",
    "a\nb\x1b[31m": r"a\nb\x1b[31m",
    "\udcff": r"\xff",
    "\u4eba": "\u4eba",
}
"""Names of runs, and what a picture shows of each."""


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_names_are_drawn_as_text(tmp_path, monkeypatch, ending):
    path = tmp_path / f"curves.{ending}"
    drawn = []
    save = pictures._save
    monkeypatch.setattr(
        pictures, "_save", lambda figure, path: (drawn.append(figure), save(figure, path))
    )
    pictures.compared_curves(path, {name: [metrics_rows()[:2]] for name in ODD})
    assert path.stat().st_size
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.texts] == list(ODD.values())
    assert not any(text.get_parse_math() for text in legend.texts)
    rows = [{"step": s, "split": "train", **{f"loss/{n}": 1.0 for n in ODD}} for s in (1, 2)]
    training_curves(path, rows)
    (legend,) = [axes.get_legend() for axes in drawn[1].axes]
    assert [text.get_text() for text in legend.texts] == [
        shown(name).replace("_", "-") for name in ODD
    ]
    chart = panel_chart(training_panels(rows)[0], "a")
    xml.dom.minidom.parseString(f'<a xmlns:xlink="b">{chart}</a>')
    for character in "\x1b\udcff":
        assert character not in chart
    for text in ("&lt;b&gt;&amp;amp;", "$x^2$", "[red]a[/red]", r"a\nb\x1b[31m"):
        assert text in chart


def test_unusable_input_is_refused(tmp_path):
    path = tmp_path / "picture.png"
    image = plain(1, 2, 3)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        ranking_picture(path, [RankingRow(image, "q", [image], ["a", "b"], [True])])
    with pytest.raises(ValueError, match="at least one row"):
        ranking_picture(path, [])
    with pytest.raises(ValueError, match="uint8"):
        ranking_picture(path, [RankingRow(image[:, :, 0], "q", [], [], [])])
    with pytest.raises(ValueError, match="no training or validation"):
        training_curves(path, [{"step": 1, "split": "train", "seconds": 3.0}])
    assert not path.exists()


def test_a_users_own_settings_of_matplotlib_change_nothing(tmp_path):
    curves = [{"step": n, "split": "train", "loss/total": 1 / n} for n in (1, 2)]
    training_curves(tmp_path / "plain.png", curves)
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30, "axes.facecolor": "red"}):
        training_curves(tmp_path / "own.png", curves)
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
