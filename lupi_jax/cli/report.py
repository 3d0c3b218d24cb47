"""`lupi report`: one page about a run."""

import argparse
import tempfile
from pathlib import Path

from lupi_jax.cli.console import interrupted, say
from lupi_jax.cli.evaluate import selection
from lupi_jax.cli.network import load
from lupi_jax.errors import InputError
from lupi_jax.evaluation import Evaluation, evaluate
from lupi_jax.report import make_page, require_libraries
from lupi_jax.report.page import device
from lupi_jax.runtime.files import write_whole
from lupi_jax.runtime.terminal import showing
from lupi_jax.training import Run
from lupi_jax.training.logging import read_metrics
from lupi_jax.training.run import versions


@interrupted(lambda: "a page that was there before is as it was")
def report(options: argparse.Namespace) -> None:
    """Evaluate a run and write what came of it as one HTML page.

    Raises:
      InputError: the run or its data cannot be used, or the page cannot be written.
    """
    require_libraries()
    run = load(options)
    out = options.out or options.workdir / "report.html"
    _check_out(out)
    with showing() as show:
        seen = run.seen or ()
        found = evaluate(run.config, run.model, run.variables, options.split, seen, show)
    now = {"training": run.record["versions"], "this page": versions()}
    page = make_page(run, found, read_metrics(options.workdir), _facts(run, found, options), now)
    write_whole(out, page)
    say(f"wrote {out}: {len(page.encode()) / 1e6:.1f} MB")


def _facts(run: Run, found: Evaluation, options: argparse.Namespace) -> dict[str, str]:
    config = run.config
    people, images = len(found.features.index.classes), len(found.features.index)
    return {
        "Run": options.workdir.resolve().name,
        "Data": f"{config.data.name} {config.data.root}",
        "Split": f"{options.split}: {people} people, {images} images",
        "Protocol": found.protocol,
        "Recipe": f"{config.recipe}, trained on {', '.join(config.modalities)} images of "
        f"{run.record['num_classes']} people",
        "Network": f"{config.model.backbone}, {config.data.image_size[0]} x "
        f"{config.data.image_size[1]} pixels",
        "Step": f"{run.step} of {run.record['steps']}; checkpoint: {selection(run, options)}",
        "Device": device(),
        "Images": f"fingerprint {found.features.index.fingerprint}",
    }


def _check_out(out: Path) -> None:
    """Find out before the long part that a page cannot be written.

    Raises:
      InputError: it cannot.
    """
    if out.is_dir():
        raise InputError(f"--out {out}: a directory; name a file in it, as {out / 'report.html'}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out}: a page is HTML; end it on .html")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise InputError(
            f"--out {out}: cannot be written there ({error.strerror}); name another place"
        ) from error
