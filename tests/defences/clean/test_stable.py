"""Edges cut before training: kernels against loops, verdicts on planted edges, what is left and what is marked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy import sparse  # noqa: E402

from oakum.claims.base import Context  # noqa: E402
from oakum.claims.stable import _network, loops, normalisation, views  # noqa: E402
from oakum.data import Interactions  # noqa: E402
from oakum.defences.clean.stable import RobustCode, RobustModel, Stable, fits, graph_of  # noqa: E402
from oakum.errors import DataError  # noqa: E402
from oakum.kernels.edges import adjacency, jaccard, nearest, pairs_of  # noqa: E402
from oakum.metrics.calibration import auc  # noqa: E402
from tests.toys import checkerboard, random_log  # noqa: E402


@pytest.mark.parametrize("claim", [normalisation, views, loops])
def test_what_needs_no_training_holds(claim: Any) -> None:
    assert claim(Context(None)).holds


def test_nearest_rows_are_those_of_a_full_sort() -> None:
    rng = np.random.default_rng(0)
    h, allowed = rng.normal(size=(30, 4)), rng.random(30) < 0.6
    unit = h / np.linalg.norm(h, axis=1)[:, None]
    found = nearest(h, allowed, 3, block=7)
    for i in range(30):
        order = sorted(np.flatnonzero(allowed), key=lambda j: (-float(unit[i] @ unit[j]), j))
        assert found[i].tolist() == order[:3]
    assert nearest(h, np.arange(30) < 2, 5).shape == (30, 2)


def test_jaccard_of_nothing_is_nothing() -> None:
    x = sparse.csr_matrix(np.array([[0.0, 0], [0, 0], [1, 2]]))
    assert jaccard(x, np.array([0, 2]), np.array([1, 2])).tolist() == [0.0, 1.0]
    assert len(jaccard(x, np.empty(0, int), np.empty(0, int))) == 0


def test_events_are_judged_by_the_others_of_the_item() -> None:
    data = random_log(20, 10, 100)
    h = np.random.default_rng(0).normal(size=(20, 3))
    found, log = fits(h, data), data.interactions
    for e in range(len(log)):
        others = [v for v in range(20) if data.matrix[v, log.items[e]] and v != log.users[e]]
        if not others:
            assert np.isnan(found[e])
            continue
        mean, own = h[others].mean(0), h[log.users[e]]
        assert found[e] == pytest.approx(mean @ own / np.linalg.norm(mean) / np.linalg.norm(own))


def test_strange_events_are_cut_and_the_log_is_left_alone() -> None:
    data = checkerboard()
    n = 60
    rng = np.random.default_rng(0)
    u = rng.integers(0, 50, n)
    i = (u + 1 + 2 * rng.integers(0, 25, n)) % 50
    log = data.interactions.append(Interactions(u.astype(np.int32), i.astype(np.int32)))
    attacked = data.with_interactions(log)
    before = attacked.digest
    share = n / len(log)
    cleaned, marks = Stable(share=share, hidden_dim=16, epochs=60, num_neighbors=5).clean(attacked)
    assert attacked.digest == before
    assert marks.unit == "rows"
    fake = np.arange(len(log)) >= len(data)
    assert auc(marks.scores, fake.astype(float)) > 0.95
    assert len(cleaned) == len(log) - round(share * len(log))
    assert not np.isin(cleaned.interactions.rows, marks.flagged).any()
    assert np.isin(marks.flagged, log.rows[fake]).mean() > 0.9
    again = Stable(share=share, hidden_dim=16, epochs=60, num_neighbors=5).clean(attacked)[1]
    np.testing.assert_array_equal(again.flagged, marks.flagged)


def test_ties_are_cut_and_added() -> None:
    data, label = _network(0, 0.5, n=600, classes=3, own=0.7)
    edges = data.relations["links"]
    cut = Stable(relation="links", ties=True, share=0.2, k=4, hidden_dim=32, epochs=80, t1=0.0)
    mended, marks = cut.clean(data)
    assert marks.unit == "edges"
    left = mended.relations["links"]
    kin = lambda e: float((label[e.sources] == label[e.targets]).mean())
    assert kin(left) > kin(edges) + 0.05
    assert (left.sources != left.targets).all()
    stays = len(edges.sources) - len(marks.flagged)
    added = np.bincount(left.sources[stays:], minlength=600)
    assert added.max() <= 4
    same, none = cut.replace(k=0).clean(data)
    assert len(same.relations["links"].sources) == stays
    np.testing.assert_array_equal(none.flagged, marks.flagged)
    by_bar, found = cut.replace(t2=0.0, k=0).clean(data)
    assert (found.scores[found.flagged] >= 0).all()
    assert len(by_bar.relations["links"].sources) == int((found.scores < 0).sum())


def test_likeness_that_says_nothing_sets_nothing_aside() -> None:
    data, _ = _network(1, 0.0, n=200)
    rng = np.random.default_rng(0)
    noise = adjacency(200, *rng.integers(0, 200, (2, 500)))
    model = RobustModel(RobustCode(relation="links"), data.num_items)
    assert model.unsuspicious(noise, data.matrix).all()
    alike = graph_of(data, "", 5)
    assert 0.8 <= model.unsuspicious(alike, data.matrix).mean() <= 1
    strict = RobustModel(RobustCode(t1=0.5), data.num_items).unsuspicious(alike, data.matrix)
    a, b = pairs_of(alike)
    np.testing.assert_array_equal(strict, jaccard(data.matrix, a, b) >= 0.5)


def test_a_missing_relation_is_named() -> None:
    data, _ = _network(0, 0.0, n=50)
    with pytest.raises(DataError, match=r"has no relation 'link'.*links"):
        Stable(relation="link").clean(data)
    with pytest.raises(DataError, match="name the relation"):
        Stable(ties=True, epochs=1, hidden_dim=4).clean(data)
    wrong = replace(data, relations={"links": replace(data.relations["links"], target="items")})
    with pytest.raises(DataError, match="a graph of users"):
        graph_of(wrong, "links")
