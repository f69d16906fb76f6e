"""What CASPER's sheet says holds: similarities, the graph, and one event's effect beside a seed's."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

from oakum.claims.base import Claim, Context, Outcome
from oakum.claims.lists import Bench, Lists, ask, bench, mean_of, pair, rls, time_ordered

SEEDS = (0, 1)
DRAWS = (0, 1, 2, 3, 4, 5)


# --- without training -----------------------------------------------------------------------------------------------
def similarities(context: Context) -> Outcome:
    """Self, disjoint and independent lists; agreement with sets; symmetry."""
    import numpy as np

    from oakum.data import Ranking
    from oakum.metrics.stability import average_overlap, frbo, jaccard, rank_list_sensitivity
    from oakum.seeds import generator

    rng = generator(context.seed, "claims", "lists")
    lists = lambda rows: Ranking(np.asarray(rows, np.int32), np.zeros(np.shape(rows), np.float32))
    a, b = (lists([rng.permutation(1000) for _ in range(40)]) for _ in range(2))
    same = min(float(v.min()) for v in rank_list_sensitivity(a, a).values())
    apart = float(frbo(lists([np.arange(10)]), lists([np.arange(10, 20)]), 10)[0])
    independent = float(average_overlap(a, b, 1000).mean())
    gap = 0.0
    for x, y, f, j, o in zip(
        a.items, b.items, frbo(a, b, 10), jaccard(a, b, 10), average_overlap(a, b, 100), strict=True
    ):
        share = [len(set(x[:d]) & set(y[:d])) / d for d in range(1, 101)]
        wanted = 0.1 * sum(0.9 ** (d - 1) * share[d - 1] for d in range(1, 11)) / (1 - 0.9**10)
        top = set(x[:10]), set(y[:10])
        gap = max(gap, abs(f - wanted), abs(j - len(top[0] & top[1]) / len(top[0] | top[1])), abs(o - np.mean(share)))
    back, forth = rank_list_sensitivity(b, a), rank_list_sensitivity(a, b)
    uneven = max(float(np.abs(back[n] - forth[n]).max()) for n in back)
    holds = same == 1.0 and apart == 0.0 and abs(independent - 0.5) <= 0.01 and max(gap, uneven) <= 1e-12
    return Outcome(
        f"self {same:g}; disjoint {apart:g}; independent orders {independent:.3f}; off the sets by {gap:.0e}, asymmetry {uneven:.0e}",
        holds,
    )


def graph(context: Context) -> Outcome:
    """The largest cascade is that of a row nothing leads to; without items, the rest of a history."""
    import numpy as np

    from oakum.kernels.cascade import links, reach, roots
    from oakum.seeds import generator

    rng = generator(context.seed, "claims", "rows")
    users, items = rng.integers(0, 15, 200), rng.integers(0, 25, 200)
    by = links(users, items)
    found: list[set[int]] = [set() for _ in range(200)]
    for j in range(199, -1, -1):  # all that a row reaches, as sets, from the last row on
        later = [i for i in range(j + 1, 200) if users[i] == users[j]][:1]
        later += [i for i in range(j + 1, 200) if items[i] == items[j]][:1]
        found[j] = {j}.union(*(found[i] for i in later))
    wanted = [len(f) for f in found]
    every = reach(*by, np.arange(200)).tolist() == wanted
    starts = roots(*by)
    best = int(reach(*by, starts).max())
    alone = reach(*links(users, np.arange(200)), np.arange(200)).tolist()
    left = [int((users[j:] == users[j]).sum()) for j in range(200)]
    return Outcome(
        f"{len(starts)} rows without predecessor; largest {best}, of all rows {max(wanted)}; all 200 counts "
        f"{'equal' if every else 'differ'}; without items {'the rest of the history' if alone == left else 'something else'}",
        every and best == max(wanted) and alone == left,
    )


def doubling(context: Context) -> Outcome:
    """Seconds of the search over growing parts of MovieLens-100K, and over Wikipedia's many first rows."""
    import time

    import numpy as np

    from oakum.attacks.profiles.casper import cascades, in_time
    from oakum.data.read import read
    from oakum.kernels.cascade import links, roots

    def clock(data: Any, length: int) -> tuple[float, int]:
        log = data.interactions
        best = float("inf")
        for _ in range(7):
            began = time.process_time()
            cascades(data, length)
            best = min(best, time.process_time() - began)
        order = in_time(data)
        return best, len(roots(*links(log.users[order], log.items[order], length)))

    data = read(context.folder("movielens-100k") / "interactions.parquet", name="movielens-100k")
    log = data.interactions
    early = in_time(data)
    clock(data, 0)  # compiles
    found = [(n, *clock(data.with_interactions(log.take(np.sort(early[:n]))), 0)) for n in (25_000, 50_000, 100_000)]
    wiki, many = clock(read(context.folder("wikipedia-edits") / "interactions.parquet", name="wikipedia"), 49)
    words = "; ".join(f"{n:,} rows {1000 * s:.0f} ms ({z} first rows)" for n, s, z in found)
    ratios = [b[1] / a[1] for a, b in itertools.pairwise(found)]
    few = max(z for _, _, z in found) <= 64 * 8
    return Outcome(
        f"{words}; wikipedia-edits, 157,474 rows, windows of 50: {many:,} first rows, {wiki:.2f} s",
        few and max(ratios) < 2.6,
        ""
        if max(ratios) < 2.6
        else "The clock is coarse at a few milliseconds; sorting and the cache grow a little faster.",
    )


# --- with training --------------------------------------------------------------------------------------------------
@cache
def _bench(data_dir: Any, name: str, people: int) -> Bench:
    return bench(data_dir / name, name, people=people)


@cache
def _change(data_dir: Any, name: str, people: int, pick: str, edit: str, draw: int) -> Any:
    from oakum.attacks.base import Budget, Goal, propose
    from oakum.attacks.profiles.casper import CASPER

    data = _bench(data_dir, name, people).train
    technique = CASPER(pick=pick, edit=edit, max_length=0)  # type: ignore[arg-type]
    return propose(technique, data, Goal((), "degrade"), Budget(edits=1), seed=draw).change


@cache
def _fit(
    data_dir: Any, name: str, people: int, pick: str, seed: int, draw: int = 0, edit: str = "delete", how: str = ""
) -> Lists:
    """Lists after one event was edited (pick "" leaves the log whole). how: "kept" leaves the event out of unchanged batches,
    "time" learns from batches in order of time, "time kept" both."""
    from oakum.engine.fit import fit
    from oakum.models.sequential.gru4rec import GRU4Rec
    from oakum.plugins.left_out import LeftOut

    on = _bench(data_dir, name, people)
    data, plugins = on.train, []
    if pick:
        change = _change(data_dir, name, people, pick, edit, draw)
        if "kept" in how:
            plugins = [LeftOut(rows=tuple(int(r) for r in change.remove))]
        else:
            data = change.apply(data)
    # Histories are read whole, so that no event is outside of what the model reads.
    spec, plan = (
        GRU4Rec(embedding_dim=32, dropout=0.0, max_length=200),
        {"epochs": 15, "batch_size": 32, "learning_rate": 5e-3},
    )
    if "time" in how:
        spec = time_ordered(20)(embedding_dim=32, dropout=0.0, max_length=20)
        plan = {"epochs": 8, "batch_size": 512, "learning_rate": 5e-3}
    return ask(fit(spec, data, plan=plan, plugins=plugins, seed=seed), on)


def _moved(folder: Any, name: str, people: int, pick: str, seed: int, **how: Any) -> dict[str, float]:
    base = {"how": "time"} if "time" in how.get("how", "") else {}
    return rls(_fit(folder, name, people, "", seed, **base), _fit(folder, name, people, pick, seed, **how))


def _ml(context: Context) -> tuple[Any, str, int]:
    return context.folder("movielens-100k").parent, "movielens-100k", 300


def determinism(context: Context) -> Outcome:
    """The same log and seed, fitted twice."""
    where = _ml(context)
    a = _fit(*where, "", 0)
    b = _fit.__wrapped__(*where, "", 0)
    found = rls(a, b)
    return Outcome(", ".join(f"{n} {v:g}" for n, v in found.items()), all(v == 1.0 for v in found.values()))


def _reach(where: tuple[Any, str, int], pick: str, draw: int) -> float:
    """The share of the rows that an edited row reaches."""
    import numpy as np

    from oakum.attacks.profiles.casper import in_time
    from oakum.kernels.cascade import links, reach

    data = _bench(*where).train
    order = in_time(data)
    log = data.interactions
    at = np.flatnonzero(log.rows[order] == _change(*where, pick, "delete", draw).remove[0])
    return float(reach(*links(log.users[order], log.items[order]), at)[0]) / len(log)


def _against_random(
    where: tuple[Any, str, int], seeds: tuple[int, ...], draws: tuple[int, ...], how: str = ""
) -> tuple[str, bool]:
    """One deletion of CASPER's row and of random rows, in words, and whether CASPER's moves lists more than each."""
    import numpy as np
    from scipy.stats import spearmanr

    rows = [("cascade", 0), *(("random", d) for d in draws)]
    means = [mean_of([_moved(*where, p, s, draw=d, how=how) for s in seeds]) for p, d in rows]
    share = [_reach(where, p, d) for p, d in rows]
    values = [m["frbo@10"] for m in means]
    rank = float(spearmanr(share, [1 - v for v in values]).statistic) if len(set(values)) > 1 else float("nan")
    words = (
        f"CASPER {pair(means[0])} (reaches {100 * share[0]:.1f} %); random rows {', '.join(pair(m) for m in means[1:])} (reach "
        f"{100 * min(share[1:]):.0f} to {100 * max(share[1:]):.0f} %); CASPER moves lists more than {int(np.sum(np.array(values[1:]) > values[0]))} "
        f"of {len(draws)}; reach and effect correlate by {rank:.2f} (ranks)"
    )
    return words, values[0] < min(values[1:])


def below_random(context: Context) -> Outcome:
    """One deletion under two seeds: CASPER's row, six random rows, the last row; and the same in unchanged batches."""
    where = _ml(context)
    words, below = _against_random(where, SEEDS, DRAWS)
    last = mean_of([_moved(*where, "last", s) for s in SEEDS])
    kept = mean_of([_moved(*where, "cascade", s, how="kept") for s in SEEDS])
    drawn = mean_of([_moved(*where, "random", s, draw=d, how="kept") for s in SEEDS for d in DRAWS[:2]])
    noise = rls(_fit(*where, "", 0), _fit(*where, "", 1))
    gaps = [
        abs(_fit(*where, "cascade", s).quality["recall@10"] - _fit(*where, "", s).quality["recall@10"]) for s in SEEDS
    ]
    accuracy = max(gaps) <= 0.003
    why = (
        "How many rows follow does not decide how far lists move here: reach and effect do not go together, and unchanged batches "
        "give the same agreement. Batches of like lengths are shuffled in every epoch, so what is early in time is not early in "
        "training; see 'time-batches' for the reference's order."
    )
    return Outcome(
        f"{words}; a last row {pair(last)}; in unchanged batches CASPER {pair(kept)}, random {pair(drawn)}; another seed "
        f"{pair(noise)}; Recall@10 moves by at most {max(gaps):.4f}",
        below and accuracy,
        "" if below and accuracy else why,
    )


def time_batches(context: Context) -> Outcome:
    """The reference's batches in order of time: CASPER's row and three random ones under two seeds, and unchanged batches."""
    where = _ml(context)
    words, below = _against_random(where, SEEDS, DRAWS[:3], "time")
    kept = mean_of([_moved(*where, "cascade", s, how="time kept") for s in SEEDS])
    why = (
        "In the reference's order rows with more reach do tend to move lists more, but single draws scatter more than rows differ. "
        "In unchanged batches CASPER's row moves lists as much: it is not the shifted boundaries."
    )
    return Outcome(f"{words}; CASPER in unchanged batches {pair(kept)}", below, "" if below else why)


def other_seed(context: Context) -> Outcome:
    """The same log under another seed, beside one event under the same seed."""
    where = _ml(context)
    noise = [rls(_fit(*where, "", 0), _fit(*where, "", 1))]
    one = mean_of([_moved(*where, "cascade", s) for s in SEEDS])
    both = rls(_fit(*where, "", 0), _fit(*where, "cascade", 1))
    found = mean_of(noise)
    return Outcome(
        f"another seed {pair(found)} (whole lists: RBO {found['rbo']:.3f}, average overlap {found['average_overlap']:.3f}); "
        f"one event {pair(one)} ({one['rbo']:.3f}, {one['average_overlap']:.3f}); both {pair(both)}",
        found["frbo@10"] < one["frbo@10"] - 0.3,
    )


def kinds(context: Context) -> Outcome:
    """Deletion, replacement and insertion at CASPER's row and at a random one, means over two seeds and, for random rows, two draws."""
    where = _ml(context)
    words, holds = [], True
    for edit in ("delete", "replace", "insert"):
        a = mean_of([_moved(*where, "cascade", s, edit=edit) for s in SEEDS])
        b = mean_of([_moved(*where, "random", s, draw=d, edit=edit) for s in SEEDS for d in DRAWS[:2]])
        words.append(f"{edit} {pair(a)} against {pair(b)}")
        holds &= a["frbo@10"] < b["frbo@10"]
    why = "See 'below-random': how many rows follow an edited one does not decide how far lists move."
    return Outcome("; ".join(words), holds, "" if holds else why)


def weak_people(context: Context) -> Outcome:
    """Stability of the halves of people with lower and with higher accuracy, CASPER's deletion."""
    import numpy as np

    from oakum.metrics import measure
    from oakum.metrics.stability import frbo

    where = _ml(context)
    on = _bench(*where)
    people = on.truth.users
    n = np.bincount(people)
    asked = np.flatnonzero(n)
    worth, same = np.zeros(len(n)), np.zeros(len(n))
    for s in SEEDS:
        clean, moved = _fit(*where, "", s), _fit(*where, "cascade", s)
        name = f"mrr@{clean.ranking.k}"
        worth += np.bincount(people, measure(clean.ranking, on.truth, [name])[name])
        same += np.bincount(people, frbo(clean.ranking, moved.ranking, 10))
    mine, agree = (x[asked] / n[asked] / len(SEEDS) for x in (worth, same))
    weak = mine <= np.median(mine)
    low, high = agree[weak], agree[~weak]
    gap = float(high.mean() - low.mean())
    error = float(np.sqrt(low.var(ddof=1) / len(low) + high.var(ddof=1) / len(high)))
    holds = gap > 2 * error
    why = "" if holds else "One deletion moves all lists so little that the halves cannot be told apart."
    return Outcome(
        f"FRBO@10: lower half {low.mean():.4f}, upper half {high.mean():.4f}, difference {gap:.4f} with a standard error of {error:.4f}",
        holds,
        why,
    )


def other_logs(context: Context) -> Outcome:
    """CASPER's row, a random row and another seed on the logs of the papers, two seeds each."""
    words, holds = [], True
    for name, people in (("wikipedia-edits", 600), ("reddit-posts", 1000), ("foursquare-finest", 300)):
        where = (context.folder(name).parent, name, people)
        casper, random = (mean_of([_moved(*where, p, s) for s in SEEDS[:2]]) for p in ("cascade", "random"))
        clean = [_fit(*where, "", s) for s in SEEDS[:2]]
        noise = rls(clean[0], clean[1])
        words.append(
            f"{name} ({len(_bench(*where).train):,} rows): CASPER {pair(casper)}, random {pair(random)}, another seed "
            f"{pair(noise)}, Recall@10 {clean[0].quality['recall@10']:.3f}"
        )
        holds &= noise["frbo@10"] < min(casper["frbo@10"], random["frbo@10"]) < 1
    return Outcome("; ".join(words), holds, "" if holds else "No event moved a list, or a seed moved them less.")


CLAIMS = (
    Claim("similarities", "RLS: 1 with itself, 0 for disjoint top lists, average overlap .50 for independent orders; sets; symmetry", "1; 0; 0.50 ± 0.01; 1e-12", similarities),
    Claim("graph", "The search from rows that nothing leads to finds the largest cascade of all rows; without items it is the rest of the history", "equal on 200 random rows", graph),
    Claim("doubling", "Twice the rows, about twice the time of the search while first rows stay few", "at most about 2", doubling, training=True, seconds=20),
    Claim("determinism", "movielens-100k, 300 people of middling activity, GRU d 32, 15 epochs: same log, same seed", "exactly 1", determinism, ("casper",), True, 5),
    Claim("below-random", "The same: one deletion of CASPER's row moves lists more than any of six random rows; accuracy stays (means over seeds 0–1, FRBO@10/Jaccard@10)", "CASPER .905/.851; random .970/.951, .969/.948, .936/.900; last row .961/.935; Recall@10 within .003 (the sheet's run, one seed)", below_random, (), True, 60),
    Claim("time-batches", "The same with the reference's batches in order of time (windows of 20, 8 epochs, batch 512, seeds 0–1)", "CASPER below every random draw", time_batches, ("casper", "left-out"), True, 60),
    Claim("other-seed", "Another seed moves lists far more than one event does under the same seed", ".187/.131 against .905/.851", other_seed, ("casper",), True, 5),
    Claim("kinds", "CASPER's row moves lists more than a random one under deletion, replacement and insertion", "below, each", kinds, ("casper",), True, 30),
    Claim("weak-people", "People with low accuracy suffer more than those with high accuracy", "lower half below upper half", weak_people, ("casper",), True, 5),
    Claim("other-logs", "On wikipedia-edits (600 people), reddit-posts (1,000) and foursquare-finest (300): one event moves lists, another seed moves them more", "seed below event below 1", other_logs, ("casper",), True, 60),
)  # fmt: skip
