"""Randomness by name: every generator is derived from a seed and the name of what it is for.

So the order in which parts run, and the number of workers, never change a result.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rng: TypeAlias = "np.random.Generator"  # named only: what draws loads it


def derive(seed: int, *names: object) -> int:
    """A 63-bit seed from a seed and names; equal on every machine and in every process."""
    text = "\x1f".join([str(int(seed)), *(str(n) for n in names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *names: object) -> Rng:
    """A NumPy generator for one named purpose."""
    return np.random.Generator(np.random.PCG64(derive(seed, *names)))


def keyed_hash(key: int, rows: NDArray[np.integer]) -> NDArray[np.uint64]:
    """A 64-bit hash of each row id under a key (splitmix64); `[n] -> [n]`.

    Sorting by it shuffles rows so that deleting one row leaves the relative order of all others as it was.
    """
    with np.errstate(over="ignore"):
        z = rows.astype(np.uint64) + np.uint64(key & 0xFFFFFFFFFFFFFFFF) * np.uint64(0x9E3779B97F4A7C15)
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
