"""Codes in order of first appearance for ids that lie far apart or are text: open addressing under a secret key.

The codes are renumbered by the order of the ids once all are known, so neither the key nor the size of the table shows in
a result; the key is drawn in each process, so that no file can be written to make the table slow.
"""

from __future__ import annotations

import secrets

import numpy as np
from numba import njit
from numpy.typing import NDArray

_KEY = np.uint64(secrets.randbits(64) | 1)


@njit(cache=True, inline="always")
def _mix(h):  # type: ignore[no-untyped-def]
    h ^= h >> np.uint64(32)
    h *= np.uint64(0xD6E8FEB86659FD93)
    h ^= h >> np.uint64(32)
    return h


@njit(cache=True, nogil=True)
def _place(hashes, count, slots):  # type: ignore[no-untyped-def]
    """Put the first `count` codes into an empty table."""
    mask = np.uint64(len(slots) - 1)
    for code in range(count):
        at = hashes[code] & mask
        while slots[at] >= 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = code


@njit(cache=True, nogil=True)
def _code_numbers(block, key, slots, known, hashes, count, out):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(slots) - 1)
    for r in range(len(block)):
        value = block[r]
        h = _mix(np.uint64(value) * key)
        at = h & mask
        while True:
            code = slots[at]
            if code < 0:
                slots[at] = count
                known[count] = value
                hashes[count] = h
                out[r] = count
                count += 1
                break
            if known[code] == value:
                out[r] = code
                break
            at = (at + np.uint64(1)) & mask
    return count


@njit(cache=True, nogil=True)
def _code_words(text, lengths, key, slots, hashes, starts, arena, count, out, fresh):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(slots) - 1)
    low, new = 0, 0
    for r in range(len(lengths)):
        n = lengths[r]
        h = key ^ np.uint64(n)
        byte = low
        for _ in range(n >> 3):
            word = np.uint64(0)
            for b in range(8):
                word |= np.uint64(text[byte + b]) << np.uint64(8 * b)
            h = _mix((h ^ word) * key)
            byte += 8
        word = np.uint64(0)
        for b in range(n & 7):
            word |= np.uint64(text[byte + b]) << np.uint64(8 * b)
        h = _mix((h ^ word) * key)
        at = h & mask
        while True:
            code = slots[at]
            if code < 0:
                slots[at] = count
                hashes[count] = h
                start = starts[count]
                for b in range(n):
                    arena[start + b] = text[low + b]
                starts[count + 1] = start + n
                fresh[new] = r
                new += 1
                out[r] = count
                count += 1
                break
            if hashes[code] == h and starts[code + 1] - starts[code] == n:
                same, start = True, starts[code]
                for b in range(n):
                    if arena[start + b] != text[low + b]:
                        same = False
                        break
                if same:
                    out[r] = code
                    break
            at = (at + np.uint64(1)) & mask
        low += n
    return count


class Numbers:
    """Whole numbers to codes, block by block."""

    def __init__(self) -> None:
        self.count = 0
        self._slots = np.full(1 << 16, -1, np.int32)
        self._hashes = np.empty(1 << 15, np.uint64)
        self._known = np.empty(1 << 15, np.int64)

    @property
    def known(self) -> NDArray[np.int64]:
        """The number behind each code."""
        return self._known[: self.count]

    def code(self, block: NDArray[np.int64], out: NDArray[np.int32]) -> None:
        """Write the code of each number of a block to `out`."""
        self._slots, (self._hashes, self._known) = _room(
            self.count + len(block), self.count, self._slots, self._hashes, self._known
        )
        self.count = int(_code_numbers(block, _KEY, self._slots, self._known, self._hashes, self.count, out))


class Words:
    """Text to codes, block by block; each distinct text is kept once."""

    def __init__(self) -> None:
        self.count = 0
        self._slots = np.full(1 << 16, -1, np.int32)
        self._hashes = np.empty(1 << 15, np.uint64)
        self._starts = np.zeros((1 << 15) + 1, np.int64)
        self._arena = np.empty(1 << 20, np.uint8)

    def code(self, text: NDArray[np.uint8], lengths: NDArray[np.int64], out: NDArray[np.int32]) -> NDArray[np.int64]:
        """Write the code of each text to `out`; returns the places of those that were new, in order.

        text: the bytes of all texts of the block one after the other; lengths: how many each has."""
        before = self.count
        self._slots, (self._hashes, starts) = _room(
            before + len(lengths), before, self._slots, self._hashes, self._starts[1:]
        )
        if len(starts) + 1 != len(self._starts):
            self._starts = np.concatenate([np.zeros(1, np.int64), starts])
        used = int(self._starts[before])
        if used + len(text) > len(self._arena):
            arena = np.empty(2 * (used + len(text)), np.uint8)
            arena[:used] = self._arena[:used]
            self._arena = arena
        fresh = np.empty(len(lengths), np.int64)
        self.count = int(
            _code_words(text, lengths, _KEY, self._slots, self._hashes, self._starts, self._arena, before, out, fresh)
        )
        return fresh[: self.count - before]


def _room(
    wanted: int, count: int, slots: NDArray[np.int32], hashes: NDArray[np.uint64], other: NDArray[np.int64]
) -> tuple[NDArray[np.int32], tuple[NDArray[np.uint64], NDArray[np.int64]]]:
    """Tables with room for `wanted` codes at a load of a half."""
    if 2 * wanted <= len(slots):
        return slots, (hashes, other)
    size = 1 << (2 * wanted - 1).bit_length()
    more = np.empty(size // 2, np.uint64), np.empty(size // 2, np.int64)
    more[0][:count], more[1][:count] = hashes[:count], other[:count]
    slots = np.full(size, -1, np.int32)
    _place(more[0], count, slots)
    return slots, more
