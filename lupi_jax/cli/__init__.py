"""The command line: `lupi COMMAND`, with one module here for each command.

The module of a command has `SUMMARY` and `EXAMPLE` for its help, `add_arguments(parser)`, `NEEDS`,
modules to import before it runs, `SAVED`, what Ctrl-C leaves, and `run(options)`, which raises
InputError where something given cannot be used. Help must come at once: what needs JAX is imported
inside functions, or looked up in `lupi_jax`, which imports a module when it is first used.
"""

import sys
from collections.abc import Sequence

from lupi_jax.cli.interrupts import catch_at_start


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
      arguments: the words after `lupi`; None for those that this process was started with. The
        process then belongs to the command, which may end it.

    Returns:
      The exit status: 0; 1, training diverged, or no parity; 2, bad input; 75, training was asked
      to stop, with all that was trained saved; 76, another process of the run is lost or hangs;
      130, interrupted.
    """
    alone = arguments is None
    if alone:
        catch_at_start()
    from lupi_jax.cli import program

    return program.run(sys.argv[1:] if arguments is None else arguments, alone)
