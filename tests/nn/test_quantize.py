"""Finite scalar quantisation reaches every code and passes gradients; residual k-means finds what is there."""

from __future__ import annotations

import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from oakum.nn.quantize import FSQ, residual_books, residual_codes  # noqa: E402

PUBLISHED = (8, 8, 8, 6, 5)
LEVELS = st.lists(st.integers(2, 9), min_size=1, max_size=4)


@pytest.mark.parametrize("levels", [PUBLISHED, (8, 6, 5), (2, 3)])
def test_the_indices_are_exactly_the_vocabulary(levels: tuple[int, ...]) -> None:
    fsq = FSQ(4, levels)
    assert fsq.size == math.prod(levels)
    every = torch.arange(fsq.size)
    digits = fsq.digits(every)
    assert torch.equal(fsq.index(digits), every)
    low = torch.tensor([-(n // 2) for n in levels])
    assert torch.equal(digits.long().amin(0), low)
    assert torch.equal(digits.long().amax(0), low + torch.tensor(levels) - 1)
    # The slow form: the first digit runs fastest.
    wanted = [tuple(reversed(d)) for d in itertools.product(*(range(n) for n in reversed(levels)))]
    assert (digits.long() - low).tolist() == [list(d) for d in wanted]


def test_two_hundred_thousand_random_vectors_keep_their_numbers_through_the_index() -> None:
    torch.manual_seed(0)
    fsq = FSQ(4, PUBLISHED)
    q = fsq.round(torch.randn(200_000, len(PUBLISHED)))
    index = fsq.index(q)
    assert 0 <= int(index.min()) <= int(index.max()) < 15_360
    assert torch.equal(fsq.digits(index), q)
    assert len(index.unique()) > 0.9 * 15_360


@given(LEVELS)
@settings(max_examples=40, deadline=None)
def test_nothing_is_the_middle_code(levels: list[int]) -> None:
    fsq = FSQ(3, levels)
    assert (fsq.round(torch.zeros(len(levels))) == 0).all()
    assert int(fsq.index(torch.zeros(len(levels)))) == sum(
        (n // 2) * math.prod(levels[:d]) for d, n in enumerate(levels)
    )


@given(LEVELS, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_gradient_is_that_of_the_bounded_value(levels: list[int], seed: int) -> None:
    fsq = FSQ(3, levels)
    z = torch.randn(7, len(levels), generator=torch.Generator().manual_seed(seed), requires_grad=True)
    weight = torch.randn(7, len(levels), generator=torch.Generator().manual_seed(seed + 1))
    (straight,) = torch.autograd.grad((fsq.round(z) * weight).sum(), z)
    (bounded,) = torch.autograd.grad((fsq.bound(z) * weight).sum(), z)
    assert torch.equal(straight, bounded)
    assert (straight != 0).any()
    whole = fsq.round(z).detach()
    assert torch.equal(whole, whole.round())


def test_values_are_what_the_forward_pass_reads() -> None:
    torch.manual_seed(0)
    fsq = FSQ(12, (8, 6, 5))
    x = 5 * torch.randn(40, 3, 12)
    torch.testing.assert_close(fsq.values(fsq.codes(x)), fsq(x))


def test_a_quantiser_learns_to_keep_what_it_is_given() -> None:
    """The straight-through gradient trains both projections."""
    torch.manual_seed(0)
    fsq = FSQ(3, (8, 8, 8))
    x = torch.rand(400, 3) - 0.5
    rate = torch.optim.Adam(fsq.parameters(), lr=0.02)
    before = float((fsq(x) - x).abs().mean().detach())
    for _ in range(300):
        rate.zero_grad()
        (fsq(x) - x).abs().mean().backward()
        rate.step()
    assert float((fsq(x) - x).abs().mean().detach()) < 0.25 * before


def test_residual_k_means_finds_sums_of_two_books() -> None:
    torch.manual_seed(3)
    coarse, fine = 20 * torch.randn(5, 6), torch.randn(4, 6)
    a, b = torch.randint(0, 5, (600,)), torch.randint(0, 4, (600,))
    x = coarse[a] + fine[b]
    books = residual_books(x, 2, 8)
    codes = residual_codes(x, books)
    assert codes.shape == (600, 2)
    rebuilt = books[0][codes[:, 0]] + books[1][codes[:, 1]]
    only_first = books[0][codes[:, 0]]
    assert ((rebuilt - x) ** 2).mean() < 0.35 * ((only_first - x) ** 2).mean()
    for depth, left in enumerate((x, x - only_first)):  # nearest means, the slow way
        slow = torch.cdist(left.double(), books[depth].double()).argmin(1)
        assert (slow == codes[:, depth]).float().mean() > 0.99
    assert torch.equal(residual_codes(x[:50], books), codes[:50])


def test_residual_k_means_with_fewer_rows_than_codes_keeps_them_all() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4)
    books = residual_books(x, 1, 8)
    torch.testing.assert_close(books[0][residual_codes(x, books)[:, 0]], x)
