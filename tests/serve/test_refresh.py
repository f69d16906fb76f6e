"""New events become part of the model; arranged ones wait; what is taken back leaves no trace."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oakum import store
from oakum.api import fit
from oakum.client import Client, Posted
from oakum.data import Dataset
from oakum.data.convert import frame_from
from oakum.errors import MissingExtra
from oakum.serve.models import Shelf
from oakum.serve.refresh import refresh
from oakum.state import Event, State, open_state
from oakum.state.feedback import joined
from tests.cli.test_cli import oakum
from tests.quarantine.test_quarantine import market as deliveries_of
from tests.serve.live import living, wait_for
from tests.toys import walks


@pytest.fixture
def state(where: str) -> Any:
    found = open_state(where)
    yield found
    found.close()


def put(state: State, events: Sequence[Event]) -> None:
    state.done(state.add_events(events)[0])


def events_of(data: Dataset, name: str) -> list[Event]:
    rows = frame_from(data).select("user_id", "item_id").rows()
    times = data.interactions.times
    assert times is not None
    return [Event(str(u), str(i), int(times[n]), f"{name}{n}") for n, (u, i) in enumerate(rows)]


def test_refreshing_equals_fitting_on_the_whole_log(market: Dataset, tmp_path: Path, state: State) -> None:
    log = market.interactions
    assert log.times is not None
    late = log.times > np.quantile(log.times, 0.9)
    past, new = (market.with_interactions(log.take(m)) for m in (~late, late))
    model = store.save(fit("item-knn", past), tmp_path / "m")
    users, items = market.users.ids, market.items.ids
    put(state, [
        Event(users[int(u)], items[int(i)], int(t), weight=None if log.values is None else float(v))
        for u, i, t, v in zip(new.interactions.users, new.interactions.items, new.interactions.times, new.interactions.values, strict=True)  # type: ignore[arg-type]
    ])  # fmt: skip
    held = state.settle([], up_to=state.last_seq(), accounts=0, bar=0.0)
    assert held is not None
    found = refresh(model, state)
    assert (found.events, found.left_out, found.refitted) == (int(late.sum()), 0, True)
    assert found.folder == Shelf(model).current() != model
    made, whole = store.load(found.folder), fit("item-knn", market)  # type: ignore[arg-type]
    people = np.flatnonzero(market.user_counts > 0)[:50].astype(np.int32)
    assert np.array_equal(made.score(made.queries(people)), whole.score(whole.queries(people)), equal_nan=True)
    assert made.record.data != store.load(model).record.data
    again = refresh(model, state)
    assert again.folder is None  # nothing is new


def test_new_users_and_items_get_a_place_or_are_said_to_have_none(tmp_path: Path, state: State) -> None:
    data = walks()
    model = store.save(fit("item-knn", data), tmp_path / "m")
    put(
        state,
        [Event("newcomer", "i3", 10**15), Event("newcomer", "novelty", 10**15 + 1), Event("u1", "novelty", 10**15 + 2)],
    )
    state.settle([], up_to=state.last_seq(), accounts=0, bar=0.0)
    found = refresh(model, state)
    made = store.load(found.folder)  # type: ignore[arg-type]
    assert found.left_out == 0
    assert "novelty" in made.items.ids.to_list()
    assert "newcomer" in made.users.ids.to_list()
    assert made.item_table is not None
    assert len(made.item_table) == len(made.items)
    kept = refresh(model, state, refit=False)
    assert (kept.events, kept.left_out, kept.refitted) == (0, 3, False)


def test_learned_systems_keep_their_weights_unless_asked(tmp_path: Path, state: State) -> None:
    pytest.importorskip("torch")
    data = walks()
    first = fit("sasrec", data, epochs=1, embedding_dim=8, max_length=10)
    model = store.save(first, tmp_path / "m")
    put(state, [Event("u1", "i15", 10**15), Event("stranger", "i3", 10**15)])
    state.settle([], up_to=state.last_seq(), accounts=0, bar=0.0)
    found = refresh(model, state)
    assert (found.events, found.left_out, found.refitted) == (1, 1, False)
    made = store.load(found.folder)  # type: ignore[arg-type]
    before, after = first.model.state_dict(), made.model.state_dict()
    assert all((before[k] == after[k]).all() for k in before)
    assert made.histories.row(1).tolist() == [*first.histories.row(1).tolist(), 15]
    assert made.record.data != first.record.data


def test_arranged_events_wait_and_can_be_let_in_or_taken_back(tmp_path: Path, state: State) -> None:
    past, honest, mixed = deliveries_of()
    model = store.save(fit("item-knn", past), tmp_path / "m")
    put(state, events_of(mixed, "e"))
    honest_people = {str(u) for u in honest.users.ids.gather(np.flatnonzero(honest.user_counts > 0))}
    found = refresh(model, state)
    assert found.batch is not None
    held = {e.user_id for e in state.events(2)}
    fakes = {e.user_id for e in state.events()} - honest_people
    assert len(held & fakes) >= 0.8 * len(fakes)
    assert len(held & honest_people) <= 0.05 * len(honest_people)
    assert found.events == found.batch["events"] - found.batch["held_events"]
    without = _scores(model)
    state.release("b0001")
    let_in = refresh(model, state)
    assert let_in.events == found.batch["events"]
    assert not np.array_equal(_scores(model), without, equal_nan=True)
    state.take_back("b0001")
    gone = refresh(model, state)
    assert gone.events == 0
    assert np.array_equal(_scores(model), _scores(model, first=True), equal_nan=True)  # as if it had never come


def _scores(model: Path, *, first: bool = False) -> np.ndarray:
    fitted = store.load(model if first else Shelf(model).current())
    base = store.load(model)
    codes = fitted.users.encode(base.users.ids.to_list()[:60])
    items = fitted.items.encode(base.items.ids.to_list())
    return fitted.score(fitted.queries(codes), items)


def test_deleted_people_are_left_out(market: Dataset, model: Path, state: State) -> None:
    user = str(market.users.decode(np.flatnonzero(market.user_counts > 3)[:1])[0])
    put(state, [Event(user, "i000003", 10**15)])
    state.forget(user)
    found = refresh(model, state)
    made = store.load(found.folder)  # type: ignore[arg-type]
    code = made.users.encode([user])
    assert len(made.histories.take(code).items) == 0
    assert len(made.histories.items) == len(market) - int(market.histories.lengths[market.users.encode([user])[0]])


def test_a_service_takes_over_what_a_refresh_made(market: Dataset, model: Path, tmp_path: Path) -> None:
    with living(model, tmp_path / "s") as (url, service), Client(url) as client:
        names = list(service.now[0].items)
        client.add_events([Posted("newcomer", n, 1.9e9) for n in names[:6]])
        before = client.recommend("newcomer", k=5)
        assert before.fallback is None  # answered from the events at once
        out = json.loads(oakum("refresh", model, "--state", tmp_path / "s", "--json").stdout)
        assert out["events"] + out["batch"]["held_events"] == 6
        wait_for(lambda: client.recommend("newcomer").model != before.model)
        after = client.recommend("newcomer", k=5)
        assert not {i.item_id for i in after} & set(names[:6])
        known = client.user("newcomer")
        assert len(known.events) == 6
        out = json.loads(oakum("refresh", model, "--back", "--json").stdout)
        wait_for(lambda: client.recommend("newcomer").model == before.model)
        assert [i.item_id for i in client.recommend("newcomer", k=5)] == [i.item_id for i in before]
        text = oakum("refresh", model, "--state", tmp_path / "s").stdout
        assert "answers now" in text or "Nothing changed" in text


def test_logs_with_whole_number_ids_take_new_ones() -> None:
    from oakum.data import Interactions, Vocabulary

    log = Interactions(np.array([0, 1]), np.array([0, 1]), np.array([4.0, 2.0]), np.array([1, 2]))
    base = Dataset(log, Vocabulary.of([5, 7]), Vocabulary.of([1, 2]))
    data, left = joined(base, [Event("9", "2", 3), Event("5", "3", 4, weight=5.0)], extend=True)
    assert (left, data.users.ids.to_list(), data.items.ids.to_list()) == (0, [5, 7, 9], [1, 2, 3])
    assert data.interactions.values.tolist() == [4.0, 2.0, 3.0, 5.0]  # type: ignore[union-attr] - the median where none is told
    data, _ = joined(base, [Event("guest", "2", 3)], extend=True)
    assert data.users.ids.to_list() == ["5", "7", "guest"]
    assert joined(base, [Event("guest", "2", 3)], extend=False)[1] == 1
    assert len(fit("item-knn", base).log().interactions) == 2


def test_keys_from_the_command_line(tmp_path: Path) -> None:
    key = oakum("keys", "--state", tmp_path, "--add", "shop", "--role", "read").stdout.strip()
    assert key.startswith("oakum_")
    listed = json.loads(oakum("keys", "--state", tmp_path, "--json").stdout)
    assert [(k["name"], k["role"], k["revoked"]) for k in listed] == [("shop", "read", None)]
    assert "revoked" in oakum("keys", "--state", tmp_path, "--revoke", "shop").stdout
    assert "no key 'shop'" in oakum("keys", "--state", tmp_path, "--revoke", "shop", code=2).stderr
    assert "Choose one" in oakum("keys", "--state", tmp_path, "--revoke", "a", "--add", "b", code=2).stderr


def test_without_the_extra_one_sentence_says_what_to_do(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    import sys

    from oakum.serve import serve
    from oakum.serve.settings import Settings

    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(MissingExtra, match=r"pip install 'oakum\[serve\]'"):
        serve(saved, tmp_path, Settings())
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r"oakum\[serve\]"):
        open_state("postgresql://x/y")


def test_wrong_options_are_sentences(saved: Path, tmp_path: Path) -> None:
    assert "no model folder" in oakum("serve", tmp_path / "none", "--state", tmp_path / "s", code=2).stderr
    assert "at least 1" in oakum("serve", saved, "--workers", 0, code=2).stderr
    found = oakum("serve", saved, "--state", "mysql://x", code=3)
    assert isinstance(found, subprocess.CompletedProcess)
    assert "no place for the state" in found.stderr
