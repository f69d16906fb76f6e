"""Defences against attacks, each beside nothing and beside random noise of equal cost: what several sheets measure with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.claims.base import Context, Outcome
from oakum.metrics.estimate import Estimate

Floats = NDArray[np.float64]
TECHNIQUES = ("bandwagon-profiles", "average-profiles", "revadv-profiles")


@dataclass(frozen=True, eq=False)
class Run:
    """One fit: hits of the targets in lists of 50 [people, targets], accuracy a test person."""

    hits: Floats
    quality: Floats


def table(runs: Mapping[str, Sequence[Run]], metric: str) -> Outcome:
    """Runs by name over the same seeds: "undefended", "noise" and the defence, which comes last. It holds where the defence
    leaves less exposure than either of the others beyond the interval, and does not lose accuracy beyond its own."""
    from oakum.claims.common import apart
    from oakum.metrics.over_seeds import pooled
    from oakum.metrics.robustness import exposure, exposure_by_user
    from oakum.metrics.statistics import estimate

    name = list(runs)[-1]
    shown = {n: pooled([exposure(r.hits) for r in rs]) for n, rs in runs.items()}
    right = {n: pooled([estimate(r.quality) for r in rs]) for n, rs in runs.items()}
    by_user = lambda n: [exposure_by_user(r.hits) for r in runs[n]]
    gaps = {n: apart(by_user(name), by_user(n)) for n in runs if n != name}
    cost: Estimate = apart([r.quality for r in runs[name]], [r.quality for r in runs["undefended"]])
    rows = "; ".join(f"{n} {_short(shown[n])} / {right[n].value:.4f}" for n in runs)
    words = "; ".join(f"{name} − {n} {_short(gap)}" for n, gap in gaps.items())
    failed = [f"its exposure is not below that of '{n}' beyond doubt" for n, gap in gaps.items() if gap.high >= 0]
    if cost.high < 0:
        failed.append(f"it costs {metric}: {_short(cost)}")
    why = "; ".join(failed)
    return Outcome(
        f"T-HR@50 / {metric}: {rows}. Exposure {words}", not failed, f"{why[:1].upper()}{why[1:]}." if why else ""
    )


def _short(e: Estimate) -> str:
    return f"{e.value:.4f} [{e.low:.4f}, {e.high:.4f}]"


# --- VAT on matrix factorisation ------------------------------------------------------------------------------------
@cache
def _mf_log(data_dir: Any, technique: str) -> Any:
    from oakum.attacks.base import Budget, propose
    from oakum.catalogue import load_class
    from oakum.claims.vat import _bench

    bench = _bench(data_dir, 0)
    fakes = round(0.05 * bench.split.train.num_users)
    budget = Budget(users=fakes, clicks=fakes * 60)
    return propose(load_class(technique, "attack")(), bench.split.train, bench.goal, budget, seed=0).poisoned


@cache
def _mf(data_dir: Any, technique: str, plugin: str, eps: float, seed: int) -> Run:
    from oakum.attacks.drill import exposures
    from oakum.claims.common import values_by_user
    from oakum.claims.vat import _bench
    from oakum.engine.fit import fit
    from oakum.models.classic.bpr_mf import BPRMF
    from oakum.plugins.vat import VAT

    bench = _bench(data_dir, 0)
    plugins = {"": [], "noise": [VAT(eps=eps, direction="random")], "vat": [VAT(eps=eps)]}[plugin]
    plan = {"optimiser": "adamw", "learning_rate": 5e-3, "epochs": 60, "batch_size": 2048}
    fitted = fit(BPRMF(l2=2e-4, draw="users"), _mf_log(data_dir, technique), plan=plan, plugins=plugins, seed=seed)
    people = np.arange(bench.split.train.num_users, dtype=np.int32)
    hits = exposures(fitted, people, bench.split.train, bench.goal.codes, bench.owned, (50,))["t_hr@50"]
    return Run(hits, values_by_user(fitted, bench.split, "recall@20"))


def vat(technique: str, eps: float = 0.3, seeds: tuple[int, ...] = (0, 1)) -> Callable[[Context], Outcome]:
    """VAT on BPR-MF over MovieLens-100K, 10-core, under 5 % fake accounts; noise: moves of the same lengths anywhere."""

    def measure(context: Context) -> Outcome:
        folder = context.folder("movielens-100k")
        kinds = {"undefended": "", "noise": "noise", "VAT": "vat"}
        runs = {n: [_mf(folder, technique, k, eps, s) for s in seeds] for n, k in kinds.items()}
        return table(runs, "recall@20")

    return measure


# --- LoRec on a model of sequences ----------------------------------------------------------------------------------
def shuffled(spec: Any) -> Any:
    """LoRec whose weights are dealt out at random among the people: as many, as low, the same work."""
    import torch

    from oakum.engine.learner import Losses, Reps
    from oakum.engine.run import Run as Training
    from oakum.plugins.lorec import LoRec, LoRecPlugin
    from oakum.sampling.batches import Batch
    from oakum.seeds import generator

    class Dealt(LoRecPlugin):
        """The weights of others."""

        def loss(self, run: Training, batch: Batch, reps: Reps, losses: Losses) -> Losses:
            """As LoRec's, by another person's evidence."""
            own = self.evidence
            deal = torch.from_numpy(generator(run.seed, "dealt weights").permutation(self.people)).to(own.device)
            self.evidence = own[deal]
            try:
                return super().loss(run, batch, reps, losses)
            finally:
                self.evidence = own

    class Shuffled(LoRec):
        """Builds it."""

        slug = "lorec-shuffled"

        def build(self, schema: Any) -> Dealt:
            """The plug-in."""
            return Dealt(self, schema)

    return Shuffled.make(**{n: v for n, v in spec.to_json().items() if n != "slug"})


@cache
def _sequences(data_dir: Any, technique: str, kind: str, seed: int) -> Run:
    from oakum.attacks.base import owned_by
    from oakum.attacks.drill import exposures
    from oakum.claims.common import values_by_user
    from oakum.claims.lorec import EPOCHS, LOOKS, _case
    from oakum.engine.fit import fit
    from oakum.models.sequential.sasrec import SASRec
    from oakum.plugins.lorec import LoRec

    case = _case(data_dir, "movielens-100k", 943, technique, seed)
    own: Any = LoRec(**LOOKS)
    plugins = {"": [], "noise": [shuffled(own)], "lorec": [own]}[kind]
    spec = SASRec(embedding_dim=32, num_layers=1, max_length=50, dropout=0.2)
    plan = {"epochs": EPOCHS, "batch_size": 64, "patience": 0, "learning_rate": 3e-3}
    fitted = fit(spec, case.poisoned, plan=plan, plugins=plugins, seed=seed)
    train = case.split.train
    genuine = np.flatnonzero(train.user_counts > 0).astype(np.int32)
    owned = owned_by(train, [case.split.test])[genuine]
    hits = exposures(fitted, genuine, train, case.goal.codes, owned, (50,))["t_hr@50"]
    return Run(hits, values_by_user(fitted, case.split, "hit_rate@10"))


def lorec(technique: str, seeds: tuple[int, ...] = (0,)) -> Callable[[Context], Outcome]:
    """LoRec, taught on random accounts, on SASRec over MovieLens-100K under 1 % fake accounts; noise: its weights shuffled."""

    def measure(context: Context) -> Outcome:
        folder = context.folder("movielens-100k")
        kinds = {"undefended": "", "noise": "noise", "LoRec": "lorec"}
        runs = {n: [_sequences(folder, technique, k, s) for s in seeds] for n, k in kinds.items()}
        return table(runs, "hit_rate@10")

    return measure
