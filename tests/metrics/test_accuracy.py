from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.lists import ranking, truth
from oakum.data import Ragged
from oakum.errors import ParameterError, ProtocolError
from oakum.metrics import accuracy
from oracles import rank_metrics

K = 4


@st.composite
def cases(draw):
    """A catalogue of 7 items scored in few levels, graded relevant items, a cut-off."""
    scores = draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0]), min_size=7, max_size=7))
    relevant = draw(st.lists(st.integers(0, 6), min_size=1, max_size=6, unique=True))
    grades = draw(st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=len(relevant), max_size=len(relevant)))
    return np.array(scores, np.float32), relevant, grades, draw(st.integers(1, 6))


@settings(max_examples=40, deadline=None)
@given(cases())
def test_lists_agree_with_the_mean_over_all_orders_of_ties(case):
    scores, relevant, grades, k = case
    order = np.argsort(-scores, kind="stable")[:6]
    oracle = rank_metrics.expected(order, scores[order], dict(zip(relevant, grades, strict=True)), k)
    lists, wanted = ranking([order], [scores[order]]), truth([relevant], grades)
    for base in accuracy.BASES:
        found = accuracy.places(lists, wanted, [k], exponential=base == "ndcg_exponential").value(base, k)
        assert found[0] == pytest.approx(oracle[base], abs=1e-9), base


@settings(max_examples=40, deadline=None)
@given(cases())
def test_whole_rows_agree_with_the_oracle_where_a_tie_straddles_the_end(case):
    scores, relevant, grades, k = case
    order = np.argsort(-scores, kind="stable")
    oracle = rank_metrics.expected(order, scores[order], dict(zip(relevant, grades, strict=True)), k)
    found = accuracy.measure_scores(scores[None], Ragged.of([relevant]), k, grades=np.array(grades, np.float32))
    for base in accuracy.BASES:
        assert found[f"{base}@{k}"][0] == pytest.approx(oracle[base], abs=1e-9), base


def test_a_constant_scorer_gets_exactly_chance():
    n, k, relevant = 50, 10, [3, 17, 20, 41]
    found = accuracy.measure_scores(np.zeros((1, n)), Ragged.of([relevant]), k)
    assert found["recall@10"][0] == pytest.approx(k / n)
    assert found["precision@10"][0] == pytest.approx(len(relevant) / n)
    miss = np.prod([(n - 4 - i) / (n - i) for i in range(k)])
    assert found["hit_rate@10"][0] == pytest.approx(1 - miss)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    assert found["ndcg@10"][0] == pytest.approx(4 / n * discounts.sum() / discounts[:4].sum())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8))
def test_bounds_and_growth_with_k(seed, k):
    rng = np.random.default_rng(seed)
    lists = ranking([rng.permutation(20)[: rng.integers(0, 9)].tolist() for _ in range(6)], k=8)
    wanted = truth([rng.permutation(20)[: rng.integers(1, 9)].tolist() for _ in range(6)])
    table = accuracy.places(lists, wanted, [k, 8])
    for base in accuracy.BASES:
        values = table.value(base, k)
        assert ((values >= 0) & (values <= 1)).all()
        if base in ("recall", "hit_rate", "mrr", "map"):
            assert (table.value(base, 8) >= values - 1e-12).all()


def test_perfect_and_worst_lists():
    wanted = truth([[4, 2, 9], [1]])
    perfect = accuracy.places(ranking([[2, 4, 9, 0], [1, 5, 6, 7]]), wanted, [K])
    worst = accuracy.places(ranking([[0, 1, 3, 5], [0, 2, 3, 4]]), wanted, [K])
    for base in accuracy.BASES:
        if base != "precision":
            assert perfect.value(base, K).tolist() == [1.0, 1.0], base
        assert worst.value(base, K).tolist() == [0.0, 0.0], base
    assert perfect.value("precision", K).tolist() == [0.75, 0.25]


def test_the_definitions_that_differ_between_toolkits():
    wanted, lists = truth([list(range(10))]), ranking([[0, 99, 1, 98]])
    assert accuracy.recall(lists, wanted, 4)[0] == pytest.approx(2 / 10)
    assert accuracy.capped_recall(lists, wanted, 4)[0] == pytest.approx(2 / 4)
    assert accuracy.mean_average_precision(lists, wanted, 4)[0] == pytest.approx((1 + 2 / 3) / 10)
    capped = accuracy.places(lists, wanted, [4]).value("capped_map", 4)[0]
    assert capped == pytest.approx((1 + 2 / 3) / 4)


def test_relabelling_items_and_the_order_of_relevant_items_change_nothing():
    rng = np.random.default_rng(3)
    names = rng.permutation(30)
    lists = [rng.permutation(30)[:6].tolist() for _ in range(8)]
    wanted = [rng.permutation(30)[:5].tolist() for _ in range(8)]
    plain = accuracy.ndcg(ranking(lists), truth(wanted), 6)
    again = accuracy.ndcg(
        ranking([names[x].tolist() for x in lists]), truth([names[x[::-1]].tolist() for x in wanted]), 6
    )
    assert plain.tolist() == again.tolist()
    assert plain.max() > 0


def test_ties_may_be_taken_in_order():
    lists, wanted = ranking([[1, 2]], [[5.0, 5.0]]), truth([[1]])
    assert accuracy.mrr(lists, wanted, 2)[0] == pytest.approx(0.75)
    assert accuracy.mrr(lists, wanted, 2, ties="order")[0] == 1.0


def test_repeated_items_count_once_and_short_lists_end_early():
    assert accuracy.recall(ranking([[1, 1, 1]]), truth([[1, 2]]), 3)[0] == 0.5
    assert accuracy.precision(ranking([[1]], k=4), truth([[1]]), 4)[0] == 0.25
    assert accuracy.recall(ranking([[]], k=4), truth([[1]]), 4)[0] == 0.0


def test_a_query_without_relevant_items_has_no_value_and_grade_zero_is_not_relevant():
    values = accuracy.ndcg(ranking([[1], [1], [1]]), truth([[], [1], [1]], [1.0, 0.0]), 1)
    assert np.isnan(values[[0, 2]]).all()
    assert values[1] == 1.0


def test_excluded_and_unscored_items_are_never_listed():
    scores = np.array([[9.0, 8.0, np.nan, 1.0]], np.float32)
    kept = scores.copy()
    found = accuracy.measure_scores(scores, Ragged.of([[1, 2]]), 1, exclude=Ragged.of([[0]]))
    assert found["recall@1"][0] == 0.5
    assert np.array_equal(scores, kept, equal_nan=True)


def test_misuse_is_one_sentence():
    with pytest.raises(ProtocolError, match="2 lists for 1 queries"):
        accuracy.recall(ranking([[1], [2]]), truth([[1]]), 1)
    with pytest.raises(ProtocolError, match="needs lists as long; these have 1 places"):
        accuracy.recall(ranking([[1]]), truth([[1]]), 5)
    with pytest.raises(ParameterError, match="cut-off must be an int"):
        accuracy.recall(ranking([[1]]), truth([[1]]), 0)
