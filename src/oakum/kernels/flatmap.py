"""Vectors on a page: t-SNE where scikit-learn is installed, two principal components otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 2000  # points: beyond it a map is a blot, and t-SNE takes minutes


def flat_map(
    vectors: NDArray[np.float32], *, seed: int = 0, perplexity: float = 15.0, steps: int = 1000
) -> tuple[NDArray[np.float64], str]:
    """Places [n, 2] of vectors [n, d] and the name of the method in words.

    t-SNE (van der Maaten & Hinton 2008) from a principal-component start, so that one seed gives one map. Up to 2,000
    points of finite vectors; fewer than ten, or without scikit-learn (extra 'maps'), principal components.
    """
    if len(vectors) > LARGEST:
        raise ValueError(f"A map shows at most {LARGEST:,} points. Got {len(vectors):,}.")
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    method = None if len(vectors) < 10 else _tsne()
    if method is None:
        left, values, _ = np.linalg.svd(centred, full_matrices=False)
        out = np.zeros((len(vectors), 2))
        width = min(2, len(values))
        out[:, :width] = left[:, :width] * values[:width]
        return out, "two principal components"
    near = min(perplexity, (len(vectors) - 1) / 3)
    start = "pca" if vectors.shape[1] >= 2 else "random"
    tsne = method(2, perplexity=near, init=start, learning_rate="auto", max_iter=steps, random_state=seed, n_jobs=1)
    return np.asarray(tsne.fit_transform(centred), np.float64), f"t-SNE (perplexity {near:.0f})"


def _tsne() -> Any:
    try:
        from sklearn.manifold import TSNE  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        return None
    return TSNE
