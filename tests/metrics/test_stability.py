from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.lists import ranking
from oakum.errors import ParameterError, ProtocolError
from oakum.metrics import stability
from oracles.overlaps import overlap

SYMMETRIC = (
    stability.rbo,
    stability.frbo,
    stability.average_overlap,
    stability.jaccard,
    stability.churn,
    stability.kendall,
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([6, 40]), st.sampled_from([0.5, 0.9, 0.98]))
def test_agrees_with_sets_for_lists_of_any_length(seed, k, p):
    """k = 6 takes the path of short lists, k = 40 the sorting one."""
    rng = np.random.default_rng(seed)
    a = [rng.permutation(50)[: rng.integers(0, k + 1)].tolist() for _ in range(4)]
    b = [rng.permutation(50)[: rng.integers(1, k + 1)].tolist() for _ in range(4)]
    first, second = ranking(a, k=k), ranking(b, k=k)
    oracle = [overlap(x, y, p) for x, y in zip(a, b, strict=True)]
    for name in ("rbo", "frbo", "average_overlap", "jaccard", "churn"):
        options = {"p": p} if name in ("rbo", "frbo") else {}
        found = getattr(stability, name)(first, second, k, **options)
        assert found == pytest.approx([o[name] for o in oracle], abs=1e-10), name
    for measure in SYMMETRIC:
        assert measure(first, second, k) == pytest.approx(measure(second, first, k), abs=1e-12, nan_ok=True)


def test_equal_and_disjoint_lists():
    lists = ranking([[3, 1, 2], [5]], k=10)
    other = ranking([[7, 8, 9], [6]], k=10)
    for measure in (stability.rbo, stability.frbo, stability.average_overlap, stability.jaccard):
        assert measure(lists, lists, 10).tolist() == [1.0, 1.0]
        assert measure(lists, other, 10) == pytest.approx([0.0, 0.0])
    assert stability.churn(lists, lists, 10).tolist() == [0.0, 0.0]
    assert stability.churn(lists, other, 10).tolist() == [1.0, 1.0]
    assert stability.top1_change(lists, other).tolist() == [1.0, 1.0]
    assert stability.top1_change(lists, lists).tolist() == [0.0, 0.0]


def test_average_overlap_of_independent_permutations_is_one_half():
    rng = np.random.default_rng(0)
    first = ranking([rng.permutation(1000).tolist() for _ in range(20)])
    second = ranking([rng.permutation(1000).tolist() for _ in range(20)])
    assert stability.average_overlap(first, second, 1000).mean() == pytest.approx(0.5, abs=0.01)


def test_kendall_agrees_with_scipy_and_reverses():
    from scipy.stats import kendalltau

    rng = np.random.default_rng(2)
    a, b = rng.permutation(12).tolist(), rng.permutation(12).tolist()
    places = [[x.index(i) for i in range(12)] for x in (a, b)]
    found = stability.kendall(ranking([a, a, [1]], k=12), ranking([b, a[::-1], [1]], k=12), 12)
    assert found[0] == pytest.approx(kendalltau(*places).statistic)
    assert found[1] == -1.0
    assert np.isnan(found[2])


def test_empty_lists():
    empty, full = ranking([[]], k=3), ranking([[1, 2, 3]])
    assert np.isnan(stability.frbo(empty, empty, 3)).all()
    assert stability.frbo(empty, full, 3).tolist() == [0.0]
    assert stability.rbo(empty, full, 3).tolist() == [0.0]


def test_misuse():
    with pytest.raises(ProtocolError, match="same queries"):
        stability.jaccard(ranking([[1]]), ranking([[1], [2]]), 1)
    with pytest.raises(ProtocolError, match="rank more"):
        stability.jaccard(ranking([[1]]), ranking([[1]]), 2)
    with pytest.raises(ParameterError, match="persistence"):
        stability.rbo(ranking([[1]]), ranking([[1]]), 1, p=1.0)
