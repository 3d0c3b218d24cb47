"""The metrics file of a run, as it is read back."""

import json

import pytest

from lupi_jax.training.logging import METRICS_FILE, RunLog, read_metrics

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
    assert err.startswith(f"note: {place}: ignored lines that do not hold figures: 2")


def test_a_whole_file_needs_no_note(tmp_path, capfd):
    assert read_metrics(tmp_path) == []
    (tmp_path / METRICS_FILE).write_text(json.dumps(GOOD) + "\n")
    assert read_metrics(tmp_path) == [GOOD]
    assert capfd.readouterr().err == ""


def test_the_names_of_figures_are_text(tmp_path, capfd):
    """Somebody's own loss may be called as markup is, or as no terminal should be told."""
    with RunLog(tmp_path, 0, 2, 1, 8) as log:
        log.validation(1, {"[red]a[/red]": 0.5, "[/]": 0.25, "\x1b[31m": 0.125})
        log.waited(1, 0.5, 0.0)
        log.compiled(2.0)
    err = capfd.readouterr().err
    assert r"[red]a[/red] 0.5000  [/] 0.2500  \x1b[31m 0.1250" in err
    assert "\x1b" not in err
    (row,) = read_metrics(tmp_path)
    assert row["[/]"] == 0.25
