"""Draws of clicked and unlabelled pairs."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from oakum.data import Interactions  # noqa: E402
from oakum.errors import DataError  # noqa: E402
from oakum.sampling.batches import Order, labelled_pairs  # noqa: E402
from oakum.sampling.propensity import logged_propensities, popularity_propensities  # noqa: E402
from tests.toys import log_of, random_log  # noqa: E402


def drawn(by: str, data=None, batch_size: int = 100, epoch: int = 0):
    return list(labelled_pairs(data or random_log(), Order(0, "main", epoch, batch_size), by=by))


@pytest.mark.parametrize("by", ["halves", "halves-weighted", "uniform"])
def test_labels_and_places_are_those_of_the_log(by: str) -> None:
    data = random_log()
    matrix = data.matrix
    owners = np.repeat(np.arange(40), np.diff(matrix.indptr))
    found = drawn(by)
    assert sum(len(b) for b in found) == 2 * matrix.nnz
    for b in found:
        u, i, at = b.users.numpy(), b.items.numpy(), b.rows.numpy()
        np.testing.assert_array_equal(b.labels.numpy(), matrix.toarray()[u, i])
        clicked = at >= 0
        np.testing.assert_array_equal(clicked, b.labels.numpy() == 1)
        np.testing.assert_array_equal(owners[at[clicked]], u[clicked])
        np.testing.assert_array_equal(matrix.indices[at[clicked]], i[clicked])
        if by != "uniform":
            assert clicked.sum() == len(b) // 2


def test_draws_are_uniform() -> None:
    data = random_log()
    whole = [drawn(by, epoch=e) for by in ("uniform", "halves") for e in range(60)]
    counts = {}
    for name, found in (("uniform", whole[:60]), ("halves", whole[60:])):
        table = np.zeros((40, 30))
        for b in (b for epoch in found for b in epoch):
            np.add.at(table, (b.users.numpy(), b.items.numpy()), 1)
        counts[name] = table
    spread = lambda c: ((c - c.mean()) ** 2 / c.mean()).sum() / len(c)  # about 1 for equal chances
    known = data.matrix.toarray() > 0
    assert 0.8 < spread(counts["uniform"].ravel()) < 1.2
    assert 0.7 < spread(counts["halves"][known]) < 1.3
    assert 0.7 < spread(counts["halves"][~known]) < 1.3


def test_weights_give_back_the_mean_over_all_pairs() -> None:
    data = random_log()
    value = np.random.default_rng(0).random((40, 30)) + 3 * data.matrix.toarray()
    mean = lambda by: np.mean(
        [
            float((torch.from_numpy(value[b.users, b.items]) * (1 if b.weights is None else b.weights)).mean())
            for e in range(50)
            for b in drawn(by, batch_size=128, epoch=e)
            if len(b) == 128
        ]
    )
    assert mean("halves-weighted") == pytest.approx(value.mean(), rel=0.01)
    assert mean("uniform") == pytest.approx(value.mean(), rel=0.02)
    assert abs(mean("halves") / value.mean() - 1) > 0.1


def test_people_without_events_and_full_logs() -> None:
    lonely = log_of([(2, 0), (2, 3)], 5, 4)
    assert {int(u) for b in drawn("halves", lonely) for u in b.users} == {2}
    full = log_of([(u, i) for u in range(3) for i in range(4)], 3, 4)
    assert all((b.labels == 1).all() for b in drawn("halves", full))


def test_the_order_is_fixed_by_its_key() -> None:
    a, b, c = drawn("halves"), drawn("halves"), drawn("halves", epoch=1)
    assert all(torch.equal(x.items, y.items) for x, y in zip(a, b, strict=True))
    assert not torch.equal(a[0].items, c[0].items)


def test_propensities_of_popularity_are_by_item_code() -> None:
    found = popularity_propensities(np.array([100, 0, 25, 1]), 0.5)
    np.testing.assert_allclose(found, [1.0, 0.1, 0.5, 0.1])
    assert (popularity_propensities(np.array([7, 3]), 0.0) == 1).all()


def with_column(values, items=None):
    data = log_of([(0, 1), (0, 0), (1, 1), (0, 1)], 2, 3)
    log = data.interactions
    tables = {} if items is None else {"items": pl.DataFrame({"propensity": items})}
    fields = {} if values is None else {"propensity": np.array(values)}
    return type(data)(Interactions(log.users, log.items, fields=fields), data.users, data.items, tables, name="toy")


def test_logged_propensities_by_pair_and_by_item() -> None:
    by_item, by_pair = logged_propensities(with_column([0.5, 0.2, 0.1, 0.9]))
    np.testing.assert_allclose(by_pair, [0.2, 0.5, 0.1])  # (0, 0), (0, 1) the first time, (1, 1)
    np.testing.assert_allclose(by_item, [0.2, 0.5, 1.0])
    by_item, by_pair = logged_propensities(with_column(None, [0.3, 0.4, 0.5]))
    assert by_pair is None
    np.testing.assert_allclose(by_item, [0.3, 0.4, 0.5])


def test_what_is_missing_or_wrong_is_said() -> None:
    with pytest.raises(DataError, match="no column 'propensity'"):
        logged_propensities(with_column(None))
    with pytest.raises(DataError, match=r"log of 'toy' must lie in \(0, 1\]. Row 1 has 0 \(2 rows"):
        logged_propensities(with_column([0.5, 0.0, 1.5, 1.0]))
    with pytest.raises(DataError, match="table of items"):
        logged_propensities(with_column(None, [0.3, float("nan"), 0.5]))
