"""Where a value stands among others that rise; for use inside other Numba kernels."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def find(rising, low, high, value):  # type: ignore[no-untyped-def]
    """The first place of a value in rising[low:high]; -1 where it is not. Time log(high - low)."""
    end = high
    while low < high:
        middle = (low + high) >> 1
        if rising[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low if low < end and rising[low] == value else -1
