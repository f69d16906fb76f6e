"""The data of the benchmarks, as folders of plain arrays that every peer reads alike.

Real sets come from the folder OAKUM_DATA names, in their published splits; where one is not there a synthetic log of the
same size takes its place, and the rows say so. Everything else is drawn here from fixed seeds.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.envs import cache
from oakum.bench.machine import facts as of_matrix

Ints = NDArray[np.integer]
Arrays = dict[str, NDArray[Any]]
SIZES = {  # users, items, training events, test events a user, of the sets that real ones are published in
    "ml-1m": (6_022, 3_043, 796_244, 17),
    "gowalla": (29_858, 40_981, 810_128, 7),
    "games": (31_013, 23_715, 256_000, 1),
    "toy": (60, 80, 900, 2),
    "warm": (5_000, 2_000, 550_000, 2),  # large enough for the kernels of large logs
}


def folder_of(name: str) -> Path:
    """The folder of a set, made where it is missing."""
    folder = cache() / "data" / ("real" if "OAKUM_DATA" in os.environ else "drawn") / name
    if (folder / "facts.json").exists():
        return folder
    kind, _, size = name.partition("-")
    makers: dict[str, Callable[[int, Path], Arrays]] = {
        "log": log, "factors": factors, "lists": lists, "vectors": vectors,
    }  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if kind in makers:
        arrays, note = makers[kind](int(size), folder), "synthetic"
    elif kind == "frappe":
        arrays, note = frappe(size == "toy")
    else:
        arrays, note = interactions(name)
    for key, value in arrays.items():
        np.save(folder / f"{key}.npy", value)
    (folder / "facts.json").write_text(json.dumps({"note": note, **facts(arrays)}), encoding="utf-8")
    return folder


def facts(arrays: Arrays) -> dict[str, float]:
    """Sizes that limits are worked out from."""
    if "train_shape" not in arrays:
        return {k: len(v) for k, v in arrays.items()}
    shape = tuple(int(n) for n in arrays["train_shape"])
    pointers, codes = arrays["train_indptr"], arrays["train_indices"]
    matrix = sparse.csr_matrix((np.ones(len(codes), np.float32), codes, pointers), shape=shape)
    return {**of_matrix(matrix), "asked": len(arrays["test_users"])}


def published(*parts: str) -> Path | None:
    """A file of the data folder, where it is there."""
    home = os.environ.get("OAKUM_DATA")
    path = Path(home, *parts) if home else None
    return path if path is not None and path.exists() else None


def interactions(name: str) -> tuple[Arrays, str]:
    """Training and test pairs as CSR rows: users by items."""
    if name == "games" and (path := published("amazon-games", "sequences.parquet")):
        frame = pl.read_parquet(path).sort("user_id", "position")
        codes = lambda column: np.unique(frame[column].to_numpy(), return_inverse=True)[1].astype(np.int64)
        return leave_last(codes("user_id"), codes("item_id")), "real"
    folder = {"ml-1m": "movielens-1m-implicit", "gowalla": "gowalla"}.get(name, "")
    if folder and (path := published(folder, "train.parquet")):
        train, test = (pl.read_parquet(path.with_name(f"{part}.parquet")) for part in ("train", "test"))
        both = pl.concat([train.select("user_id", "item_id"), test.select("user_id", "item_id")])
        shape = tuple(int(both[c].max()) + 1 for c in ("user_id", "item_id"))  # type: ignore[arg-type]
        column = lambda t, c: t[c].to_numpy().astype(np.int64)
        pair = lambda t: (column(t, "user_id"), column(t, "item_id"))
        return {**csr("train", *pair(train), shape), **csr("test", *pair(test), shape)}, "real"
    users, items, events, asked = SIZES[name]
    user, item = simulated(users, items, events + users * asked, seed=3)
    if name in ("games", "toy"):
        order = np.random.default_rng(4).permutation(len(user))
        order = order[np.argsort(user[order], kind="stable")]
        return leave_last(user[order], item[order], (users, items)), "synthetic"
    held = np.random.default_rng(4).random(len(user)) < users * asked / len(user)
    shape = (users, items)
    return {**csr("train", user[~held], item[~held], shape), **csr("test", user[held], item[held], shape)}, "synthetic"


def leave_last(user: Ints, item: Ints, shape: tuple[int, int] | None = None) -> Arrays:
    """The last event of everybody with three or more is asked for; the others in their order are sequences."""
    last = np.append(user[1:] != user[:-1], True) & (np.bincount(user)[user] >= 3)
    shape = shape or (int(user.max()) + 1, int(item.max()) + 1)
    return {
        **csr("train", user[~last], item[~last], shape),
        **csr("test", user[last], item[last], shape),
        "sequence_users": user[~last].astype(np.int64),
        "sequence_items": item[~last].astype(np.int64),
    }


def csr(part: str, user: Ints, item: Ints, shape: tuple[int, ...]) -> Arrays:
    """Distinct pairs as the three arrays of a CSR matrix; of the test part also who is in it."""
    key = np.unique(user.astype(np.int64) * shape[1] + item)
    many = np.bincount(key // shape[1], minlength=shape[0])
    pointers = np.concatenate([[0], np.cumsum(many)]).astype(np.int64)
    columns = (key % shape[1]).astype(np.int32)
    out: Arrays = {f"{part}_indptr": pointers, f"{part}_indices": columns, f"{part}_shape": np.array(shape)}
    return out if part == "train" else {**out, "test_users": np.flatnonzero(np.diff(pointers))}


def simulated(users: int, items: int, events: int, *, seed: int) -> tuple[Ints, Ints]:
    """Distinct pairs by user: log-normal users, Zipf items, tastes of 64 groups so that there is something to learn."""
    rng = np.random.default_rng(seed)
    weight = rng.lognormal(0, 1, users)
    chance = np.cumsum(1 / np.arange(1, items + 1) ** 0.9)
    key = np.empty(0, np.int64)
    group = rng.integers(0, 64, users)
    while len(key) < events:
        user = np.searchsorted(np.cumsum(weight / weight.sum()), rng.random(events)).clip(max=users - 1)
        rank = np.searchsorted(chance / chance[-1], rng.random(events)).clip(max=items - 1)
        own = (rank // 64 * 64 + group[user]).clip(max=items - 1)
        key = np.unique(np.append(key, user * np.int64(items) + np.where(rng.random(events) < 0.7, own, rank)))
    key = np.sort(rng.choice(key, events, replace=False))
    return key // items, rng.permutation(items)[key % items]


def log(rows: int, folder: Path) -> Arrays:
    """An event log of `rows` thousand as Parquet and CSV: gappy 64-bit ids, rating, time in rising order."""
    n, rng = rows * 1000, np.random.default_rng(1)
    users, items = (1_000_000, 200_000) if rows >= 100 else (500, 300)
    user, item = simulated(users, items, n, seed=2)
    order = rng.permutation(n)
    ids = lambda size, first: first + rng.permutation(size * 7)[:size].astype(np.int64)
    frame = pl.DataFrame(
        {
            "user_id": ids(users, 10_000_000)[user[order]],
            "item_id": ids(items, 500_000)[item[order]],
            "rating": rng.integers(1, 6, n).astype(np.float32),
            "timestamp": np.sort(rng.integers(1_500_000_000, 1_700_000_000, n)),
        }
    )
    frame.write_parquet(folder / "log.parquet")
    frame.write_csv(folder / "log.csv")
    return {"rows": np.arange(n, dtype=np.int32)}


def factors(items: int, folder: Path) -> Arrays:
    """Random factors of 64 with what each user has seen: the rows of real sets where the size is theirs, 30 items else."""
    rng = np.random.default_rng(0)
    found = {3043: "ml-1m", 40981: "gowalla", 80: "toy"}.get(items)
    if found:
        source = folder_of(found)
        arrays = {k: np.load(source / f"{k}.npy") for k in ("train_indptr", "train_indices", "train_shape")}
    else:
        arrays = csr("train", np.repeat(np.arange(5000), 30), rng.integers(0, items, 150_000), (5000, items))
    users = int(arrays["train_shape"][0])
    draw = lambda n: rng.standard_normal((n, 64), dtype=np.float32)
    return {**arrays, "user_factors": draw(users), "item_factors": draw(items), "test_users": np.arange(users)}


def lists(users: int, folder: Path) -> Arrays:
    """Top-20 lists of `users` thousand people over 100,000 items, about ten relevant items each."""
    n, items, rng = users * 1000, 100_000, np.random.default_rng(0)
    top = (rng.integers(0, items, (n, 1)) + np.arange(20) * 97) % items  # distinct in a row
    scores = np.sort(rng.random((n, 20), dtype=np.float32))[:, ::-1]
    many = rng.integers(1, 20, n)
    user = np.repeat(np.arange(n), many)
    place = np.arange(len(user)) - np.repeat(np.cumsum(many) - many, many)
    hit = rng.random(len(user)) < 0.3
    item = np.where(hit, top[user, place], (top[user, 0] + 50 + 97 * (place + 1)) % items)
    return {"top": top, "scores": np.ascontiguousarray(scores), "truth_users": user, "truth_items": item}


def vectors(thousands: int, folder: Path) -> Arrays:
    """Unit vectors of 64 with a decaying spectrum and soft clusters, 1000 requests, and the exact ten best of each under
    no filter and under filters that let a tenth and a hundredth pass."""
    n, rng = thousands * 1000, np.random.default_rng(0)
    fade = (np.arange(1, 65) ** -0.5).astype(np.float32)
    middles = rng.standard_normal((300, 64), dtype=np.float32)
    draw = lambda m: (0.5 * middles[rng.integers(0, 300, m)] + rng.standard_normal((m, 64), dtype=np.float32)) * fade
    unit = lambda x: np.ascontiguousarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)
    x, q = unit(draw(n)), unit(draw(1000))
    luck = rng.random(n)
    out: Arrays = {"vectors": x, "queries": q}
    for name, share in (("plain", 1.0), ("ten", 0.1), ("one", 0.01)):
        passing = np.flatnonzero(luck < share).astype(np.int32)
        found = []
        for part in np.array_split(q, 20):
            scores = part @ x[passing].T
            some = np.argpartition(-scores, 10, axis=1)[:, :10]
            order = np.argsort(-np.take_along_axis(scores, some, 1), axis=1)
            found.append(passing[np.take_along_axis(some, order, 1)])
        out[f"truth_{name}"] = np.concatenate(found)
        if share < 1:
            out[f"pass_{name}"] = passing
    return out


def frappe(toy: bool) -> tuple[Arrays, str]:
    """Labelled rows of ten fields, coded from 0: the validation file of the published split trains, its test file tests."""
    path = None if toy else published("frappe", "nfm_validation.parquet")
    if path is not None:
        parts = [pl.read_parquet(path), pl.read_parquet(path.with_name("nfm_test.parquet"))]
        columns = [c for c in parts[0].columns if c != "label"]
        codes = np.concatenate([p.select(columns).to_numpy() for p in parts]).astype(np.int64)
        labels = np.concatenate([p["label"].to_numpy() for p in parts]) > 0
        cut = len(parts[0])
    else:
        rng, n = np.random.default_rng(0), 600 if toy else 86_582
        cut = n * 2 // 3
        sizes = (957, 4082, 7, 7, 2, 3, 2, 9, 80, 233)
        codes = np.stack([rng.zipf(1.5, n) % min(s, n // 20) for s in sizes], 1)
        labels = (codes[:, 0] * 7 + codes[:, 1] * 3) % 5 + rng.normal(0, 1, n) > 2.5
    for column in codes.T:
        column[:] = np.unique(column, return_inverse=True)[1]
    return {
        "x": codes[:cut], "y": labels[:cut].astype(np.float32), "test_x": codes[cut:],
        "test_y": labels[cut:].astype(np.float32), "sizes": codes.max(0) + 1,
    }, "synthetic" if path is None else "real"  # fmt: skip
