"""Make one of the paper's tables.

python -m experiments.tables 4 --data sysu --root SYSU-MM01
"""

import sys

from experiments.tables.command import run_table
from experiments.tables.paper import TABLES


def main(arguments: list[str]) -> int:
    """Run the table that the first argument names, and return its exit status."""
    numbers = [str(table.number) for table in TABLES]
    if not arguments or arguments[0] not in numbers:
        print(
            "usage: python -m experiments.tables NUMBER --data KIND --root DIR ...\n"
            f"NUMBER is one of {', '.join(numbers)}; add --help for the options",
            file=sys.stderr,
        )
        return 2
    return run_table(TABLES[int(arguments[0]) - 1], arguments[1:])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
