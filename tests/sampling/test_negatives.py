"""Negatives of the positive's own domain, against a count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

torch = pytest.importorskip("torch")

from oakum.engine.learner import Phase  # noqa: E402
from oakum.engine.plan import Plan  # noqa: E402
from oakum.engine.run import Run  # noqa: E402
from oakum.errors import DataError  # noqa: E402
from oakum.sampling.batches import Pairs  # noqa: E402
from oakum.sampling.negatives import guide_of, marks_of, owned_by, reject_draws  # noqa: E402
from oakum.sampling.samplers import InDomain, OnOffer, Uniform  # noqa: E402
from oakum.sampling.sequences import Sequences  # noqa: E402
from tests.oracles.draws import drawn  # noqa: E402
from tests.toys import beside, log_of, random_log  # noqa: E402


def run_on(data: object) -> Run:
    return Run(Plan(), 0, data, None, (), torch.device("cpu"), Phase())  # type: ignore[arg-type]


def batch_of(users: list[int], items: list[int]) -> Pairs:
    codes = [torch.tensor(x) for x in (users, items)]
    return Pairs(torch.arange(len(users)), 1, None, *codes)


def test_negatives_come_from_the_domain_of_the_positive() -> None:
    data = beside(random_log(events=60))
    users = [u for u in range(40) for _ in range(50)]
    items = [3 if n % 2 else 32 for n in range(len(users))]
    drawn = InDomain().draw(run_on(data), batch_of(users, items), 4)
    found = drawn.items.numpy()
    side = np.array(items) >= 30
    assert (found[side] >= 30).all()
    assert (found[~side] < 30).all()
    np.testing.assert_allclose(drawn.log_q[:, 0], np.where(side, -np.log(8), -np.log(30)), rtol=1e-6)
    owned = data.matrix
    assert not any(owned[u, i] for u, row in zip(users[::7], found[::7], strict=True) for i in row)
    counts = np.bincount(found[~side].ravel(), minlength=30)
    free = owned[:, :30].toarray() == 0
    expected = (100 * free / free.sum(1, keepdims=True)).sum(0)  # each user draws 100, uniform over what it lacks
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_without_domains_the_cure_is_named() -> None:
    with pytest.raises(DataError, match="has no domains"):
        InDomain().draw(run_on(replace(random_log(), tables={})), batch_of([0], [0]), 1)


def test_all_other_draws_are_as_they_were() -> None:
    data = random_log()
    found = Uniform().draw(run_on(data), batch_of([0, 1, 2], [0, 1, 2]), 3)
    assert found.items.shape == (3, 3)
    assert not any(data.matrix[u, i] for u in range(3) for i in found.items[u].tolist())


def test_what_is_not_on_offer_yet_is_never_drawn() -> None:
    data = log_of(
        [(0, 4), (0, 1), (1, 2), (1, 0), (2, 3)], 3, 8
    )  # first events at 0, 1, 2, 3, 4 seconds; 5, 6, 7 never
    batch = Sequences(
        torch.arange(3000) % 3, 1, None, users=torch.full((3000,), 2), items=torch.full((3000,), 1),
        target_times=torch.tensor([1, 2, 4]).repeat(1000) * 1_000_000,
    )  # fmt: skip
    drawn = OnOffer().draw(run_on(data), batch, 2)
    for row, pool in enumerate(([4, 1], [4, 1, 2], [4, 1, 2, 0])):  # of user 2, item 3 is redrawn
        found = drawn.items[row::3].flatten().numpy()
        counts = np.bincount(found, minlength=8)
        assert set(np.flatnonzero(counts)) == set(pool)
        assert (np.abs(counts[pool] - 2000 / len(pool)) < 6 * np.sqrt(2000 / len(pool))).all()
    np.testing.assert_allclose(drawn.log_q[:3, 0], -np.log([2, 3, 5]), rtol=1e-6)
    timeless = OnOffer(reject=False).draw(run_on(data), batch_of([0] * 500, [4] * 500), 4)
    assert set(timeless.items.flatten().tolist()) == {0, 1, 2, 3, 4}


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 4), st.floats(0, 1), st.booleans(), st.integers(0, 2**62))
def test_draws_equal_those_of_the_formula(
    people: int, items: int, n: int, density: float, popular: bool, key: int
) -> None:
    rng = np.random.default_rng(key % 1000)
    x = sparse.csr_matrix((rng.random((people, items)) < density).astype(np.float32))
    owned = {u: set(x[u].indices.tolist()) for u in range(people)}
    users = rng.integers(-1, people, 25)
    shares = np.cumsum(rng.random(items) * (rng.random(items) < 0.6)) if popular else np.empty(0)
    if popular and shares[-1] == 0:
        shares = np.ones(items).cumsum()
    guide = guide_of(shares) if popular else np.empty(0, np.int64)
    none = np.empty(0, np.int64)
    marks = marks_of(x.indptr, x.indices)
    found = reject_draws(key, users, n, items, shares, guide, none, none, none, x.indptr, x.indices, marks)
    assert found.tolist() == drawn(key, users.tolist(), n, items, owned, shares.tolist())


def test_what_the_next_person_has_first_is_not_owned() -> None:
    x = sparse.csr_matrix(np.array([[1, 0, 0, 0], [0, 0, 1, 1]], np.float32))
    users, items = np.array([0, 1, -1]), np.arange(4)
    found = owned_by(users, items, x.indptr, x.indices)
    assert found.tolist() == [[True, False, False, False], [False, False, True, True], [False] * 4]
