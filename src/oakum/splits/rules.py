"""Rules that cut a log into train, validation and test parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset, Ids, Interactions, domains
from oakum.data.interactions import by_user, rising
from oakum.errors import ProtocolError
from oakum.seeds import generator, keyed_hash
from oakum.splits.protocol import Protocol, Split

Mask = NDArray[np.bool_]


def _parts(data: Dataset, rule: str, train: Mask, valid: Mask, test: Mask, **facts: object) -> Split:
    log = data.interactions
    if not train.any() or not test.any():
        empty = "training" if not train.any() else "test"
        raise ProtocolError(
            f"The rule '{rule}' leaves no {empty} event of {len(log):,} in '{data.name}'; choose other shares or another rule."
        )
    known = data.with_interactions(log.take(train))
    events = log.take(test)
    before = train | valid
    left = _left_out(data, log.users[before], log.items[before], events)
    held = log.take(valid) if valid.any() else None
    return Split(known, held, events, Protocol(rule=rule, left_out=left, **facts))  # type: ignore[arg-type]


def _left_out(data: Dataset, users: Ids, items: Ids, test: Interactions) -> tuple[str, ...]:
    """Sentences on test users and items of which no known event speaks."""
    if not data.has_pairs:
        return ()
    out = []
    had, asked = np.zeros(data.num_users, bool), np.zeros(data.num_users, bool)
    had[users], asked[test.users] = True, True
    fresh = int((asked & ~had).sum())
    if fresh:
        out.append(
            f"{fresh:,} of {int(asked.sum()):,} test users have no training event; they are asked as newcomers and get popular items."
        )
    heard = np.zeros(data.num_items, bool)
    heard[items] = True
    cold = int(np.count_nonzero(~heard[test.items]))
    if cold:
        out.append(
            f"{cold:,} of {len(test):,} test events are of items without a training event, which no "
            "collaborative model can recommend; they stay in the denominator."
        )
    return tuple(out)


def split_by_time(data: Dataset, *, test: float = 0.2, valid: float = 0.1, cut: int | None = None) -> Split:
    """One point in time for everybody: what happened before is known, what came after is asked.

    test, valid: shares of the events after the cuts (the validation part is taken from the time just before the test
    cut). cut: microseconds, in place of a share. All events of the moment of the cut go to the later side.
    """
    times = data.interactions.times
    if times is None or not len(times) or times.min() == times.max():
        raise ProtocolError(
            f"A split by time needs times that differ, and '{data.name}' has none; use 'holdout' or 'leave-last' (which then "
            "follows the order of the rows)."
        )
    at = _nth(times, min(len(times) - 1, int(len(times) * (1 - test)))) if cut is None else cut
    late = times >= at
    before = len(times) - int(np.count_nonzero(late))
    held = np.zeros(len(times), bool)
    if valid > 0 and before:
        start = _nth(times, min(before - 1, int(before * (1 - valid))))
        held = (times >= start) & ~late
    return _parts(data, "time", ~late & ~held, held, late, cut=at)


def _nth(times: NDArray[np.int64], n: int) -> int:
    """The n-th smallest, from 0; a log in order of time is only looked at."""
    return int(times[n] if rising(times) else np.partition(times, n)[n])


def _places(log: Interactions, order: NDArray[np.int64], num_users: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The place of each event within its user under an order by user, int32 [n], and the events of each user."""
    counts = np.bincount(log.users, minlength=num_users)
    starts = np.cumsum(counts) - counts
    place = np.empty(len(log), np.int32)
    place[order] = np.arange(len(log)) - np.repeat(starts, counts)
    return place, counts


def split_leave_last(data: Dataset, *, test: int = 1, valid: int = 1) -> Split:
    """The last `test` events of each user are asked, the `valid` before them validate.

    Other people's later events are in training, so this leaks the future of the crowd; users with too few events stay
    in training whole.
    """
    _need_users(data, "leave-last")
    log = data.interactions
    place, counts = _places(log, log.order(), data.num_users)
    from_end = counts.astype(np.int32)[log.users] - 1 - place
    enough = (counts > test + valid)[log.users]
    late = enough & (from_end < test)
    held = enough & ~late & (from_end < test + valid)
    return _parts(data, "leave-last", ~late & ~held, held, late)


def split_last_share(data: Dataset, *, test: float = 0.1, valid: float = 0.0) -> Split:
    """The last floor(test · n) of each user's n events are asked, the floor(valid · n) before them validate.

    The protocol of the stability literature. Other people's later events are in training, as under `leave-last`; users
    with too few events stay in training whole.
    """
    log = data.interactions
    place, counts = _places(log, log.order(), data.num_users)
    from_end = counts[log.users] - 1 - place
    asked = np.floor(counts * test + 1e-9).astype(np.int64)[log.users]
    held = np.floor(counts * valid + 1e-9).astype(np.int64)[log.users]
    late = from_end < asked
    tried = ~late & (from_end < asked + held)
    return _parts(data, "last-share", ~late & ~tried, tried, late)


def split_holdout(data: Dataset, *, test: float = 0.2, valid: float = 0.1, seed: int = 0) -> Split:
    """A random share of each user's events is asked; every user with two events or more keeps at least one.

    A log without users is cut by `split_rows`."""
    if not data.has_pairs:
        return split_rows(data, test=test, valid=valid, seed=seed)
    log = data.interactions
    key = keyed_hash(int(generator(seed, "holdout").integers(1 << 62)), log.rows)
    place, counts = _places(log, by_user(log.users, key), data.num_users)
    # Stochastic rounding by user, so that the share holds over all users and not only over the heavy ones.
    luck = generator(seed, "rounding").random((2, data.num_users))
    asked = np.minimum(np.floor(counts * test + luck[0]).astype(np.int64), np.maximum(counts - 1, 0))
    held_n = np.minimum(np.floor(counts * valid + luck[1]).astype(np.int64), np.maximum(counts - asked - 1, 0))
    late = place < asked[log.users]
    held = ~late & (place < (asked + held_n)[log.users])
    return _parts(data, "holdout", ~late & ~held, held, late, seed=seed)


def split_by_user(
    data: Dataset,
    *,
    test: float = 0.2,
    valid: float = 0.1,
    given: float = 0.8,
    by: str | None = None,
    seed: int = 0,
) -> Split:
    """A share of the *users* is asked: nothing of them is trained on, `given` of their events is their history.

    by: a column of the table of users (a source, a region) whose values go to one part whole, so that what users of
    one kind share cannot leak; the shares are then of kinds.

    The split keeps their histories out of training, so models must answer them as newcomers; the given events are in
    `protocol`'s history through the validation part only where it is the same user.
    """
    _need_users(data, "users")
    rng = generator(seed, "users")
    draw = rng.random(data.num_users)
    if by is not None:
        kinds = _kinds(data, by)
        draw = rng.permutation(kinds.max() + 1)[kinds] / (kinds.max() + 1)
    log = data.interactions
    asked_user = draw < test
    held_user = ~asked_user & (draw < test + valid)
    place, counts = _places(log, log.order(), data.num_users)
    later = place >= np.ceil(counts * given).astype(np.int64)[log.users]
    late = asked_user[log.users] & later
    held = held_user[log.users] & later
    known = ~(asked_user | held_user)[log.users]
    split = _parts(data, "users", known, held, late, seed=seed)
    history = data.with_interactions(log.take(known | ((asked_user | held_user)[log.users] & ~later)))
    return Split(split.train, split.valid, split.test, split.protocol, history)


def _kinds(data: Dataset, column: str) -> NDArray[np.int64]:
    """A code of each user's value in a column of the table of users; users without one share a code."""
    table = data.tables.get("users")
    if table is None or column not in table.columns:
        raise ProtocolError(f"'{data.name}' has no column '{column}' in its table of users to split by.")
    values = [str(v) for v in table[column].to_list()]
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def split_cold_items(data: Dataset, *, test: float = 0.2, valid: float = 0.1, seed: int = 0) -> Split:
    """A share of the *items* is asked: all their events are test events. For models that read item content."""
    _need_users(data, "cold-items")
    draw = generator(seed, "cold items").random(data.num_items)
    items = data.interactions.items
    late = draw[items] < test
    held = ~late & (draw[items] < test + valid)
    return _parts(data, "cold-items", ~late & ~held, held, late, seed=seed)


def split_rows(data: Dataset, *, test: float = 0.2, valid: float = 0.1, seed: int = 0) -> Split:
    """A random share of all rows is asked, whoever's they are: for models that predict single rows."""
    key = keyed_hash(int(generator(seed, "rows").integers(1 << 62)), data.interactions.rows)
    place = key.astype(np.float64) / 2.0**64
    late = place < test
    held = ~late & (place < test + valid)
    return _parts(data, "rows", ~late & ~held, held, late, seed=seed)


PARTS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing"),
}


def published_parts(data: Dataset) -> str | None:
    """The context field that says which part each row belongs to: text with 'train' and 'test' among its values."""
    for name, column in data.interactions.fields.items():
        if name in ("part", "split", "set", "fold") and column.dtype.kind == "U":
            found = set(np.unique(column).tolist())
            if found & {*PARTS["train"]} and found & {*PARTS["test"]}:
                return name
    return None


def split_published(data: Dataset, *, column: str | None = None) -> Split:
    """The published parts of one file: a context field says train, valid (or validation, dev) or test of every row.

    Rows of any other value are left out, and it is said. column: its name, where it is not part, split, set or fold.
    """
    column = column or published_parts(data)
    if column is None or column not in data.interactions.fields:
        raise ProtocolError(
            f"'{data.name}' has no column that says train or test of every row"
            + (f" (asked: '{column}')" if column else "")
            + "; choose another rule, such as time, holdout or rows."
        )
    told = data.interactions.fields[column]
    train, valid, test = (np.isin(told, PARTS[part]) for part in ("train", "valid", "test"))
    split = _parts(data, "published", train, valid, test)
    other = len(told) - int(train.sum() + valid.sum() + test.sum())
    if other:
        said = f"{other:,} rows are of no part (column '{column}') and were left out."
        protocol = replace(split.protocol, left_out=(*split.protocol.left_out, said))
        return Split(split.train, split.valid, split.test, protocol)
    return split


def _need_users(data: Dataset, rule: str) -> None:
    if not data.has_pairs:
        raise ProtocolError(
            f"The rule '{rule}' goes by users and items, and '{data.name}' has none; use 'rows', 'time' or 'published'."
        )


def split_from_parts(
    train: Dataset,
    test: Interactions,
    valid: Interactions | None = None,
    *,
    carve: float = 0.05,
    target: str | None = None,
    seed: int = 0,
) -> Split:
    """Given files. Without a validation file, `carve` of the training events (random, by user) become one, so that
    nothing is ever chosen on the test part. target: the domain that is asked for and ranked."""
    candidates = "all" if target is None else f"domain:{domains(train).names[domains(train).code(target)]}"
    if valid is None and carve > 0:
        inner = split_holdout(train, test=carve, valid=0.0, seed=seed)
        kept, valid = inner.train, inner.test
    else:
        kept = train
    known = train if valid is None else kept.with_interactions(train.interactions)
    return Split(
        kept,
        valid,
        test,
        Protocol(
            "files",
            candidates,
            seed=seed,
            left_out=_left_out(known, known.interactions.users, known.interactions.items, test),
        ),
    )


def split_none(data: Dataset) -> Split:
    """No test part: everything trains."""
    empty = data.interactions.take(np.zeros(len(data), bool))
    return Split(data, None, empty, Protocol(rule="none"))


def kfold(data: Dataset, *, folds: int = 5, seed: int = 0) -> list[Split]:
    """Random folds of events: each is the test part once."""
    place = keyed_hash(int(generator(seed, "folds").integers(1 << 62)), data.interactions.rows) % np.uint64(folds)
    none = np.zeros(len(data), bool)
    return [_parts(data, "k-fold", place != f, none, place == f, seed=seed) for f in range(folds)]
