"""The framework measures: success is what genuine people's lists say, before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oakum.attacks.access import Access, Threat
from oakum.attacks.base import AddItems, Attack, Budget, Change, EditText, Goal, Nothing, afterwards
from oakum.attacks.drill import Yardstick, attack, exposures, fit_one
from oakum.data import Dataset, Filter, Queries, Ragged
from oakum.data.simulate import Market, simulate
from oakum.defences.base import Defence, Marks, without_users
from oakum.errors import BudgetExceeded, ParameterError
from oakum.seeds import Rng
from oakum.splits import Split, split
from tests.attacks.honesty import OverBudget
from tests.toys import random_log


@pytest.fixture(scope="module")
def market() -> Split:
    return split(simulate(Market(users=200, items=150, events=6000)))


@pytest.mark.parametrize("technique", ["does-nothing", "always-succeeds"])
def test_what_changes_nothing_wins_nothing_whatever_it_says(technique: str, market: Split) -> None:
    found = attack(technique, "ease", market)
    for name, before in found.before.items():
        assert found.after[name] == before
    assert all(e.value == e.low == e.high == 0 for e in found.lift.values())
    assert all(e.value == 0 for e in found.reach.values())
    assert found.quality is not None
    assert found.quality.value == 1
    assert found.cost == Budget()
    assert "claims" not in found.to_json()


def test_a_real_one_is_measured_with_intervals_and_its_price(market: Split) -> None:
    found = attack("bandwagon-profiles", "ease", market, users=0.05)
    assert found.after["t_hr@50"].low > found.before["t_hr@50"].high
    assert found.lift["t_hr@50"].low > 0
    assert found.reach["t_hr@50"].low > 0
    assert found.cost.users == round(0.05 * (market.train.user_counts > 0).sum())
    assert found.cost == found.budget
    assert found.threat == ("LOG",)
    assert found.knowledge == "which items are popular"
    assert found.looks == {"log": 1}


def test_exposure_is_that_of_genuine_people_only(market: Split) -> None:
    """Counted by hand from whole lists, with the people of the clean log alone."""
    goal = Goal((3, 8))
    train = market.train
    stick = Yardstick.of(market, goal, (10,))
    model = fit_one("popularity", train)
    found = stick.measure(model)["t_hr@10"]
    assert len(found) == (train.user_counts > 0).sum()
    own = market.train_and_valid.matrix + _matrix(market)
    for r, user in enumerate(stick.people[:60]):
        one = np.array([user], np.int32)
        seen = train.histories.take(one)
        items = model.rank(Queries(one, seen), 10, where=Filter(exclude=seen)).items[0]
        for c, target in enumerate(goal.targets):
            wanted = np.nan if own[user, target] else float(target in items)
            np.testing.assert_equal(found[r, c], wanted)


def _matrix(market: Split) -> Any:
    return market.test.matrix(market.train.num_users, market.train.num_items)


def test_many_fakes_do_not_enter_the_denominator(market: Split) -> None:
    found = attack("random-profiles", "popularity", market, users=0.9)
    assert found.after["t_hr@10"].n == found.before["t_hr@10"].n <= (market.train.user_counts > 0).sum()


def test_seeds_are_pooled_and_widen_what_they_disagree_on() -> None:
    pytest.importorskip("torch")
    data = random_log(users=60, items=40, events=900)
    plan = {"epochs": 3, "learning_rate": 0.05, "batch_size": 128}
    found = attack("random-profiles", "bpr-mf", data, users=0.05, plan=plan, seeds=(0, 1, 2), k=(10,))
    assert "pooled over 3 seeds" in found.after["t_hr@10"].how
    assert 0 <= found.after["t_hr@10"].low <= found.after["t_hr@10"].high <= 1
    again = attack("random-profiles", "bpr-mf", data, users=0.05, plan=plan, seeds=(0, 1, 2), k=(10,))
    assert again.to_json() == found.to_json()


def test_the_budget_is_checked_before_anything_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    import oakum.attacks.drill as drill

    monkeypatch.setattr(drill, "fit_one", lambda *a, **k: pytest.fail("fitted before the budget was checked"))
    with pytest.raises(BudgetExceeded):
        attack(OverBudget(), "ease", random_log())


def test_a_technique_that_asks_is_given_the_clean_victim_and_counted() -> None:
    class Asks(Attack):
        threat = Threat.LOG | Threat.SCORES | Threat.RETRAIN

        def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
            data = access.log()
            queries = Queries(np.zeros(1, np.int32), data.histories.take(np.zeros(1, np.int32)))
            a, b = access.scores(queries), access.retrain(Nothing()).scores(queries)
            np.testing.assert_array_equal(a, b)
            return Nothing()

    found = attack(Asks(), "ease", random_log(), budget=Budget(queries=3))
    assert found.cost.queries == 3
    assert found.looks == {"log": 1, "scores": 2, "retrain": 1}


def test_a_defence_stands_in_both_fits(market: Split) -> None:
    class Knows(Defence):
        """Takes out whoever the clean log did not have."""

        people: int = 0

        def clean(self, data: Dataset) -> tuple[Dataset, Marks]:
            fake = np.arange(self.people, data.num_users)
            return without_users(data, fake), Marks("users", np.zeros(data.num_users), fake)

    found = attack("bandwagon-profiles", "ease", market, users=0.05, defence=Knows(people=market.train.num_users))
    assert found.after["t_hr@50"].value == pytest.approx(found.before["t_hr@50"].value, abs=1e-9)
    assert found.quality is not None
    assert found.quality.value == pytest.approx(1.0, abs=1e-9)


def test_degrading_is_measured_by_quality_alone(market: Split) -> None:
    found = attack("random-profiles", "ease", market, goal=Goal((), "degrade"), users=0.3)
    assert found.before == {}
    assert found.quality is not None
    assert found.quality.value != 1


def test_targets_are_ids_of_the_log() -> None:
    data = random_log()
    assert attack("random-profiles", "ease", data, targets=["i4"], users=0.1).targets == ("i4",)
    with pytest.raises(ParameterError, match="'i99' is not in the log"):
        attack("random-profiles", "ease", data, targets=["i99"])


def test_exposures_take_a_data_set_or_its_histories() -> None:
    data = random_log()
    model, users = fit_one("ease", data), np.arange(10, dtype=np.int32)
    owned = data.matrix[users]
    a = exposures(model, users, data, np.array([3]), owned, (5,))
    b = exposures(model, users, data.histories.take(users), np.array([3]), owned, (5,))
    np.testing.assert_array_equal(a["t_hr@5"], b["t_hr@5"])


def test_a_defence_that_changes_training_stands_in_both_fits() -> None:
    """A rule of a federation, put in front by its slug: both fits train under it, the attack beside it."""
    pytest.importorskip("torch")
    from oakum.attacks.drill import defence_of
    from oakum.models.classic.ncf import NCF

    data, plan = random_log(), {"epochs": 2, "optimiser": "sgd", "learning_rate": 0.1}
    kept: list[Any] = []
    rule = defence_of("fed-median")
    spec = NCF(form="mlp", hidden=(8, 4))
    found = attack("a-ra", spec, data, users=0.1, defence=rule, plan=plan, k=(5,))
    assert found.cost.users == 4
    assert found.cost.rounds == 10_000
    kept.append(fit_one(spec, data, defence=rule, plan=plan).record.plan["step"])
    assert kept[0]["aggregate"]["slug"] == "fed-median"


class Copies(Attack):
    """Adds an item that says what the target says."""

    writes = True

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        return AddItems((str(access.log().tables["items"]["title"][goal.targets[0]]),))

    threat = Threat.LOG | Threat.CATALOGUE


def test_added_items_are_counted_by_their_own_exposure(market: Split) -> None:
    best = int(market.train.item_counts.argmax())
    found = attack(Copies(), "bm25", market, goal=Goal((best,)))
    assert found.cost == Budget(items=1)
    assert found.before["t_hr@50"].value == 0  # it was not there
    assert found.after["t_hr@50"].value > 0
    stick = Yardstick.of(market, Goal((best,)), (10,)).for_added(market.train.num_items, market.train.num_items + 1)
    assert stick.targets.tolist() == [market.train.num_items]
    assert stick.owned.shape[1] == market.train.num_items + 1
    assert stick.owned[:, -1].nnz == 0


def test_reworded_items_are_read_and_not_learned_again(market: Split) -> None:
    train = market.train
    victim = fit_one("bm25", train)
    trained: list[Any] = []
    again = afterwards(victim, train, lambda log: trained.append(log) or victim)  # type: ignore[func-returns-value]
    reworded = again(EditText((0,), ("Entirely other words",)))
    assert not trained
    asked = Queries(np.array([-1], np.int32), Ragged.empty(1), None, ["entirely"])
    assert np.nanargmax(reworded.score(asked)[0]) == 0
    again(Nothing())
    assert len(trained) == 1
