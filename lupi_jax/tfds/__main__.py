"""`tfds build` for the builders of this package: `python -m lupi_jax.tfds NAME [options]`.

It takes the same options as `tfds build`, which does not start without Apache Beam and mlcroissant.
"""

import sys
from collections.abc import Sequence

import tensorflow_datasets as tfds
from absl import logging as absl_logging
from tensorflow_datasets.scripts.cli import build, cli_utils

from lupi_jax import tfds as builders
from lupi_jax.errors import fit, reason


def main(arguments: Sequence[str]) -> int:
    """Build the data set that `arguments` name; returns 0, or 2 after one line about bad input."""
    absl_logging.set_verbosity(absl_logging.ERROR)  # TFDS logs every step
    parser = cli_utils.ArgumentParser(
        prog=f"python -m {builders.__name__}", description="Build a data set as tfds build does."
    )
    parser.add_arguments(build.Args, dest="args")
    # Without --imports, TFDS takes a folder with the data set's name for its script.
    options = parser.parse_args([f"--imports={builders.__name__}", *(arguments or ["--help"])])
    try:
        options.args.execute()
    except tfds.core.DatasetNotFoundError:
        return _fail(f"no such builder: choose one of {', '.join(builders.NAMES)}")
    except ValueError as error:  # an InputError, or TFDS's error about options
        return _fail(error)
    except OSError as error:
        if error.filename is None:
            raise
        return _fail(f"{error.filename}: {reason(error)}")
    return 0


def _fail(message: object) -> int:
    print(f"lupi: {fit(message)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
