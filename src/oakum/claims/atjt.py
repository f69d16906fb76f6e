"""What ATJT's sheet says holds, over three sequence models."""

from __future__ import annotations

from functools import cache
from typing import Any

from oakum.claims.base import Claim, Context, Outcome
from oakum.claims.common import apart, chance_above, mean

SEEDS = (0, 1)


def _toy(seed: int) -> Any:
    from oakum.data.simulate import Market, simulate

    return simulate(Market(users=60, items=50, events=1500), seed=seed)


def _built(data: Any, seed: int, **settings: Any) -> Any:
    """An untrained plug-in with what it knows of the data."""
    import torch

    from oakum.engine.fit import schema_of
    from oakum.plugins.atjt import ATJT

    torch.manual_seed(seed)
    spec = ATJT(**settings)
    plugin = spec.build(schema_of(spec, data))
    plugin.put_facts(plugin.prepare(data, None))
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
    apart_ = all(not (found[p, "learns"] & found[p, "weighs"]) for p in (0, 1))
    both = {frozenset(found[p, "weighs"]) for p in (0, 1)} == {frozenset("0"), frozenset("1")}
    counts = [int(((half == p) & rows.read).sum()) for p in (0, 1)]
    return Outcome(
        f"rows of the two halves: {counts[0]} and {counts[1]}, rows in both: 0; no recogniser weighs a row it learned from",
        apart_ and both,
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
    plan = {"epochs": epochs, "batch_size": 512}
    plugin = fit(BPRMF(embedding_dim=1, draw="events"), known, plan=plan, plugins=[spec], seed=seed).plugins[0].eval()
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
