"""The token search and the plausibility of written text against slow and obvious answers."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.attacks.base import Access, AddItems, Attack, Budget, Change, EditText, Goal, propose
from oakum.attacks.changes import counted
from oakum.attacks.text.plausible import Bigrams, implausibility, similarity
from oakum.attacks.text.tokens import Edit, Effort, token_search
from oakum.errors import BudgetExceeded, DataError, OakumError, ParameterError
from tests.toys import random_log


def every_place(alphabet: str) -> Any:
    """Groups that try every letter at every place, one place a group."""
    return lambda here: [[Edit(p, a) for a in alphabet] for p in range(len(here))]


def counting(asked: list[Any]) -> Any:
    """How many c a text has; what was asked is written down."""

    def objective(many: Any) -> Any:
        asked.extend(many)
        return np.array([t.count("c") for t in many], float)

    return objective


@given(st.integers(0, 1000), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_a_separable_objective_is_solved_exactly(seed: int, length: int) -> None:
    worth = np.random.default_rng(seed).normal(size=(length, 3))
    score = lambda t: float(sum(worth[p, "abc".index(c)] for p, c in enumerate(t)))
    found, trace = token_search(
        lambda many: np.array([score(t) for t in many]), "a" * length, every_place("abc"), Effort(steps=1)
    )
    best = max(score(t) for t in product("abc", repeat=length))
    assert score(found) == pytest.approx(best)
    assert trace.values[-1] == pytest.approx(best)


@given(st.integers(0, 1000), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_the_value_never_falls_and_every_look_is_counted(seed: int, beam: int) -> None:
    rng = np.random.default_rng(seed)
    table = {"".join(t): rng.normal() for t in product("abc", repeat=3)}
    asked: list[str] = []

    def objective(many: Any) -> Any:
        asked.extend("".join(t) for t in many)
        return np.array([table["".join(t)] for t in many])

    found, trace = token_search(objective, "aaa", every_place("abc"), Effort(steps=4, beam=beam))
    assert (np.diff(trace.values) >= 0).all()
    assert trace.values[0] == table["aaa"]
    assert trace.values[-1] == table["".join(found)] == max(table[t] for t in asked)
    assert trace.evaluations == len(asked) == len(set(asked))  # nothing is asked twice


def test_a_budget_of_looks_is_kept() -> None:
    asked: list[Any] = []
    objective = counting(asked)
    _, trace = token_search(objective, "aaaa", every_place("abc"), Effort(steps=9, evaluations=5))
    assert trace.evaluations == len(asked) == 5


def test_what_may_not_stand_is_never_scored() -> None:
    seen: list[tuple[str, ...]] = []
    objective = counting(seen)
    keep = lambda t: None if t.count("c") > 1 else t
    found, trace = token_search(objective, "aaa", every_place("abc"), Effort(steps=2), keep)
    assert found.count("c") == 1
    assert all(t.count("c") <= 1 for t in seen)
    assert trace.refused > 0


def test_edits_insert_and_delete() -> None:
    assert Edit(1, "x").on(("a", "b")) == ("a", "x")
    assert Edit(2, "x", "insert").on(("a", "b")) == ("a", "b", "x")
    assert Edit(0, kind="delete").on(("a", "b")) == ("b",)
    with pytest.raises(ParameterError, match="position 2 of a text of 2"):
        Edit(2, "x").on(("a", "b"))


def test_an_objective_that_is_no_number_is_refused() -> None:
    with pytest.raises(OakumError, match="or no number"):
        token_search(lambda many: np.full(len(many), np.nan), "a", every_place("ab"), Effort())


def test_bigrams_are_a_distribution_and_know_their_corpus() -> None:
    model = Bigrams(["the red car", "the blue car", "a red house"])
    words = [*model.singles, "never-seen"]
    for before in ("", "the", "red", "never-seen"):
        alone = lambda w: (model.singles[w] + 1) / (model.total + len(model.singles) + 1)
        total = sum((model.pairs[before, w] + alone(w)) / (model.starts[before] + 1) for w in words)
        assert total == pytest.approx(1.0)
    assert model.perplexity("the red house") < model.perplexity("house the red") < model.perplexity("qq zz ww")


def titled(words: list[str]) -> Any:
    data = random_log(users=8, items=len(words), events=30)
    return replace(data, tables={"items": pl.DataFrame({"title": words})})


WORDS = ["red car", "blue car", "green house", "old house", "new boat"]


def test_edited_and_added_texts_are_counted() -> None:
    data = titled(WORDS)
    edited = EditText((1, 3), ("blue cars", "very old house")).apply(data)
    assert edited.tables["items"]["title"].to_list() == [
        "red car",
        "blue cars",
        "green house",
        "very old house",
        "new boat",
    ]
    assert counted(data, edited, "x") == Budget(edits=2) == EditText((1, 3), ("", "")).cost()
    added = AddItems(("marker one", "marker two")).apply(data)
    assert added.num_items == 7
    assert added.items.ids.tail(2).to_list() == ["added-1", "added-2"]
    assert counted(data, added, "x") == Budget(items=2)
    assert data.tables["items"]["title"].to_list() == WORDS
    assert implausibility(data, data) == Budget()
    with pytest.raises(DataError, match="no column of plain text"):
        AddItems(("x",)).apply(replace(data, tables={}))


class Rewrites(Attack):
    """Puts a given text in place of the first target's."""

    new: str = "red cars"

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Any) -> Change:
        return EditText(goal.targets[:1], (self.new,))


class Adds(Attack):
    """Adds an item that says a given text."""

    new: str = "red cars"

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Any) -> Change:
        return AddItems((self.new,))


def test_the_framework_holds_rewritten_text_to_its_likeness() -> None:
    data, near = titled(WORDS), Rewrites(new="red car")
    assert propose(near, data, Goal((0,)), Budget(), judge="hashed:4").cost == Budget()  # the same words cost nothing
    moved = float(1 - similarity(["red car"], ["old house boat"], "hashed:4")[0])
    assert moved > 0.1
    far = Rewrites(new="old house boat")
    with pytest.raises(BudgetExceeded, match=r"norm: .* of 0\.05"):
        propose(far, data, Goal((0,)), Budget(edits=1, norm=0.05), judge="hashed:4")
    assert propose(far, data, Goal((0,)), Budget(edits=1, norm=2.0), judge="hashed:4").cost.norm == pytest.approx(moved)


def test_the_framework_holds_added_text_to_its_fluency() -> None:
    data = titled(WORDS)
    gibberish = Adds(new="zq xw vv kk")
    with pytest.raises(BudgetExceeded, match=r"perplexity: .* of 4\.0"):
        propose(gibberish, data, Goal((0,)), Budget(items=1, perplexity=4.0))
    assert propose(gibberish, data, Goal((0,)), Budget(items=1)).cost == Budget(items=1)  # no limit was set
    found = propose(Adds(new="red house"), data, Goal((0,)), Budget(items=1, perplexity=4.0))
    assert 0 < found.cost.perplexity <= 4.0
