"""What only the embedded state does: full disks, damaged files, rights."""

from __future__ import annotations

from pathlib import Path

import pytest

from oakum.state import Event, StateError, open_state
from oakum.state.sqlite import SqliteState


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    state = open_state(tmp_path / "s")
    state.done(state.add_events([Event("a", "b", 1)])[0])
    for path in (tmp_path / "s").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    assert state.read("PRAGMA journal_mode") == [("wal",)]
    assert state.read("PRAGMA synchronous") == [(2,)]
    state.close()


def test_a_full_disk_refuses_in_words_loses_nothing_and_recovers(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "s.sqlite")
    state.done(state.add_events([Event("a", "b", 1, "first")])[0])
    pages = int(state.read("PRAGMA page_count")[0][0])
    state.write(lambda cursor: cursor.execute(f"PRAGMA max_page_count = {pages + 2}"))
    stored = 1

    def fill() -> None:
        nonlocal stored
        for n in range(2000):
            events = [Event("a" * 200, f"{n}-{m}", 1, f"{n}-{m}") for m in range(50)]
            stored += state.done(state.add_events(events)[0]).stored

    with pytest.raises(StateError, match="full"):
        fill()
    assert len(list(state.events())) == stored  # the refused post left nothing behind
    found = state.done(state.add_events([Event("a", "b", 1, "after")])[0])  # the next connection has its room again
    assert found.stored == 1
    state.close()


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"nonsense " * 1000)
    with pytest.raises(StateError, match="damaged or no state"):
        open_state(tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StateError, match="cannot be made"):
        open_state(blocked / "below")
    with pytest.raises(StateError, match="no place for the state"):
        open_state("mysql://somewhere")
