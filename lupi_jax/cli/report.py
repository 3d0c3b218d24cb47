"""`lupi report`: write one page about a run."""

import argparse
from pathlib import Path

import lupi_jax as lupi
from lupi_jax.cli.console import check_out, say
from lupi_jax.cli.network import add_checkpoint, add_images, load, measure, selection
from lupi_jax.errors import plural, shown

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
    from lupi_jax.report import make_page, require_libraries
    from lupi_jax.runtime.files import write_whole
    from lupi_jax.training.logging import read_metrics
    from lupi_jax.training.run import versions
    from lupi_jax.views import check_intermediate

    require_libraries()
    reported = load(options)
    out = options.out or options.workdir / "report.html"
    check_out(out, (".html", ".htm"))
    check_intermediate(reported.config.views, reported.config.data.image_size)
    found = measure(reported, options.split)
    now = {"training": reported.record["versions"], "this page": versions()}
    curves, facts = read_metrics(options.workdir), _facts(reported, found, options)
    page = make_page(reported, found, curves, facts, now)
    write_whole(out, page)
    say(f"wrote {out}: {len(page.encode()) / 1e6:.1f} MB")


def _facts(
    run: "lupi.training.Run", found: "lupi.evaluation.Evaluation", options: argparse.Namespace
) -> dict[str, str]:
    """The facts above the page's figures."""
    from lupi_jax.data.sources.manifest import difficulty
    from lupi_jax.report.page import device

    config, index = run.config, found.features.index
    height, width = config.data.image_size
    chosen = selection(run, options.checkpoint)
    level = config.data.name == "synthetic" and difficulty(Path(config.data.root))
    rendered = f" (rendered, {level})" if level else ""
    return {
        "Run": shown(options.workdir.resolve().name),
        "Data": shown(f"{config.data.name} {config.data.root}"),
        "Split": f"{options.split}: {plural(len(index.classes), 'person', 'people')}{rendered}, "
        f"{plural(len(index), 'image')}",
        "Protocol": found.protocol,
        "Recipe": f"{config.recipe}, trained on {', '.join(config.modalities)} images of "
        f"{run.record['num_classes']} people",
        "Network": f"{config.model.backbone}, {height} x {width} pixels",
        "Step": f"{run.step} of {run.record['steps']}; checkpoint: {chosen}",
        "Device": device(),
        "Images": f"fingerprint {index.fingerprint}",
    }
