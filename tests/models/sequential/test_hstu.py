"""HSTU reads what it says it reads; its ranking form gives every candidate a pass of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from oakum.data import Dataset, Interactions, Queries, Ragged, Vocabulary  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.errors import DataError, ParameterError  # noqa: E402
from oakum.models.sequential.hstu import HSTU  # noqa: E402
from oakum.models.sequential.hstu_ranker import MOST, HSTURanker, levels_of  # noqa: E402
from oakum.sampling.batches import Negatives, Order  # noqa: E402
from oakum.sampling.sequences import Sequences  # noqa: E402
from tests.oracles.pointwise import encode  # noqa: E402
from tests.toys import random_log, walks  # noqa: E402

SMALL: dict[str, Any] = {"embedding_dim": 16, "max_length": 12, "num_layers": 2, "num_heads": 2, "dropout": 0.0}


def rated(users: int = 30, items: int = 24, length: int = 9) -> Dataset:
    """Everybody walks from item to item and likes (5) items of the own parity and dislikes (1) the others."""
    rng = np.random.default_rng(0)
    u = np.repeat(np.arange(users), length)
    i = np.concatenate([rng.permutation(items)[:length] for _ in range(users)])
    values = np.where((u + i) % 2 == 0, 5.0, 1.0)
    times = np.tile(np.arange(length), users) * 86_400_000_000
    log = Interactions(u, i, values, times)
    ids = lambda letter, n: Vocabulary(pl.Series("id", [f"{letter}{k}" for k in range(n)]))
    return Dataset(log, ids("u", users), ids("i", items), name="rated")


def built(spec: Any, data: Dataset) -> Any:
    """An untrained model with its facts."""
    torch.manual_seed(0)
    schema = data.schema
    if hasattr(spec, "sizes"):
        from dataclasses import replace

        schema = replace(schema, sizes=spec.sizes(data))
    model = spec.build(schema)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    model.put_facts(model.prepare(data, model.phases()[0]))
    return model.eval()


def batch_of(model: Any, data: Dataset, negatives: int) -> Sequences:
    batch = next(model.batches(data, model.phases()[0], Order(0, "main", 0, 7)))
    shape = (len(batch), negatives)
    torch.manual_seed(2)
    batch.negatives = Negatives(torch.randint(0, data.num_items, shape), torch.full(shape, -np.log(data.num_items)))
    return batch


def encoder_weights(model: Any) -> dict[str, Any]:
    return {k.removeprefix("encoder."): v.double().numpy() for k, v in model.state_dict().items()}


@pytest.mark.parametrize("times", ["events", "request", "none"])
def test_states_are_those_of_the_slow_form_in_training_and_when_asked(times: str) -> None:
    data = random_log()
    model = built(HSTU(**SMALL, times=times), data)
    batch = batch_of(model, data, 3)
    with torch.no_grad():
        reps = model.represent(batch)
    table = model.items.weight.detach().double().numpy()
    row = int(batch.place[-1]) // batch.inputs.shape[1]
    user = int(batch.users[-1])
    history = data.histories.tail(13).take(np.array([user]))
    items, moments = history.items, history.times.tolist()
    line = lambda n, asked: encode(
        encoder_weights(model), table[items[:n]], 2, 12, None if times == "none" else moments[:n], asked
    )
    asked = moments[1:] if times == "request" else moments[:-1]
    wanted = line(len(items) - 1, asked)[-1]
    wanted = wanted / np.linalg.norm(wanted) / 0.05
    last = [p for p, at in enumerate(batch.place.tolist()) if at // batch.inputs.shape[1] == row][-1]
    np.testing.assert_allclose(reps["query"][last].numpy(), wanted, rtol=2e-3, atol=2e-4)

    now = moments[-2] + 5 * 10**9
    queries = Queries(np.array([user], np.int32), data.histories.take(np.array([user])), np.array([now]))
    full = data.histories.tail(12).take(np.array([user]))
    items, moments = full.items, full.times.tolist()
    asked = [*moments[1:], now] if times == "request" else moments
    wanted = line(len(items), asked)[-1]
    found = model.query_vectors(queries)[0].detach().numpy()
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted) / 0.05, rtol=2e-3, atol=2e-4)


def test_the_moment_of_the_request_moves_the_answer_only_where_asked_for() -> None:
    data = random_log()
    users = np.arange(5, dtype=np.int32)
    for times, moves in (("request", True), ("events", False)):
        model = built(HSTU(**SMALL, times=times), data)
        early, late = (
            model.query_vectors(Queries(users, data.histories.take(users), np.full(5, at)))
            for at in (700 * 10**6, 10**15)
        )
        assert torch.equal(early, late) != moves


def test_events_without_times_count_as_a_typical_gap_apart() -> None:
    data = walks()  # one second between any two events
    model = built(HSTU(**SMALL), data)
    bare = Queries(np.array([-1], np.int32), Ragged.of([[3, 4, 5]]))
    timed = Ragged(bare.histories.offsets, bare.histories.items, np.array([7, 8, 9]) * 10**6)
    assert float(model.facts["gap"]) == 10**6
    torch.testing.assert_close(model.query_vectors(bare), model.query_vectors(Queries(bare.users, timed)))
    far = Ragged(timed.offsets, timed.items, np.array([7, 8_000, 9_000_000]) * 10**6)
    assert not torch.allclose(model.query_vectors(bare), model.query_vectors(Queries(bare.users, far)), rtol=1e-3)


def test_scores_are_cosines_over_the_temperature() -> None:
    data = random_log()
    model = built(HSTU(**SMALL, temperature=0.2), data)
    queries = Queries(np.arange(4, dtype=np.int32), data.histories.take(np.arange(4)))
    assert float(model.score(queries).detach().abs().max()) <= 5.0001
    torch.testing.assert_close(model.query_vectors(queries).norm(dim=-1), torch.full((4,), 5.0))
    torch.testing.assert_close(model.item_vectors().norm(dim=-1), torch.ones(data.num_items))
    plain = built(HSTU(**SMALL, unit=False), data)
    assert not torch.allclose(plain.item_vectors().norm(dim=-1), torch.ones(data.num_items))


def test_a_drawn_target_is_no_negative_and_uniform_draws_are_not_corrected() -> None:
    data = random_log()
    model = built(HSTU(**SMALL), data)
    batch = batch_of(model, data, 2)
    batch.negatives.items[:, 0] = batch.items
    reps = model.represent(batch)
    one = (reps["query"] * reps["positive"]).sum(-1)
    two = (reps["query"] * reps["negative"][:, 1]).sum(-1).masked_fill(batch.negatives.items[:, 1] == batch.items, -5e4)
    torch.testing.assert_close(model.losses(batch, reps)["sampled_softmax"], torch.logaddexp(one, two) - one)


def test_no_negatives_is_the_softmax_over_all() -> None:
    data = random_log()
    model = built(HSTU(**SMALL, num_negatives=0, unit=False), data)
    batch = next(model.batches(data, model.phases()[0], Order(0, "main", 0, 7)))
    assert batch.wants == 0
    reps = model.represent(batch)
    logits = reps["query"] @ model.items.weight.T
    wanted = torch.nn.functional.cross_entropy(logits, batch.items, reduction="none")
    torch.testing.assert_close(model.losses(batch, reps)["softmax"], wanted, rtol=1e-4, atol=1e-4)


def test_long_histories_are_read_in_a_thousand_events() -> None:
    rng = np.random.default_rng(0)
    n = 1500
    log = Interactions(np.zeros(n, np.int32), rng.integers(0, 20, n), None, np.arange(n) * 10**6)
    ids = lambda letter, k: Vocabulary(pl.Series("id", [f"{letter}{j}" for j in range(k)]))
    data = Dataset(log, ids("u", 1), ids("i", 20))
    spec = HSTU(embedding_dim=8, max_length=1200, num_layers=1, num_negatives=4, alpha=1.7)
    fitted = fit(spec, data, plan={"epochs": 1, "batch_size": 1})
    assert np.isfinite(fitted.score(fitted.queries(np.array([0], np.int32)))).all()


@pytest.mark.parametrize("interleave", [True, False])
@pytest.mark.parametrize("times", ["events", "request"])
def test_each_candidate_of_the_ranker_has_a_pass_of_its_own(interleave: bool, times: str) -> None:
    data = rated()
    model = built(HSTURanker(**SMALL, interleave=interleave, times=times), data)
    user = 3
    history = data.histories.tail(12).take(np.array([user]))
    now = int(history.times[-1]) + 4 * 86_400_000_000
    queries = Queries(np.array([user], np.int32), history, np.array([now]))
    choices = np.array([[4, 9, -1, 9, 0]], np.int32)
    with torch.no_grad():
        found = model.act(queries, choices)[0]
    table = model.items.weight.detach().double().numpy()
    acted = (history.values[:, None] >= np.array([1.0, 5.0])).astype(float) @ model.done.detach().double().numpy()
    events = table[history.items]
    step = 2 if interleave else 1
    tokens = np.stack([events, acted], 1).reshape(-1, 16) if interleave else events + acted
    when = np.repeat(history.times, step).tolist()
    moment = now if times == "request" else when[-1]
    for k, j in enumerate(choices[0]):
        if j < 0:
            assert torch.isnan(found[k]).all()
            continue
        own = table[j] + (0 if interleave else model.unknown.detach().double().numpy()[0])
        line = np.concatenate([tokens, own[None]])
        state = encode(encoder_weights(model), line, 2, 12 * step + 1, [*when, moment], [*when, moment])[-1]
        logits = model.logits(torch.from_numpy(state).float(), model.items.weight[int(j)])
        np.testing.assert_allclose(found[k].numpy(), torch.sigmoid(logits).detach().numpy(), rtol=1e-3, atol=1e-4)
    assert torch.equal(found[1], found[3])


def test_the_ranker_trains_on_what_it_will_be_asked() -> None:
    """The state of the target in training is that of the candidate when asked at that place."""
    data = rated()
    model = built(HSTURanker(**SMALL), data)
    batch = batch_of(model, data, 2)
    with torch.no_grad():
        reps = model.represent(batch)
        trained = torch.sigmoid(model.logits(reps["query"], reps["positive"]))
        drawn = torch.sigmoid(model.logits(reps["_states"], reps["negative"]))
        for b in range(0, len(batch), 5):
            history = data.histories.take(batch.users[b : b + 1].numpy())
            n = int(np.flatnonzero(history.rows == int(batch.rows[b]))[0])
            cut = Ragged(np.array([0, n]), history.items[:n], history.times[:n], history.values[:n])
            own = torch.cat([batch.items[b : b + 1], batch.negatives.items[b]])[None].numpy().astype(np.int32)
            asked = model.act(Queries(np.array([-1], np.int32), cut), own)[0]
            torch.testing.assert_close(asked[0], trained[b], rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(asked[1:], drawn[b], rtol=1e-3, atol=1e-4)


def test_the_ranker_learns_who_likes_what() -> None:
    data = rated(users=120, items=16)
    # Two layers: an action token must first read the item before it.
    spec = HSTURanker(embedding_dim=16, num_layers=2, max_length=12, dropout=0.0, num_negatives=0)
    fitted = fit(spec, data, plan={"epochs": 30, "learning_rate": 0.01, "batch_size": 16})
    users = np.arange(120, dtype=np.int32)
    probability = fitted.model.act(fitted.queries(users)).detach().numpy()[..., -1]
    liked = (users[:, None] + np.arange(16)) % 2 == 0
    fresh = data.matrix.toarray() == 0
    assert probability[liked & fresh].mean() > probability[~liked & fresh].mean() + 0.4


def told_of(data: Dataset) -> Dataset:
    """The same log, with the parity of the users told, and a kind and a size of the items."""
    users = pl.DataFrame(
        {"parity": [str(u % 2) for u in range(data.num_users)], "age": [20.5 + u for u in range(data.num_users)]}
    )
    items = pl.DataFrame({"kind": [["a", "b"][: 1 + i % 2] for i in range(data.num_items)]})
    return Dataset(data.interactions, data.users, data.items, {"users": users, "items": items}, name="told")


TOLD: dict[str, Any] = {"user_columns": ("parity", "age"), "item_columns": ("kind",)}


@pytest.mark.parametrize("interleave", [True, False])
def test_what_is_told_of_users_and_items_is_read_as_tokens_before_the_history(interleave: bool) -> None:
    """A place in training is a request, whatever the padding; a newcomer has no tokens of the user."""
    data = told_of(rated())
    model = built(HSTURanker(**SMALL, **TOLD, interleave=interleave), data)
    assert model.ahead == 2
    batch = batch_of(model, data, 2)
    alone = built(HSTURanker(**SMALL, interleave=interleave), data)
    with torch.no_grad():
        reps = model.represent(batch)
        trained = torch.sigmoid(model.logits(reps["query"], reps["positive"]))
        for b in range(0, len(batch), 5):
            history = data.histories.take(batch.users[b : b + 1].numpy())
            n = int(np.flatnonzero(history.rows == int(batch.rows[b]))[0])
            cut = Ragged(np.array([0, n]), history.items[:n], history.times[:n], history.values[:n])
            # Beside a longer history, so that this one is padded.
            wide = Ragged(
                np.array([0, n, n + 12]), *(np.tile(x, 15)[: n + 12] for x in (cut.items, cut.times, cut.values))
            )
            own = batch.items[b : b + 1][None].numpy().astype(np.int32)
            for users, histories in (((int(batch.users[b]),), cut), ((int(batch.users[b]), 0), wide)):
                asked = Queries(np.array(users, np.int32), histories)
                found = model.act(asked, np.repeat(own, len(users), 0))[0, 0]
                torch.testing.assert_close(found, trained[b], rtol=1e-3, atol=1e-4)
        users = np.array([0, 1, -1], np.int32)
        same = data.histories.take(np.array([5, 5, 5]))
        told, bare = model.act(Queries(users, same)), alone.act(Queries(users, same))
    assert not torch.allclose(told[0], told[1])
    assert not torch.allclose(told[0], told[2])
    assert torch.equal(bare[0], bare[2])


def test_what_is_told_helps_and_stays_readable_over_newer_tables() -> None:
    data = told_of(rated(users=120, items=16))
    spec = HSTURanker(
        embedding_dim=16, num_layers=2, max_length=12, dropout=0.1, num_negatives=0, user_columns=("parity",)
    )
    fitted = fit(spec, data, plan={"epochs": 25, "learning_rate": 0.01, "batch_size": 16})
    # One event says nothing of the taste; the column does.
    users = np.arange(120, dtype=np.int32)
    starts = data.histories.offsets[:-1]
    short = Ragged(np.arange(121), data.histories.items[starts], data.histories.times[starts], None)
    probability = fitted.model.act(Queries(users, short)).detach().numpy()[..., -1]
    liked = (users[:, None] + np.arange(16)) % 2 == 0
    assert probability[liked].mean() > probability[~liked].mean() + 0.4
    flipped = data.tables["users"].with_columns(parity=pl.col("parity").replace({"0": "1", "1": "0"}))
    newer = fitted.refresh(Dataset(data.interactions, data.users, data.items, {**data.tables, "users": flipped}))
    turned = newer.model.act(Queries(users, short)).detach().numpy()[..., -1]
    assert turned[~liked].mean() > turned[liked].mean() + 0.4
    with pytest.raises(DataError, match="parity, age"):
        fit(spec.replace(user_columns=("sex",)), data)


def test_levels_are_the_values_or_their_quantiles() -> None:
    data = rated()
    assert levels_of(data).tolist() == [1.0, 5.0]
    log = data.interactions
    fine = data.with_interactions(Interactions(log.users, log.items, np.arange(len(log)), log.times))
    assert len(levels_of(fine)) == MOST
    assert float(levels_of(fine)[0]) == 0.0
    assert levels_of(random_log()).tolist() == [0.0]


def test_bad_settings_say_what_to_do() -> None:
    with pytest.raises(ParameterError, match="num_heads"):
        HSTU(embedding_dim=10, num_heads=4).build(walks().schema)
    with pytest.raises(ParameterError, match="num_heads"):
        HSTURanker(embedding_dim=10, num_heads=4).build(walks().schema)
    with pytest.raises(DataError, match="num_negatives"):
        fit(HSTURanker(num_negatives=0), walks())
