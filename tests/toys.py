"""Small logs with known answers."""

from __future__ import annotations

import numpy as np
import polars as pl

from oakum.data import Dataset, Interactions, Vocabulary


def log_of(
    pairs: list[tuple[int, int]], users: int, items: int, *, times: list[int] | None = None, name: str = "toy"
) -> Dataset:
    """A data set from (user, item) codes; ids are u0, u1, … and i0, i1, …"""
    u, i = (np.array(x, np.int32) for x in zip(*pairs, strict=True))
    moments = np.arange(len(pairs), dtype=np.int64) * 1_000_000 if times is None else np.array(times, np.int64)
    ids = lambda letter, n: Vocabulary(pl.Series("id", [f"{letter}{k}" for k in range(n)]))
    log = Interactions(u, i, None, moments)
    return Dataset(log, ids("u", users), ids("i", items), {"items": described(items)}, name=name)


def described(items: int) -> pl.DataFrame:
    """What is told of the items: a title, a category and a domain, all by the parity of the code."""
    kinds = ["even", "odd"]
    return pl.DataFrame(
        {
            "title": [f"{kinds[i % 2]} thing {'abcdefghij'[i // 10 % 10]}{'klmnopqrst'[i % 10]}" for i in range(items)],
            "category": [kinds[i % 2] for i in range(items)],
            "domain": [("left", "right")[i % 2] for i in range(items)],
        }
    )


def checkerboard(n: int = 50) -> Dataset:
    """User u has every item of u's parity but item u itself: the item withheld is the only thing left to recommend."""
    pairs = [(u, i) for u in range(n) for i in range(n) if (u + i) % 2 == 0 and u != i]
    return log_of(pairs, n, n, name="checkerboard")


def walks(n: int = 20, length: int = 8) -> Dataset:
    """User u walks the ring of items from u on, one step an event: what comes next is the next item."""
    pairs = [(u, (u + s) % n) for u in range(n) for s in range(length)]
    times = [s * 1_000_000 for _ in range(n) for s in range(length)]
    return log_of(pairs, n, n, times=times, name="walks")


def random_log(users: int = 40, items: int = 30, events: int = 600, seed: int = 0) -> Dataset:
    """A random log with a little structure, every user and item present."""
    rng = np.random.default_rng(seed)
    taste, kind = rng.integers(0, 3, users), rng.integers(0, 3, items)
    pairs = []
    while len(pairs) < events:
        u, i = int(rng.integers(users)), int(rng.integers(items))
        if taste[u] == kind[i] or rng.random() < 0.25:
            pairs.append((u, i))
    pairs += [(u, u % items) for u in range(users)] + [(i % users, i) for i in range(items)]
    return log_of(pairs, users, items, name="random")


def beside(data: Dataset, items: int = 8, share: int = 2) -> Dataset:
    """The same log with a second product line: after every `share` events of a user comes one of `items` further items,
    chosen by the item before it. The items of the log are of the domain "main", the others of "side"."""
    log = data.interactions
    order = log.order()
    u, i = log.users[order], log.items[order]
    starts = np.flatnonzero(np.diff(u, prepend=-1))
    place = np.arange(len(u)) - np.repeat(starts, np.diff(np.append(starts, len(u))))
    then = place % share == share - 1
    users = np.concatenate([u, u[then]])
    codes = np.concatenate([i, data.num_items + i[then] % items]).astype(np.int32)
    times = np.concatenate([2 * place, 2 * place[then] + 1]) * 1_000_000
    rows = np.concatenate([log.rows[order], log.rows.max() + 1 + np.arange(then.sum())])
    ids = Vocabulary(pl.concat([data.items.ids, pl.Series("id", [f"s{k}" for k in range(items)])]))
    table = pl.DataFrame({"domain": ["main"] * data.num_items + ["side"] * items})
    events = Interactions(users, codes, None, times, rows)
    return Dataset(events, data.users, ids, {"items": table}, name=f"{data.name} and a side line")


def labelled_rows(rows: int = 500, seed: int = 0, *, pairs: bool = True) -> Dataset:
    """Clicks on impressions: a site, tags, a price and an hour decide; users and items where `pairs`."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, 30, rows), rng.integers(0, 12, rows)
    site, price = rng.integers(0, 5, rows), rng.normal(size=rows)
    tags = [rng.choice(4, rng.integers(0, 3), replace=False) for _ in range(rows)]
    sway = np.array([2.0, -2.0, 1.0, -1.0, 0.0])[site] + np.array([1.5, -1.5, 0, 1.0] * 3)[items] * pairs
    sway += 1.5 * price + np.array([sum((1.0, -1.0, 0.5, 0.0)[t] for t in own) for own in tags])
    label = (rng.random(rows) < 1 / (1 + np.exp(-sway))).astype(np.float32)
    fields = {
        "site": np.array([f"s{k}" for k in site]),
        "tags": np.array(["|".join(f"t{t}" for t in own) for own in tags]),
        "price": price,
        "hour": rng.integers(0, 4, rows),
    }
    fields["hour"][:3] = 0
    nobody = np.full(rows, -1, np.int32)
    ids = lambda letter, n: Vocabulary(
        pl.Series("id", [f"{letter}{k:02}" for k in range(n if pairs else 0)], dtype=pl.String)
    )
    log = Interactions(
        users.astype(np.int32) if pairs else nobody, items.astype(np.int32) if pairs else nobody, label, fields=fields
    )
    tables = {"users": pl.DataFrame({"age": [k % 3 for k in range(30)]})} if pairs else {}
    return Dataset(log, ids("u", 30), ids("i", 12), tables, name="clicks")
