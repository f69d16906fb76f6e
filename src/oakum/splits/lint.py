"""The known mistakes of an evaluation, named before a number is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from oakum.splits.protocol import Split, contains


@dataclass(frozen=True, slots=True)
class Lint:
    """One finding about the protocol. count: rows, users or items concerned."""

    code: str
    severity: Literal["error", "warning", "info"]
    sentence: str
    count: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def lint(
    split: Split, *, metrics: Sequence[str] = (), baselines: Sequence[str] = (), systems: Sequence[str] = ()
) -> list[Lint]:
    """What would mislead about this split and plan of measurement, worst first.

    Checks: the future in training, duplicates across the cut, test events in validation, seen items not removed,
    sampled metrics under a full metric's name, missing baselines, constant, unsorted or coarse times, ids that follow
    popularity, too few test users, new users, cold items, repeats, one user who dominates, labels taken for events.
    """
    out: list[Lint] = []

    def say(code: str, severity: Literal["error", "warning", "info"], sentence: str, count: int = 0) -> None:
        out.append(Lint(code, severity, sentence, int(count)))

    train, test, rule = split.train, split.test, split.protocol
    log = train.interactions
    if not len(test):
        return [Lint("no-test", "error", "There is no test part, so nothing can be measured.", 0)]
    if log.times is not None and test.times is not None:
        first = int(test.times.min())
        late = int((log.times >= first).sum())
        if rule.rule == "time" and late:
            say(
                "future-in-train",
                "error",
                f"{late:,} training events happened at or after the first test event; cut by time.",
                late,
            )
        elif late and rule.rule in ("holdout", "leave-last", "files", "k-fold"):
            share = late / len(log)
            say(
                "crowd-future",
                "warning",
                f"Split by {rule.rule}: {share:.0%} of the training events happened after the first test event, so models see "
                "the future of the crowd. Figures will be higher than in service; use the split by time.",
                late,
            )
        if log.times.min() == log.times.max():
            say(
                "constant-times",
                "warning",
                "All training times are equal; order and recency mean nothing.",
                len(log),
            )
        else:
            day = 86_400_000_000
            if not (log.times % day).any():
                say(
                    "day-times",
                    "info",
                    "Times are whole days; the order of events inside a day is arbitrary.",
                    len(log),
                )
            if np.any(np.diff(log.times[np.argsort(log.rows, kind="stable")]) < 0) and rule.rule == "leave-last":
                say(
                    "unsorted",
                    "info",
                    "Rows are not in order of time; histories are sorted by time, then by row.",
                    0,
                )
    elif rule.rule == "leave-last":
        say(
            "no-times",
            "warning",
            "There are no times: 'last' means last in the file, which may be any order.",
            len(log),
        )
    pairs = train.has_pairs
    both = contains(train.matrix, test.users, test.items) if pairs else np.zeros(len(test), bool)
    if both.any():
        share = float(both.mean())
        if rule.remove_seen:
            say(
                "pair-in-both",
                "warning" if share > 0.01 else "info",
                f"{int(both.sum()):,} test events ({share:.1%}) repeat a pair of the training part; with seen items removed they "
                "cannot be found and are not counted as relevant.",
                int(both.sum()),
            )
        else:
            say(
                "repeats-count",
                "info",
                f"{share:.1%} of test events repeat the user's own past and seen items are kept: read 'own-history' first.",
                int(both.sum()),
            )
    if split.valid is not None and len(split.valid):
        common = np.intersect1d(split.valid.rows, test.rows)
        if len(common):
            say(
                "valid-in-test",
                "error",
                f"{len(common):,} rows are in both the validation and the test part.",
                len(common),
            )
    if pairs and log.values is not None and len(log):
        none = int((log.values == 0).sum())
        if none and bool(np.isin(np.unique(log.values), (0, 1)).all()):
            say(
                "zeros-are-events",
                "warning",
                f"{none:,} training events ({none / len(log):.0%}) have the value 0, as if something was shown and not taken; "
                "systems that rank take every row for an event. Drop these rows, or fit a system that predicts rows.",
                none,
            )
    leaked = np.intersect1d(log.rows, test.rows)
    if len(leaked):
        say("test-in-train", "error", f"{len(leaked):,} test rows are in the training part.", len(leaked))
    if pairs and not rule.remove_seen and not both.any():
        say(
            "seen-kept",
            "warning",
            "Items that people already have are not removed and never recur: places are wasted on them.",
            0,
        )
    kind, _, domain = rule.candidates.partition(":")
    if kind == "domain":
        say(
            "one-domain",
            "info",
            f"Only items of the domain '{domain}' are ranked and asked for: compare with figures made the same way.",
        )
    elif rule.candidates != "all":
        say(
            "sampled",
            "error" if any("sampled" not in m for m in metrics) else "warning",
            f"Candidates are {rule.candidates}: figures are not comparable with full ranking and must carry another name.",
        )
    if systems and not {"popularity", "recent", "decayed"} & {*baselines, *systems}:
        say(
            "no-popularity",
            "warning",
            "No popularity baseline is measured; add 'popularity' to know what a list of best-sellers gets.",
        )
    order = {"error": 0, "warning": 1, "info": 2}
    if not pairs:
        return sorted(out, key=lambda f: order[f.severity])
    users = np.unique(test.users)
    if len(users) < 100:
        say(
            "few-users",
            "warning",
            f"Only {len(users)} test users: intervals will be wide, small gains cannot be seen.",
            len(users),
        )
    fresh = int((train.user_counts[users] == 0).sum())
    if fresh:
        say(
            "new-users",
            "info",
            f"{fresh:,} of {len(users):,} test users ({fresh / len(users):.0%}) have no past.",
            fresh,
        )
    cold = int((train.item_counts[test.items] == 0).sum())
    if cold:
        severity: Literal["warning", "info"] = "warning" if cold / len(test) > 0.1 else "info"
        say(
            "cold-items",
            severity,
            f"{cold:,} of {len(test):,} test events ({cold / len(test):.0%}) are of unseen items.",
            cold,
        )
    top = train.user_counts.max() / max(1, train.user_counts.sum())
    if top > 0.1:
        say(
            "one-heavy-user",
            "warning",
            f"One user holds {top:.0%} of the training pairs; check for a bot or a shared account.",
            1,
        )
    counts = train.item_counts.astype(float)
    known = counts > 0
    if known.sum() > 20:
        ranks = np.argsort(np.argsort(-counts[known], kind="stable"))
        tie = abs(float(np.corrcoef(np.arange(known.sum()), ranks)[0, 1]))
        if tie > 0.5:
            say(
                "ids-tell",
                "info",
                f"Item ids follow popularity (rank correlation {tie:.2f}); ties are broken by a seeded order.",
                0,
            )
    return sorted(out, key=lambda f: order[f.severity])
