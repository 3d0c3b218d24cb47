"""Checks of the arrays that are given to metrics, before anything is computed."""

import warnings
from numbers import Integral
from typing import Literal

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lupi_jax.data.index import JUNK

Counted = Literal["identity", "image"]
"""What a CMC curve counts, the identities of a gallery or its images."""

_EXACT = 2**53  # whole numbers up to here keep their value as float64


def real_numbers(name: str, values: ArrayLike) -> NDArray:
    """The given real numbers as an array.

    Raises:
      ValueError: the values are complex numbers, booleans, text, objects, masked, or whole numbers
        beyond 2^53.
    """
    array = np.asanyarray(values)
    if isinstance(array, np.ma.MaskedArray):
        raise ValueError(f"{name} must not be masked: leave out the masked entries")
    whole = array.dtype.kind in "iu"
    if not whole and not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must be real numbers, not {array.dtype}")
    if whole and array.size and max(int(array.max()), -int(array.min())) > _EXACT:
        raise ValueError(f"{name} must be numbers up to 2^53: larger ones lose digits")
    return np.asarray(array)


def floating(name: str, values: ArrayLike) -> NDArray:
    """`real_numbers` as floating-point numbers, float32 or more."""
    array = real_numbers(name, values)
    return array.astype(np.promote_types(array.dtype, np.float32), copy=False)


def whole_numbers(name: str, values: ArrayLike) -> NDArray:
    """Identities or groups as an array of int64, or of text if they are names.

    Raises:
      ValueError: the values are something else, such as NaN, fractions or objects.
    """
    array = np.asanyarray(values)
    if isinstance(array, np.ma.MaskedArray):
        raise ValueError(f"{name} must not be masked: leave out the masked entries")
    if array.dtype.kind in "US":
        return array
    advice = f"{name} must be whole numbers or names"
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{advice}, not {array.dtype}")
    if array.dtype.kind == "f" and not np.all((np.trunc(array) == array) & (abs(array) <= _EXACT)):
        raise ValueError(f"{advice}: some are NaN, infinite, fractions or beyond 2^53")
    if array.size and int(array.max()) >= 2**63:
        raise ValueError(f"{advice}: some are 2^63 or more")
    return np.asarray(array, np.int64)


def comparable(
    name: str, first: ArrayLike | None, second: ArrayLike | None
) -> tuple[NDArray, NDArray]:
    """`whole_numbers` of queries and gallery, both numbers or both text.

    Raises:
      ValueError: `whole_numbers` refuses a side, one side is None, or one side is text and the
        other is numbers.
    """
    if first is None or second is None:
        raise ValueError(f"{name}: give them for queries and gallery, or for neither")
    sides = whole_numbers(f"query {name}", first), whole_numbers(f"gallery {name}", second)
    if sides[0].dtype.kind != sides[1].dtype.kind:
        raise ValueError(
            f"{name} of queries and gallery must be the same kind: got {sides[0].dtype} and "
            f"{sides[1].dtype}"
        )
    return sides


def check_options(cmc: Counted | None, ranks: int) -> Counted:
    """What a CMC curve of length `ranks` counts; identities, with a warning, if `cmc` is None.

    Raises:
      ValueError: `cmc` or `ranks` is something else.
    """
    if cmc is None:
        warnings.warn(
            'cmc was left out, so the CMC curve counts identities: give cmc="image" to count '
            "images, as `lupi evaluate` does for folders and RegDB, or "
            'cmc="identity", as for SYSU-MM01 and LLCM',
            FutureWarning,
            stacklevel=3,
        )
        cmc = "identity"
    if cmc not in ("identity", "image"):
        raise ValueError(f'cmc must be "identity" or "image": got {cmc!r}')
    if not isinstance(ranks, Integral) or ranks < 1:
        raise ValueError(f"ranks must be a whole number of at least 1: got {ranks}")
    return cmc


def is_there(gallery_ids: NDArray) -> NDArray[np.bool_]:
    """[g] False for junk; raises ValueError if all are junk. Names are never junk."""
    named = gallery_ids.dtype.kind != "i"
    there = np.ones(len(gallery_ids), bool) if named else gallery_ids != JUNK
    if not there.any():
        raise ValueError("no query has a true match in its gallery: all of it is junk (-1)")
    return there
