"""Answers against the model asked directly, and promises that hold for any request."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum import store
from oakum.api import fit
from oakum.engine.fitted import Fitted
from oakum.errors import ParameterError
from oakum.serve.answers import Person, Wish, explain, recommend, request_of, score
from oakum.serve.items import ItemTable
from oakum.serve.models import Served
from oakum.state import Event
from tests.toys import walks


@pytest.fixture(scope="module")
def served(saved: Path) -> Served:
    return Served.load(saved)


@pytest.fixture(scope="module")
def table(served: Served) -> ItemTable:
    return ItemTable(served, {})


def test_known_users_and_histories_get_what_the_model_says(served: Served, table: ItemTable) -> None:
    for user in list(served.users)[:20]:
        expected = served.fitted.recommend([user], k=7)[0]["items"]
        found = recommend(served, table, Person(user_id=user), Wish(k=7))
        assert found.items == [(i["item"], i["score"]) for i in expected]
    history = list(served.items)[3:9]
    expected = served.fitted.recommend(history=history, k=7)[0]["items"]
    found = recommend(served, table, Person(history=[*history, "nothing"]), Wish(k=7))
    assert found.items == [(i["item"], i["score"]) for i in expected]
    assert found.ignored == ["nothing"]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whoever_asks_under_whatever_filter_gets_k_allowed_unseen_items(
    served: Served, table: ItemTable, data: st.DataObject
) -> None:
    names = list(served.items)
    some = st.lists(st.sampled_from([*names, "unknown"]), max_size=60)
    person = Person(
        user_id=data.draw(st.sampled_from([None, "stranger", *list(served.users)[:30]])),
        history=data.draw(st.none() | st.lists(st.sampled_from(names), max_size=20)),
    )
    choice = data.draw(
        st.sampled_from([None, "price < 20", "price < 5", 'category in ["category 01"]', "not price < 90"])
    )
    wish = Wish(
        k=data.draw(st.integers(1, 120)), allow=data.draw(st.none() | some), deny=data.draw(st.none() | some), filter=choice,
        exclude_seen=data.draw(st.booleans()),
    )  # fmt: skip
    allowed = {n for n in names if wish.allow is None or n in wish.allow} - set(wish.deny or ())
    if wish.filter is not None:
        allowed &= {n for n, ok in zip(names, table.mask(wish.filter), strict=True) if ok}
    if wish.exclude_seen:
        allowed -= set(person.history or ())
        if person.user_id in served.users:
            row = served.fitted.histories.row(served.users[person.user_id])
            allowed -= {served.item_ids[c] for c in row}
    found = [i for i, _ in recommend(served, table, person, wish).items]
    assert len(set(found)) == len(found) == min(wish.k, len(allowed))
    assert set(found) <= allowed


def test_a_newcomers_events_count_at_once_and_a_deleted_persons_never(served: Served, table: ItemTable) -> None:
    names = list(served.items)
    events = [Event("new", names[4], 10), Event("new", "gone from the shop", 11), Event("new", names[8], 12)]
    found = recommend(served, table, Person(user_id="new", events=events), Wish(k=5))
    assert found.items == recommend(served, table, Person(history=[names[4], names[8]]), Wish(k=5)).items
    assert found.ignored == ["gone from the shop"]
    user = next(iter(served.users))
    gone = recommend(served, table, Person(user_id=user, forgotten=True), Wish(k=5))
    assert gone.items == recommend(served, table, Person(user_id="stranger"), Wish(k=5)).items


def test_events_that_the_model_holds_already_are_not_counted_twice(served: Served) -> None:
    user = next(iter(served.users))
    row = served.fitted.histories.take(np.array([served.users[user]]))
    assert row.times is not None
    known = [Event(user, served.item_ids[c], int(t)) for c, t in zip(row.items, row.times, strict=True)]
    queries, _ = request_of(served, Person(user_id=user, events=known))
    assert queries.users.tolist() == [served.users[user]]  # nothing is new: the trained user is asked
    again = Event(user, known[0].item_id, known[-1].time + 1)
    queries, _ = request_of(served, Person(user_id=user, events=[*known, again]))
    assert queries.users.tolist() == [-1]
    assert queries.histories.items.tolist() == [*row.items.tolist(), row.items[0]]


def test_late_arrivals_are_put_where_their_time_puts_them() -> None:
    data = walks()
    served = _served(fit("item-knn", data))
    user = "u3"
    row = served.fitted.histories.take(np.array([3]))
    assert row.times is not None
    early = Event(user, "i19", int(row.times[0]) - 5)
    queries, _ = request_of(served, Person(user_id=user, events=[early], history=["i0"]))
    assert queries.histories.items.tolist() == [19, *row.items.tolist(), 0]
    assert queries.histories.times is not None
    assert (np.diff(queries.histories.times) >= 0).all()


def test_where_the_model_can_say_little_popularity_fills_and_says_so() -> None:
    data = walks()
    served = _served(fit("item-knn", data, k=2))
    table = ItemTable(served, {})
    found = recommend(served, table, Person(history=["i5"]), Wish(k=19))
    assert len(found.items) == 19
    nobody = recommend(served, table, Person(user_id="stranger"), Wish(k=3))
    assert nobody.fallback is not None
    assert "unknown user" in nobody.fallback
    assert [s for _, s in nobody.items] == sorted((s for _, s in nobody.items), reverse=True)  # type: ignore[type-var]


def test_scores_and_reasons_are_the_models_own(served: Served) -> None:
    names = list(served.items)
    history = names[10:18]
    values, ignored = score(served, Person(history=history), [names[30], "unknown", names[31]])
    codes = served.codes([names[30], names[31]])
    queries, _ = request_of(served, Person(history=history))
    expected = served.fitted.score(queries, codes)[0]
    assert [v for _, v in values] == [float(expected[0]), None, float(expected[1])]
    assert ignored == []
    whole, worth, _ = explain(served, Person(history=history), names[30])
    assert whole == pytest.approx(float(expected[0]))
    assert {i for i, _ in worth} == set(history)
    for item, effect in worth:  # one at a time, the slow way
        rest = [h for h in history if h != item]
        without = score(served, Person(history=rest), [names[30]])[0][0][1]
        assert effect == pytest.approx(whole - without, abs=1e-5)  # type: ignore[operator]
    assert explain(served, Person(user_id="stranger"), names[30])[:2] == (None, [])
    with pytest.raises(ParameterError, match="does not read typed words"):
        request_of(served, Person(text="drum"))


def test_attributes_told_later_lie_over_those_saved(served: Served) -> None:
    names = list(served.items)
    told = {names[0]: {"price": 1, "tags": ["x", "y"], "new": True}, names[1]: {"tags": ["y"]}, "unknown": {"price": 0}}
    table = ItemTable(served, told)
    assert table.row(0)["price"] == 1.0
    assert table.mask('"y" in tags').nonzero()[0].tolist() == [0, 1]
    assert table.mask("new").nonzero()[0].tolist() == [0]
    assert table.mask("price < 1.5 and new")[0]
    assert table.mask(f'item_id == "{names[7]}"').nonzero()[0].tolist() == [7]
    with pytest.raises(ParameterError, match="'price' holds numbers; got the text 'cheap'"):
        table.check({names[2]: {"price": "cheap"}})
    table.check({names[2]: {"price": None, "colour": "red"}})
    mask = table.mask("new")
    assert table.mask("new") is mask  # kept


def _served(fitted: Fitted) -> Served:
    with tempfile.TemporaryDirectory() as folder:
        return Served.load(store.save(fitted, Path(folder) / "m"))


def test_an_index_can_be_put_under_it(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from oakum.data.simulate import Market, simulate

    data = simulate(Market(users=80, items=300, events=4000), seed=2)
    folder = store.save(fit("bpr-mf", data, epochs=1, embedding_dim=8), tmp_path / "m")
    plain, searched = Served.load(folder), Served.load(folder, "exact")
    for wish in (
        Wish(k=7),
        Wish(k=300),
        Wish(k=5, filter="price < 20"),
        Wish(k=5, filter="price < 20", deny=["i000001"]),
    ):
        for user in list(plain.users)[:10]:
            person = Person(user_id=user)
            expected = recommend(plain, ItemTable(plain, {}), person, wish)
            found = recommend(searched, ItemTable(searched, {}), person, wish)
            assert [i for i, _ in found.items] == [i for i, _ in expected.items]
    assert (
        len(
            recommend(
                Served.load(folder, "planned"), ItemTable(plain, {}), person, Wish(k=9, filter="price < 15")
            ).items
        )
        == 9
    )
    with pytest.raises(ParameterError, match="no index 'hsnw'"):
        Served.load(folder, "hsnw")
