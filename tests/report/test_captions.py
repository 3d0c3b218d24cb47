"""The texts under the images of a ranking picture."""

import numpy as np
import pytest
from PIL import Image

from lupi_jax.report.captions import captions_of, text_size
from lupi_jax.report.pictures import RankingRow, ranking_picture

IMAGE = np.full((40, 20, 3), 255, np.uint8)


def row_of(title, matched, correct=None):
    return RankingRow(IMAGE, "q", [IMAGE] * 2, [title] * 2, [correct] * 2, [matched] * 2)


def test_a_mark_leads_the_text():
    assert captions_of(row_of("ID 4 · cam 2", True, True))[1] == "✓≈ ID 4\ncam 2"
    assert captions_of(row_of("a", True))[1] == "≈ a"
    assert captions_of(row_of("a", False))[1] == "a"


def test_the_longest_line_sets_the_size():
    assert text_size(["ID 4\ncam 2", ""], (), 0.96) == text_size([""], (), 0.96) == 8
    size = text_size(["a", "≈ person0033-cam\n1"], (), 0.96)
    assert 6 < size < 8
    assert text_size(["a", "≈ person0033-cam\n1"], ["≈ person0033-cam\n1"], 0.96) < size
    assert text_size(["a" * 100], (), 0.96) == 5.5


@pytest.mark.parametrize(("correct", "matched"), [(None, True), (True, True)])
def test_neighbouring_texts_leave_a_gap(tmp_path, correct, matched):
    path = tmp_path / "ranking.png"
    ranking_picture(path, [row_of("person0033-cam\n2-0003", matched, correct)])
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    # 150 pixels per inch. Two lines, the gap above them and the margin have 72; a frame is 6 wide.
    (columns,) = np.nonzero((pixels[-66:] < 250).any(axis=0))
    middle = round(150 * (0.12 + 0.9 + 3 * 0.12 + 0.9 + 0.12 / 2))  # between the two results
    assert columns.max() > middle + 130  # the longer line is seen
    assert not np.isin(range(middle - 2, middle + 3), columns).any()
