"""Whole numbers that lie close together, as places among those that occur: one bit a number that could be there, and for each
word of 64 bits how many numbers come before it. Both stay in a near memory where a table of codes would not.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

_ONE, _WORD = np.uint64(1), np.uint64(63)


@njit(cache=True, inline="always")
def _count(word):  # type: ignore[no-untyped-def]
    """How many bits are set; the compiler knows this form and makes one instruction of it."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True, nogil=True)
def _places(numbers, low, words, before):  # type: ignore[no-untyped-def]
    for number in numbers:
        at = np.uint64(number - low)
        words[at >> np.uint64(6)] |= _ONE << (at & _WORD)
    count = np.int64(0)
    for w in range(len(words)):
        before[w] = count
        count += np.int64(_count(words[w]))
    for e in range(len(numbers)):
        at = np.uint64(numbers[e] - low)
        own = at >> np.uint64(6)
        numbers[e] = before[own] + np.int64(_count(words[own] & ((_ONE << (at & _WORD)) - _ONE)))
    distinct = np.empty(count, np.int64)
    to = 0
    for w in range(len(words)):
        word = words[w]
        while word:
            lowest = word & (~word + _ONE)
            distinct[to] = low + 64 * w + np.int64(_count(lowest - _ONE))
            to += 1
            word ^= lowest
    return distinct


def places(numbers: NDArray[np.int32], low: int, high: int) -> NDArray[np.int64]:
    """Write each number's place among the distinct ones, which are returned, rising. low, high: bounds of all of them.

    Time: two passes over the numbers. Memory: 3/16 of a byte a number between the bounds.
    """
    words = np.zeros(((high - low) >> 6) + 1, np.uint64)
    out: NDArray[np.int64] = _places(numbers, low, words, np.empty(len(words), np.int32))
    return out
