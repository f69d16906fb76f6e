"""ScaNN: four-bit codes in registers, then the exact order of the best hundred. It has no filters."""

from __future__ import annotations

from typing import Any

import numpy as np

DISTRIBUTION = "scann"
LEAVES = (2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)


def vectors(case: Any) -> dict[str, Any]:
    """A tree of 2000 leaves over quantised vectors."""
    import scann

    x, q, truth = (case.array(n) for n in ("vectors", "queries", "truth_plain"))
    with case.timed("build"):
        builder = scann.scann_ops_pybind.builder(x, 10, "dot_product").tree(
            num_leaves=2000 if len(x) > 50_000 else 10, num_leaves_to_search=50, training_sample_size=250_000
        )
        index = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(100).build()
    search = lambda level: np.asarray(index.search_batched(q, leaves_to_search=level)[0], np.int64)
    recall = lambda found: np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, truth, strict=True)])
    level = next((v for v in LEAVES if recall(search(v)) >= 0.95), LEAVES[-1])
    for _ in range(3):
        with case.timed("plain"):
            found = search(level)
    return {"found_plain": found, "level_plain": level}
