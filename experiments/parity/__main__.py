"""`python -m experiments.parity` is `lupi parity`: it compares with the released code.

The command line, with its options and exit statuses, is in `lupi_jax.cli`.
"""

import argparse
import dataclasses
import json
import sys

from experiments import parity
from lupi_jax.cli import main
from lupi_jax.cli.console import print_table, say
from lupi_jax.runtime.backend import start_backend


def compare(options: argparse.Namespace) -> None:
    """Compare what the options of `lupi parity` ask for, and print every error.

    Raises:
      MismatchError: an error is above its tolerance.
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
                    r.case,
                    r.quantity,
                    f"{r.error:.1e}",
                    f"{r.tolerance:.1e}",
                    "" if r.passed else "above",
                )
                for r in rows
            ],
        )
    failed = [row for row in rows if not row.passed]
    if failed:
        raise parity.MismatchError(
            f"{len(failed)} of {len(rows)} quantities are above their tolerance, first "
            f"{failed[0].case} {failed[0].quantity}: {failed[0].error:.1e}"
        )


if __name__ == "__main__":
    sys.argv.insert(1, "parity")
    sys.exit(main())
