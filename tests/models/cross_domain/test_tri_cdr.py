"""Tri-CDR: no leak, places against requests, losses by hand, the degenerate cases."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from oakum import losses  # noqa: E402
from oakum.api import fit  # noqa: E402
from oakum.data import Dataset, Interactions, Queries, Ragged  # noqa: E402
from oakum.engine.learner import Phase  # noqa: E402
from oakum.errors import DataError, ParameterError  # noqa: E402
from oakum.models.cross_domain.tri_cdr import TriCDR, TriCDRModel  # noqa: E402
from oakum.sampling.batches import Negatives, Order  # noqa: E402
from oakum.sampling.cross_domain import Aligned  # noqa: E402
from oakum.splits import split  # noqa: E402
from tests.oracles.cross_domain import nt_xent  # noqa: E402
from tests.toys import beside, log_of, random_log  # noqa: E402

DATA = beside(random_log(events=300))
SPEC = TriCDR(target="main", embedding_dim=16, max_length=60, num_layers=1)
JOINT = Phase(name="joint")


def model_on(data: Dataset, spec: TriCDR = SPEC) -> TriCDRModel:
    torch.manual_seed(0)
    model = spec.build(replace(data.schema, sizes=dict(spec.sizes(data))))
    for name, value in model.named_parameters():
        if "items" in name:
            torch.nn.init.normal_(value)
    model.put_facts(model.prepare(data, JOINT))
    return model.eval()


def only_batch(model: TriCDRModel, data: Dataset) -> Aligned:
    (batch,) = model.batches(data, JOINT, Order(0, "joint", 0, 10_000))
    assert isinstance(batch, Aligned)
    torch.manual_seed(1)
    picks = torch.randint(0, 30, (len(batch), 1))
    batch.negatives = Negatives(picks, torch.zeros(len(batch), 1))
    return batch


@pytest.mark.parametrize("attention", ["triple", "last"])
def test_no_later_event_moves_a_logit_by_a_bit(attention: str) -> None:
    model = model_on(DATA, SPEC.replace(attention=attention))
    log = DATA.interactions
    before = only_batch(model, DATA)
    with torch.no_grad():
        query = model.represent(before)["query"]
    rng, seen = np.random.default_rng(0), 0
    for at in rng.choice(len(before), 12, replace=False):
        user, row = int(before.users[at]), int(before.rows[at])
        order = log.order()
        own = [k for k in order if log.users[k] == user]
        later = own[own.index(int(np.flatnonzero(log.rows == row)[0])) :]
        items = log.items.copy()
        for k in later:  # other items of the same domain, at the event itself and after it
            items[k] = (items[k] + 7) % 30 if items[k] < 30 else 30 + (items[k] - 30 + 3) % 8
        changed = DATA.with_interactions(Interactions(log.users, items, None, log.times, log.rows))
        after = only_batch(model, changed)
        here = int(np.flatnonzero(after.rows.numpy() == row)[0])
        with torch.no_grad():
            assert torch.equal(model.represent(after)["query"][here], query[at])
        seen += not torch.equal(after.mix, before.mix)
    assert seen > 5  # the batches did differ


@pytest.mark.parametrize("length", [4, 60])
def test_a_place_in_training_is_a_request_at_that_moment(length: int) -> None:
    model = model_on(DATA, SPEC.replace(max_length=length))
    if length == 60:  # positions count from the end of the window, which for earlier places lies elsewhere
        for reader in model.readers:
            torch.nn.init.zeros_(reader.encoder.positions.weight)
    batch = only_batch(model, DATA)
    with torch.no_grad():
        query = model.represent(batch)["query"]
    histories = DATA.histories
    compared = 0
    for at in range(0, len(batch), 5):
        user, row = int(batch.users[at]), int(batch.rows[at])
        a, b = histories.offsets[user : user + 2]
        assert histories.rows is not None
        past = histories.items[a : a + int(np.flatnonzero(histories.rows[a:b] == row)[0])]
        if length == 4 and not batch.last[at]:
            continue  # the windows of earlier places reach back less far
        asked = Queries(np.array([-1], np.int32), Ragged.of([past.tolist()]))
        with torch.no_grad():
            torch.testing.assert_close(model.query_vectors(asked)[0], query[at], rtol=1e-4, atol=1e-5)
        compared += 1
    assert compared > 5


def test_an_empty_source_is_a_source_of_zeros() -> None:
    model = model_on(DATA)
    asked = Queries(np.array([-1, -1], np.int32), Ragged.of([[1, 2, 3], [4, 5]]))
    with torch.no_grad():
        scores = model.score(asked)
        assert torch.isfinite(scores[:, :30]).all()
        assert torch.isnan(scores[:, 30:]).all()
        items = [torch.tensor([[1, 2, 3]]), torch.full((1, 1), -1), torch.tensor([[1, 2, 3]])]
        known, first = torch.tensor([[3, 0, 3]]), torch.zeros(1, dtype=torch.long)
        mix, source, target = model.gathered(items, known, first, first)
        assert (source == 0).all()
        joined = model.fuse(torch.cat([mix, torch.zeros_like(mix), target], -1))
        expected = 5 * torch.cosine_similarity(joined, model.target.items.weight, dim=-1)
        torch.testing.assert_close(scores[0, :30], expected, rtol=1e-4, atol=1e-5)


def test_a_history_in_the_source_alone_is_answered() -> None:
    model = model_on(DATA)
    with torch.no_grad():
        scores = model.score(Queries(np.array([-1, -1], np.int32), Ragged.of([[30, 31], []])))
    assert torch.isfinite(scores[0, :30]).all()
    assert torch.isnan(scores[1]).all()


@pytest.mark.parametrize("size", [2, 16])
def test_contrast_of_equal_vectors_and_against_loops(size: int) -> None:
    same = torch.ones(size, 8)
    torch.testing.assert_close(losses.nt_xent(same, same, 0.1), torch.full((size,), math.log(2 * size - 1)))
    torch.manual_seed(size)
    a, b = torch.randn(2, size, 8, dtype=torch.float64)
    np.testing.assert_allclose(losses.nt_xent(a, b, 0.3).numpy(), nt_xent(a.numpy(), b.numpy(), 0.3), rtol=1e-9)
    assert math.isclose(math.log(31), 3.4340, abs_tol=1e-4)


def test_the_triplet_is_silent_from_its_margin_on() -> None:
    anchor, near = torch.zeros(3, 2), torch.tensor([[1.0, 0.0]] * 3)
    far = torch.tensor([[5.0, 0.0], [4.9, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(losses.triplet(anchor, near, far, 4.0), torch.tensor([0.0, 0.1, 4.0]))


def test_losses_are_means_over_sequences() -> None:
    model = model_on(DATA, SPEC.replace(contrast_shares=(2.0, 1.0, 1.0)))
    batch = only_batch(model, DATA)
    reps = model.represent(batch)
    found = model.losses(batch, reps)
    known = (batch.known[batch.last] > 0).all(1)
    mix, source, target = (reps[f"_{v}"] for v in ("mix", "source", "target"))
    assert 0 < known.sum() <= len(batch.mix)
    triplet = losses.triplet(source[known], mix[known], target[known], 4.0).mean()
    torch.testing.assert_close(found["triplet"].mean(), 10 * triplet)
    both = (batch.known[batch.last][:, [0, 2]] > 0).all(1)
    expected = (
        0.5 * losses.nt_xent(mix[known], source[known], 0.1).mean()
        + 0.25 * losses.nt_xent(mix[both], target[both], 0.1).mean()
        + 0.25 * losses.nt_xent(source[known], target[known], 0.1).mean()
    )
    torch.testing.assert_close(found["contrast"].mean(), 0.1 * expected)
    silent = TriCDR(target="main", contrast_weight=0, triplet_weight=0)
    assert model_on(DATA, silent).losses(batch, reps).keys() == {"bce"}


def test_phases_move_their_own_and_stop_on_validation_in_the_last() -> None:
    parts = split(DATA, "leave-last", target="main")
    plan: dict[str, Any] = {"epochs": 2, "batch_size": 16}
    spec = SPEC.replace(pretrain_epochs=1)
    record = fit(spec, parts, plan=plan).record.history
    assert [h["phase"] for h in record] == ["mix", "source", "target", "joint", "joint"]
    assert ["validation" in h for h in record] == [False, False, False, True, True]
    only = [p.name for p in model_on(DATA).phases()]
    assert only == ["mix", "source", "target", "joint"]
    own = {p.name: {m.split(".")[0] for m in p.moves} for p in model_on(DATA).phases()}
    assert [own[n] for n in ("mix", "source", "target")] == [{"mix"}, {"source"}, {"target"}]


def test_lists_hold_the_target_alone_and_a_source_can_be_named() -> None:
    fitted = fit(SPEC.replace(pretrain_epochs=0, target="side", source="main"), DATA, plan={"epochs": 1})
    lists = fitted.rank(fitted.queries(np.arange(40, dtype=np.int32)), 5).items
    assert (lists >= 30).all()
    answer = fitted.recommend(["nobody"], k=3)[0]
    assert "popular" in answer["fallback"]
    assert all(i["item"].startswith("s") for i in answer["items"])
    assert SPEC.sizes(DATA) == {"target_items": 30, "source_items": 8}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": None}, "needs a target. Known domains: main, side."),
        ({"target": "mane"}, "no domain 'mane'. Known: main, side."),
        ({"source": "film"}, "no domain 'film'. Known: main, side."),
        ({"source": "main"}, "both 'main'"),
        ({"num_heads": 3}, "must divide"),
        ({"contrast_shares": (1.0, 1.0)}, "three numbers"),
    ],
)
def test_what_cannot_be_is_refused_in_words(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message.replace(".", r"\.")):
        fit(SPEC.replace(**change), DATA)


def test_data_without_two_domains_are_refused() -> None:
    with pytest.raises(DataError, match="items of two domains"):
        fit(SPEC, replace(random_log(), tables={}))
    alone = log_of([(0, 0), (0, 1), (1, 1)], 2, 2)
    one = replace(alone, tables={"items": alone.tables["items"].with_columns(domain=pl.lit("main"))})
    with pytest.raises(DataError, match="learns from two"):
        SPEC.sizes(one)
    with pytest.raises(DataError, match="items of two domains"):
        fit(SPEC, one)
