"""CML: points in a ball, customers as means of what they had, distances as products; the chance of a purchase."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from oakum.data import Dataset, Filter, Queries, Ragged  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.engine.learner import Phase  # noqa: E402
from oakum.errors import DataError, ParameterError  # noqa: E402
from oakum.models.classic.audience import PurchaseOdds  # noqa: E402
from oakum.models.classic.cml import CML, as_items, as_queries, covariance, to_ball  # noqa: E402
from oakum.sampling.batches import Order  # noqa: E402
from oakum.sampling.samplers import Hard  # noqa: E402
from tests.toys import checkerboard, random_log  # noqa: E402

SMALL = {"encoder": "hashed:8", "embedding_dim": 6, "hidden_dim": 12, "num_negatives": 4, "dropout": 0.0}
DAY = 86_400_000_000


def trained(data: Dataset, epochs: int = 2, **settings: Any) -> Any:
    return fit(CML(**{**SMALL, **settings}), data, plan={"epochs": epochs, "batch_size": 128, "learning_rate": 0.01})


def everyone(model: Any) -> Queries:
    return model.queries(np.arange(len(model.users), dtype=np.int32))


def slow_distance(z: np.ndarray, v: np.ndarray) -> float:
    return float(((z.astype(np.float64) - v) ** 2).sum())


@pytest.mark.parametrize("mode", ["history", "free"])
def test_scores_are_negative_squared_distances_and_rank_alike(mode: str) -> None:
    model = trained(random_log(), mode=mode)
    queries = everyone(model)
    points = model.model.points().detach().numpy()
    people = model.model.customer_points(queries).detach().numpy()
    scores = model.score(queries)
    for u in range(0, 40, 5):
        expected = [-slow_distance(people[u], v) for v in points]
        np.testing.assert_allclose(scores[u], expected, atol=1e-6)
        best = model.rank(queries.take(np.array([u])), 5).items[0]
        np.testing.assert_allclose(np.array(expected)[best], np.sort(expected)[::-1][:5], atol=1e-6)


def test_products_of_wider_vectors_are_distances() -> None:
    z, v = torch.randn(7, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(as_queries(z) @ as_items(v).T, -torch.cdist(z, v).square())


def test_the_ball_holds_everything_and_leaves_its_inside_alone() -> None:
    points = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(to_ball(points, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))
    free = trained(random_log(), mode="free", radius=0.3, margin=0.1)
    assert max(float(t.weight.detach().norm(dim=1).max()) for t in (free.model.users, free.model.items)) <= 0.3 + 1e-6


def test_covariance_equals_the_loop() -> None:
    x = torch.randn(20, 3, dtype=torch.float64)
    c = np.cov(x.numpy().T, bias=True)
    expected = sum(c[a, b] ** 2 for a in range(3) for b in range(3) if a != b)
    assert float(covariance(x)) == pytest.approx(expected)


@pytest.mark.parametrize("past", ["others", "before"])
def test_a_customer_in_training_is_the_mean_of_other_purchases_alone(past: str) -> None:
    data = random_log()
    model = CML(**SMALL, past=past, max_length=4).build(replace(data.schema, sizes={"text_dim": 8}))
    model.put_facts(model.prepare(data, Phase()))
    points = model.points().detach().numpy()
    log = data.interactions
    found = 0
    for batch in model.batches(data, Phase(), Order(0, "main", 0, 64)):
        query = model.represent(batch)["query"].detach().numpy()
        for b in range(0, len(batch), 9):
            own = np.flatnonzero(log.users == int(batch.users[b]))
            own = own[np.argsort(log.times[own], kind="stable")]
            at = int(np.flatnonzero(log.rows[own] == int(batch.rows[b]))[0])
            others = np.delete(own, at)[-4:] if past == "others" else own[:at][-4:]
            kept = [i for i in log.items[others] if i != int(batch.items[b])]
            expected = points[kept].mean(0) if kept else np.zeros(6)
            np.testing.assert_allclose(query[b], expected, atol=1e-6)
            found += 1
    assert found > 50


def test_recent_purchases_weigh_more() -> None:
    model = trained(random_log(), recency=2.0)
    points = model.model.points().detach().numpy()
    history = Ragged(np.array([0, 2]), np.array([3, 8], np.int32), np.array([0, 4 * DAY]))
    z = model.model.customer_points(Queries(np.array([-1], np.int32), history)).detach().numpy()[0]
    w = np.exp(-4 / 2.0)
    np.testing.assert_allclose(z, (w * points[3] + points[8]) / (1 + w), atol=1e-6)
    plain = Queries(np.array([-1], np.int32), Ragged.of([[3, 8]]))
    np.testing.assert_allclose(
        model.model.customer_points(plain).detach().numpy()[0], points[[3, 8]].mean(0), atol=1e-6
    )


def test_a_known_history_gives_the_known_scores_and_empty_ones_nothing() -> None:
    model = trained(random_log())
    queries = everyone(model)
    stranger = Queries(np.full(len(queries), -1, np.int32), queries.histories)
    np.testing.assert_array_equal(model.score(queries), model.score(stranger))
    assert np.isnan(model.score(Queries(np.full(1, -1, np.int32), Ragged.empty(1)))).all()


def with_new(data: Dataset, title: str | None) -> Dataset:
    table = data.tables["items"].select("title")
    row = pl.DataFrame({"title": [title]}, schema={"title": pl.String})
    return Dataset(data.interactions, data.users, data.items.extend(["new"]), {"items": pl.concat([table, row])})


def test_a_new_item_lies_where_its_text_says_and_one_without_a_word_nowhere() -> None:
    data = random_log()
    model = trained(data, text="title")
    more = model.refresh(with_new(data, data.tables["items"]["title"][4]))
    np.testing.assert_array_equal(more.score(everyone(more))[:, -1], more.score(everyone(more))[:, 4])
    np.testing.assert_array_equal(more.score(everyone(more))[:, :-1], model.score(everyone(model)))
    silent = model.refresh(with_new(data, None))
    assert np.isnan(silent.score(everyone(silent))[:, -1]).all()
    assert (silent.rank(everyone(silent), 31).items != 30).all()


def test_free_vectors_place_an_item_without_events_by_its_text_and_learn_the_board() -> None:
    data = random_log()
    log = data.interactions
    model = trained(data.with_interactions(log.take(log.items != 5)), mode="free")
    torch.testing.assert_close(model.model.points()[5], model.model.place(torch.tensor([5]))[0])
    torch.testing.assert_close(model.model.points()[6], model.model.items.weight[6])
    board = checkerboard()
    free = fit(
        CML(**{**SMALL, "mode": "free", "num_negatives": 2, "margin": 1.0}), board,
        plan={"epochs": 40, "batch_size": 256, "learning_rate": 0.1},
    )  # fmt: skip
    queries = everyone(free)
    first = free.rank(queries, 1, where=Filter(exclude=queries.histories)).items[:, 0]
    assert np.mean(first == np.arange(50)) > 0.95


def test_hard_negatives_and_the_covariance_train_too() -> None:
    plan = {"epochs": 3, "batch_size": 128, "learning_rate": 1e-2, "negatives": Hard(pool=4)}
    history = fit(CML(**SMALL, covariance_weight=1.0), random_log(), plan=plan).record.history
    assert history[-1]["losses"]["hinge"] < history[0]["losses"]["hinge"]
    assert history[-1]["losses"]["_covariance"] > 0


def test_a_margin_that_no_ball_can_hold_is_refused() -> None:
    with pytest.raises(ParameterError, match="largest squared distance"):
        CML(**{**SMALL, "radius": 0.5, "margin": 1.0}).build(random_log().schema)


def test_explanations_are_the_nearest_purchases() -> None:
    model = trained(random_log())
    queries = everyone(model).take(np.arange(3))
    points = model.model.points().detach().numpy()
    found = model.model.explain(queries, np.array([5, 6, 7], np.int32), k=2)
    for r, item in enumerate((5, 6, 7)):
        own = np.unique(queries.histories.row(r))
        gaps = [slow_distance(points[i], points[item]) for i in own]
        np.testing.assert_allclose(
            [slow_distance(points[i], points[item]) for i in found[r]], np.sort(gaps)[:2], atol=1e-6
        )


# --- the chance of a purchase -------------------------------------------------------------------------------------


def released() -> tuple[Any, Any]:
    """A model that has not seen the last ten items, and the purchases of these."""
    data = random_log(users=80, items=40, events=1600)
    log = data.interactions
    late = log.items >= 30
    return trained(data.with_interactions(log.take(~late)), 5), log.take(late)


def test_the_head_predicts_the_rate_of_every_tier_it_was_fitted_on() -> None:
    model, purchases = released()
    odds = PurchaseOdds.learn(model, purchases, tiers=3)
    users, items = np.arange(80, dtype=np.int32), np.arange(30, 40, dtype=np.int32)
    bought = purchases.matrix(80, 40)[:, items].toarray() > 0
    chance, tiers = odds.probability(users, items), odds.tier(users)
    assert ((chance > 0) & (chance < 1)).all()
    assert len(np.unique(tiers)) == 3
    for t in range(3):  # intercepts of their own: the likelihood is flat only where the means agree
        assert chance[tiers == t].mean() == pytest.approx(bought[tiers == t].mean(), rel=1e-3)
    who, best = odds.audience(33, 5)
    assert (np.diff(best) <= 0).all()
    assert best[0] == pytest.approx(chance[:, 3].max())
    assert chance[who[0], 3] == pytest.approx(best[0])
    again = PurchaseOdds.from_json(model, odds.to_json())
    np.testing.assert_array_equal(again.probability(users, items), chance)


def test_reach_counts_where_it_is_given_and_few_customers_are_enough() -> None:
    model, purchases = released()
    counts = np.bincount(purchases.items, minlength=40)
    odds = PurchaseOdds.learn(model, purchases, reach=counts)
    chance = odds.probability(np.arange(80, dtype=np.int32), np.arange(30, 40, dtype=np.int32), reach=counts)
    assert odds.weights[-1] > 0
    assert np.corrcoef(chance.mean(0), counts[30:])[0, 1] > 0.9
    assert np.isfinite(PurchaseOdds.learn(model, purchases, pairs=100).weights).all()


def test_the_head_says_what_it_lacks() -> None:
    model, purchases = released()
    with pytest.raises(DataError, match="training left out"):
        PurchaseOdds.learn(model, purchases.take(np.zeros(len(purchases), bool)))
    from oakum.models.classic.popularity import Popularity

    data = random_log()
    log = data.interactions
    popular = fit(Popularity(), data.with_interactions(log.take(log.items != 5)))
    with pytest.raises(DataError, match="'popularity' cannot place"):
        PurchaseOdds.learn(popular, log.take(log.items == 5))
