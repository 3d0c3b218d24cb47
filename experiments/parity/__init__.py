"""Errors of this implementation against the released PyTorch code, quantity by quantity.

`lupi parity`, or `python -m experiments.parity`, prints them. The released code's figures are kept
here, so PyTorch is not needed.
"""

from experiments.parity.cases import FIGURES, NetworkCase, load_network, networks
from experiments.parity.heads import check_losses, check_metrics
from experiments.parity.network import Precision, check_network, make_network
from experiments.parity.rows import MismatchError, Row, markdown, relative_error

__all__ = [
    "FIGURES",
    "MismatchError",
    "NetworkCase",
    "Precision",
    "Row",
    "check_losses",
    "check_metrics",
    "check_network",
    "load_network",
    "make_network",
    "markdown",
    "networks",
    "relative_error",
]
