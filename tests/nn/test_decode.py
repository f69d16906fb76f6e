"""The trie allows the codes of the catalogue and nothing else; beams equal a slow search, and at full width the exact scores."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from oakum.nn.decode import Trie, beam, exact  # noqa: E402
from tests.oracles.tries import beams, children  # noqa: E402


def catalogue(n: int, depth: int, size: int, seed: int) -> torch.Tensor:
    return torch.randint(0, size, (n, depth), generator=torch.Generator().manual_seed(seed))


def log_probs(q: int, depth: int, size: int, seed: int) -> torch.Tensor:
    return torch.randn(q, depth, size, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)


def along(trie: Trie, probs: torch.Tensor, **widths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Beams where the tokens are independent given the request."""
    return beam(trie, lambda i, prefix: probs[:, i, None].expand(-1, prefix.shape[1], -1), len(probs), **widths)


SHAPES = (st.integers(1, 40), st.integers(1, 4), st.integers(2, 9), st.integers(0, 99))


@given(*SHAPES)
@settings(max_examples=60, deadline=None)
def test_children_are_those_of_the_codes(n: int, depth: int, size: int, seed: int) -> None:
    codes = catalogue(n, depth, size, seed)
    trie = Trie(codes)
    plain = [tuple(c) for c in codes.tolist()]
    assert [tuple(c) for c in trie.codes.tolist()] == sorted(set(plain))
    prefixes: list[tuple[int, ...]] = [()]
    for level in range(depth):
        below = []
        for node, prefix in enumerate(prefixes):
            tokens = trie.tokens[level][trie.first[level][node] : trie.first[level][node + 1]].tolist()
            assert tokens == children(plain, prefix)
            below += [(*prefix, t) for t in tokens]
        prefixes = below


@given(*SHAPES)
@settings(max_examples=60, deadline=None)
def test_leaves_expand_to_every_item_of_their_code(n: int, depth: int, size: int, seed: int) -> None:
    codes = catalogue(n, depth, size, seed)
    items = torch.arange(n) * 3 + 1
    trie = Trie(codes, items)
    leaves = torch.stack([torch.arange(len(trie)), torch.full((len(trie),), -1)])
    found = trie.expand(leaves)
    wanted = [int(items[i]) for leaf in trie.codes for i in range(n) if torch.equal(codes[i], leaf)]
    assert found[0].tolist() == wanted
    assert (found[1] == -1).all()


@given(*SHAPES, st.integers(1, 8), st.integers(1, 8), st.integers(1, 12))
@settings(max_examples=80, deadline=None)
def test_beams_equal_the_slow_search(
    n: int, depth: int, size: int, seed: int, first: int, each: int, keep: int
) -> None:
    codes, probs = catalogue(n, depth, size, seed), log_probs(3, depth, size, seed)
    trie = Trie(codes)
    leaves, scores = along(trie, probs, first=first, each=each, keep=keep)
    assert leaves.shape == scores.shape == (3, keep)
    plain = [tuple(c) for c in codes.tolist()]
    for q in range(3):
        slow = beams(plain, lambda prefix, t, q=q: float(probs[q, len(prefix), t]), first, each, keep)
        there = leaves[q] >= 0
        assert [tuple(trie.codes[i].tolist()) for i in leaves[q][there]] == [code for _, code in slow]
        np.testing.assert_allclose(scores[q][there].numpy(), [s for s, _ in slow], atol=1e-5)
        assert (scores[q][~there] == -torch.inf).all()


@given(*SHAPES)
@settings(max_examples=60, deadline=None)
def test_the_beam_at_full_width_is_the_exact_search(n: int, depth: int, size: int, seed: int) -> None:
    codes, probs = catalogue(n, depth, size, seed), log_probs(4, depth, size, seed)
    trie = Trie(codes)
    leaves, scores = along(trie, probs, first=n, each=n, keep=n)
    everything = exact(probs, trie.codes)
    order = everything.argsort(dim=1, descending=True, stable=True)
    assert torch.equal(leaves[:, : len(trie)], order)
    assert torch.equal(scores[:, : len(trie)], everything.gather(1, order))
    assert (leaves[:, len(trie) :] == -1).all()


@given(*SHAPES)
@settings(max_examples=30, deadline=None)
def test_exact_scores_are_sums_over_tokens(n: int, depth: int, size: int, seed: int) -> None:
    codes, probs = catalogue(n, depth, size, seed), log_probs(2, depth, size, seed)
    slow = [[sum(float(probs[q, d, codes[i, d]]) for d in range(depth)) for i in range(n)] for q in range(2)]
    np.testing.assert_allclose(exact(probs, codes).numpy(), slow, atol=1e-5)
    own = codes[torch.arange(n).flip(0)].expand(2, -1, -1)
    assert torch.equal(exact(probs, own), exact(probs, codes).flip(1))


def test_a_step_may_depend_on_what_was_generated() -> None:
    codes = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    first = torch.tensor([[-1.0, -2.0]])

    def step(depth: int, prefix: torch.Tensor) -> torch.Tensor:
        if depth == 0:
            return first[:, None]
        flip = prefix[..., -1:] == 0  # after 0 comes 1, after 1 comes 0
        return torch.where(flip, torch.tensor([-5.0, -0.1]), torch.tensor([-0.2, -5.0]))

    leaves, scores = beam(Trie(codes), step, 1, first=2, each=2, keep=2)
    assert leaves.tolist() == [[1, 2]]
    np.testing.assert_allclose(scores[0].numpy(), [-1.1, -2.2], atol=1e-6)


def test_an_empty_catalogue_has_no_answers() -> None:
    trie = Trie(torch.empty(0, 3, dtype=torch.long))
    leaves, _ = along(trie, log_probs(2, 3, 4, 0), first=2, each=2, keep=5)
    assert len(trie) == 0
    assert (leaves == -1).all()
    assert trie.expand(leaves).shape == (2, 0)
