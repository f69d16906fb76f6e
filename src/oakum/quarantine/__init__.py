"""Feedback quarantine: new events wait until it is plausible that nobody arranged them, and can be taken back later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data import Dataset, Queries
from oakum.data.convert import frame_from
from oakum.data.read import read
from oakum.defences.detect.coordination import Coordination
from oakum.errors import DataError, ParameterError, nearest
from oakum.files import whole
from oakum.metrics.estimate import Estimate
from oakum.metrics.statistics import estimate
from oakum.parameters import Spec

NAME = "quarantine.json"
HELD, ACCEPTED, BACK = "held", "accepted", "taken back"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One delivery of events. events: all its rows; held: those of suspicious accounts; status of the held rows and of the
    others; bar: the score above which an account was held."""

    id: str
    source: str
    date: str
    events: int
    accounts: int
    held_events: int
    held_accounts: int
    bar: float
    status: str = HELD  # of the held rows: held or accepted; "taken back" is of the whole batch
    digest: str = ""


@dataclass(frozen=True, eq=False)
class Screening:
    """What came of a delivery. accounts: the held ones, most suspicious first, with score and the items they share with
    others of the batch. items: those that surge, with counts. lists: share of people whose list would change if the held
    events were let in, and the items that would gain most."""

    batch: Batch
    accounts: tuple[dict[str, Any], ...]
    items: tuple[dict[str, Any], ...]
    lists: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "batch": asdict(self.batch),
            "held": list(self.accounts),
            "surging_items": list(self.items),
            "lists": self.lists,
        }


class Quarantine:
    """The state of one log's feedback, in a folder: a list of batches (JSON) and their events (Parquet).

    The log itself is never touched: `events()` is the log plus all accepted events in the order they came, so a batch that
    is taken back leaves exactly what would be there had it never come, and a model fitted on it is the same, bit by bit.
    """

    def __init__(self, log: Dataset, folder: str | Path) -> None:
        self.log, self.folder = log, Path(folder)
        self.batches = self._read()

    def _read(self) -> list[Batch]:
        path = self.folder / NAME
        if not path.exists():
            return []
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            found = [Batch(**row) for row in value["batches"]]
        except (json.JSONDecodeError, TypeError, KeyError) as error:
            raise DataError(
                f"{path} is not the state of a quarantine ({error}); name another --state folder."
            ) from None
        if value["log"] != self.log.interactions.digest():
            raise DataError(
                f"{self.folder} belongs to another log than '{self.log.name}' (the digests differ); name its own --state folder."
            )
        return found

    def _write(self) -> None:
        value = {"log": self.log.interactions.digest(), "batches": [asdict(b) for b in self.batches]}
        with whole(self.folder / NAME) as aside:
            aside.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")

    def _rows(self, batch: Batch) -> pl.DataFrame:
        path = self.folder / "batches" / f"{batch.id}.parquet"
        frame = pl.read_parquet(path)
        if _digest(frame) != batch.digest:
            raise DataError(f"{path} was changed after it was stored; put the stored file back or take the batch back.")
        return frame

    def find(self, id: str) -> Batch:
        """A batch by its id; a wrong one suggests the nearest."""
        for batch in self.batches:
            if batch.id == id:
                return batch
        names = [b.id for b in self.batches]
        raise ParameterError(f"There is no batch '{id}'.{nearest(id, names)} Known: {', '.join(names) or 'none'}.")

    def events(self, *, with_held: Sequence[str] = ()) -> Dataset:
        """The log with all accepted events, over one vocabulary. with_held: ids of batches whose held rows are let in,
        to see what they would do."""
        parts = [_plain(frame_from(self.log))]
        for batch in self.batches:
            if batch.status == BACK:
                continue
            rows = self._rows(batch)
            if batch.status == HELD and batch.id not in with_held:
                rows = rows.filter(~pl.col("__held"))
            parts.append(_plain(rows.drop("__held")))
        return _together(parts, self.log)

    def screen(
        self,
        new: Dataset,
        *,
        detector: Coordination | None = None,
        system: Spec | None = None,
        people: int = 2000,
        k: int = 10,
        seed: int = 0,
    ) -> Screening:
        """Score a delivery, store it, hold the suspicious accounts' events and accept the others.

        system: fitted twice (without and with the held events) to show which lists would change; default: ItemKNN.
        """
        detector = detector or Coordination()
        frame = frame_from(new)
        digest = _digest(frame.with_columns(__held=pl.lit(value=False)))
        for old in self.batches:
            if old.source == digest:
                raise DataError(
                    f"This delivery was screened before, as batch {old.id} ({old.status}); nothing was changed."
                )
        past = self.events()
        joined = _together([_plain(frame_from(past)), _plain(frame)], self.log)
        fresh = joined.interactions.take(np.arange(len(past), len(joined)))
        batch = joined.with_interactions(fresh)
        before = joined.with_interactions(joined.interactions.take(np.arange(len(past))))
        accounts, scores, bar = judged(before, batch, detector, seed=seed)
        held = accounts[scores > bar]
        mask = np.isin(fresh.users, held)
        rows = frame.with_columns(__held=pl.Series(mask))
        made = Batch(
            id=f"b{len(self.batches) + 1:04d}",
            source=digest,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            events=len(rows),
            accounts=len(accounts),
            held_events=int(mask.sum()),
            held_accounts=len(held),
            bar=bar,
            status=HELD if mask.any() else ACCEPTED,
            digest=_digest(rows),
        )
        with whole(self.folder / "batches" / f"{made.id}.parquet") as aside:
            rows.write_parquet(aside)
        self.batches.append(made)
        self._write()
        order = np.argsort(-scores, kind="stable")
        ranked = [i for i in order if scores[i] > bar]
        told = tuple(
            {"user": joined.users.decode(accounts[[i]])[0], "score": float(scores[i]), "events": int(batch.user_counts[accounts[i]])}
            for i in ranked
        )  # fmt: skip
        return Screening(made, told, _surging(batch, before), self._lists(made, system, people, k, seed))

    def _lists(self, batch: Batch, system: Spec | None, people: int, k: int, seed: int) -> dict[str, Any]:
        """What letting the held events in would change."""
        if batch.status != HELD:
            return {}
        from oakum.catalogue import load_class
        from oakum.engine.fit import fit
        from oakum.seeds import generator

        spec = system or load_class("item-knn")()
        without, with_ = self.events(), self.events(with_held=[batch.id])
        ids = without.users.ids
        active = np.flatnonzero(without.user_counts > 0)
        if len(active) > people:
            active = np.sort(generator(seed, "people looked at").choice(active, people, replace=False))
        names = ids.gather(active)
        tops = []
        for data in (without, with_):
            fitted = fit(spec, data, seed=seed)
            codes = data.users.encode(names.to_list())
            own = without.histories.take(active)
            own = own if data is without else _recoded(own, without, data)
            ranking = fitted.rank(Queries(codes.astype(np.int32), own), k, where=_without(own))
            tops.append([set(fitted.items.decode(row[row >= 0])) for row in ranking.items])
        changed = np.array([len(b - a) > 0 for a, b in zip(*tops, strict=True)], np.float64)
        gain: dict[Any, int] = {}
        for a, b in zip(*tops, strict=True):
            for item in b - a:
                gain[item] = gain.get(item, 0) + 1
        best = sorted(gain.items(), key=lambda g: (-g[1], str(g[0])))[:10]
        share: Estimate = estimate(changed, seed=seed)
        return {
            "system": spec.slug,
            "k": k,
            "people": len(active),
            "changed": share.to_json(),
            "gaining": [{"item": i, "lists": n} for i, n in best],
        }

    def release(self, id: str) -> Batch:
        """Let the held rows of a batch in."""
        return self._set(id, ACCEPTED, {HELD})

    def take_back(self, id: str) -> Batch:
        """Take a whole batch out, held and accepted rows alike; its file stays, so that it can be read."""
        return self._set(id, BACK, {HELD, ACCEPTED})

    def _set(self, id: str, status: str, allowed: set[str]) -> Batch:
        old = self.find(id)
        if old.status not in allowed:
            raise ParameterError(f"Batch {id} is {old.status}; this needs one that is {' or '.join(sorted(allowed))}.")
        new = Batch(**{**asdict(old), "status": status})
        self.batches = [new if b.id == id else b for b in self.batches]
        self._write()
        return new


def judged(
    before: Dataset, batch: Dataset, detector: Coordination, *, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """The accounts of a batch, how arranged each looks, and the bar above which one is held; both over one vocabulary."""
    accounts = np.flatnonzero(batch.user_counts > 0)
    scores = detector.judge(batch.matrix[accounts], before.item_counts)
    return accounts, scores, detector.bar(before.matrix, len(accounts), seed=seed)


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Ids as text, so that deliveries whose ids look like numbers join logs whose ids do not; times in one unit."""
    out = frame.select(c for c in ("user_id", "item_id", "rating", "timestamp") if c in frame.columns)
    casts = {"user_id": pl.String, "item_id": pl.String, "rating": pl.Float32, "timestamp": pl.Float64}
    return out.with_columns(pl.col(c).cast(casts[c]) for c in out.columns)


def _together(parts: Sequence[pl.DataFrame], log: Dataset) -> Dataset:
    """One log of several frames over one vocabulary, columns that a part lacks filled as a person would expect."""
    frame = pl.concat(parts, how="diagonal")
    if log.interactions.values is None and "rating" in frame.columns:
        frame = frame.drop("rating")
    if log.interactions.times is None and "timestamp" in frame.columns:
        frame = frame.drop("timestamp")
    if "rating" in frame.columns:
        frame = frame.with_columns(pl.col("rating").fill_null(1.0))
    if "timestamp" in frame.columns:
        frame = frame.with_columns(pl.col("timestamp").fill_null(strategy="forward"))
    keep = [c for c in frame.columns if c in ("user_id", "item_id", "rating", "timestamp")]
    for side in ("user_id", "item_id"):
        ids = log.users.ids if side == "user_id" else log.items.ids
        if ids.dtype.is_integer():
            whole_ = frame[side].cast(pl.Int64, strict=False)
            frame = frame.with_columns(whole_.alias(side)) if whole_.null_count() == 0 else frame
    return read(frame.select(keep), name=log.name)


def _surging(batch: Dataset, before: Dataset) -> tuple[dict[str, Any], ...]:
    from oakum.defences.detect.coordination import surprise

    rare = surprise(batch.matrix, before.item_counts)
    top = np.argsort(-rare, kind="stable")[:10]
    top = top[rare[top] > 0]
    ids = batch.items.decode(top.astype(np.int32))
    return tuple(
        {"item": i, "surprise": float(rare[c]), "new": int(batch.item_counts[c]), "before": int(before.item_counts[c])}
        for i, c in zip(ids, top, strict=True)
    )


def _recoded(own: Any, old: Dataset, new: Dataset) -> Any:
    from oakum.data import Ragged

    codes = new.items.encode(old.items.ids.to_list())
    return Ragged(own.offsets, codes[own.items].astype(np.int32), own.times, own.values, own.rows)


def _without(own: Any) -> Any:
    from oakum.data import Filter

    return Filter(exclude=own)


def _digest(frame: pl.DataFrame) -> str:
    sha = hashlib.sha256(",".join(f"{c}:{t}" for c, t in frame.schema.items()).encode())
    sha.update(np.ascontiguousarray(frame.hash_rows(seed=1).to_numpy()).data)
    return sha.hexdigest()


__all__ = ["Batch", "Quarantine", "Screening", "judged"]
