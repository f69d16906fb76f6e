"""Maps of vectors: near stays near, whatever draws them."""

from __future__ import annotations

import numpy as np
import pytest

from oakum.kernels import flatmap


@pytest.mark.parametrize("library", [True, False])
def test_blobs_stay_apart(library: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if library:
        pytest.importorskip("sklearn.manifold")
    else:
        monkeypatch.setattr(flatmap, "_tsne", lambda: None)
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(c, 0.1, (30, 6)) for c in (-3, 0, 3)]).astype(np.float32)
    points, how = flatmap.flat_map(vectors)
    assert how.startswith("t-SNE" if library else "two principal")
    again, _ = flatmap.flat_map(vectors)
    np.testing.assert_array_equal(points, again)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(gaps, np.inf)
    assert (gaps.argmin(1) // 30 == np.arange(90) // 30).all()


def test_a_few_points_and_too_many() -> None:
    assert flatmap.flat_map(np.ones((3, 1), np.float32))[0].shape == (3, 2)
    with pytest.raises(ValueError, match="2,000"):
        flatmap.flat_map(np.ones((2001, 2), np.float32))
