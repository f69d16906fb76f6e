"""The databases that the one suite runs over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oakum.state import State, open_state
from tests.state.servers import Postgres, postgres

KINDS = ("sqlite", "postgres")


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    with postgres() as found:
        if found is None:
            pytest.skip("no PostgreSQL server binaries here (initdb, postgres); Debian: apt-get install postgresql")
        yield found


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty state of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "state")
    server: Postgres = request.getfixturevalue("server")
    return server.fresh()


@pytest.fixture
def state(where: str) -> Iterator[State]:
    found = open_state(where)
    yield found
    found.close()
