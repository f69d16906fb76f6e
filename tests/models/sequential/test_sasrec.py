"""SASRec learns what comes next under each of its losses, and reads whoever asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from oakum.data import Filter, Queries, Ragged, Schema  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.errors import ParameterError  # noqa: E402
from oakum.models.sequential.sasrec import SASRec, SASRecModel  # noqa: E402
from oakum.plugins.vat import VAT  # noqa: E402
from oakum.sampling.batches import Negatives, Order  # noqa: E402
from oakum.sampling.sequences import Sequences, sequences  # noqa: E402
from tests.toys import random_log, walks  # noqa: E402

LOSSES = ["softmax", "bce", "gbce"]
SMALL: dict[str, Any] = {"embedding_dim": 32, "max_length": 10, "dropout": 0.1, "num_layers": 1}


def ready(loss: str, dropout: float = 0.0) -> tuple[SASRecModel, Sequences]:
    """An untrained model with a batch of its own."""
    torch.manual_seed(0)
    data = random_log()
    model = SASRec(**{**SMALL, "dropout": dropout}, loss=loss, num_negatives=3).build(data.schema)
    with torch.no_grad():
        model.items.weight.mul_(10)
    batch = next(model.batches(data, model.phases()[0], Order(0, "main", 0, 8)))
    assert isinstance(batch, Sequences)
    if batch.wants:
        shape = (len(batch), batch.wants)
        batch.negatives = Negatives(torch.randint(0, 30, shape), torch.zeros(shape))
    return model, batch


@pytest.mark.parametrize(("loss", "rate"), [("softmax", 0.01), ("bce", 0.01), ("gbce", 0.01)])
def test_learns_the_next_step_of_a_ring(loss: str, rate: float) -> None:
    data = walks()
    spec = SASRec(**SMALL, loss=loss, num_negatives=8 if loss == "gbce" else None)
    model = fit(spec, data, plan={"epochs": 60, "learning_rate": rate, "batch_size": 8})
    queries = model.queries(np.arange(20, dtype=np.int32))
    # Drawn negatives spare what a user has had, so nothing pushes those items down: they are left out, as they are of any list.
    found = model.rank(queries, 1, where=Filter(exclude=queries.histories)).items[:, 0]
    assert np.mean(found == (np.arange(20) + 8) % 20) > 0.9


@pytest.mark.parametrize("loss", LOSSES)
def test_same_seed_same_weights(loss: str) -> None:
    make = lambda seed: fit(SASRec(**SMALL, loss=loss), random_log(), plan={"epochs": 2}, seed=seed).model.state_dict()
    one, two, other = make(4), make(4), make(5)
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["items.weight"], other["items.weight"])


def test_a_newcomer_is_read_as_the_user_with_that_history() -> None:
    model = fit(SASRec(**SMALL), random_log(), plan={"epochs": 2})
    queries = model.queries(np.arange(40, dtype=np.int32))
    strangers = Queries(np.full(40, -1, np.int32), queries.histories)
    np.testing.assert_array_equal(model.score(queries), model.score(strangers))


def test_only_the_latest_events_count_and_nothing_is_said_of_nobody() -> None:
    model = fit(SASRec(**SMALL), random_log(), plan={"epochs": 2})
    tail = [k % 30 for k in range(10)]
    queries = Queries(np.full(4, -1, np.int32), Ragged.of([[7, 7, 7, *tail], tail, [], [3]]))
    scores = model.score(queries)
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5, atol=1e-6)
    assert np.isnan(scores[2]).all()
    assert np.isfinite(scores[3]).all()


def test_a_query_is_the_state_before_its_target() -> None:
    model, batch = ready("softmax")
    model.eval()
    query = model.represent(batch)["query"]
    torch.testing.assert_close(query, model.represent_query(batch))
    width = batch.inputs.shape[1]
    for b in range(0, len(batch), 5):
        row, column = divmod(int(batch.place[b]), width)
        # The same window without its later events stands nearer to the end, so its positions differ: compare inside
        # the whole window, with what comes after the place replaced.
        changed = batch.inputs[row : row + 1].clone()
        changed[0, column + 1 :] = (changed[0, column + 1 :] + 1) % 30
        state = model.encoder(changed, model.items.weight)[0, column]
        torch.testing.assert_close(query[b], state, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_by_hand(loss: str) -> None:
    model, batch = ready(loss)
    reps = model.represent(batch)
    (found,) = model.losses(batch, reps).values()
    table = model.items.weight
    scores = reps["query"] @ table.T
    own = scores.gather(1, batch.items[:, None])[:, 0]
    if loss == "softmax":
        expected = F.cross_entropy(scores, batch.items, reduction="none")
    else:
        drawn = scores.gather(1, batch.negatives.items)
        if loss == "bce":
            expected = F.softplus(-own) + F.softplus(drawn).mean(-1)
        else:
            alpha = 3 / 29
            beta = alpha * (0.75 * (1 - 1 / alpha) + 1 / alpha)
            expected = (beta * F.softplus(-own) + F.softplus(drawn).sum(-1)) / 4
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_representation_moves_the_loss_of_its_row_alone(loss: str) -> None:
    model, batch = ready(loss)
    reps = model.represent(batch)
    (before,) = model.losses(batch, reps).values()
    for name, value in reps.items():
        moved = value.clone()
        moved[2] += torch.linspace(0.1, 0.9, moved.shape[-1])  # not a constant: normalised states sum to nothing
        (after,) = model.losses(batch, {**reps, name: moved}).values()
        changed = after != before
        assert changed[2], name
        assert changed.sum() == 1, name
        assert (after >= 0).all(), name


def test_the_losses_draw_as_many_negatives_as_they_are_known_with() -> None:
    data = random_log()
    for loss, wanted in (("softmax", 0), ("bce", 1), ("gbce", 256)):
        model = SASRec(**SMALL, loss=loss).build(data.schema)
        assert next(model.batches(data, model.phases()[0], Order(0, "main", 0, 8))).wants == wanted
    assert next(SASRec(**SMALL, loss="bce", num_negatives=5).build(data.schema).batches(
        data, model.phases()[0], Order(0, "main", 0, 8))).wants == 5  # fmt: skip


def test_the_schedule_is_laid_out_by_sequences() -> None:
    data = walks()
    model = SASRec(**SMALL).build(data.schema)
    phase = model.phases()[0]
    steps = len(list(model.batches(data, phase, Order(0, "main", 0, 4))))
    assert model.rows(data, phase) == 20
    assert steps == 5


@pytest.mark.parametrize("loss", LOSSES)
def test_vulnerability_aware_training_takes_hold_under_each_loss(loss: str) -> None:
    spec = SASRec(**SMALL, loss=loss, num_negatives=2)
    plan = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01}
    plain = fit(spec, random_log(), plan=plan, seed=1)
    moved = fit(spec, random_log(), plan=plan, seed=1, plugins=[VAT(begin=0, eps=0.5)])
    assert not torch.equal(plain.model.items.weight, moved.model.items.weight)
    assert moved.record.history[-1]["losses"]["adversarial"] > moved.record.history[-1]["losses"][loss]


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ParameterError, match="num_heads"):
        SASRec(embedding_dim=10, num_heads=3).build(Schema(2, 2))


def test_long_and_short_histories_in_one_request_do_not_mix() -> None:
    model = fit(SASRec(**SMALL), random_log(), plan={"epochs": 1})
    lists = [[k % 30 for k in range(n)] for n in (9, 1, 4, 10, 2)]
    together = model.score(Queries(np.full(5, -1, np.int32), Ragged.of(lists)))
    for r, row in enumerate(lists):
        alone = model.score(Queries(np.array([-1], np.int32), Ragged.of([row])))
        np.testing.assert_allclose(together[r], alone[0], rtol=2e-5, atol=1e-6)


def test_sequences_of_a_real_batch_are_never_read_past_the_target() -> None:
    """Every target's state is the same when its own item is exchanged in the inputs that follow it."""
    model, _ = ready("softmax")
    model.eval()
    data = random_log()
    window = next(iter(sequences(data, Order(0, "main", 0, 4), max_length=10)))
    a = model.encoder(window.inputs, model.items.weight)
    b = window.inputs.clone()
    b[:, -1] = (b[:, -1] + 1) % 30
    other = model.encoder(b, model.items.weight)
    assert torch.equal(a[:, :-1], other[:, :-1])
    assert not torch.equal(a[:, -1], other[:, -1])
