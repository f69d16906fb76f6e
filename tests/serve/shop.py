"""A shop for pages: people with a past, new events, a held batch, a deletion, an experiment that has run for some days."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from oakum import store
from oakum.api import fit
from oakum.data import Dataset
from oakum.report import write
from oakum.serve.look import Panel
from oakum.serve.service import Service
from oakum.state import Event, open_state
from oakum.state.experiments import answer, begin
from tests.report.sample import sample
from tests.serve.live import living

DAY = 86_400_000_000


def titled(market: Dataset) -> Dataset:
    """The market with items that have names."""
    words = ("Anchor", "Basket", "Candle", "Drum", "Engine", "Flag", "Garden", "Harbour", "Island", "Jacket")
    kinds = ("Amber", "Bright", "Calm", "Deep", "Early", "Fine", "Gentle", "Hardy", "Inland", "Jolly")
    n = len(market.items)
    names = [f"{kinds[i // 10 % 10]} {words[i % 10].lower()}" for i in range(n)]
    table = market.tables["items"].with_columns(pl.Series("title", names))
    return replace(market, tables={**market.tables, "items": table})


@contextmanager
def shop(market: Dataset, folder: Path, **settings: Any) -> Iterator[tuple[str, Service]]:
    """A service with everything that the pages show; what was stored comes from a fixed draw."""
    log = titled(market)
    model, other = folder / "shop", folder / "other"
    store.save(fit("item-knn", log), model)
    store.save(fit("ease", log), other)
    write(sample(), folder / "audit")
    state = open_state(folder / "state")
    rng = np.random.default_rng(3)
    users, items = log.users.ids.to_list(), log.items.ids.to_list()
    now = int(time.time() * 1e6)
    taste = log.item_counts**1.6 / (log.item_counts**1.6).sum()  # more for the popular ones than before
    from oakum.release import Experiment

    plan = Experiment(name="ease", share=0.3, window=2.0, tightest=500)
    started = begin(state, plan.name, {**plan.to_json(), "candidate": store.load(other).spec.to_json(), "base": ""})
    events = []
    for n in range(900):
        user, first = f"guest{n}", now - int(rng.integers(3 * DAY, 9 * DAY))
        arm = plan.takes_part(user)
        last = answer(state, started.name, user, arm, first)
        if rng.random() < 0.25 + 0.3 * arm:
            item = items[rng.choice(len(items), p=taste)]
            events.append(Event(user, str(item), first + int(rng.integers(1, DAY))))
    events += [Event(str(users[0]), str(items[n]), now - n) for n in (3, 5, 8)]
    last.result()  # writes are made in order
    state.add_events(events)[0].result()
    state.settle([], up_to=state.last_seq(), accounts=250, bar=0.9)
    ring = [Event(f"fake{n}", str(i), now - n) for n in range(12) for i in items[:8]]
    state.add_events(ring)[0].result()
    state.settle([f"fake{n}" for n in range(12)], up_to=state.last_seq(), accounts=12, bar=0.87)
    state.forget(str(users[1]))
    state.close()
    given = {"candidate": str(other), "experiment": plan, "audit": str(folder / "audit"), **settings}
    with living(model, folder / "state", **given) as (url, service):
        service.panel = Panel(service.now[0])
        service.panel.moved_to(service.trial.now[0])  # type: ignore[union-attr]
        service.look()
        yield url, service
