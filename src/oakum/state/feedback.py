"""Events from a state as data: joined to a log, screened before a model may learn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from oakum.data import Dataset, Interactions, Vocabulary
from oakum.defences.detect.coordination import Coordination
from oakum.quarantine import judged
from oakum.state.base import Event, State
from oakum.state.schema import PENDING


def joined(base: Dataset, events: Sequence[Event], *, extend: bool) -> tuple[Dataset, int]:
    """A log followed by events from a state, and how many events did not fit.

    extend: new users and items get codes after the old ones; otherwise their events are left out. An event without a
    weight gets the median value of the log; weights are left out where the log has no values. An event that the log holds
    already (same user, item and time) is not added again.
    """
    users, user_codes = _codes(base.users, [e.user_id for e in events], extend)
    items, item_codes = _codes(base.items, [e.item_id for e in events], extend)
    fits = (user_codes >= 0) & (item_codes >= 0)
    kept = np.flatnonzero(fits)
    log = base.interactions
    if log.times is not None and len(kept):
        at = np.array([events[int(i)].time for i in kept], np.int64)
        mine = pl.DataFrame({"u": user_codes[kept], "i": item_codes[kept], "t": at, "n": np.arange(len(kept))})
        held = pl.DataFrame({"u": log.users, "i": log.items, "t": log.times})
        kept = kept[mine.join(held, on=["u", "i", "t"], how="anti", maintain_order="left")["n"].to_numpy()]
    values = None
    if log.values is not None:
        usual = float(np.median(log.values)) if len(log) else 1.0
        given = [events[int(i)].weight for i in kept]
        values = np.array([usual if w is None else w for w in given], np.float32)
    times = None if log.times is None else np.array([events[int(i)].time for i in kept], np.int64)
    fresh = Interactions(user_codes[kept], item_codes[kept], values, times)
    tables = dict(base.tables)
    for side, known in (("users", users), ("items", items)):
        if side in tables and len(known) > len(tables[side]):
            blank = pl.DataFrame({"_": [None] * (len(known) - len(tables[side]))})
            tables[side] = pl.concat([tables[side], blank], how="diagonal").drop("_")
    data = replace(base, interactions=log.append(fresh), users=users, items=items, tables=tables, truth={})
    return data, int((~fits).sum())


def _codes(known: Vocabulary, ids: list[str], extend: bool) -> tuple[Vocabulary, Any]:
    """A vocabulary that knows the ids (where it may grow) and their codes. Ids of a log that are whole numbers stay so
    unless a new id is none; then all become text, as they would had they come in one file."""
    codes = known.encode(ids)
    if not extend or (codes >= 0).all():
        return known, codes
    fresh = list(dict.fromkeys(i for i, c in zip(ids, codes, strict=True) if c < 0))
    new = pl.Series("id", fresh)
    if known.ids.dtype.is_integer():
        whole = new.cast(known.ids.dtype, strict=False)
        spelt = whole.cast(pl.String)  # "007" is not 7
        if whole.null_count() == 0 and (spelt == new).all():
            new = whole
    old = known.ids if new.dtype == known.ids.dtype else known.ids.cast(pl.String)
    grown = Vocabulary(pl.concat([old.rename("id"), new.rename("id")]))
    return grown, grown.encode(ids)


def screen(
    state: State, past: Dataset, *, detector: Coordination | None = None, seed: int = 0
) -> dict[str, Any] | None:
    """Judge all pending events as one batch: events of accounts that look arranged are held, the others accepted.

    past: what is trusted so far. Returns the batch, None where nothing was pending. Nothing is deleted; `release` and
    `take_back` of the state undo it.
    """
    last = state.last_seq()
    pending = list(state.events(PENDING, up_to=last))
    if not pending:
        return None
    both, _ = joined(past, pending, extend=True)
    before = both.with_interactions(both.interactions.take(slice(0, len(past))))
    batch = both.with_interactions(both.interactions.take(slice(len(past), len(both))))
    accounts, scores, bar = judged(before, batch, detector or Coordination(), seed=seed)
    held = both.users.ids.gather(accounts[scores > bar]).cast(pl.String).to_list()
    return state.settle(held, up_to=last, accounts=len(accounts), bar=bar)
