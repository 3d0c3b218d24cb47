"""`python -m lupi_jax` is `lupi`."""

import sys

from lupi_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
