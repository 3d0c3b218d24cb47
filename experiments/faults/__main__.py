"""`python -m experiments.faults table|kills|training`."""

import argparse
from pathlib import Path

from experiments.faults import kills, table, training
from experiments.faults.results import FOLDER


def main() -> int:
    """Run one of the three."""
    parser = argparse.ArgumentParser(prog="python -m experiments.faults", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in (("table", table), ("kills", kills), ("training", training)):
        text = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=text, description=text)
        place = "directory of the world to break (required)"
        command.add_argument("--workdir", type=Path, required=True, help=place)
        place = "directory to write the results to (experiments/results)"
        command.add_argument("--results", type=Path, default=FOLDER, help=place)
        module.add_arguments(command)
        command.set_defaults(main=module.main, several=name == "training")
    options, rest = parser.parse_known_args()
    options.rest = rest
    if rest and not options.several:
        parser.error(f"unknown argument {rest[0]}")
    return options.main(options)


if __name__ == "__main__":
    raise SystemExit(main())
