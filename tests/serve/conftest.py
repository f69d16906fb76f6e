"""A market with a model, and the two databases."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from oakum import store
from oakum.api import fit
from oakum.client import Client
from oakum.data import Dataset
from oakum.data.simulate import Market, simulate
from tests.state.conftest import server, state, where  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from oakum.serve.service import Service

# Without the extra there is nothing to test here.
collect_ignore_glob = [] if all(map(find_spec, ("starlette", "msgspec", "uvicorn", "httptools"))) else ["test_*.py"]


@pytest.fixture(scope="session")
def market() -> Dataset:
    return simulate(Market(users=150, items=100, events=4000), seed=1)


@pytest.fixture(scope="session")
def saved(market: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model that tests only read."""
    return store.save(fit("item-knn", market), tmp_path_factory.mktemp("served") / "m")


@pytest.fixture
def model(market: Dataset, tmp_path: Path) -> Path:
    """A saved model of the test's own."""
    return store.save(fit("item-knn", market), tmp_path / "m")


@pytest.fixture(scope="module")
def live(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Service]]:
    from tests.serve.live import living

    with living(saved, tmp_path_factory.mktemp("state")) as found:
        yield found


@pytest.fixture
def client(live: tuple[str, Service]) -> Client:
    return Client(live[0], retries=0)
