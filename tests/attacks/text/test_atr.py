"""Rewriting on a victim whose answers are known: it likes items by how many of a person's words their titles have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.attacks.base import AddItems, Budget, EditText, Goal, Nothing, propose
from oakum.attacks.text.atr import TextRewriting, promotion, rank_loss, selling_words
from oakum.data import Dataset
from oakum.errors import BudgetExceeded
from tests.toys import random_log


class Reader:
    """Scores by the share of a title's words that sell: "gold" for everybody."""

    def __init__(self, data: Dataset) -> None:
        self.titles = data.tables["items"]["title"].to_list()

    def score(self, queries: Any, items: Any = None) -> Any:
        own = np.array([t.split().count("gold") / len(t.split()) for t in self.titles], np.float32)
        return np.tile(own if items is None else own[items], (len(queries), 1))


def market() -> Dataset:
    data = random_log()
    kinds = ["red", "gold", "blue", "green", "plain"]
    titles = [f"{kinds[i % 5]} thing number {'abcdef'[i % 6] * 3}" for i in range(data.num_items)]
    table = pl.DataFrame({"title": titles, "category": ["all"] * data.num_items})
    return replace(data, tables={"items": table})


def rewrite(norm: float = 2.0, edits: int = 2, queries: int = 4000, **changes: Any) -> Any:
    data = market()
    attack = TextRewriting(**{"encoder": "hashed:4", "people": 8, "places": 4, "tried": 12, **changes})
    again = lambda change: Reader(change.apply(data))
    budget = Budget(edits=edits, norm=norm, queries=queries)
    return data, propose(attack, data, Goal((0, 2, 3)), budget, victim=Reader(data), retrain=again, judge="hashed:4")


@pytest.mark.parametrize("objective", ["score", "rank"])
def test_the_greedy_form_finds_what_sells(objective: str) -> None:
    data, found = rewrite(objective=objective)
    assert isinstance(found.change, EditText)
    assert set(found.change.codes) <= {0, 2}  # edits for two of three targets
    assert all("gold" in t.split() for t in found.change.texts)
    before, after = (Reader(d).score([0])[0, [0, 2]].mean() for d in (data, found.poisoned))
    assert after > before
    assert found.cost.edits == 2
    assert 0 < found.cost.norm <= 2
    untouched = [i for i in range(data.num_items) if i not in found.change.codes]
    same = [d.tables["items"]["title"].gather(untouched).to_list() for d in (data, found.poisoned)]
    assert same[0] == same[1]


def test_the_control_looks_once_and_does_not_search() -> None:
    _, found = rewrite(words="random")
    assert found.looks == {"log": found.looks["log"], "scores": 8}


def test_without_likeness_to_spend_nothing_is_reworded() -> None:
    assert isinstance(rewrite(norm=0.0)[1].change, Nothing)


def test_the_looks_are_paid_for() -> None:
    _, found = rewrite(queries=200)
    assert found.cost.queries <= 200
    with pytest.raises(BudgetExceeded, match="its budget is 0 queries"):
        rewrite(queries=0)


def test_words_that_sell_are_counted_by_events() -> None:
    data = market()
    counts = data.item_counts
    words = selling_words(data, 0, 8)
    slow = {
        w: sum(int(counts[i]) for i, t in enumerate(data.tables["items"]["title"]) if i and w in t.split())
        for w in words
    }
    assert [slow[w] for w in words] == sorted(slow.values(), reverse=True)
    assert {"gold", "thing"} <= set(selling_words(data, 0, 100))


def test_the_rank_loss_is_the_margin_exactly_at_the_top() -> None:
    best = np.array([0.5, 0.7])
    assert rank_loss(np.array([[0.5], [0.7]]), best) == pytest.approx(0.01)
    assert rank_loss(np.array([[0.6], [0.8]]), best) == 0.0
    own = np.array([[0.1, 0.9], [0.2, 0.3]])
    for place in np.ndindex(2, 2):
        moved = own.copy()
        moved[place] += 1e-6
        slope = (rank_loss(moved, best) - rank_loss(own, best)) / 1e-6
        assert slope == pytest.approx(0.0 if place == (0, 1) else -1 / 4, abs=1e-6)


@given(st.integers(0, 1000), st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_places_against_sorting(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(4, 12))
    targets = rng.choice(12, count, replace=False)
    found = promotion(scores, targets, 5)
    places, hits = [], []
    for row in scores:
        order = np.argsort(-row).tolist()
        places += [order.index(t) + 1 for t in targets]
        hits.append(len(set(order[:5]) & set(targets.tolist())) / 5)
    assert found.rank == pytest.approx(np.mean(places))
    assert found.hits == pytest.approx(np.mean(hits))
    assert 0 <= found.hits <= count / 5


def test_a_text_put_in_its_own_place_changes_nothing() -> None:
    data = market()
    words = data.tables["items"]["title"].to_list()
    assert EditText((3, 5), (words[3], words[5])).apply(data).digest == data.digest
    assert EditText((), ()).apply(data) is data
    assert AddItems(()).apply(data) is data
