"""The search for passages on an encoder whose answers are known: a bag of word vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from oakum.attacks.base import Budget, Goal, Nothing, propose
from oakum.attacks.text.gaslite import GASLITE, appeared, centroids, one_hot_gradient
from oakum.catalogue import load_class
from oakum.seeds import generator
from tests.toys import random_log

WORDS = [f"w{i}" for i in range(40)] + ["the", "marker"]


class Bag:
    """The mean of word vectors, not normalised: linear in the one-hot, so that first order is exact."""

    def __init__(self, dim: int = 6) -> None:
        self.weights = torch.from_numpy(np.random.default_rng(0).normal(size=(len(WORDS), dim)))
        self.asked = 0

    def pieces(self, text: str) -> tuple[int, ...]:
        return tuple(WORDS.index(w) for w in text.split())

    def text_of(self, pieces: Sequence[int]) -> str:
        return " ".join(WORDS[p] for p in pieces)

    @property
    def ordinary(self) -> Any:
        return np.arange(len(WORDS))

    def table(self) -> Any:
        return self.weights

    def vectors_at(self, rows: Any) -> Any:
        return rows.mean(1)

    def encode(self, texts: Sequence[str]) -> Any:
        self.asked += len(texts)
        return np.stack([self.weights[list(self.pieces(t))].mean(0).numpy() for t in texts])


SMALL = GASLITE(message="marker", length=5, rounds=4, copies=2, top=12, tried=8, flips=3)


def test_many_queries_are_one_vector() -> None:
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(30, 8))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    passages = rng.normal(size=(1000, 8))
    one = centroids(queries.astype(np.float32), 1, rng)[0]
    assert (queries @ passages.T).mean(0).argmax() == (passages @ one).argmax()


def test_first_order_is_exact_on_a_linear_encoder() -> None:
    bag, rng = Bag(), np.random.default_rng(1)
    centroid, tokens = rng.normal(size=6), np.array([[3, 7, 1, 20]])
    grad = one_hot_gradient(bag, tokens, centroid)[0]
    value = lambda t: bag.encode([bag.text_of(t)])[0] @ centroid
    for place in range(4):
        for piece in range(len(WORDS)):
            new = tokens[0].copy()
            new[place] = piece
            exact = value(new) - value(tokens[0])
            assert grad[place, piece] - grad[place, tokens[0, place]] == pytest.approx(exact, abs=1e-9)


def test_the_search_finds_the_best_of_all_on_a_linear_encoder() -> None:
    bag, rng = Bag(), np.random.default_rng(2)
    centroid = rng.normal(size=6)
    worth = bag.weights.numpy() @ centroid
    attack = SMALL.replace(rounds=12, tried=12)
    text, trace = attack.passage(bag, centroid, generator(0, "t"))
    head = worth[WORDS.index("marker")]
    assert trace.values[-1] == pytest.approx((head + 5 * worth.max()) / 6)
    assert text.split()[0] == "marker"  # the message stays as it was
    assert (np.diff(trace.values) >= 0).all()


@pytest.mark.parametrize("search", ["gaslite", "hotflip", "gcg"])
def test_every_search_rises_and_is_seeded(search: str) -> None:
    bag, centroid = Bag(), np.random.default_rng(3).normal(size=6)
    a, b = (SMALL.replace(search=search).passage(bag, centroid, generator(5, "t")) for _ in range(2))
    assert a[0] == b[0]
    assert a[1].values == b[1].values
    assert a[1].gain > 0
    assert bag.asked == a[1].evaluations + b[1].evaluations


def test_appearing_is_beating_the_last_place_of_the_list() -> None:
    rng = np.random.default_rng(4)
    queries, corpus, passages = (rng.normal(size=(n, 5)).astype(np.float32) for n in (20, 30, 2))
    for k in (1, 3, 10):
        slow = []
        for q in queries:
            order = np.argsort(-np.concatenate([corpus @ q, passages @ q]), kind="stable")[:k]
            slow.append(bool((order >= 30).any()))
        assert appeared(queries, corpus, passages, k).tolist() == slow


def test_more_centres_are_nearer() -> None:
    queries = np.random.default_rng(5).normal(size=(50, 8)).astype(np.float32)
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    near = [float((unit @ centroids(queries, b, generator(0, "c")).T).max(1).mean()) for b in (1, 2, 4)]
    assert near[0] < near[1] < near[2]


def test_without_items_in_the_budget_nothing_is_proposed() -> None:
    assert isinstance(propose(load_class("gaslite")(), random_log(), Goal((3,)), Budget()).change, Nothing)


@pytest.mark.data
def test_on_the_true_encoder_it_stays_readable_by_the_tokenizer(data_dir: Any) -> None:
    attack = GASLITE(length=4, rounds=1, copies=2, tried=4, flips=2)
    found = propose(attack, random_log(), Goal((3, 5)), Budget(items=1))
    text = found.poisoned.tables["items"]["title"].to_list()[-1]
    assert found.cost.items == 1
    assert text.lower().startswith("this is a harmless marker sentence")
