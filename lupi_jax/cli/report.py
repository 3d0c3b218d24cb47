"""`lupi report`: write one page about a run."""

import argparse
from pathlib import Path

import lupi_jax as lupi
from lupi_jax.cli.console import check_out, say
from lupi_jax.cli.network import add_checkpoint, add_images

SUMMARY = "write one page about a run, with figures, curves and rankings"
EXAMPLE = "lupi report --workdir runs/demo --out report.html"
NEEDS = ("evaluation", "report", "training")
SAVED = "nothing was written or changed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lupi report`."""
    add, run = parser.add_argument, "directory of a run of `lupi train` (required)"
    add("--workdir", type=Path, required=True, metavar="RUN", help=run)
    add_checkpoint(parser)
    add_images(parser)
    add("--out", type=Path, metavar="FILE", help="HTML page to write (RUN/report.html)")


def run(options: argparse.Namespace) -> None:
    """Evaluate a run, and write the result as one HTML page."""
    from lupi_jax.report import require_libraries
    from lupi_jax.runtime.backend import start_backend
    from lupi_jax.runtime.terminal import showing

    require_libraries()
    out = options.out or options.workdir / "report.html"
    check_out(options.out, (".html", ".htm"))
    start_backend()
    with showing() as show:
        report = lupi.make_report(
            options.workdir,
            options.split,
            checkpoint=options.checkpoint,
            overrides=options.overrides,
            show=show,
        )
    for note in report.notes:
        say(f"note: {note}")
    report.save(out)
    say(f"wrote {out}: {len(report.html.encode()) / 1e6:.1f} MB")
