"""AlphaRec: what needs no training, each against a slow form; cold items, typed words, other shops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from oakum.data import Dataset, Interactions, Queries, Ragged, Vocabulary  # noqa: E402
from oakum.data.simulate import Market, simulate  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.errors import DataError, ParameterError  # noqa: E402
from oakum.models.language.alpharec import AlphaRec  # noqa: E402
from oakum.store import load, save  # noqa: E402
from tests.toys import log_of, random_log  # noqa: E402

SMALL = {"encoder": "hashed:8", "embedding_dim": 6, "hidden_dim": 12, "num_negatives": 8}


def everyone(model: Any) -> Queries:
    return model.queries(np.arange(len(model.users), dtype=np.int32))


def as_newcomers(queries: Queries, text: list[str] | None = None) -> Queries:
    return Queries(np.full(len(queries), -1, np.int32), queries.histories, None, text)


def probe(data: Dataset) -> Any:
    """No graph and the identity as the map."""
    model = fit(AlphaRec(encoder="hashed:8", embedding_dim=8, num_layers=0, map="linear"), data, plan={"epochs": 0})
    with torch.no_grad():
        model.model.map.weight.copy_(torch.eye(8))
    model.model.train().eval()
    return model


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def test_without_graph_and_map_the_score_is_the_cosine_of_title_mean_and_title() -> None:
    model = probe(random_log())
    scores, text = model.score(everyone(model)), model.model.facts["text"].numpy()
    for u in (0, 7, 33):
        own = np.unique(model.histories.row(u))
        mean = text[own].mean(0)
        expected = [cosine(mean, text[i]) for i in range(30)]
        np.testing.assert_allclose(scores[u], expected, atol=1e-6)


def test_an_item_more_moves_a_user_to_the_running_mean() -> None:
    data = log_of([(0, 0), (0, 3), (1, 5)], 2, 30)
    more = log_of([(0, 0), (0, 3), (1, 5), (0, 8)], 2, 30)
    spec = AlphaRec(**SMALL)
    a = fit(spec, data, plan={"epochs": 0})
    b = a.refresh(more)
    x, text = a.model.x_users[0], a.model.facts["text"]
    torch.testing.assert_close(b.model.x_users[0], x + (text[8] - x) / 3, rtol=0, atol=1e-6)
    assert not a.model.x_users.isnan().any()


def slow_vectors(model: Any, num_layers: int) -> tuple[np.ndarray, np.ndarray]:
    """Z by a dense adjacency of users and items."""
    x = model.histories.matrix(len(model.items)).toarray().astype(np.float64)
    users, items = x.shape
    full = np.block([[np.zeros((users, users)), x], [x.T, np.zeros((items, items))]])
    degree = full.sum(1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0)
    dense = scale[:, None] * full * scale
    text = model.model.facts["text"].numpy().astype(np.float64)
    means = x @ text / np.maximum(x.sum(1, keepdims=True), 1)
    with torch.no_grad():
        e = model.model.map(torch.from_numpy(np.concatenate([means, text])).float()).double().numpy()
    z, layer = e.copy(), e
    for _ in range(num_layers):
        layer = dense @ layer
        z += layer
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return z[:users], z[users:]


@pytest.mark.parametrize("kind", ["mlp", "linear"])
@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_tables_are_those_of_the_dense_operator(kind: str, num_layers: int) -> None:
    spec = AlphaRec(**SMALL, map=kind, num_layers=num_layers)
    model = fit(spec, random_log(), plan={"epochs": 1, "batch_size": 128})
    users, items = slow_vectors(model, num_layers)
    np.testing.assert_allclose(model.score(everyone(model)), users @ items.T, atol=2e-6)


@pytest.mark.parametrize("kind", ["mlp", "linear"])
@pytest.mark.parametrize("num_layers", [0, 2])
def test_a_known_history_gives_the_known_scores(kind: str, num_layers: int) -> None:
    spec = AlphaRec(**SMALL, map=kind, num_layers=num_layers)
    model = fit(spec, random_log(), plan={"epochs": 2, "batch_size": 128})
    queries = everyone(model)
    np.testing.assert_allclose(model.score(queries), model.score(as_newcomers(queries)), atol=2e-6)


def with_new_item(data: Dataset, title: str | None) -> Dataset:
    table = pl.concat(
        [data.tables["items"].select("title"), pl.DataFrame({"title": [title]}, schema={"title": pl.String})]
    )
    return Dataset(data.interactions, data.users, data.items.extend(["new"]), {"items": table}, name="more")


def test_a_new_item_moves_nobody_and_scores_as_without_the_graph() -> None:
    data = random_log()
    model = fit(AlphaRec(**SMALL), data, plan={"epochs": 2, "batch_size": 128})
    more = model.refresh(with_new_item(data, data.tables["items"]["title"][4]))
    a, b = model.model.tables(), more.model.tables()
    torch.testing.assert_close(a[0], b[0], rtol=0, atol=0)
    torch.testing.assert_close(a[1], b[1][:-1], rtol=0, atol=0)
    own = torch.nn.functional.normalize(model.model.map(model.model.facts["text"][4]), dim=-1)
    torch.testing.assert_close(b[1][-1], own)
    nameless = model.refresh(with_new_item(data, None))
    assert np.isnan(nameless.score(everyone(nameless))[:, -1]).all()
    assert (nameless.rank(everyone(nameless), 31).items != 30).all()


def test_typed_words_pull_as_far_as_the_intention_says() -> None:
    data = random_log()
    alone = fit(AlphaRec(**SMALL, intention=0.0), data, plan={"epochs": 2, "batch_size": 128})
    queries = everyone(alone).take(np.arange(6))
    asked = as_newcomers(queries, ["odd thing"] * 6)
    np.testing.assert_allclose(alone.score(queries), alone.score(asked), atol=2e-6)
    search = fit(AlphaRec(**SMALL, intention=1.0), data, plan={"epochs": 2, "batch_size": 128})
    nobody = Queries(np.full(2, -1, np.int32), Ragged.empty(2), None, ["odd thing", "odd thing"])
    scores = search.score(nobody)
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)
    assert np.isfinite(scores).all()
    silent = Queries(np.full(1, -1, np.int32), Ragged.empty(1), None, ["?!"])
    assert np.isnan(search.score(silent)).all()


def test_a_trained_user_who_types_is_pulled_and_one_who_does_not_stays() -> None:
    model = fit(AlphaRec(**SMALL), random_log(), plan={"epochs": 2, "batch_size": 128})
    queries = everyone(model).take(np.arange(2))
    mixed = model.score(replace(queries, text=["odd thing", ""]))
    plain = model.score(queries)
    assert np.abs(mixed[0] - plain[0]).max() > 1e-3
    np.testing.assert_allclose(mixed[1], plain[1], atol=1e-6)


def test_words_alone_are_a_request_and_systems_that_read_none_say_so() -> None:
    model = fit(AlphaRec(**SMALL), random_log(), plan={"epochs": 5, "batch_size": 128, "learning_rate": 1e-2})
    answer = model.recommend(text="odd thing", k=5)[0]
    assert len(answer["items"]) == 5
    assert "fallback" not in answer
    assert model.recommend(["u1"], text="odd thing")[0]["user"] == "u1"
    from oakum.models.classic.popularity import Popularity

    with pytest.raises(ParameterError, match="'popularity' does not read typed words"):
        fit(Popularity(), random_log()).recommend(text="odd thing")
    with pytest.raises(ParameterError, match="users, a history or text"):
        model.recommend()


def test_another_shop_is_answered_with_the_same_weights(tmp_path: Any) -> None:
    here = simulate(Market(users=80, items=60, events=1500), seed=1)
    there = simulate(Market(users=50, items=90, events=1200), seed=2)
    ids = lambda letter, n: Vocabulary(pl.Series("id", [f"{letter}{k}" for k in range(n)]))
    there = replace(there, users=ids("p", there.num_users), items=ids("q", there.num_items))
    model = fit(AlphaRec(**SMALL), here, plan={"epochs": 3, "batch_size": 256})
    moved = model.refresh(there)
    assert moved.score(everyone(moved)).shape == (50, 90)
    for a, b in zip(model.model.state_dict().values(), moved.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(model.model.facts["text_basis"], moved.model.facts["text_basis"])
    save(moved, tmp_path / "moved")
    np.testing.assert_array_equal(load(tmp_path / "moved").score(everyone(moved)), moved.score(everyone(moved)))
    assert moved.recommend(["p3"], k=2)[0]["items"][0]["item"].startswith("q")


def test_log_sum_exp_stays_finite_at_small_temperatures() -> None:
    model = fit(AlphaRec(**SMALL, temperature=0.002), random_log(), plan={"epochs": 2, "batch_size": 128})
    assert all(np.isfinite(h["losses"]["softmax"]) for h in model.record.history)


def test_no_text_is_refused_before_anything_is_done() -> None:
    data = random_log()
    bare = Dataset(data.interactions, data.users, data.items)
    with pytest.raises(DataError, match="text"):
        fit(AlphaRec(**SMALL), bare)


def test_own_negatives_train_too() -> None:
    from oakum.sampling.samplers import Uniform

    plan = {"epochs": 5, "batch_size": 128, "learning_rate": 1e-2, "negatives": Uniform()}
    history = fit(AlphaRec(**SMALL), random_log(), plan=plan).record.history
    assert history[-1]["losses"]["softmax"] < history[0]["losses"]["softmax"]


def test_interactions_are_not_needed_to_be_distinct() -> None:
    data = random_log()
    twice = data.with_interactions(data.interactions.append(data.interactions))
    a, b = (fit(AlphaRec(**SMALL), d, plan={"epochs": 0}) for d in (data, twice))
    assert isinstance(twice.interactions, Interactions)
    np.testing.assert_allclose(a.score(everyone(a)), b.score(everyone(b)), atol=1e-6)
