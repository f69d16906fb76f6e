"""The linear map against a general inverse, also where it is larger than a block."""

from __future__ import annotations

import numpy as np
import pytest

from oakum.engine.fit import fit
from oakum.errors import ParameterError
from oakum.models.classic.ease import EASE
from tests.toys import log_of, random_log


@pytest.mark.parametrize("items", [30, 1100, 2049])
def test_the_map_is_that_of_the_paper(items: int) -> None:
    rng = np.random.default_rng(0)
    pairs = sorted(
        {(int(u), int(i)) for u, i in zip(rng.integers(0, 80, 9000), rng.integers(0, items, 9000), strict=True)}
    )
    data = random_log() if items == 30 else log_of(pairs, 80, items)
    fitted = fit(EASE(l2=20.0), data)
    x = data.matrix.toarray().astype(np.float64)
    inverse = np.linalg.inv(x.T @ x + 20.0 * np.eye(items))
    want = -inverse / np.diag(inverse)[None]
    np.fill_diagonal(want, 0)
    np.testing.assert_allclose(fitted.model.map, want, atol=2e-5)


def test_a_catalogue_beyond_the_memory_is_refused() -> None:
    with pytest.raises(ParameterError, match="ials"):
        fit(EASE(memory_gb=1e-6), random_log())
