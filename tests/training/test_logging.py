"""The metrics file of a run, as it is read back."""

import json

import pytest

from lupi_jax.training.logging import METRICS_FILE, read_metrics

GOOD = {"step": 20, "split": "train", "loss/total": 1.5, "seconds": 3}


@pytest.mark.parametrize(
    "line",
    [
        b'{"step": 40, "split": "tr',  # cut by a kill
        b"\xff\xfe\n",
        b"[1, 2]",
        b'{"split": "train"}',
        b'{"step": "40", "split": "train"}',
        b'{"step": true, "split": "train"}',
        b'{"step": 40, "split": "train", "loss/total": "<b>"}',
        b'{"step": 40, "split": "train", "loss/total": NaN}',
        b'{"step": ' + b"9" * 5000 + b', "split": "train"}',
        b"[" * 100_000,
        b'{"step": 40, "split": "' + b"x" * 2**20 + b'"}',
    ],
)
def test_a_line_that_is_not_a_row_is_passed_over_and_named(tmp_path, line, capfd):
    row = json.dumps(GOOD).encode()
    (tmp_path / METRICS_FILE).write_bytes(b"\n".join([row, line, row, b""]))
    assert read_metrics(tmp_path) == [GOOD, GOOD]
    err = capfd.readouterr().err
    place = tmp_path / METRICS_FILE
    assert err.startswith(f"note: {place}: passed over what is not a row of figures, on line 2")


def test_a_whole_file_needs_no_note(tmp_path, capfd):
    assert read_metrics(tmp_path) == []
    (tmp_path / METRICS_FILE).write_text(json.dumps(GOOD) + "\n")
    assert read_metrics(tmp_path) == [GOOD]
    assert capfd.readouterr().err == ""
