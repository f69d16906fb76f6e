"""Copies of a recommender: what is asked is counted once, what is learned is the list, and the copy answers like the victim."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum import losses
from oakum.attacks.access import Access, Goal, Threat
from oakum.attacks.base import Budget, propose
from oakum.attacks.drill import attack
from oakum.attacks.extraction.distil import Continue, ContinuePlugin, Pool, others
from oakum.attacks.extraction.few_shot import FewShot, Guide
from oakum.attacks.imitate import Imitation, Oracle, asked_log, likeness, told_part
from oakum.data import Queries, Ragged
from oakum.engine.fit import fit
from oakum.errors import BudgetExceeded
from oakum.models.classic.transitions import Markov
from tests.toys import random_log, walks

COPY = Goal((), "copy")


def access(data: Any, victim: Any, queries: int) -> Access:
    return Access(Threat.LOG | Threat.LISTS, data, victim=victim, queries=queries)


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_repair_is_zero_exactly_where_the_sets_agree_and_its_gradient_has_the_right_signs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.normal(size=(4, 12))).requires_grad_()
    lists = torch.from_numpy(np.stack([rng.permutation(12)[:5] for _ in range(4)]))
    value = losses.repair(scores, lists, 0.5)
    (grad,) = torch.autograd.grad(value.sum(), scores)
    value, scores = value.detach(), scores.detach()
    for r in range(4):
        top = set(scores[r].topk(5).indices.tolist())
        wanted = set(lists[r].tolist())
        missed, intruders = wanted - top, top - wanted
        assert len(missed) == len(intruders)
        assert (float(value[r]) > 0) == bool(missed)
        assert {i for i in range(12) if grad[r, i] < 0} == missed
        assert {i for i in range(12) if grad[r, i] > 0} == intruders
        if missed:
            pairs = [max(0.0, 0.5 + float(scores[r, w]) - float(scores[r, m])) for w in intruders for m in missed]
            assert float(value[r]) == pytest.approx(np.mean(pairs))


def test_order_within_equal_sets_moves_the_rank_loss_alone() -> None:
    lists = torch.tensor([[3, 1, 4]])
    outside = torch.tensor([[0, 2, 5]])
    right, wrong = torch.tensor([[0.0, 2, 0, 3, 1, 0]]), torch.tensor([[0.0, 2, 0, 1, 3, 0]])
    assert losses.repair(right, lists, 0.5).item() == losses.repair(wrong, lists, 0.5).item() == 0.0
    assert losses.ordered(right, lists, outside, 0.5).item() == 0.0
    assert losses.ordered(wrong, lists, outside, 0.5).item() == pytest.approx(1.5)


def test_lists_that_end_early_and_rows_without_one_are_left_out() -> None:
    scores = torch.tensor([[5.0, 4, 3, 2], [5.0, 4, 3, 2]])
    lists = torch.tensor([[0, 1, -1], [-1, -1, -1]])
    assert losses.repair(scores, lists, 0.5).tolist() == [0.0, 0.0]
    assert losses.ordered(scores, lists, torch.full((2, 3), -1), 0.5).tolist() == [0.0, 0.0]
    short = losses.repair(scores, torch.tensor([[3, 0, -1], [3, 0, -1]]), 0.5)
    assert short.tolist() == [2.5, 2.5]  # item 1 stands where item 3 belongs; item 2 is not compared


def test_negatives_are_never_in_the_list_and_uniform_over_the_rest() -> None:
    torch.manual_seed(0)
    lists = torch.tensor([[7, 2, 4, -1], [0, 1, 2, 3]]).repeat(4000, 1)
    drawn = others(lists, 8)
    assert (drawn[:, 3].view(-1, 2)[:, 0] == -1).all()
    for r, rest in ((0, {0, 1, 3, 5, 6}), (1, {4, 5, 6, 7})):
        found = drawn.view(-1, 2, 4)[:, r].flatten()
        found = found[found >= 0]
        count = torch.bincount(found, minlength=8).double() / len(found)
        assert set(found.tolist()) == rest
        assert torch.allclose(count[sorted(rest)], torch.tensor(1 / len(rest), dtype=torch.double), atol=0.02)
    assert (others(torch.tensor([[0, 1, 2]]), 3) == -1).all()


def test_a_history_is_charged_once_and_what_the_budget_does_not_cover_is_not_answered() -> None:
    data = random_log()
    victim = fit(Markov(), data)
    window = access(data, victim, 5)
    oracle = Oracle(window, 4, 5)
    first, answered = oracle.ask(Ragged.of([[1], [2], [1], [1, 2]]))
    assert window.looks == {"lists": 3}
    assert answered.all()
    assert np.array_equal(first[0], first[2])
    again, answered = oracle.ask(Ragged.of([[2], [3], [4], [5], [1, 2]]))
    assert window.looks == {"lists": 5}
    assert answered.tolist() == [True, True, True, False, True]
    assert np.array_equal(again[0], first[1])
    assert oracle.left == 0


def test_the_victims_lists_belong_to_the_rows_that_follow_them() -> None:
    data = walks()
    lists = np.arange(10, dtype=np.int32).reshape(5, 2)
    answered = np.array([True, True, False, True, True])
    log = asked_log(data, Ragged.of([[5, 6, 7], [], [8, 9]]), lists, answered)
    h = log.histories
    assert [h.row(r).tolist() for r in range(3)] == [[5, 6, 7, 4], [], [8, 9, 8]]
    told = dict(zip(log.tables["lists"]["row"].to_list(), log.tables["lists"]["items"].to_list(), strict=True))
    assert h.rows is not None
    rows = [h.rows[h.offsets[r] : h.offsets[r + 1]].tolist() for r in range(3)]
    assert told == {rows[0][1]: [0, 1], rows[0][2]: [2, 3], rows[2][1]: [6, 7], rows[2][2]: [8, 9]}
    assert (log.item_counts[:10] > 0).all()  # whatever was shown is known
    open_ = asked_log(data, Ragged.of([[5, 6, 7], [8, 9]]), lists, answered, closed=False)
    assert [open_.histories.row(r).tolist() for r in range(2)] == [[5, 6, 7], [8, 9]]
    assert open_.tables["lists"]["items"].to_list() == [[0, 1], [2, 3], [6, 7]]


def test_sequences_end_at_the_first_question_without_an_answer() -> None:
    lists = np.arange(14, dtype=np.int32).reshape(7, 2)
    answered = np.array([True, False, True, False, True, True, True])
    rows, kept = told_part(Ragged.of([[5, 6, 7], [8, 9], [1, 2]]), lists, answered)
    assert [rows.row(r).tolist() for r in range(len(rows))] == [[5], [1, 2]]
    assert kept.tolist() == [[0, 1], [10, 11], [12, 13]]


def test_the_pool_is_a_distribution_that_can_leave_a_transition_out() -> None:
    rows = Ragged.of([[0, 1, 2], [0, 1, 3], [0, 2]])
    pool = Pool(rows, 6)
    everything = np.arange(6)
    assert pool.chance(np.zeros(6, np.int64), everything).sum() == pytest.approx(1)
    without = Pool(Ragged.of([[0, 1, 2], [1, 3], [0, 2]]), 6)
    zero, one = np.array([0]), np.array([1])
    gone = pool.chance(zero, one, without=1)
    smooth = 0.1 * 4
    assert gone[0] == pytest.approx((1 + smooth * pool.popularity[1]) / (2 + smooth))
    assert without.total[0] == pool.total[0] - 1
    drawn = pool.draw(np.zeros(20_000, np.int64), np.random.default_rng(0))
    assert np.allclose(
        np.bincount(drawn, minlength=6) / 20_000, pool.chance(np.zeros(6, np.int64), everything), atol=0.015
    )


def test_with_an_open_gate_and_no_state_the_sampler_is_the_base() -> None:
    plugin = ContinuePlugin(Continue(embedding_dim=4))
    torch.nn.init.zeros_(plugin.gate.weight)
    torch.nn.init.constant_(plugin.gate.bias, 1e9)

    class Silent:
        def eval(self) -> Any:
            return self

        def query_vectors(self, queries: Queries) -> torch.Tensor:
            return torch.zeros(len(queries), 4)

        def item_table(self) -> torch.Tensor:
            return torch.randn(10, 4)

    class Held:
        model = Silent()

    guide = Guide(Held(), plugin, Pool(Ragged.of([[0, 1]]), 10))
    n = 12_000
    lists = np.tile(np.array([[7, 3, 5, -1]], np.int32), (n, 1))
    drawn = guide.next(Ragged(np.arange(n + 1), np.zeros(n, np.int32)), lists, np.random.default_rng(0))
    assert set(drawn.tolist()) == {7, 3, 5}
    assert np.allclose(np.bincount(drawn)[[7, 3, 5]] / n, 1 / 3, atol=0.02)


@pytest.mark.parametrize("source", ["few-shot", "random", "autoregressive"])
def test_a_copy_of_a_walk_walks(source: Any) -> None:
    data = walks(20, 8)
    victim = fit(Markov(), data)
    small = {"length": 6, "k": 4, "embedding_dim": 16, "epochs": 60, "share": 0.5, "continuations": 1}
    spec = FewShot(source=source, learning_rate=0.01, dropout=0.0, **small)  # type: ignore[arg-type]
    found = propose(spec, data, COPY, Budget(queries=90), victim=victim)
    assert isinstance(found.change, Imitation)
    assert found.cost == Budget(queries=found.looks["lists"])
    assert found.cost.queries == found.change.queries <= 90
    assert found.poisoned is data
    alike = likeness(victim, found.change.fitted, victim.queries(np.arange(20, dtype=np.int32)), (1, 4))
    unfitted = propose(spec.replace(epochs=1, learning_rate=1e-9), data, COPY, Budget(queries=90), victim=victim).change
    assert isinstance(unfitted, Imitation)
    before = likeness(victim, unfitted.fitted, victim.queries(np.arange(20, dtype=np.int32)), (1, 4))
    assert np.nanmean(alike["agr@1"]) > np.nanmean(before["agr@1"]) + 0.3


def test_the_victim_agrees_with_itself() -> None:
    data = random_log()
    victim = fit(Markov(), data)
    alike = likeness(victim, victim, victim.queries(np.arange(10, dtype=np.int32)), (1, 5))
    assert {n: float(v.min()) for n, v in alike.items()} == {"agr@1": 1.0, "agr@5": 1.0, "frbo@5": 1.0}


def test_without_queries_there_is_no_copy() -> None:
    data = random_log()
    with pytest.raises(BudgetExceeded, match="no queries"):
        propose(FewShot(), data, COPY, Budget(), victim=fit(Markov(), data))


def test_the_framework_measures_the_copy_and_fits_nothing_again() -> None:
    data = random_log()
    small = FewShot(length=4, k=5, embedding_dim=8, epochs=2, continuations=1)
    found = attack(small, "markov", data, queries=30, seeds=(0,))
    assert found.goal == "copy"
    assert found.cost == Budget(queries=found.looks["lists"])
    assert 0 < found.cost.queries <= 30
    assert set(found.agreement) == {"agr@1", "agr@10", "frbo@10"}
    assert all(0 <= e.value <= 1 for e in found.agreement.values())
    assert found.before == found.after == {}
