"""Codes in order of first appearance for ids that lie far apart or are text: open addressing under a secret key.

The codes are renumbered by the order of the ids once all are known, so neither the key nor the size of the table shows in
a result; the key is drawn in each process, so that no file can be written to make the table slow. A block of rows goes
through the table one kind of look at a time, so that the memory answers many rows at once; only rows whose first look does
not settle them (new ids, collisions) are walked one by one. Every match is checked against the id itself.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

BLOCK = 1 << 15
_KEY = np.uint64(secrets.randbits(64) | 1)
_FREE = np.int64(-1)


@njit(cache=True, inline="always")
def _mix(h):  # type: ignore[no-untyped-def]
    h ^= h >> np.uint64(32)
    h *= np.uint64(0xD6E8FEB86659FD93)
    return h ^ (h >> np.uint64(32))


@njit(cache=True, inline="always")
def _entry(h, code):  # type: ignore[no-untyped-def]
    """What the table holds: 31 bits of the hash above the code."""
    return np.int64(((h >> np.uint64(33)) << np.uint64(32)) | np.uint64(code))


@njit(cache=True, nogil=True)
def _place(hashes, count, slots):  # type: ignore[no-untyped-def]
    """Put the first `count` codes into an empty table."""
    mask = np.uint64(len(slots) - 1)
    for code in range(count):
        at = hashes[code] & mask
        while slots[at] >= 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = _entry(hashes[code], code)


@njit(cache=True, nogil=True)
def _pack(text, lengths, key, starts, words, hashes):  # type: ignore[no-untyped-def]
    """Each text of a block as whole words of eight bytes, zeros at the end, and its hash."""
    byte, to = np.uint64(0), np.uint64(0)
    one, eight = np.uint64(1), np.uint64(8)
    for r in range(len(lengths)):
        starts[r] = to
        left = np.uint64(lengths[r])
        h = key ^ left
        while left > 0:
            word, shift = np.uint64(0), np.uint64(0)
            stop = byte + min(left, eight)
            left -= min(left, eight)
            while byte < stop:
                word |= np.uint64(text[byte]) << shift
                shift += eight
                byte += one
            h = _mix((h ^ word) * key)
            words[to] = word
            to += one
        hashes[r] = h
    starts[len(lengths)] = to


@njit(cache=True, nogil=True)
def _look(hashes, slots, out):  # type: ignore[no-untyped-def]
    """The code in one of the first four slots of each hash where the rest of the hash agrees, else -1."""
    mask = np.uint64(len(slots) - 1)
    for r in range(len(hashes)):
        h = hashes[r]
        rest = np.int64(h >> np.uint64(33))
        out[r] = -1
        for step in range(4):
            entry = slots[(h + np.uint64(step)) & mask]
            if (entry >> np.int64(32)) == rest:
                out[r] = np.int32(entry)
                break
            if entry < 0:
                break


@njit(cache=True, nogil=True)
def _check(lengths, starts, words, own_lengths, own_starts, arena, out):  # type: ignore[no-untyped-def]
    """Take back codes whose text differs."""
    for r in range(len(lengths)):
        code = out[r]
        if code < 0:
            continue
        same = own_lengths[code] == lengths[r]
        if same:
            low, own = np.uint64(starts[r]), np.uint64(own_starts[code])
            for w in range(np.uint64(starts[r + 1] - starts[r])):
                if words[low + np.uint64(w)] != arena[own + np.uint64(w)]:
                    same = False
        if not same:
            out[r] = -1


@njit(cache=True, nogil=True)
def _walk(lengths, starts, words, hashes, slots, known, own_lengths, own_starts, arena, count, out):  # type: ignore[no-untyped-def]
    """Settle the rows that are left, one by one; new texts get the next codes."""
    mask = np.uint64(len(slots) - 1)
    for r in range(len(lengths)):
        if out[r] >= 0:
            continue
        h = hashes[r]
        n = starts[r + 1] - starts[r]
        at = h & mask
        while True:
            entry = slots[at]
            if entry < 0:
                slots[at] = _entry(h, count)
                known[count] = h
                own_lengths[count] = lengths[r]
                for w in range(n):
                    arena[own_starts[count] + w] = words[starts[r] + w]
                own_starts[count + 1] = own_starts[count] + n
                out[r] = count
                count += 1
                break
            code = np.int32(entry)
            if known[code] == h and own_lengths[code] == lengths[r]:
                same = True
                for w in range(n):
                    same = same and words[starts[r] + w] == arena[own_starts[code] + w]
                if same:
                    out[r] = code
                    break
            at = (at + np.uint64(1)) & mask
    return count


class Words:
    """Text to codes, block by block; each distinct text is kept once, as words of eight bytes."""

    def __init__(self) -> None:
        self.count = 0
        self._slots = np.full(1 << 17, _FREE, np.int64)
        self._hashes, self._lengths = np.empty(1 << 16, np.uint64), np.empty(1 << 16, np.int64)
        self._starts = np.zeros((1 << 16) + 1, np.int64)
        self._arena = np.empty(1 << 18, np.uint64)

    def texts(self) -> pl.Series:
        """The text behind each code."""
        raw = memoryview(self._arena.view(np.uint8))  # type: ignore[arg-type]
        parts = []
        for low in range(0, max(1, self.count), BLOCK):
            high = min(low + BLOCK, self.count)
            at, lengths = (8 * self._starts[low:high]).tolist(), self._lengths[low:high].tolist()
            own = [str(raw[a : a + n], "utf-8") for a, n in zip(at, lengths, strict=True)]
            parts.append(pl.Series("id", own, dtype=pl.String))
        return pl.concat(parts)

    def code(self, block: pl.Series, out: NDArray[np.int32]) -> None:
        """Write the code of each text of a block without nulls to `out`."""
        n, before = len(block), self.count
        if not n:
            return
        text = np.frombuffer(block.str.join("").item().encode(), np.uint8)
        lengths = block.str.len_bytes().to_numpy().astype(np.int64)
        starts, words = np.empty(n + 1, np.int64), np.empty(len(text) // 8 + n, np.uint64)
        hashes = np.empty(n, np.uint64)
        _pack(text, lengths, _KEY, starts, words, hashes)
        self._room(before + n, int(self._starts[before] + starts[n]))
        _look(hashes, self._slots, out)
        _check(lengths, starts, words, self._lengths, self._starts, self._arena, out)
        known = self._hashes, self._lengths, self._starts, self._arena
        self.count = int(_walk(lengths, starts, words, hashes, self._slots, *known, before, out))

    def _room(self, codes: int, words: int) -> None:
        """Tables for so many codes at a load of a half, and memory for so many words."""
        if words > len(self._arena):
            self._arena = _wider(self._arena, int(self._starts[self.count]), 2 * words)
        if 2 * codes > len(self._slots):
            size = 1 << (2 * codes - 1).bit_length()
            self._hashes = _wider(self._hashes, self.count, size // 2)
            self._lengths = _wider(self._lengths, self.count, size // 2)
            self._starts = _wider(self._starts, self.count + 1, size // 2 + 1)
            self._slots = np.full(size, _FREE, np.int64)
            _place(self._hashes, self.count, self._slots)


@njit(cache=True, nogil=True)
def _number_hashes(block, key, hashes):  # type: ignore[no-untyped-def]
    for r in range(len(block)):
        hashes[r] = _mix(np.uint64(block[r]) * key)


@njit(cache=True, nogil=True)
def _numbers(block, hashes, slots, known, count, out):  # type: ignore[no-untyped-def]
    """Settle rows whose first look found nothing or another number; new numbers get the next codes."""
    mask = np.uint64(len(slots) - 1)
    for r in range(len(block)):
        value = block[r]
        if out[r] >= 0 and known[out[r]] == value:
            continue
        at = hashes[r] & mask
        while True:
            entry = slots[at]
            if entry < 0:
                slots[at] = _entry(hashes[r], count)
                known[count] = value
                out[r] = count
                count += 1
                break
            if known[np.int32(entry)] == value:
                out[r] = np.int32(entry)
                break
            at = (at + np.uint64(1)) & mask
    return count


class Numbers:
    """Whole numbers to codes, block by block."""

    def __init__(self) -> None:
        self.count = 0
        self._slots = np.full(1 << 17, _FREE, np.int64)
        self._known = np.empty(1 << 16, np.int64)

    @property
    def known(self) -> NDArray[np.int64]:
        """The number behind each code."""
        return self._known[: self.count]

    def code(self, block: NDArray[np.int64], out: NDArray[np.int32]) -> None:
        """Write the code of each number of a block to `out`."""
        hashes = np.empty(len(block), np.uint64)
        _number_hashes(block, _KEY, hashes)
        codes = self.count + len(block)
        if 2 * codes > len(self._slots):
            size = 1 << (2 * codes - 1).bit_length()
            self._known = _wider(self._known, self.count, size // 2)
            self._slots = np.full(size, _FREE, np.int64)
            own = np.empty(self.count, np.uint64)
            _number_hashes(self.known, _KEY, own)
            _place(own, self.count, self._slots)
        _look(hashes, self._slots, out)
        self.count = int(_numbers(block, hashes, self._slots, self._known, self.count, out))


def _wider(array: NDArray[Any], kept: int, size: int) -> NDArray[Any]:
    out = np.empty(size, array.dtype)
    out[:kept] = array[:kept]
    return out
