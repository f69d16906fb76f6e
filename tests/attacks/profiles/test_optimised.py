"""Profiles by gradient: the surrogate against its slow forms, and what the techniques promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oakum.attacks.base import Budget, Goal, propose  # noqa: E402
from oakum.attacks.profiles.clear import deflation  # noqa: E402
from oakum.attacks.profiles.surrogate import Factors, Surrogate, gram  # noqa: E402
from oakum.catalogue import load_class  # noqa: E402
from oakum.engine.inputs import unroll  # noqa: E402
from oakum.errors import ParameterError  # noqa: E402
from oakum.kernels.als import loss as slow_loss  # noqa: E402
from oakum.kernels.als import weighted_rows  # noqa: E402
from oakum.models.classic.ials import IALS  # noqa: E402
from oakum.nn.propagate import Constant  # noqa: E402
from tests.toys import random_log  # noqa: E402

RELAXED = ("revadv-profiles", "pga-profiles", "clear-profiles")


def problem(users: int = 20, items: int = 15, accounts: int = 3, d: int = 4) -> tuple[Surrogate, Factors, Any]:
    data = random_log(users=users, items=items, events=120)
    spec = IALS(embedding_dim=d, epochs=4, unobserved_weight=0.2, l2=0.05, frequency_exponent=0.7)
    surrogate = Surrogate(data, np.arange(0, users, 2, dtype=np.int32), spec, dtype=torch.float64)
    rows = (torch.rand(accounts, items, generator=torch.Generator().manual_seed(0)) < 0.4).double()
    return surrogate, surrogate.fit(rows), rows


def test_a_constant_matrix_times_vectors_of_any_order_of_gradient() -> None:
    matrix = random_log(users=6, items=5, events=12).matrix
    product, dense = Constant(matrix, torch.float64), torch.from_numpy(matrix.toarray()).double()
    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(product.times(x), dense @ x)
    y = torch.randn(6, 2, dtype=torch.float64)
    torch.testing.assert_close(product.transposed(y), dense.T @ y)
    assert torch.autograd.gradcheck(product.times, x)
    assert torch.autograd.gradgradcheck(lambda v: product.times(v**2), x)


def test_the_sweep_is_the_one_of_the_kernels() -> None:
    surrogate, factors, rows = problem()
    spec, data = surrogate.spec, surrogate.data
    people, items = surrogate.sweep(factors, rows)
    from scipy import sparse

    both = sparse.vstack([data.matrix, sparse.csr_matrix(rows.numpy())]).tocsr().astype(np.float32)
    ridge = lambda n, others: (spec.l2 * (n + spec.unobserved_weight * others) ** spec.frequency_exponent).astype(
        np.float32
    )
    old = factors.items.float().numpy()
    weigh = lambda f: (spec.unobserved_weight * f.T @ f).astype(np.float32)
    fakes = weighted_rows(old, weigh(old), both.indptr, both.indices, ridge(np.diff(both.indptr), 15))[20:]
    everyone = np.vstack([factors.users.float().numpy(), fakes])
    columns = both.T.tocsr()
    new = weighted_rows(everyone, weigh(everyone), columns.indptr, columns.indices, ridge(np.diff(columns.indptr), 23))
    np.testing.assert_allclose(items.numpy(), new, atol=2e-5)
    last = weighted_rows(new, weigh(new), both.indptr, both.indices, ridge(np.diff(both.indptr), 15))
    np.testing.assert_allclose(people.numpy(), last[surrogate.people], atol=2e-5)


def test_the_loss_is_the_one_of_the_kernels() -> None:
    surrogate, factors, rows = problem()
    spec, data = surrogate.spec, surrogate.data
    from scipy import sparse

    both = sparse.vstack([data.matrix, sparse.csr_matrix(rows.numpy())]).tocsr()
    ridge = lambda n, others: spec.l2 * (n + spec.unobserved_weight * others) ** spec.frequency_exponent
    everyone = torch.cat([factors.users, factors.fakes]).numpy()
    wanted = slow_loss(
        everyone, factors.items.numpy(), both.indptr, both.indices, spec.unobserved_weight,
        ridge(np.diff(both.indptr), 15), ridge(np.diff(both.T.tocsr().indptr), 23),
    )  # fmt: skip
    assert surrogate.loss(factors.named(), rows).item() == pytest.approx(wanted, rel=1e-6)


def test_gram_by_hand() -> None:
    w, f = torch.rand(3, 5), torch.randn(5, 2)
    torch.testing.assert_close(gram(w, f), torch.einsum("rj,ja,jb->rab", w, f, f))


@pytest.mark.parametrize("inner", ["als", "gradient"])
@pytest.mark.parametrize("slug", RELAXED)
def test_the_unrolled_gradient_is_that_of_finite_differences(slug: str, inner: str) -> None:
    """A 20 × 15 problem, 5 inner steps, entries between 0 and 1; relative error below 1e-3 (it is below 1e-5)."""
    surrogate, factors, _ = problem()
    technique = load_class(slug)()
    targets = torch.tensor([2, 5])
    rows = torch.rand(3, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def gain(x: torch.Tensor) -> torch.Tensor:
        if inner == "als":
            return technique.gain(*surrogate.sweep(factors, x), targets)
        after = unroll(lambda p: surrogate.loss(p, x) / 23, factors.named(), 5, 0.05, update="adam")
        return technique.gain(after["users"][surrogate.people], after["items"], targets)

    x = rows.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(gain(x), x)
    slopes = torch.zeros_like(rows)
    for f, i in np.ndindex(3, 15):
        h = torch.zeros_like(rows)
        h[f, i] = 1e-6
        slopes[f, i] = (gain(rows + h) - gain(rows - h)).item() / 2e-6
    assert (found - slopes).norm() / slopes.norm() < 1e-5


def test_deflation_is_zero_for_nothing_and_all_for_one_direction() -> None:
    line = torch.randn(30, 1) @ torch.tensor([[1.0, 2.0, -1.0]])
    torch.testing.assert_close(deflation(line), line.abs().sum() / 30)
    even = torch.cat([torch.eye(4), -torch.eye(4)])
    assert deflation(even) <= even.abs().sum() / 8


def propose_(slug: str, users: int = 3, length: int = 10, seed: int = 0, **settings: Any) -> Any:
    budget = Budget(users=users, clicks=users * length)
    return propose(load_class(slug)(**settings), random_log(), Goal((3, 4)), budget, seed=seed)


@pytest.mark.parametrize("slug", RELAXED)
def test_number_length_targets_and_no_duplicates(slug: str) -> None:
    found = propose_(slug, steps=3)
    rows = [found.change.profiles.row(r) for r in range(3)]
    assert len(found.change.profiles) == 3
    for row in rows:
        assert len(row) == 10 == len(np.unique(row))
        assert np.isin([3, 4], row).all()
    assert found.looks == {"log": 1}
    assert found.change.digest() == propose_(slug, steps=3).change.digest()
    assert found.change.digest() != propose_(slug, steps=3, seed=1).change.digest()


@pytest.mark.parametrize("slug", RELAXED)
def test_the_search_ends_no_worse_than_it_began_on_its_own_model(slug: str) -> None:
    """Against the same technique that never moves, by what the surrogate itself recommends."""
    from oakum.attacks.profiles.relaxed import Search

    data, best = random_log(users=80, items=60, events=900), {}
    for steps, rate in ((12, None), (1, 1e-9)):
        technique = load_class(slug)(steps=steps, k=5, **({} if rate is None else {"rate": rate}))
        found = propose(technique, data, Goal((3, 4)), Budget(users=8, clicks=80), seed=5)
        people = np.arange(80, dtype=np.int32)
        search = Search(
            Surrogate(data, people, IALS(embedding_dim=32, epochs=6), 1),
            np.array([3, 4], np.int32),
            torch.ones(60, dtype=torch.bool),
            10,
        )
        search.allowed[[3, 4]] = False
        rows = torch.zeros(8, 60)
        for r in range(8):
            rows[r, torch.from_numpy(found.change.profiles.row(r).astype(np.int64))] = 1
        assert torch.equal(search.profiles(rows), rows)
        best[steps] = search.hits(rows, 5)
    assert best[12] > best[1]


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(ParameterError, match="cannot demote"):
        propose(load_class("pga-profiles")(), random_log(), Goal((1,), "demote"), Budget(users=1, clicks=9))
    with pytest.raises(ParameterError, match="cannot hold 2 targets"):
        propose_("pga-profiles", length=1)
    assert len(propose_("pga-profiles", users=0).change.profiles) == 0
