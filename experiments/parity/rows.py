"""The rows of the table of errors."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from lupi_jax.errors import InputError


class MismatchError(Exception):
    """The error against the released PyTorch code is above its tolerance."""

    status: ClassVar[int] = 1
    """Exit status of the command."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One quantity of a case: its `relative_error` against the released code."""

    case: str
    quantity: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; NaN never is."""
        return self.error <= self.tolerance


def relative_error(found: Any, expected: Any) -> float:
    """Maximum absolute error over maximum absolute value.

    Raises:
      InputError: the shapes differ.
    """
    found, expected = (np.asarray(x, np.float64) for x in (found, expected))
    if found.shape != expected.shape:
        raise InputError(f"figures of shape {expected.shape} do not fit {found.shape}")
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| case | quantity | error | tolerance | |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.case} | {row.quantity} | {row.error:.1e} | {row.tolerance:.1e} | "
        f"{'' if row.passed else 'above'} |"
        for row in rows
    ]
    return "\n".join(lines)
