"""Profiles that networks write, that a copy asks for, and that are learned by trial."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oakum.attacks.base import Budget, Goal, Proposal, propose  # noqa: E402
from oakum.attacks.profiles.dp import Towards, TowardsPlugin  # noqa: E402
from oakum.attacks.profiles.legup import overtaking, stepped  # noqa: E402
from oakum.attacks.profiles.poisonrec import Game, Policy, filled  # noqa: E402
from oakum.catalogue import load_class  # noqa: E402
from oakum.data import Dataset, Ranking  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.errors import BudgetExceeded, ParameterError  # noqa: E402
from tests.attacks.profiles.test_heuristic import rated_log  # noqa: E402
from tests.toys import random_log  # noqa: E402

WRITTEN = {"aush-profiles": {"epochs": 5}, "legup-profiles": {"steps": 8}}
GOAL = Goal((3, 4))


def written(slug: str, data: Dataset, seed: int = 0, users: int = 4, **settings: Any) -> Proposal:
    technique = load_class(slug)(**{**WRITTEN[slug], **settings})
    return propose(technique, data, GOAL, Budget(users=users, clicks=users * 12), seed=seed)


@pytest.mark.parametrize("slug", WRITTEN)
def test_number_length_targets_ratings_and_seeds(slug: str) -> None:
    data = rated_log(users=60, items=40, events=900)
    found = written(slug, data)
    change: Any = found.change
    for r in range(4):
        row = change.profiles.row(r)
        assert len(row) == 12 == len(np.unique(row))
        assert np.isin([3, 4], row).all()
    own = np.isin(change.profiles.items, [3, 4])
    assert (change.profiles.values[own] == 5).all()
    assert np.isin(change.profiles.values, np.arange(1, 6)).all()
    assert found.looks == {"log": 1}
    assert change.digest() == written(slug, data).change.digest() != written(slug, data, seed=1).change.digest()


def test_aush_keeps_a_real_persons_ratings_and_every_account_holds_the_selected() -> None:
    data = rated_log(users=60, items=40, events=900)
    change: Any = written("aush-profiles", data, users=3).change
    counts = data.item_counts.copy()
    counts[[3, 4]] = 0
    best = np.argsort(-counts, kind="stable")[:3]
    sums = data.interactions.matrix(60, 40, weights="value").toarray()
    times = data.interactions.matrix(60, 40, weights="count").toarray()
    table = np.round(sums / np.maximum(times, 1))
    for r in range(3):
        at = slice(change.profiles.offsets[r], change.profiles.offsets[r + 1])
        items, values = change.profiles.items[at], change.profiles.values[at]
        assert np.isin(best, items).all()
        rest = ~np.isin(items, [3, 4, *best])
        same = (np.abs(table[:, items[rest]] - values[rest]) <= 0.51) & (table[:, items[rest]] > 0)
        assert same.all(1).any()  # somebody rated all of the fillers so


def test_aush_demotes_too_and_legup_says_that_it_cannot() -> None:
    data = rated_log()
    down = propose(load_class("aush-profiles")(epochs=2), data, Goal((3,), "demote"), Budget(users=2, clicks=20))
    rows: Any = down.change.profiles  # type: ignore[attr-defined]
    assert (rows.values[rows.items == 3] == 1).all()
    with pytest.raises(ParameterError, match="cannot demote"):
        propose(load_class("legup-profiles")(), data, Goal((3,), "demote"), Budget(users=2, clicks=20))


def test_hard_steps_have_soft_slopes() -> None:
    x = torch.tensor([-1.0, 0.1, 2.0], requires_grad=True)
    out = stepped(x)
    assert out.tolist() == pytest.approx([0.0, 1.0, 1.0])
    (slope,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(slope, 1 - torch.tanh(2 * x.detach()) ** 2)


def test_overtaking_by_hand() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]])
    wanted = [np.log(np.exp(3) + np.exp(2)) - 2, np.log(np.exp(5) + np.exp(1)) - 1]
    assert overtaking(scores, torch.tensor([2])).tolist() == pytest.approx(wanted, rel=1e-5)
    assert overtaking(scores, torch.tensor([1]))[1].item() == pytest.approx(0.0, abs=1e-6)


def test_the_poison_of_the_copy_pulls_targets_into_lists() -> None:
    from oakum.models.classic.bpr_mf import BPRMF

    data = random_log(users=60, items=50, events=900)
    plan = {"epochs": 15, "batch_size": 128, "learning_rate": 0.01}
    rank = {}
    for weight in (0.0, 5.0):
        towards = Towards(targets=(3, 4), genuine=60, weight=weight, k=10)
        scores = fit(BPRMF(embedding_dim=8), data, plan=plan, plugins=[towards], seed=1)
        found = scores.score(scores.queries(np.arange(60, dtype=np.int32)))
        rank[weight] = (found[:, [3, 4]][:, :, None] < found[:, None, :]).sum(-1).mean()
    assert rank[5.0] < 0.5 * rank[0.0]
    assert isinstance(Towards(targets=(1,), genuine=1).build(data.schema), TowardsPlugin)


def test_dp_accounts_differ_and_a_used_item_comes_again_less() -> None:
    data = random_log(users=60, items=50, events=900)
    rows = {}
    for decay in (1.0, 0.01):
        technique = load_class("dp-profiles")(decay=decay, start=3, epochs=1, rounds=2)
        change: Any = propose(technique, data, GOAL, Budget(users=6, clicks=60)).change
        assert all(len(np.unique(change.profiles.row(r))) == 10 for r in range(6))
        rows[decay] = len(np.unique(change.profiles.items))
    assert rows[0.01] > rows[1.0]


class Liar:
    """A victim that shows the target to as many people as accounts hold items of one block."""

    def __init__(self, share: float) -> None:
        self.share = share

    def rank(self, queries: Any, k: int) -> Ranking:
        shown = np.full((len(queries), k), 0, np.int32)
        shown[: round(self.share * len(queries)), 0] = 3
        return Ranking(shown, np.zeros(shown.shape, np.float32))


def test_poisonrec_learns_which_block_is_rewarded_and_every_look_is_counted() -> None:
    data = random_log(users=60, items=50, events=900)
    counts = data.item_counts.copy()
    counts[3] = 0
    good = np.argsort(-counts, kind="stable")[:10]  # the block of best-sellers

    def retrain(change: Any) -> Liar:
        return Liar(float(np.isin(change.profiles.items, good).mean()))

    technique = load_class("poisonrec-profiles")(branches=5, people=20, rounds=60, learning_rate=0.3, entropy=0.01)
    budget = Budget(users=4, clicks=32, queries=60 * 21)
    found = propose(technique, data, Goal((3,)), budget, victim=Liar(0), retrain=retrain)
    assert found.looks == {"log": 1, "retrain": 60, "lists": 1200}
    assert found.cost.queries == 1260
    change: Any = found.change
    assert np.isin(change.profiles.items, good).mean() > 0.5  # by chance it would be a fifth
    with pytest.raises(BudgetExceeded, match="needs 105 queries"):
        propose(technique, data, Goal((3,)), budget.replace(queries=104), victim=Liar(0), retrain=retrain)


def test_the_policy_moves_towards_what_pays() -> None:
    game = Game(4, 80, 5, 8, 5, 0.1, 0.0, lambda drawn: float((drawn == 2).sum()))
    from oakum.attacks.profiles.generated import Network

    plan = {"epochs": 1, "batch_size": 1, "learning_rate": 0.1}
    model = fit(Network(make=Policy, material=game), random_log(), plan=plan, seed=0).model
    share = torch.softmax(model.logits.detach(), -1)
    assert share[2] > 0.8


def test_blocks_fill_an_account_without_repeating() -> None:
    rng = np.random.default_rng(0)
    blocks = [np.arange(5, dtype=np.int32), np.arange(5, dtype=np.int32), np.arange(5, 10, dtype=np.int32)]
    found = filled(blocks, np.arange(30, dtype=np.int32), 12, rng)
    assert len(np.unique(found)) == 12
    assert np.isin(np.arange(5), found).all()


def test_an_attack_without_accounts_changes_nothing() -> None:
    for slug in ("aush-profiles", "dp-profiles", "poisonrec-profiles"):
        data = rated_log()
        found = propose(load_class(slug)(), data, GOAL, Budget(), victim=Liar(0), retrain=lambda c: Liar(0))
        assert found.poisoned.digest == data.digest
        assert isinstance(found, Proposal)
