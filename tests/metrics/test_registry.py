from __future__ import annotations

import numpy as np
import pytest

import oakum.metrics
from metrics.lists import random_lists, ranking, truth
from oakum.data import Ragged, Ranking
from oakum.errors import ParameterError, ProtocolError
from oakum.metrics import Context, Predictions, definitions, measure, metric, summarise

ITEMS, Q = 40, 60


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    lists = ranking([rng.permutation(ITEMS)[:10].tolist() for _ in range(Q)])
    wanted = truth([rng.permutation(ITEMS)[:5].tolist() for _ in range(Q)])
    context = Context(
        num_items=ITEMS,
        num_users=100,
        item_counts=rng.integers(1, 90, ITEMS),
        item_vectors=rng.normal(size=(ITEMS, 4)).astype(np.float32),
        item_categories=Ragged.of([[int(c)] for c in rng.integers(0, 5, ITEMS)]),
        histories=Ragged.of([rng.permutation(ITEMS)[:6].tolist() for _ in range(Q)]),
        other=ranking(random_lists(rng, Q, 10, ITEMS), k=10),
        targets=np.array([1, 2], np.int32),
        owned=Ragged.empty(Q),
    )
    return lists, wanted, context


def names(unit: str) -> list[str]:
    return [f"{d.base}@10" if d.cut else d.base for d in definitions().values() if d.unit == unit]


def test_every_metric_is_within_its_bounds_and_its_interval_holds_it(case):
    lists, wanted, context = case
    chosen = names("query") + names("pooled")
    values = measure(lists, wanted, chosen, context)
    for name, found in summarise(lists, wanted, chosen, context).items():
        d = metric(name).definition
        assert values[name].shape == ((1,) if d.unit == "pooled" else (Q,)), name
        known = values[name][~np.isnan(values[name])]
        assert found.value == pytest.approx(known.mean()), name
        assert found.low <= found.value <= found.high, name
        if d.base not in (
            "target_hit_rate",
            "target_ndcg",
        ):  # linearised: their mean is bounded, not each value
            assert d.low is None or known.min() >= d.low, name
            assert d.high is None or known.max() <= d.high + 1e-12, name


def test_metrics_of_predictions():
    rng = np.random.default_rng(1)
    p = rng.random(500)
    found = summarise(Predictions(p, (rng.random(500) < p).astype(float)), None, names("row"))
    assert found["auc"].value > 0.7
    assert all(e.low <= e.value <= e.high for e in found.values())


def test_one_metric_alone_equals_the_same_among_many(case):
    lists, wanted, context = case
    chosen = ["ndcg@3", "ndcg_exponential@10", "recall@10", "recall@3"]
    together = measure(lists, wanted, chosen, context)
    for name in chosen:
        assert metric(name).measure(lists, wanted, context) == pytest.approx(together[name])


def test_pooled_intervals_cover_the_value_for_other_users_of_the_same_kind():
    rng, inside, repetitions = np.random.default_rng(3), 0, 60
    weight = 1 / np.arange(1, 201)
    draw = lambda: rng.choice(200, size=(150, 1), p=weight / weight.sum()).astype(np.int32)
    context = Context(num_items=200)
    as_ranking = lambda items: Ranking(items, np.zeros(items.shape, np.float32))
    true = np.mean([measure(as_ranking(draw()), None, ["coverage@1"], context)["coverage@1"][0] for _ in range(300)])
    for _ in range(repetitions):
        found = summarise(as_ranking(draw()), None, ["coverage@1"], context)["coverage@1"]
        inside += found.low <= true <= found.high
    assert inside / repetitions >= 0.85


def test_a_hit_rate_of_zero_has_an_interval_above_zero(case):
    _, _, context = case
    found = summarise(ranking([[0]] * 30), truth([[1]] * 30), ["hit_rate@1"], context)["hit_rate@1"]
    assert found.value == 0
    assert 0.05 < found.high < 0.2


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ndgc@10", "Did you mean 'ndcg'"),
        ("ndcg", "for example 'ndcg@10'"),
        ("ndcg@0", "cut-off of at least 1"),
        ("ndcg@ten", "Got 'ndcg@ten'"),
        ("auc@10", "has no cut-off"),
    ],
)
def test_wrong_names_say_the_cure(name, sentence):
    with pytest.raises(ParameterError, match=sentence):
        metric(name)


def test_what_is_missing_is_named(case):
    lists, wanted, _ = case
    with pytest.raises(ProtocolError, match=r"'coverage@10' needs Context\.num_items"):
        measure(lists, wanted, ["coverage@10"])
    with pytest.raises(ProtocolError, match="needs the truth"):
        measure(lists, None, ["ndcg@10"])
    with pytest.raises(ProtocolError, match=r"measured on a Predictions\. Got a Ranking"):
        measure(lists, wanted, ["auc"])
    with pytest.raises(ProtocolError, match="rank more"):
        measure(lists, wanted, ["novelty@11"], Context(item_counts=np.ones(ITEMS), num_users=3))


def test_public_names_are_complete_and_sorted():
    assert oakum.metrics.__all__ == sorted(oakum.metrics.__all__)
    assert all(getattr(oakum.metrics, name) is not None for name in oakum.metrics.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = oakum.metrics.nothing
