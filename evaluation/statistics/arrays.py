"""What comes in as an array: real numbers that NumPy holds, or an error that says what it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

_KINDS = "fiub"


def real_array(values: ArrayLike, name: str, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """The argument as an array of real numbers, of its own type or as ``dtype``.

    Raises:
        ValueError: text, objects, complex numbers, dates or bfloat16; a masked array, whose hidden numbers would
            count; rows of different lengths; a tensor that has a gradient or lies on a device. The message begins
            with ``name``.
    """
    if np.ma.is_masked(values):
        raise ValueError(f"{name} is a masked array; leave the masked rows out and give the others as a plain array")
    try:
        array = np.asarray(values)
    except Exception as error:
        # A tensor answers in the words of its own library, whatever those are.
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"{name} is no array of numbers ({reason[0] if reason else type(error).__name__}); give a NumPy array of"
            " floats, of a tensor x.detach().cpu().float().numpy()"
        ) from error
    if array.dtype.kind not in _KINDS:
        raise ValueError(f"{name} has dtype {array.dtype}; accepted are real floats, integers and booleans")
    return array if dtype is None else array.astype(dtype, copy=False)
