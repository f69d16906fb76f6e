"""Mixtures of interests: against a slow loop, over any base, with the filters kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.api import fit as fit_by_name
from oakum.data import Filter, Queries, Ragged
from oakum.engine.fit import fit, spec_is_learned
from oakum.errors import ParameterError
from oakum.models.classic.ials import IALS, PureSVD
from oakum.models.classic.knn import ItemKNN
from oakum.models.classic.knn_embed import KNNEmbed, Mixture
from oakum.store import load, save
from tests.oracles import mixtures
from tests.toys import random_log


def mixture(seed: int = 0, **settings: Any) -> Mixture:
    rng = np.random.default_rng(seed)
    data = random_log(25, 40, 220, seed)
    vectors = rng.normal(size=(40, 5)).astype(np.float32)
    vectors[data.item_counts == 0] = np.nan
    return Mixture.over(KNNEmbed.make(**{"num_clusters": 6, "k": 4, **settings}), vectors, data.matrix, seed)


def asked(mix: Mixture) -> Queries:
    rows = [mix.x.indices[mix.x.indptr[u] : mix.x.indptr[u + 1]].tolist() for u in range(mix.x.shape[0])]
    return Queries(np.arange(len(rows), dtype=np.int32), Ragged.of(rows))


# The same cases each time: two items a rounding apart may fall either way in another order of summation.
@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 500), st.sampled_from([0.0, 0.3, 0.8, 1.0]), st.integers(1, 12), st.sampled_from([2, 25]))
def test_lists_are_those_of_a_slow_loop(seed: int, smoothing: float, n: int, most: int) -> None:
    mix = mixture(seed, smoothing=smoothing, max_components=most)
    queries = asked(mix)
    deny = np.array([3, 4], np.int32)
    items, _, source = mix.lists(queries, n, Filter(deny=deny, exclude=queries.histories))
    p, _ = mix.mixture(queries)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    assert (p >= 0).all()
    for r in range(0, len(queries), 5):
        seen = set(queries.histories.row(r).tolist())
        want, parts = mixtures.lists(mix, r, sorted(seen), n, seen | {3, 4})
        np.testing.assert_allclose(p[r], [want[c] for c in range(len(mix.centres))], atol=1e-5)
        shown = items[r][items[r] >= 0].tolist()
        assert len(set(shown)) == len(shown)
        assert not set(shown) & (seen | {3, 4})
        assert set(shown) == {i for part in parts for i in part}
        assert all(len({int(source[r][shown.index(i)]) for i in part}) <= 1 for part in parts)


def test_one_cluster_without_smoothing_is_the_single_vector() -> None:
    data = random_log()
    model = fit(KNNEmbed(base=PureSVD(embedding_dim=4), num_clusters=1, smoothing=0.0), data)
    queries = model.queries(np.arange(40, dtype=np.int32))
    unit = model.model.mix.unit
    found = model.rank(queries, 5, where=Filter(exclude=queries.histories))
    for r in range(40):
        own = np.unique(queries.histories.row(r))
        cosines = unit @ unit[own].mean(0)
        cosines[own] = -np.inf
        np.testing.assert_allclose(
            np.sort(cosines[found.items[r]])[::-1], np.sort(cosines)[::-1][:5], rtol=1e-4, atol=1e-5
        )


def test_smoothing_finds_an_interest_that_only_neighbours_show() -> None:
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(4, 8)) * 4
    vectors = (middles[np.repeat(np.arange(4), 20)] + rng.normal(size=(80, 8)) * 0.3).astype(np.float32)
    both = [
        rng.choice(20, 5, replace=False).tolist() + (20 + rng.choice(20, 5, replace=False)).tolist() for _ in range(20)
    ]
    from scipy import sparse

    rows = [*both, both[0][:5]]
    at = [(u, i) for u, row in enumerate(rows) for i in row]
    x = sparse.csr_matrix((np.ones(len(at), np.float32), np.array(at).T), shape=(21, 80))
    queries = Queries(np.array([20], np.int32), Ragged.of([rows[20]]))
    found = {}
    for smoothing in (0.0, 0.5):
        mix = Mixture.over(KNNEmbed(num_clusters=4, smoothing=smoothing), vectors, x, 0)
        items = mix.lists(queries, 12, Filter(exclude=queries.histories))[0][0]
        found[smoothing] = int(((items >= 20) & (items < 40)).sum())
    assert found[0.0] == 0
    assert 2 <= found[0.5] <= 4


def test_a_learned_base_is_trained_listed_saved_and_resumed_alike(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from oakum.models.graph.lightgcn import LightGCN

    data = random_log()
    base = LightGCN(embedding_dim=8, num_layers=1)
    spec = KNNEmbed(base=base, num_clusters=4)
    assert spec_is_learned(spec)
    assert not spec_is_learned(KNNEmbed())
    plan = {"epochs": 3, "batch_size": 128, "learning_rate": 0.02}
    wrapped, alone = fit(spec, data, plan=plan, seed=2), fit(base, data, plan=plan, seed=2)
    queries = alone.queries(np.arange(40, dtype=np.int32))
    np.testing.assert_array_equal(wrapped.score(queries), alone.score(queries))
    save(wrapped, tmp_path / "m")
    again = load(tmp_path / "m")
    where = Filter(exclude=queries.histories)
    lists = wrapped.rank(queries, 6, where=where).items
    np.testing.assert_array_equal(lists, again.rank(queries, 6, where=where).items)
    assert (lists != alone.rank(queries, 6, where=where).items).any()
    for r in range(40):
        assert not set(lists[r]) & set(queries.histories.row(r))


def test_what_cannot_be_a_base_is_refused() -> None:
    with pytest.raises(ParameterError, match="'item-knn' has not"):
        fit(KNNEmbed(base=ItemKNN()), random_log())
    with pytest.raises(ParameterError, match="must be a Spec"):
        KNNEmbed(base={"slug": "ials"})  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="closed form and has no learning_rate, epochs"):
        fit_by_name("knn-embed", random_log(), learning_rate=0.1, epochs=3)


def test_the_base_is_named_on_a_command_line() -> None:
    spec = KNNEmbed.parse({"base": "ials", "num_clusters": "3"})
    assert spec.base == IALS()
    assert KNNEmbed.from_json(spec.to_json()) == spec


def test_degrees_divided_out_weigh_best_sellers_less() -> None:
    data = random_log()
    x = data.matrix.toarray().astype(float)
    a = 0.5
    scaled = x / data.user_counts[:, None] ** a / data.item_counts[None] ** a
    _, _, vt = np.linalg.svd(scaled)
    v = vt[:5].T
    want = (x / data.item_counts[None] ** a) @ v @ v.T
    model = fit(PureSVD(embedding_dim=5, degree_exponent=a), data)
    found = model.score(model.queries(np.arange(40, dtype=np.int32)))
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-4)
