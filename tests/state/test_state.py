"""One suite over both databases: what is acknowledged is there, once; errors are sentences."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oakum.errors import ParameterError
from oakum.state import Event, State, StateBusy, StateError, open_state
from oakum.state.keys import check, keys, new_key, revoke
from oakum.state.schema import ACCEPTED, HELD, PENDING
from oakum.state.writer import Busy, Writer


def put(state: State, *events: Event) -> Any:
    return state.done(state.add_events(events)[0])


def event(n: int, user: str = "ann", **more: Any) -> Event:
    return Event(user, f"i{n}", 1_700_000_000_000_000 + n, f"e{n}", **more)


def test_events_come_back_as_they_went_in(state: State) -> None:
    sent = [event(1, type="view", weight=2.5), event(2), Event("bob ☃ 'quote\"; DROP TABLE events", "ü", -5, "x")]
    assert put(state, *sent).stored == 3
    assert [(e.user_id, e.item_id, e.time, e.event_id, e.type, e.weight) for e in state.events()] == [
        (e.user_id, e.item_id, e.time, e.event_id, e.type, e.weight) for e in sent
    ]
    assert [e.item_id for e in state.of_user("ann")] == ["i1", "i2"]
    assert state.of_user("nobody") == []


def test_the_same_id_counts_once_within_a_post_and_across_posts(state: State) -> None:
    found = put(state, event(1), event(1), event(2))
    assert (found.stored, found.duplicates) == (2, 1)
    found = put(state, event(2), event(3))
    assert (found.stored, found.duplicates) == (1, 1)
    found = put(state, Event("ann", "i1", 0), Event("ann", "i1", 0))  # no ids: two events
    assert found.stored == 2
    assert len(set(found.ids)) == 2
    assert state.counts() == {"pending": 5, "accepted": 0, "held": 0, "taken back": 0}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(posts=st.lists(st.lists(st.integers(0, 12), max_size=6), max_size=8))
def test_any_posts_leave_what_a_dictionary_would_hold(state: State, posts: Sequence[Sequence[int]]) -> None:
    person = f"p{len(list(state.events()))}-{id(posts)}"
    kept: dict[str, str] = {}
    for post in posts:
        events = [Event(person, f"i{n}", n, f"{person}-{n}") for n in post]
        found = put(state, *events)
        before = len(kept)
        kept.update((e.event_id, e.item_id) for e in events)
        assert (found.stored, found.duplicates) == (len(kept) - before, len(post) - (len(kept) - before))
    assert {e.event_id: e.item_id for e in state.of_user(person)} == kept


def test_requests_that_wait_together_share_a_commit(state: State) -> None:
    gate, entered = threading.Event(), threading.Event()

    def slow(cursor: Any) -> None:
        entered.set()
        gate.wait(10)

    before = state.writer.commits
    first = state.submit(slow)
    assert entered.wait(10)
    futures = [state.add_events([event(n)])[0] for n in range(50)]
    assert not any(f.done() for f in futures)  # nothing is acknowledged before its commit
    gate.set()
    state.done(first)
    assert sum(state.done(f).stored for f in futures) == 50
    assert state.writer.commits - before <= 3


def test_a_bad_change_does_not_harm_the_others_of_its_group(state: State) -> None:
    gate, entered = threading.Event(), threading.Event()

    def slow(cursor: Any) -> None:
        entered.set()
        gate.wait(10)

    def bad(cursor: Any) -> None:
        raise ZeroDivisionError

    state.submit(slow)
    assert entered.wait(10)
    one, wrong, two = state.add_events([event(1)])[0], state.submit(bad), state.add_events([event(2)])[0]
    gate.set()
    assert state.done(one).stored == state.done(two).stored == 1
    with pytest.raises(ZeroDivisionError):
        wrong.result()
    assert len(list(state.events())) == 2


def test_a_full_queue_refuses_at_once(where: str) -> None:
    gate = threading.Event()

    class Stuck:
        def transaction(self, changes: list[Any]) -> list[Any]:
            gate.wait(10)
            return [None] * len(changes)

        def fatal(self, error: BaseException) -> bool:
            return True

        def close(self) -> None:
            pass

    writer = Writer(Stuck, waiting=3)
    fill = lambda: [writer.submit(lambda cursor: None) for _ in range(10)]
    with pytest.raises(Busy):
        fill()
    gate.set()
    writer.close()
    state = open_state(where)
    state.writer.submit = lambda change: (_ for _ in ()).throw(Busy())  # type: ignore[method-assign]
    with pytest.raises(StateBusy, match="again in a moment"):
        state.add_events([event(1)])
    state.close()


def test_what_was_acknowledged_is_there_after_opening_again(where: str) -> None:
    state = open_state(where)
    put(state, *(event(n) for n in range(100)))
    state.close()
    with pytest.raises(StateError, match="closed"):
        put(state, event(100))
    again = open_state(where)
    assert [e.event_id for e in again.of_user("ann")] == [f"e{n}" for n in range(100)]
    assert put(again, event(7)).duplicates == 1
    again.close()


def test_pages_of_a_user_join_without_gap_or_overlap(state: State) -> None:
    put(state, *(event(n) for n in range(25)))
    seen: list[Event] = []
    while page := state.of_user("ann", after=seen[-1].seq if seen else 0, limit=10):
        seen += page
    assert [e.event_id for e in seen] == [f"e{n}" for n in range(25)]


def test_recent_events_are_in_order_of_time_and_leave_out_held_ones(state: State) -> None:
    put(state, event(3), event(1), event(2), event(9, user="bot"))
    assert [e.item_id for e in state.recent("ann", 2)] == ["i2", "i3"]
    batch = state.settle(["bot"], up_to=state.last_seq(), accounts=2, bar=1.0)
    assert batch is not None
    assert (batch["held_events"], batch["events"], batch["status"]) == (1, 4, "held")
    assert state.recent("bot", 9) == []
    assert [e.status for e in state.of_user("bot")] == ["held"]


def test_batches_are_released_and_taken_back(state: State) -> None:
    put(state, event(1), event(2, user="bot"))
    assert state.settle([], up_to=0, accounts=0, bar=0.0) is None
    state.settle(["bot"], up_to=state.last_seq(), accounts=2, bar=1.0)
    put(state, event(3))
    assert [e.item_id for e in state.events(ACCEPTED)] == ["i1"]
    assert [e.item_id for e in state.events(PENDING)] == ["i3"]
    assert state.release("b0001") == 1
    assert [e.item_id for e in state.events(ACCEPTED)] == ["i1", "i2"]
    with pytest.raises(ParameterError, match="is accepted"):
        state.release("b0001")
    assert state.take_back("b0001") == 2
    assert list(state.events(ACCEPTED, HELD)) == []
    assert len(list(state.events())) == 3  # stored, not used
    with pytest.raises(ParameterError, match="Known: b0001"):
        state.take_back("b0009")
    state.settle(["ann"], up_to=state.last_seq(), accounts=1, bar=1.0)
    assert [b["status"] for b in state.batches()] == ["taken back", "held"]


def test_a_deleted_person_is_gone_and_remembered_only_as_a_digest(where: str) -> None:
    state = open_state(where)
    put(state, event(1, user="secret-person"), event(2, user="bob"))
    assert state.forget("secret-person") == {"events": 1}
    assert state.is_forgotten("secret-person")
    assert not state.is_forgotten("bob")
    assert state.of_user("secret-person") == []
    assert state.forget("never seen") == {"events": 0}
    other = open_state(where)
    assert other.is_forgotten("secret-person")
    state.forget("bob")
    assert not other.is_forgotten("bob")
    other.poll()
    assert other.is_forgotten("bob")
    other.close()
    state.close()
    if "://" not in where:
        for path in Path(where).iterdir():
            assert b"secret-person" not in path.read_bytes(), path


def test_attributes_of_items(state: State) -> None:
    before = state.poll().get("items")
    state.done(state.put_items({"i1": {"price": 3, "tags": ["a"]}, "i2": {}}))
    state.done(state.put_items({"i1": {"price": 4.5}}))
    assert state.items() == {"i1": {"price": 4.5}, "i2": {}}
    assert state.poll()["items"] != before


def test_keys_are_hashed_at_rest_and_can_be_revoked(state: State) -> None:
    given_ = new_key(state, "shop", "read")
    secret = given_.rsplit("_", 1)[1]
    (kept,) = keys(state)
    assert secret not in repr(kept)
    assert secret not in repr(state.read("SELECT * FROM keys"))
    known = {kept.id: kept}
    assert check(known, given_) == kept
    assert kept.may("read")
    assert not kept.may("write")
    last = "0" if given_[-1] != "0" else "1"
    for wrong in ("", "oakum_", given_[:-1] + last, given_ + "0", given_.replace(kept.id, "00000000"), "ü" * 80):
        assert check(known, wrong) is None
    with pytest.raises(ParameterError, match="already"):
        new_key(state, "shop")
    with pytest.raises(ParameterError, match="Did you mean 'admin'"):
        new_key(state, "x", "admim")
    revoke(state, "shop")
    (kept,) = keys(state)
    assert check({kept.id: kept}, given_) is None
    with pytest.raises(ParameterError, match="no key"):
        revoke(state, "shop")
    new_key(state, "shop")


def test_another_layout_is_refused_by_number(where: str) -> None:
    state = open_state(where)
    state.write(lambda cursor: cursor.execute("UPDATE meta SET value = '99' WHERE name = 'version'"))
    state.close()
    with pytest.raises(StateError, match="layout 99"):
        open_state(where)


def test_two_processes_share_one_state(where: str) -> None:
    a, b = open_state(where), open_state(where)

    def post(state: State, start: int) -> None:
        for n in range(start, start + 40):
            put(state, event(n), event(n % 50))

    threads = [threading.Thread(target=post, args=(s, n)) for s, n in ((a, 0), (b, 40))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(int(e.item_id[1:]) for e in a.of_user("ann")) == list(range(80))
    a.close()
    b.close()
