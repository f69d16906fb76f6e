"""What ATJT's sheet says holds, over three sequence models."""

from __future__ import annotations

from functools import cache
from typing import Any

from oakum.claims.base import Claim, Context, Outcome
from oakum.claims.common import apart, chance_above, mean

BASES = ("SASRec", "GRU4Rec", "HSTU")


def _toy(seed: int) -> Any:
    from oakum.data.simulate import Market, simulate

    return simulate(Market(users=60, items=50, events=1500), seed=seed)


def _built(data: Any, seed: int, **settings: Any) -> Any:
    """An untrained plug-in with what it knows of the data."""
    import torch

    from oakum.engine.fit import schema_of
    from oakum.engine.learner import Phase
    from oakum.plugins.atjt import ATJT

    torch.manual_seed(seed)
    spec = ATJT(**settings)
    plugin = spec.build(schema_of(spec, data))
    plugin.put_facts(plugin.prepare(data, Phase()))
    return plugin


def _rows(plugin: Any, data: Any) -> Any:
    import torch

    from oakum.sampling.batches import Batch

    return plugin.lookup(Batch(torch.from_numpy(data.interactions.rows.copy())))


def altered(context: Context) -> Outcome:
    """What the noise task changes, counted place by place."""
    import torch

    from oakum.sampling.views import replaced, some_rows

    data = _toy(context.seed)
    plugin = _built(data, context.seed)
    group = torch.arange(data.num_items) % 3
    plugin.facts["category"] = group
    rows = _rows(plugin, data)
    chosen = some_rows(rows.read, 0.5)
    items = replaced(rows.items, rows.there, chosen, 1, plugin.draw)
    changed = items != rows.items
    right = {
        "one place a chosen row": bool((changed.sum(1) == chosen.long()).all()),
        "half of the rows with a history": int(chosen.sum()) == int(rows.read.sum()) // 2,
        "never padding": not bool((changed & ~rows.there).any()),
        "rows without a history left alone": not bool(changed[~rows.read].any()),
    }
    short = rows.there.sum(1) == 1
    failed = [k for k, v in right.items() if not v]
    return Outcome(
        f"{int(chosen.sum())} of {int(rows.read.sum())} rows altered, {int(changed.sum())} places, padding "
        f"{int((changed & ~rows.there).sum())}; {int((chosen & short).sum())} altered rows have one event",
        not failed and bool((chosen & short).any()),
        f"Fails: {', '.join(failed)}."
        if failed
        else "The category is read from the item that came, so the two cannot disagree.",
    )


def weighting(context: Context) -> Outcome:
    """The weighted mean under a constant g, under another scale, and its gradient through w."""
    import torch

    from oakum.losses import weighted

    torch.manual_seed(context.seed)
    loss, logit = torch.rand(40, dtype=torch.float64), torch.randn(40, dtype=torch.float64, requires_grad=True)
    w = torch.sigmoid(logit)
    flat = float((weighted(loss, torch.full_like(w, 0.3)).mean() - loss.mean()).abs())
    scale = float((weighted(loss, 7 * w).mean() - weighted(loss, w).mean()).abs().detach())
    sums = float((weighted(loss, w).mean() - (w * loss).sum() / w.sum()).abs().detach())
    right = torch.autograd.gradcheck(lambda x: weighted(loss, torch.sigmoid(x)).mean(), (logit,))
    return Outcome(
        f"constant g {flat:.0e}, scale {scale:.0e}, Σ w L / Σ w {sums:.0e}; gradient {'right' if right else 'wrong'}",
        max(flat, scale, sums) < 1e-12 and right,
    )


def crosswise(context: Context) -> Outcome:
    """Whose parameters each row's noise task moves, and whose weigh it: by gradients."""
    import torch

    data = _toy(context.seed)
    plugin = _built(data, context.seed)
    rows = _rows(plugin, data)
    half = plugin.facts["half"][rows.users]
    names = [n.split(".")[1] for n, _ in plugin.named_parameters()]
    found = {}
    for part in (0, 1):
        mine = (half == part) & rows.read
        for what, value in (("learns", plugin.noise(rows)), ("weighs", plugin.weigh(rows))):
            grads = torch.autograd.grad(value[mine].sum(), list(plugin.parameters()), allow_unused=True)
            found[part, what] = {n for n, g in zip(names, grads, strict=True) if g is not None and bool((g != 0).any())}
    disjoint = all(not (found[p, "learns"] & found[p, "weighs"]) for p in (0, 1))
    both = {frozenset(found[p, "weighs"]) for p in (0, 1)} == {frozenset("0"), frozenset("1")}
    counts = [int(((half == p) & rows.read).sum()) for p in (0, 1)]
    return Outcome(
        f"rows of the two halves: {counts[0]} and {counts[1]}, rows in both: 0; no recogniser weighs a row it learned from",
        disjoint and both,
    )


# --- on MovieLens-100K ----------------------------------------------------------------------------------------------
@cache
def _movies(data_dir: Any) -> Any:
    """MovieLens-100K with its genres."""
    from oakum.data.read import read

    return read(data_dir / "interactions.parquet", items=data_dir / "items.parquet", name="movielens-100k")


@cache
def _recognised(data_dir: Any, replace_events: int, epochs: int, seed: int) -> tuple[float, float, float]:
    """g alone, trained on 700 people: AUC with which it tells altered rows of the others from rows as they are, and the mean
    weight of both."""
    import numpy as np
    import torch

    from oakum.engine.fit import fit
    from oakum.metrics.calibration import auc
    from oakum.models.classic.bpr_mf import BPRMF
    from oakum.plugins.atjt import ATJT
    from oakum.sampling.views import replaced, some_rows
    from oakum.seeds import generator

    data = _movies(data_dir)
    people = generator(seed, "people of the claims").permutation(data.num_users)
    inside = np.isin(data.interactions.users, people[:700])
    known, other = (data.with_interactions(data.interactions.take(m)) for m in (inside, ~inside))
    spec = ATJT(mode="apart", rate=3e-3, cross_fit=False, category="genres", replace_events=replace_events)
    plan = {"epochs": epochs, "batch_size": 512, "step": None}
    plugin = (
        fit(BPRMF(embedding_dim=1, l2=1e-4, draw="events"), known, plan=plan, plugins=[spec], seed=seed)
        .plugins[0]
        .eval()
    )
    plugin.put_facts(plugin.prepare(other, plugin.phases()[0]))
    torch.manual_seed(seed)
    clean, noisy = [], []
    for part in torch.from_numpy(other.interactions.rows.copy()).split(4096):
        rows = _part(plugin, part)
        chosen = some_rows(rows.read, 0.5)
        items = replaced(rows.items, rows.there, chosen, replace_events, plugin.draw)
        with torch.no_grad():
            weight = torch.sigmoid(plugin.logits(rows, items, learning=True))
        clean.append(weight[rows.read & ~chosen])
        noisy.append(weight[chosen])
    a, b = torch.cat(clean).numpy(), torch.cat(noisy).numpy()
    value = auc(np.concatenate([a, b]), np.concatenate([np.ones(len(a)), np.zeros(len(b))]))
    return value, float(a.mean()), float(b.mean())


def _part(plugin: Any, rows: Any) -> Any:
    from oakum.sampling.batches import Batch

    return plugin.lookup(Batch(rows))


@cache
def _log(data_dir: Any, planted: bool) -> tuple[Any, Any]:
    """MovieLens-100K, the last event of each person for the test, and how many of the 19 events before each row were planted.

    planted: in 20 % of the people about 3 of every 19 training events are replaced by items drawn uniformly, so that the
    histories of their rows hold about three.
    """
    from dataclasses import replace

    import numpy as np

    from oakum.seeds import generator
    from oakum.splits import split

    parts = split(_movies(data_dir), "leave-last")
    log = parts.train.interactions
    rng = generator(0, "planted noise of the claims")
    noisy = rng.random(parts.train.num_users) < 0.2
    struck = noisy[log.users] & (rng.random(len(log)) < 3 / 19) & planted
    items = np.where(struck, rng.integers(0, parts.train.num_items, len(log)), log.items)
    train = parts.train.with_interactions(replace(log, items=items))
    order = log.order()
    before = np.concatenate([[0], np.cumsum(struck[order])])
    starts = np.concatenate([[0], np.cumsum(np.bincount(log.users, minlength=parts.train.num_users))[:-1]])
    at = np.arange(len(order))
    first = np.maximum(starts[log.users[order]], at - 19)
    held = np.empty(len(order), np.int64)
    held[order] = before[at] - before[first]
    return replace(parts, train=train), held


def _base(name: str) -> Any:
    """Small forms of three sequence models, each with its own loss: BCE, softmax, sampled softmax."""
    from oakum.models.sequential.gru4rec import GRU4Rec
    from oakum.models.sequential.hstu import HSTU
    from oakum.models.sequential.sasrec import SASRec

    size: dict[str, Any] = {"embedding_dim": 32, "max_length": 50, "dropout": 0.2}
    made = {
        "SASRec": SASRec(**size, loss="bce"),
        "GRU4Rec": GRU4Rec(**size),
        "HSTU": HSTU(**size, num_negatives=32),
    }
    return made[name]


def _told(rows: Any) -> Any:
    """A plug-in that is told which log rows count (float by row id): what the best of recognisers could do by weighting."""
    import torch

    from oakum.engine.learner import Plugin
    from oakum.losses import weighted
    from oakum.parameters import Spec

    class Told(Plugin):
        def loss(self, run: Any, batch: Any, reps: Any, losses: Any) -> Any:
            return {k: weighted(v, torch.from_numpy(rows)[batch.rows]) for k, v in losses.items()}

    class ToldSpec(Spec):
        slug = "told"

        def build(self, schema: Any) -> Any:
            return Told()

    return ToldSpec()


@cache
def _without(data_dir: Any, base: str, seed: int, epochs: int) -> Any:
    """AUC by test user where every row with planted events in its history weighs nothing."""
    import numpy as np

    from oakum.engine.fit import fit

    parts, held = _log(data_dir, True)
    rows = parts.train.interactions.rows
    counts = np.zeros(int(rows.max()) + 1, np.float32)
    counts[rows] = held == 0
    return chance_above(fit(_base(base), parts, plan=_plan(epochs), plugins=[_told(counts)], seed=seed), parts)


def _plan(epochs: int) -> dict[str, Any]:
    return {"epochs": epochs, "batch_size": 32, "learning_rate": 5e-3, "evaluate_every": 2, "patience": 0}


@cache
def _fit(data_dir: Any, base: str, planted: bool, act: bool, seed: int, epochs: int) -> tuple[Any, float, float]:
    """AUC by test user (of the epoch that is best on validation); with ATJT also the AUC with which its weights tell rows
    whose history holds planted events from the others, and the share of the rows that weighting leaves, as it were."""
    import numpy as np
    import torch

    from oakum.engine.fit import fit
    from oakum.losses import effective_share
    from oakum.metrics.calibration import auc
    from oakum.plugins.atjt import ATJT

    parts, held = _log(data_dir, planted)
    fitted = fit(_base(base), parts, plan=_plan(epochs), plugins=[ATJT(category="genres")] if act else [], seed=seed)
    told, share = float("nan"), 1.0
    if act:
        weight = fitted.plugins[0].weights(parts.train)
        known = ~np.isnan(weight)
        share = float(effective_share(torch.from_numpy(weight[known])))
        told = auc(-weight[known], held[known] > 0)
    return chance_above(fitted, parts), told, share


def recogniser(context: Context) -> Outcome:
    """The first three epochs with one event replaced, the first with three."""
    folder = context.folder("movielens-100k")
    ones = [_recognised(folder, 1, e, context.seed) for e in (1, 2, 3)]
    three = _recognised(folder, 3, 1, context.seed)
    rises = ones[0][0] < ones[1][0] < ones[2][0]
    holds = rises and ones[2][0] >= 0.62 and three[0] >= 0.78 and all(r[1] > r[2] for r in (*ones, three))
    return Outcome(
        f"one replaced: AUC {', '.join(f'{r[0]:.3f}' for r in ones)} after 1, 2, 3 epochs; three replaced: {three[0]:.3f} after "
        f"1; mean w {ones[2][1]:.3f} for rows as they are, {ones[2][2]:.3f} for altered ones",
        holds,
    )


def _gains(context: Context, planted: bool, epochs: int) -> tuple[dict[str, Any], str]:
    """ATJT's test AUC less the base's, and the figures in words."""
    folder = context.folder("movielens-100k")
    gaps, words = {}, []
    for base in BASES:
        plain, acted = (_fit(folder, base, planted, act, context.seed, epochs) for act in (False, True))
        gaps[base] = apart([acted[0]], [plain[0]])
        told = f", its weights tell planted rows with AUC {acted[1]:.3f}" if planted else ""
        words.append(
            f"{base} {mean([plain[0]]):.4f}, with ATJT {mean([acted[0]]):.4f} (difference {gaps[base]}){told}, "
            f"effective share of rows {acted[2]:.2f}"
        )
    return gaps, "test AUC: " + "; ".join(words)


def planted(context: Context, epochs: int = 10) -> Outcome:
    """A fifth of the people with about three foreign events in every 19, over three models."""
    gaps, words = _gains(context, True, epochs)
    told = {b: _fit(context.folder("movielens-100k"), b, True, True, context.seed, epochs)[1] for b in BASES}
    best = {b: mean([_without(context.folder("movielens-100k"), b, context.seed, epochs)]) for b in BASES}
    words += ". Control, rows with planted events left out: " + ", ".join(f"{b} {v:.4f}" for b, v in best.items())
    plain = {b: mean([_fit(context.folder("movielens-100k"), b, True, False, context.seed, epochs)[0]]) for b in BASES}
    below = [b for b in BASES if gaps[b].value < 0]
    blind = [b for b in BASES if told[b] <= 0.6]
    why = f"Below the plain base: {', '.join(below)}. " if below else ""
    if any(gaps[b].low < 0 <= gaps[b].high for b in BASES):
        why += "Where the interval holds 0 the two cannot be told apart over these people. "
    if below and all(best[b] <= plain[b] for b in below):
        why += "Leaving the planted rows out altogether does not help either: they teach more than their noise costs. "
    why += f"The weights do not tell planted rows over {', '.join(blind)}." if blind else ""
    return Outcome(words, not below and not blind, why.strip())


def unplanted(context: Context, epochs: int = 10) -> Outcome:
    """The log as it is, over three models."""
    gaps, words = _gains(context, False, epochs)
    worse = [b for b in BASES if gaps[b].value < -0.003]
    return Outcome(words, not worse, f"Worse by more than .003: {', '.join(worse)}." if worse else "")


CLAIMS = (
    Claim("altered", "The noise task changes one place in half of the rows, never padding; rows of one event are handled", "exactly one in floor(B / 2) rows", altered),
    Claim("weighting", "Constant g is the plain mean; scale does not matter; gradients flow through w", "to rounding; gradient check", weighting),
    Claim("crosswise", "No recogniser weighs rows that its noise task saw", "disjoint", crosswise),
    Claim(
        "recogniser", "MovieLens-100K, g alone on 700 people: AUC on altered rows of the others rises, w is higher for rows as they are",
        "one replaced .55, .64, .66 (at least .62), three replaced above .8 (at least .78)", recogniser, (), True, 30,
    ),
    Claim(
        "planted", "MovieLens-100K, 20 % of people with 3 of 19 events replaced: weights tell planted rows, test AUC not below the plain "
        "base, over SASRec, GRU4Rec and HSTU", "AUC of the weights above .6; test AUC at least the base's", planted, (), True, 130,
    ),
    Claim(
        "unplanted", "Without planted noise ATJT costs no more than .003 AUC, over the same three", "not worse by more than .003", unplanted, (), True, 130,
    ),
)  # fmt: skip
