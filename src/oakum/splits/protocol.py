"""Parts of a log, and the protocol under which they are read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset, Filter, Ids, Interactions, Queries, Ragged, domains
from oakum.data.interactions import MANY, rising


@dataclass(frozen=True, slots=True)
class Protocol:
    """How the numbers are made: printed beside every one of them.

    rule: time | leave-last | last-share | holdout | users | files | cold-items | popular-given. candidates: "all" (full
    ranking), "domain:NAME" (every item of one domain is ranked and only they are asked for) or "sampled:N". remove_seen:
    items of the user's training events are not recommended again. cut: microseconds of the global cut, where there is one.
    left_out: sentences on who is not measured and why.
    """

    rule: str
    candidates: str = "all"
    remove_seen: bool = True
    cut: int | None = None
    seed: int | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Split:
    """Train, validation and test parts over one vocabulary.

    train is a whole `Dataset`; valid and test are events only. A model that is measured on test may read train
    and valid events as history, never test. Under a target domain, valid also holds what happened in other domains
    before the test part: history for the test, never asked for.
    """

    train: Dataset
    valid: Interactions | None
    test: Interactions
    protocol: Protocol
    history: Dataset | None = None  # what is known of the people asked, where it is not the training data

    @property
    def train_and_valid(self) -> Dataset:
        """All events before the test part."""
        if self.valid is None or not len(self.valid):
            return self.train
        return self.train.with_interactions(_joined(self.train.interactions, self.valid))

    @property
    def candidates(self) -> Ids | None:
        """The items that are ranked, int32 codes; None for all."""
        kind, _, name = self.protocol.candidates.partition(":")
        return domains(self.train).items(name) if kind == "domain" else None

    def truth(self, part: str = "test") -> Truth:
        """The relevant items of each user of a part: its queries and what should be found.

        Users are those with at least one event in the part, in code order. Items already in the history are not
        relevant while the protocol removes seen items (they cannot be recommended).
        """
        events = self.test if part == "test" else self.valid
        if events is None:
            raise ValueError("This split has no validation part.")
        history = self.history or (self.train_and_valid if part == "test" else self.train)
        if (allow := self.candidates) is not None:
            events = events.take(np.isin(events.items, allow))
        return replace(truth_of(events, history, remove_seen=self.protocol.remove_seen), allow=allow)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What should be found. users: int32 [q]; relevant: distinct items a query; histories: what came before;
    grades: float32 aligned with `relevant.items`, or None for all 1; at: moment of the first relevant event; allow: the
    items that are ranked, None for all."""

    users: Ids
    relevant: Ragged
    histories: Ragged
    grades: NDArray[np.float32] | None = None
    at: NDArray[np.int64] | None = None
    dropped: int = field(default=0)  # users whose every relevant item was already in their history
    allow: Ids | None = None

    def __len__(self) -> int:
        return len(self.users)

    @property
    def queries(self) -> Queries:
        """The requests of these users: known users by code, users without any training event as newcomers (-1)."""
        return Queries(np.where(self.histories.lengths > 0, self.users, -1).astype(np.int32), self.histories, self.at)

    def take(self, index: NDArray[np.integer]) -> Truth:
        """These queries only."""
        grades = None
        if self.grades is not None:
            grades = Ragged(self.relevant.offsets, self.relevant.items, values=self.grades).take(index).values
        at = None if self.at is None else self.at[index]
        relevant, histories = self.relevant.take(index), self.histories.take(index)
        return Truth(self.users[index], relevant, histories, grades, at, allow=self.allow)

    def filter(self, *, remove_seen: bool = True) -> Filter:
        """What may be shown to these users: the items that are ranked, without what they have had."""
        return Filter(self.allow, None, self.histories if remove_seen else None)

    def within(self, items: Ids | None) -> Truth:
        """The same, asked for these items only (None: for all); users with nothing left to find are left out."""
        if items is None:
            return self
        kept = np.isin(self.relevant.items, items)
        counts = np.bincount(self.relevant.owners()[kept], minlength=len(self))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        grades = None if self.grades is None else self.grades[kept]
        allow = items if self.allow is None else np.intersect1d(self.allow, items)
        narrow = replace(self, relevant=Ragged(offsets, self.relevant.items[kept]), grades=grades, allow=allow)
        return narrow.take(np.flatnonzero(counts))


def rolling_truth(split: Split, part: str = "test", *, tail: int = 100) -> Truth:
    """One request for each event of a part: what came next, given the `tail` events of the user before it.

    Unlike `Split.truth`, a user is asked once an event, and the history rolls on over the earlier events of the part, as a
    deployed next-item model's does. Nothing is removed from the lists: what people repeat is asked for too.
    """
    events = split.test if part == "test" else split.valid
    if events is None:
        raise ValueError("This split has no validation part.")
    history = split.history or (split.train_and_valid if part == "test" else split.train)
    flat = _joined(history.interactions, events).histories(history.num_users)
    assert flat.rows is not None
    at = np.flatnonzero(np.isin(flat.rows, events.rows))
    owners = flat.owners()[at]
    starts = np.maximum(flat.offsets[owners], at - tail)
    histories = flat.slices(starts, at - starts)
    relevant = Ragged(np.arange(len(at) + 1), flat.items[at])
    moments = None if flat.times is None else flat.times[at]
    return Truth(owners.astype(np.int32), relevant, histories, None, moments)


def truth_of(events: Interactions, history: Dataset, *, remove_seen: bool = True) -> Truth:
    """Group the events of a part by user, merge duplicates, and put the history beside them."""
    seen = history.matrix
    keep = np.ones(len(events), bool)
    if remove_seen and len(events):
        keep = ~np.asarray(contains(seen, events.users, events.items))
    pairs = events.take(keep).pairs(history.num_users, history.num_items)
    wanted = np.flatnonzero(pairs.lengths)
    relevant = pairs.take(wanted)
    at = None
    if events.times is not None:
        first = np.full(history.num_users, np.iinfo(np.int64).max)
        np.minimum.at(first, events.users, events.times)
        at = first[wanted]
    dropped = int(np.count_nonzero(np.bincount(events.users, minlength=1))) - len(wanted)
    return Truth(wanted.astype(np.int32), relevant, history.histories.take(wanted), None, at, dropped)


def contains(matrix, users, items):  # type: ignore[no-untyped-def]
    """Whether each (user, item) pair is stored in a CSR matrix with sorted columns; bool [n]."""
    if len(users) >= MANY:
        from oakum.data.grouping import contained

        return contained(matrix, users, items)
    keys = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr)) * matrix.shape[1]
    keys += matrix.indices
    asked = users.astype(np.int64) * matrix.shape[1] + items
    at = np.searchsorted(keys, asked)
    return (
        (at < len(keys)) & (keys[np.minimum(at, len(keys) - 1)] == asked) if len(keys) else np.zeros(len(users), bool)
    )


def _joined(a: Interactions, b: Interactions) -> Interactions:
    """Two parts of one log put together again; row ids are kept, since both came from the same log."""
    names = sorted({*a.fields} & {*b.fields})
    both = lambda x, y: None if x is None or y is None else np.concatenate([x, y])
    out = Interactions(
        np.concatenate([a.users, b.users]),
        np.concatenate([a.items, b.items]),
        both(a.values, b.values),
        both(a.times, b.times),
        np.concatenate([a.rows, b.rows]),
        {k: np.concatenate([a.fields[k], b.fields[k]]) for k in names},
    )
    return out if rising(out.rows) else out.take(np.argsort(out.rows, kind="stable"))
