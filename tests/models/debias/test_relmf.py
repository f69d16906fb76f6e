"""Rel-MF: its loss by enumeration, its facts, its draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from oakum import losses  # noqa: E402
from oakum.data import Interactions  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.engine.learner import Phase  # noqa: E402
from oakum.errors import DataError, ParameterError  # noqa: E402
from oakum.models.debias.relmf import RelMF  # noqa: E402
from oakum.plugins.apr import APR  # noqa: E402
from oakum.sampling.batches import Order  # noqa: E402
from oakum.splits import split  # noqa: E402
from tests.oracles.propensities import expected_loss  # noqa: E402
from tests.toys import random_log  # noqa: E402

chance = st.floats(0.01, 1)


@settings(max_examples=60, deadline=None)
@given(chance, chance, st.floats(-5, 5), st.floats(-5, 5), st.floats(0, 1))
def test_unbiased_by_enumeration(theta: float, gamma: float, one: float, zero: float, clip: float) -> None:
    exact = gamma * one + (1 - gamma) * zero
    assert expected_loss(theta, gamma, one, zero) == pytest.approx(exact, abs=1e-11)
    bias = gamma * (theta / max(theta, clip) - 1) * (one - zero)
    assert expected_loss(theta, gamma, one, zero, clip) - exact == pytest.approx(bias, abs=1e-11)
    # The function that trains gives each outcome the value the enumeration uses.
    of = lambda y: losses.inverse_propensity(*(torch.tensor([v], dtype=torch.float64) for v in (y, theta, one, zero)))
    mean = theta * gamma * of(1.0) + (1 - theta * gamma) * of(0.0)
    assert float(mean) == pytest.approx(exact, abs=1e-10)


def test_the_variance_is_the_one_derived() -> None:
    rng = np.random.default_rng(0)
    theta, gamma, one, zero, n = 0.3, 0.6, 2.0, 0.5, 100_000
    y = ((rng.random(n) < theta) & (rng.random(n) < gamma)).astype(np.float64)
    t = lambda v: torch.full((n,), v, dtype=torch.float64)
    values = losses.inverse_propensity(torch.from_numpy(y), t(theta), t(one), t(zero)).numpy()
    assert values.var() == pytest.approx(gamma * (1 / theta - gamma) * (one - zero) ** 2, rel=0.03)


def built(data: Any, **given: Any) -> Any:
    torch.manual_seed(0)
    model = RelMF(embedding_dim=6, **given).build(data.schema)
    model.put_facts(model.prepare(data, Phase()))
    return model


def batch_of(model: Any, data: Any) -> Any:
    return next(iter(model.batches(data, Phase(), Order(0, "main", 0, 64))))


@pytest.mark.parametrize("biases", [False, True])
def test_certain_exposure_is_plain_cross_entropy_with_its_gradient(biases: bool) -> None:
    data = random_log()
    model = built(data, loss="cross-entropy", clip=1.0, l2=0.0, biases=biases)
    b = batch_of(model, data)
    reps = model.represent(b)
    found = model.losses(b, reps)["relevance"]
    logit = (reps["query"] * reps["positive"]).sum(-1)
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logit, b.labels, reduction="none")
    torch.testing.assert_close(found, plain)
    grads = [torch.autograd.grad(v.mean(), list(model.parameters()), retain_graph=True) for v in (found, plain)]
    for a, c in zip(*grads, strict=True):
        torch.testing.assert_close(a, c)


def test_squared_loss_row_by_row() -> None:
    data = random_log()
    model = built(data, power=1.0, clip=0.4, l2=0.2)
    b = batch_of(model, data)
    with torch.no_grad():
        found = model.losses(b, model.represent(b))
    p, q = (t.weight.detach().numpy() for t in (model.users, model.items))
    theta = np.maximum(data.item_counts / data.item_counts.max(), 0.4)
    for r in range(len(b)):
        u, i, y = int(b.users[r]), int(b.items[r]), float(b.labels[r])
        hat = 1 / (1 + np.exp(-p[u] @ q[i]))
        wanted = y / theta[i] * (1 - hat) ** 2 + (1 - y / theta[i]) * hat**2
        assert float(found["relevance"][r]) == pytest.approx(wanted, rel=1e-5)
    assert float(found["l2"]) == pytest.approx(0.1 * ((p**2).sum() + (q**2).sum()), rel=1e-5)


def test_biases_are_two_more_columns() -> None:
    data = random_log()
    model = built(data, biases=True)
    with torch.no_grad():
        for table in (model.user_bias, model.item_bias, model.bias):
            table.normal_()
    users, items = model.tables()
    plain = model.users.weight @ model.items.weight.T + model.user_bias + model.item_bias.T + model.bias
    torch.testing.assert_close(users @ items.T, plain)
    fitted = fit(RelMF(embedding_dim=4, biases=True), data, plan={"epochs": 1})
    strangers = type(fitted.queries(np.arange(2)))(np.array([-1, -1], np.int32), data.histories.take(np.array([0, -1])))
    scores = fitted.score(strangers)
    assert np.isfinite(scores[0]).all()
    assert np.isnan(scores[1]).all()


def logged(data: Any, values: Any) -> Any:
    log = data.interactions
    return data.with_interactions(Interactions(log.users, log.items, None, log.times, log.rows, {"propensity": values}))


def test_logged_chances_go_to_their_pairs() -> None:
    data = random_log()
    log = data.interactions
    theta = ((log.users * 7 + log.items * 3) % 11 + 1) / 11
    data = logged(data, theta)
    model = built(data, propensity="logged", clip=0.0)
    b = batch_of(model, data)
    clicked = b.labels == 1
    wanted = ((b.users * 7 + b.items * 3) % 11 + 1) / 11
    torch.testing.assert_close(model.exposure(b)[clicked], wanted[clicked])
    with pytest.raises(DataError, match="no column 'propensity'"):
        fit(RelMF(propensity="logged"), random_log())


def test_the_lower_bound_holds_only_when_asked_for() -> None:
    label, theta = torch.ones(4), torch.full((4,), 0.01)
    one, zero = torch.zeros(4), torch.full((4,), 9.0)
    assert float(losses.inverse_propensity(label, theta, one, zero).mean()) < -800
    assert float(losses.inverse_propensity(label, theta, one, zero, non_negative=True).mean()) == 0
    label = torch.tensor([1.0, 0, 0, 0])
    free, bound = (losses.inverse_propensity(label, torch.ones(4), one, zero, non_negative=n) for n in (False, True))
    torch.testing.assert_close(free, bound)


def test_stops_by_the_unbiased_metric_and_rank_plugins_run() -> None:
    parts = split(random_log(events=700), "holdout")
    fitted = fit(RelMF(embedding_dim=4), parts, plan={"epochs": 4, "evaluate_every": 1, "batch_size": 128})
    looks = [h["validation"]["sndcg@5"] for h in fitted.record.history]
    assert all(0 < v < 1 for v in looks)
    acted = fit(RelMF(embedding_dim=4), parts, plan={"epochs": 2, "batch_size": 128}, plugins=[APR(begin=0)])
    assert acted.record.history[-1]["losses"]["adversarial"] > acted.record.history[-1]["losses"]["relevance"]
    with pytest.raises(ParameterError, match="scope='sample'"):
        fit(RelMF(embedding_dim=4), parts, plan={"epochs": 1}, plugins=[APR(begin=0, scope="row")])
