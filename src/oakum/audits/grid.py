"""The grid: every technique on every system with every defence in front, under one threat, budget and protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from oakum.attacks.base import owned_by
from oakum.audits.accuracy import price_of
from oakum.audits.base import Subject, System, goodness, percent, verdict_of, within
from oakum.audits.poisoning import PoisoningDrill
from oakum.audits.record import Finding, Plot
from oakum.audits.techniques import threat_of
from oakum.audits.trials import Result
from oakum.metrics.estimate import Estimate
from oakum.metrics.robustness import exposure

NONE = "no defence"


class Grid(PoisoningDrill):
    """The drill's fits read side by side: one cell a system, technique and defence.

    A cell is T-HR@k of the cold targets on genuine people after the attack with the defence in place; beside it stands
    what the defence changes on clean data. A defence that does not go with a system says why in its cells. Cells are fits of the same pool as the drill's, so nothing is fitted twice and
    an interrupted grid goes on at the next cell.
    """

    slug = "grid"
    title = "Attack and defence grid"

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """One finding over all systems."""
        owned = owned_by(subject.data, [subject.split.test])[subject.users]
        clean: dict[str, Estimate] = {}
        cells: dict[tuple[str, str, str], Estimate] = {}
        prices: dict[tuple[str, str], Estimate] = {}
        why_not: dict[tuple[str, str], str] = {}
        for system in subject.victims:
            clean[system.slug] = self._shown(subject, system, owned, "", results)
            for defence in [NONE, *self.cures]:
                if defence != NONE:
                    if reason := self.refusal(system, defence, results):
                        why_not[system.slug, defence] = reason
                        continue
                    prices[system.slug, defence] = price_of(
                        subject, *(self._fits(subject, system, what, results) for what in ("", f"{defence} clean "))
                    )
                front = "" if defence == NONE else f"{defence} "
                for attack in self.attacks:
                    key = f"{front}{self._key(attack, max(self.shares))} "
                    cells[system.slug, attack, defence] = self._shown(subject, system, owned, key, results)
        found = self._finding(subject, cells, prices, clean, why_not)
        return [replace(found, seconds=round(sum(float(r.record.get("seconds", 0)) for r in results.values()), 1))]

    def _names(self, subject: Subject, system: System, what: str) -> list[str]:
        return [f"{system.slug} {what}seed {s}" for s in self._seeds(subject, system)]

    def _fits(self, subject: Subject, system: System, what: str, results: Mapping[str, Result]) -> list[Result]:
        return [results[n] for n in self._names(subject, system, what)]

    def _shown(
        self, subject: Subject, system: System, owned: Any, what: str, results: Mapping[str, Result]
    ) -> Estimate:
        return exposure(self._hits(subject, owned, self._names(subject, system, what), results), seed=subject.seed)

    def _finding(
        self,
        subject: Subject,
        cells: Mapping[tuple[str, str, str], Estimate],
        prices: Mapping[tuple[str, str], Estimate],
        clean: Mapping[str, Estimate],
        why_not: Mapping[tuple[str, str], str],
    ) -> Finding:
        top = max(self.shares)
        slugs, defences = [s.slug for s in subject.victims], list(dict.fromkeys([NONE, *self.cures]))
        rows = [
            {
                "system": s,
                "technique": a,
                "defence": d,
                "exposure before": within(clean[s], 4),
                "exposure after": within(cells[s, a, d], 4)
                if (s, a, d) in cells
                else f"does not apply: {why_not[s, d]}",
                "NDCG@10 on clean data": within(prices[s, d]) if (s, d) in prices else "",
            }
            for s in slugs
            for d in defences
            for a in self.attacks
        ]
        # What an attack won: nothing where its interval overlaps the one before.
        won = lambda s, e: 0.0 if e.overlaps(clean[s]) else max(0.0, e.value - clean[s].value)
        most = lambda s, d: max((cells[s, a, d] for a in self.attacks), key=lambda e: (won(s, e), e.value))
        worst = lambda s, d: most(s, d).value
        rank = lambda s, d: (won(s, most(s, d)), worst(s, d))
        offered = {s: [d for d in defences if (s, d) not in why_not] for s in slugs}
        best = {s: min(ds, key=lambda d: rank(s, d)) for s, ds in offered.items()}
        open_ = max(best, key=lambda s: rank(s, best[s]))
        left = worst(open_, best[open_])
        bare = max(best, key=lambda s: rank(s, NONE))
        said = "; ".join(
            f"{s}: {d} ({percent(worst(s, NONE), 2)} → {percent(worst(s, d), 2)})" for s, d in best.items()
        )
        loss = 1 - goodness(left, 0.20, 0.01)
        if not won(open_, most(open_, best[open_])):
            loss = min(loss, 0.2)
        over = {(s, d): most(s, d) for s, ds in offered.items() for d in ds}
        deepest = 100 * max(e.value for e in cells.values())
        plots = [_heat("Exposure under the worst technique, %", "defence", slugs, defences, over, deepest)]
        for d in defences:
            never = ", ".join(s for s in slugs if (s, d) in why_not)
            title = "Exposure without a defence, %" if d == NONE else f"Exposure with {d} in front, %"
            title += f" (n/a: does not apply to {never})" if never else ""
            mine = {(s, a): e for (s, a, x), e in cells.items() if x == d}
            plots.append(_heat(title, "technique", slugs, self.attacks, mine, deepest))
        return Finding(
            slug=self.slug,
            title=self.title,
            subject=f"{len(offered)} systems",
            verdict=verdict_of(loss),
            loss=loss,
            sentence=(
                f"{len(self.attacks)} techniques on {len(offered)} systems with {percent(top)} fake accounts: undefended, the worst "
                f"cell is {bare}, where {percent(clean[bare].value, 2)} of genuine lists become {percent(worst(bare, NONE), 2)}; with the "
                f"best defence a system, the worst that is left is {open_}, {percent(clean[open_].value, 2)} to {percent(left, 2)}."
            ),
            measure=(
                f"T-HR@{self.k} of {self.targets} cold targets, mean over {self.seeds} seed(s); the same threat, budget, people "
                "and masks in every cell"
            ),
            clean=clean[open_],
            attacked=most(open_, best[open_]),
            evidence=rows,
            plots=plots,
            threat=threat_of(subject, subject.victims, self.attacks, top),
            budget=self._budget(subject, top).to_json(),
            advice=f"The best defence of each system against its worst technique: {said}.",
            power=(
                f"{len(cells)} cells measured and {len(rows) - len(cells)} that do not apply, each with a 95 % interval of its own; "
                "among so many, a few overlap or part by chance. Compare cells by their intervals."
            ),
            reason=" ".join(
                f"'{d}' costs {s} more than 2 % of NDCG@10." for (s, d), p in prices.items() if p.high < -0.02
            ),
        )


def _heat(
    title: str,
    label: str,
    slugs: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[tuple[str, str], Estimate],
    deepest: float,
) -> Plot:
    """A row a system, a column a technique or a defence, per cent with their intervals; nothing where a cell does not apply.
    deepest: the value of the deepest colour, the same for all maps of a grid."""
    none = Estimate(float("nan"), float("nan"), float("nan"), 0)
    series = [
        {
            "name": s,
            "x": [c.removesuffix("-profiles") for c in columns],
            "scale": [0.0, deepest],
            **{
                part: [100 * getattr(cells.get((s, c), none), name) for c in columns]
                for part, name in (("y", "value"), ("low", "low"), ("high", "high"))
            },
        }
        for s in slugs
    ]
    alt = "; ".join(
        f"{s['name']}: "
        + ", ".join(f"{x} {y:.2f} %" if y == y else f"{x} n/a" for x, y in zip(s["x"], s["y"], strict=True))
        for s in series
    )
    return Plot(kind="heat", title=title, alt=alt, x_label=label, series=series)
