"""`audit`: one log in, one report out. Chooses the split, the systems and the budget; runs the audits; names the plank."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from oakum.attacks.drill import defence_of
from oakum.audits.accuracy import METRICS, AccuracyAudit, clean_trials, comparisons_of, table_of
from oakum.audits.base import Audit, Subject, System
from oakum.audits.calibration import CalibrationAudit
from oakum.audits.certificates import CertificateAudit
from oakum.audits.federation import FederationAudit
from oakum.audits.grid import Grid
from oakum.audits.newcomers import NewcomersAudit
from oakum.audits.poisoning import PoisoningDrill
from oakum.audits.popularity import PopularityAudit
from oakum.audits.record import AuditReport, Finding
from oakum.audits.stability import ChurnAudit, StabilityAudit
from oakum.audits.theft import TheftAudit
from oakum.audits.trials import Result, Trial, run_trials, settle
from oakum.audits.words import WordsAudit
from oakum.catalogue import entries, entry, load_class
from oakum.data import Dataset
from oakum.data.describe import describe
from oakum.engine.fit import plan_of, schema_of, spec_is_learned
from oakum.engine.progress import Progress, Silent
from oakum.engine.record import versions
from oakum.errors import DataError, ParameterError
from oakum.needs import check
from oakum.parameters import Spec
from oakum.seeds import generator
from oakum.splits import split as split_by
from oakum.splits.lint import lint
from oakum.splits.protocol import Split

BASELINES = ("popularity", "recent", "decayed", "repeat-last", "own-history", "markov")
QUICK = {"users": 3000, "newcomers": 500, "seeds": 2, "epochs": 12, "shares": (0.01, 0.03), "drill_seeds": 1}
FULL = {"users": 6000, "newcomers": 2000, "seeds": 2, "epochs": 16, "shares": (0.01, 0.03), "drill_seeds": 1}

#: What the full audit tries: four heuristics, one technique by gradients, one that generates; before, during and by cleaning.
TECHNIQUES = ("random-profiles", "average-profiles", "bandwagon-profiles", "segment-profiles")
LEARNED_TECHNIQUES = ("revadv-profiles", "aush-profiles")
DEFENCES = ("pca", "vat", "stable")


def default_systems(data: Dataset, mode: str) -> list[str]:
    """A baseline, a neighbour model, a linear one and a trained one; the full audit adds iALS, the graph and, where the log
    has times, a model of sequences."""
    out = ["popularity", "item-knn"]
    if data.num_items <= 12_000:
        out.append("ease")
    out.append("bpr-mf" if _has_torch() else "ials")
    if mode == "full" and _has_torch():
        out += ["ials", "lightgcn", *(["sasrec"] if data.interactions.times is not None else [])]
    return out


def _has_torch() -> bool:
    from importlib.util import find_spec

    return find_spec("torch") is not None


def audit_plan(spec: Spec, data: Dataset, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The paper's plan with batches and epochs that fit an audit: large logs take larger, fewer steps."""
    own = plan_of(spec, {"step": None})  # what a plug-in, a federation and a fit without either can share
    from oakum.engine.learner import Phase

    model = spec.build(schema_of(spec, data))
    if model.rows(data, Phase()) < len(data):  # a row of its batches is a whole history: they are large as they are
        return {"epochs": min(own.epochs, int(settings["epochs"])), "evaluate_every": 2, "patience": 3}
    batch = int(np.clip(2 ** round(np.log2(max(1, len(data) / 60))), own.batch_size, 16_384))
    # A step over a larger batch can be longer; the square root keeps adaptive optimisers stable.
    rate = max(own.learning_rate, 5e-3 if batch <= 4096 else 1e-2)
    epochs = min(own.epochs, int(settings["epochs"]) if len(data) > 300_000 else 3 * int(settings["epochs"]))
    plan = {"batch_size": batch, "learning_rate": rate, "epochs": epochs, "evaluate_every": 2, "patience": 3}
    return plan if own == plan_of(spec) else {**plan, "step": None}


def audits_for(
    mode: str, settings: Mapping[str, Any], attacks: Sequence[str] = (), defences: Sequence[str] = ()
) -> list[Audit]:
    """The audits of a run, in the order of the report. attacks, defences: slugs in place of the mode's own; the full
    audit, and whoever names some, gets the whole grid of them."""
    for slug in attacks:
        if load_class(slug, "attack")().untargeted:
            raise ParameterError(
                f"'{slug}' has no targets, so the drill cannot measure it. The audit 'one-event-stability' runs it in every "
                "report, and `oakum attack` by itself."
            )
    for slug in defences:
        defence_of(slug)
    chosen: dict[str, Any] = {
        "shares": tuple(settings["shares"]),
        "seeds": int(settings["drill_seeds"]),
        "eps": (0.1, 0.3),
    }
    everything = TECHNIQUES + (LEARNED_TECHNIQUES if _has_torch() else ())
    chosen["attacks"] = tuple(attacks) or (everything if mode == "full" else ("bandwagon-profiles",))
    if defences or mode == "full":
        chosen["cures"] = tuple(defences) or (DEFENCES if _has_torch() else DEFENCES[:1])
    drill: list[Audit] = [PoisoningDrill(**chosen)]
    if mode == "full" or attacks or defences:
        drill.append(Grid(**chosen))
    return [
        AccuracyAudit(), *drill, StabilityAudit(), ChurnAudit(), PopularityAudit(), NewcomersAudit(), CalibrationAudit(),
        TheftAudit(), WordsAudit(), CertificateAudit(), FederationAudit(),
    ]  # fmt: skip


def audit(
    log: Dataset | Split,
    systems: Sequence[str | Spec] = (),
    *,
    mode: str = "quick",
    seed: int = 0,
    split: str = "auto",
    workers: int | None = None,
    folder: str | Path | None = None,
    audits: Sequence[Audit] | None = None,
    attacks: Sequence[str] = (),
    defences: Sequence[str] = (),
    plan: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Train, measure, attack, mend, measure again.

    systems: slugs or specs (default: see `default_systems`); a popularity baseline is added where none is named. mode:
    quick or full; both state their power in the report. folder: keeps finished fits, so that an interrupted audit goes
    on where it stopped. attacks, defences: slugs for the drill and the grid. workers: processes (default: the cores, four at most); figures are the same at any number.
    """
    began = time.monotonic()
    if mode not in ("quick", "full"):
        raise ParameterError(f"The mode must be quick or full. Got '{mode}'.")
    settings = dict(QUICK if mode == "quick" else FULL)
    parts = log if isinstance(log, Split) else split_by(log, split, seed=seed)
    subject = prepare(parts, systems, mode, seed, settings, plan)
    chosen = list(audits) if audits is not None else audits_for(mode, settings, attacks, defences)
    progress = progress or Silent()
    workers = workers or max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2))
    store = None if folder is None else Path(folder) / ".fits"
    subject = tune(subject, store, workers, progress)
    drills = [a for a in chosen if isinstance(a, PoisoningDrill)]
    sizing = {n: t for drill in drills for n, t in drill.sizing(subject).items()}
    if sizing:
        sized = run_trials(subject.bench(), list(sizing.values()), folder=store, workers=workers, progress=progress)
        for drill in drills:
            drill.choose(subject, dict(zip(sizing, (sized[i] for i in range(len(sizing))), strict=True)))
    wanted: dict[str, Trial] = {f"table {n}": t for n, t in clean_trials(subject).items()}
    for a in chosen:
        wanted.update({f"{a.slug} {n}": t for n, t in a.trials(subject).items()})
    subject.changes.update(settle(subject.bench(), folder=store, workers=workers, progress=progress))
    found = run_trials(subject.bench(), list(wanted.values()), folder=store, workers=workers, progress=progress)
    results = dict(zip(wanted, (found[i] for i in range(len(wanted))), strict=True))
    findings: list[Finding] = []
    for a in chosen:
        mine = {n.removeprefix(f"{a.slug} "): r for n, r in results.items() if n.startswith(f"{a.slug} ")}
        findings.extend(recorded(subject, f, mine) for f in a.judge(subject, mine))
    table = {n.removeprefix("table "): r for n, r in results.items() if n.startswith("table ")}
    weak = [f for f in findings if f.loss is not None and f.verdict in ("weak", "notice")]
    plank = max(weak, key=lambda f: f.loss or 0.0, default=None)
    findings.sort(key=lambda f: (f is not plank, f.loss is None, -(f.loss or 0.0)))
    protocol = parts.protocol
    data = subject.data
    slugs = [s.slug for s in subject.systems]
    return AuditReport(
        title=f"Audit of {data.name}",
        data=describe(data.with_interactions(_all_events(parts))),
        protocol={
            "rule": protocol.rule,
            "candidates": protocol.candidates,
            "remove_seen": protocol.remove_seen,
            "cut": protocol.cut,
            "train_events": len(parts.train),
            "validation_events": len(parts.valid) if parts.valid is not None else 0,
            "test_events": len(parts.test),
            "test_users": len(subject.truth),
            "left_out": [*protocol.left_out, *subject.left_out],
        },
        lint=[f.to_json() for f in lint(parts, metrics=METRICS, systems=slugs)],
        systems=table_of(subject, table),
        comparisons=comparisons_of(subject, table),
        findings=findings,
        plank=f"{plank.slug} {plank.subject}" if plank else "",
        settings={
            "mode": mode,
            "seed": seed,
            "seeds": list(subject.seeds),
            "audits": [a.to_json() for a in chosen],
            "systems": [{"spec": s.spec.to_json(), "plan": dict(s.plan)} for s in subject.systems],
        },
        versions=versions(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 1),
        runs=[
            {"name": n, "seconds": r.record.get("seconds"), "stopped": r.record.get("stopped")}
            for n, r in table.items()
        ],
    )


def recorded(subject: Subject, finding: Finding, results: Mapping[str, Result]) -> Finding:
    """The finding with its protocol, and with what its fits cost where the audit did not say."""
    rule = subject.split.protocol
    words = (
        f"rule '{rule.rule}', candidates '{rule.candidates}', {len(subject.truth):,} test people and {len(subject.users):,} people "
        f"whose lists are kept, seeds {', '.join(map(str, subject.seeds))}; {subject.mode} audit"
    )
    mine = [r for n, r in results.items() if n == finding.subject or n.startswith(f"{finding.subject} ")]
    cost = finding.seconds or round(sum(float(r.record.get("seconds", 0.0)) for r in mine), 3)
    return replace(finding, protocol=finding.protocol or words, seconds=cost)


def prepare(
    parts: Split,
    systems: Sequence[str | Spec],
    mode: str,
    seed: int,
    settings: Mapping[str, Any],
    plan: Mapping[str, Any] | None,
) -> Subject:
    """Who is audited, on whom."""
    names = list(systems) or list(default_systems(parts.train, mode))
    specs = [load_class(entry(s, "model").slug)() if isinstance(s, str) else s for s in names]
    _lists_only(specs, parts.train)
    data = parts.train_and_valid
    if parts.history is not None:
        raise ParameterError("An audit needs a split over events, not over users; use time, leave-last or holdout.")
    truth = parts.truth("test")
    if not len(truth):
        raise DataError("No test user has an item left to find, so nothing can be measured; choose another split.")
    rng = generator(seed, "audited users")
    cap = int(settings["users"])
    left_out = []
    if truth.dropped:
        left_out.append(
            f"{truth.dropped:,} test users have nothing left to find: all their test events repeat their own past."
        )
    if len(truth) > cap:
        left_out.append(f"{cap:,} of {len(truth):,} test users were drawn at random for the figures of this run.")
        truth = truth.take(np.sort(rng.choice(len(truth), cap, replace=False)))
    genuine = np.flatnonzero(data.user_counts > 0)
    extra = np.setdiff1d(genuine, truth.users)
    room = max(0, cap - len(truth))
    if len(extra) > room:
        extra = np.sort(rng.choice(extra, room, replace=False))
    users = np.concatenate([truth.users, extra]).astype(np.int32)
    known = truth.users[truth.histories.lengths > 0]
    count = min(len(known), int(settings["newcomers"]))
    newcomers = np.sort(rng.choice(known, count, replace=False)).astype(np.int32)
    if not any(s.slug in BASELINES for s in specs):
        specs.insert(0, load_class("popularity")())
    chosen = []
    for spec in specs:
        check(spec, data)
        learned = spec_is_learned(spec)
        chosen.append(
            System(
                spec=spec,
                title=listed.called if (listed := entries().get(spec.slug)) else type(spec).__name__,
                plan={**audit_plan(spec, data, settings), **(plan or {})} if learned else {},
                baseline=spec.slug in BASELINES,
                learned=learned,
            )
        )
    seeds = tuple(seed + i for i in range(int(settings["seeds"])))
    return Subject(
        split=parts, data=data, truth=truth, users=users, test_rows=np.arange(len(truth)), newcomers=newcomers,
        systems=chosen, seeds=seeds, mode=mode, seed=seed, left_out=tuple(left_out),
    )  # fmt: skip


def _lists_only(specs: Sequence[Spec], data: Dataset) -> None:
    """The audits judge lists for people: refuse systems, and logs, that are of single rows."""
    of_rows = [s.slug for s in specs if (e := entries().get(s.slug)) is not None and e.task == ("ctr",)]
    cure = "measure it by `oakum fit SYSTEM LOG --split rows` and `oakum evaluate` (auc, log_loss, brier, ece with intervals)"
    if of_rows:
        raise ParameterError(
            f"'{of_rows[0]}' predicts single rows, and every audit judges lists of items, so none applies to it: {cure}, "
            "or audit a system that ranks."
        )
    if not data.has_pairs:
        raise DataError(
            f"'{data.name}' has rows without {'users' if not len(data.users) else 'items'}, and every audit judges lists of "
            f"items for people, so none applies to it: {cure}, or name the columns (--user, --item)."
        )


def tune(subject: Subject, store: Path | None, workers: int, progress: Progress) -> Subject:
    """Choose the number of epochs of each trained system once, on the validation part; all later fits use it."""
    learned = subject.learned
    if not learned or subject.split.valid is None:
        return subject
    trials = [replace(s.trial(seed=subject.seed), tune=True) for s in learned]
    found = run_trials(subject.bench(), trials, folder=store, workers=workers, progress=progress)
    chosen = {}
    for i, system in enumerate(learned):
        metric = str(found[i].record["plan"]["metric"])
        looks = [h for h in found[i].record["history"] if "validation" in h]
        best = max(looks, key=lambda h: h["validation"][metric])
        plan = {**system.plan, "epochs": int(best["epoch"]) + 1, "patience": 0}
        chosen[system.slug] = replace(system, plan=plan)
    return replace(subject, systems=[chosen.get(s.slug, s) for s in subject.systems])


def _all_events(parts: Split) -> Any:
    from oakum.splits.protocol import _joined

    known = parts.train_and_valid.interactions
    return _joined(known, parts.test)
