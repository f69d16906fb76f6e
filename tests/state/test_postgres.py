"""What only PostgreSQL does: it can die while the service lives."""

from __future__ import annotations

import pytest

from oakum.state import Event, StateError, open_state
from tests.state.servers import Postgres


def test_a_dead_server_is_said_in_words_and_used_again_when_it_is_back(server: Postgres) -> None:
    state = open_state(server.fresh())
    assert state.done(state.add_events([Event("a", "b", 1, "one")])[0]).stored == 1
    server.stop()
    try:
        with pytest.raises(StateError, match=r"PostgreSQL t\d+ .*does not answer"):
            state.done(state.add_events([Event("a", "b", 1, "two")])[0])
        with pytest.raises(StateError, match="does not answer"):
            state.of_user("a")
        with pytest.raises(StateError, match="does not answer"):
            state.of_user("a")  # now without a wait for the server
    finally:
        server.start()
    import time

    time.sleep(0.6)
    assert state.done(state.add_events([Event("a", "b", 1, "two"), Event("a", "b", 1, "one")])[0]).stored == 1
    assert [e.event_id for e in state.of_user("a")] == ["one", "two"]
    state.close()


def test_a_wrong_address_names_the_place_and_not_the_password() -> None:
    with pytest.raises(StateError) as caught:
        open_state("postgresql://me:hunter2@127.0.0.1:1/shop")
    assert "shop at 127.0.0.1" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(StateError, match="cannot be read"):
        open_state("postgresql://a b c?=")
