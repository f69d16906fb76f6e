"""Lists in place of scores: the capability `recommend_lists` and the filters that it is held to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oakum.data import Filter, Queries, Ragged, Ranking
from oakum.engine.closed import ClosedForm, Recommender
from oakum.recommending import LISTS_AT_ONCE, rank
from oakum.seeds import generator

ITEMS = 12


class Shuffled(ClosedForm):
    """Lists in drawn order, whatever the scores say."""

    def __init__(self) -> None:
        super().__init__(None, None)  # type: ignore[arg-type]

    def score(self, queries: Queries, items: Any = None) -> Any:
        raise AssertionError("scores were asked of a model that makes lists")

    def recommend_lists(self, queries: Queries, k: int, where: Filter, seed: int | None) -> Ranking:
        rng = generator(seed or 0, "shuffled")
        shut = where.closed_rows(ITEMS, len(queries))
        out = np.full((len(queries), k), -1, np.int32)
        for r in range(len(queries)):
            if queries.histories.lengths[r] == 0:
                continue
            free = rng.permutation(np.flatnonzero(~shut[r]))[:k]
            out[r, : len(free)] = free
        return Ranking(out, np.where(out >= 0, 0, np.nan).astype(np.float32))


def people(n: int) -> Queries:
    return Queries(np.arange(n, dtype=np.int32), Ragged.of([[r % ITEMS] for r in range(n)]))


def test_lists_are_asked_for_where_a_model_makes_them() -> None:
    model = Shuffled()
    assert isinstance(model, Recommender)
    n = LISTS_AT_ONCE + 40
    queries = people(n)
    where = Filter(deny=np.array([3], np.int32), exclude=queries.histories)
    found = rank(model, queries, 5, where=where, seed=1).items
    assert found.shape == (n, 5)
    for r, row in enumerate(found):
        assert len(set(row)) == 5
        assert not {3, r % ITEMS} & set(row)
    np.testing.assert_array_equal(found, rank(model, queries, 5, where=where, seed=1).items)
    assert (found != rank(model, queries, 5, where=where, seed=2).items).any()
    # Blocks draw for themselves: the second does not repeat the first.
    assert (found[:40] != found[LISTS_AT_ONCE:]).any()


def test_a_list_maker_that_cannot_say_is_helped_out() -> None:
    queries = Queries(np.array([-1, 0], np.int32), Ragged.of([[], [1]]))
    popularity = np.arange(ITEMS, dtype=np.float32)
    made = rank(Shuffled(), queries, 3, popularity=popularity)
    assert made.fallback is not None
    assert made.fallback.tolist() == [True, False]
    assert made.items[0].tolist() == [11, 10, 9]


def test_filters_say_what_is_closed() -> None:
    where = Filter(np.array([0, 1, 2], np.int32), np.array([1], np.int32), Ragged.of([[2], []]))
    assert np.flatnonzero(~where.closed(4)).tolist() == [0, 2]  # type: ignore[operator]
    assert where.closed_rows(4, 2).tolist() == [[False, True, True, True], [False, True, False, True]]
    assert where.take(np.array([1])).closed_rows(4, 1).tolist() == [[False, True, False, True]]
    assert Filter().closed(4) is None


def test_a_learned_list_maker_is_silent_about_what_it_never_saw() -> None:
    torch = pytest.importorskip("torch")
    from oakum.engine.learner import Model
    from oakum.engine.scoring import Scoring

    class Learned(Model):
        def recommend_lists(self, queries: Queries, k: int, where: Filter, seed: int | None) -> Ranking:
            noise = torch.rand(len(queries), ITEMS).numpy()
            noise[where.closed_rows(ITEMS, len(queries))] = np.nan
            from oakum.kernels.select import topk_scores

            return Ranking(*topk_scores(noise, k))

    seen = np.arange(ITEMS) != 7
    scoring = Scoring(Learned(), seen_items=seen)
    before = torch.random.get_rng_state()
    a, b, c = (rank(scoring, people(6), ITEMS, seed=s).items for s in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    assert not (a == 7).any()
    assert (a[:, -1] == -1).all()


def test_no_block_of_scores_is_larger_than_allowed() -> None:
    sizes: list[int] = []

    class Counted(ClosedForm):
        def score(self, queries: Queries, items: Any = None) -> Any:
            sizes.append(len(queries))
            return np.tile(np.arange(ITEMS, dtype=np.float32), (len(queries), 1))

    model, queries = Counted(None, None), people(20)  # type: ignore[arg-type]
    bounded = rank(model, queries, 3, block_bytes=4 * ITEMS * 3, num_items=ITEMS)
    assert max(sizes) == 3
    np.testing.assert_array_equal(bounded.items, rank(model, queries, 3).items)
