"""`lupi parity`."""

import argparse
import dataclasses
import json

from experiments import parity
from lupi_jax.cli.console import print_table, say
from lupi_jax.errors import MismatchError
from lupi_jax.runtime.backend import start_backend


def compare(options: argparse.Namespace) -> None:
    """Compare this implementation with the released code's numbers.

    Raises:
      MismatchError: a number is further from theirs than it may be.
    """
    start_backend()
    folder = options.figures or parity.FIGURES
    cases = [parity.load_network(name, folder) for name in options.case or parity.networks(folder)]
    rows: list[parity.Row] = []
    if not options.case:
        rows += parity.check_metrics(folder) + parity.check_losses(folder)
    for case in cases:
        say(f"{case.name}, {options.precision} ...")
        rows += parity.check_network(case, options.precision)
    if options.json:
        print(json.dumps([{**dataclasses.asdict(row), "passed": row.passed} for row in rows]))
    elif options.markdown:
        print(parity.markdown(rows))
    else:
        print_table(
            "against the released PyTorch code: maximum error over maximum value",
            ("case", "quantity", ">error", ">tolerance", ""),
            [
                (
                    row.case,
                    row.quantity,
                    f"{row.error:.1e}",
                    f"{row.tolerance:.1e}",
                    "" if row.passed else "above",
                )
                for row in rows
            ],
        )
    failed = [row for row in rows if not row.passed]
    if failed:
        raise MismatchError(
            f"{len(failed)} of {len(rows)} quantities are above their tolerance, first "
            f"{failed[0].case} {failed[0].quantity}: {failed[0].error:.1e}"
        )
