"""The grid: every technique on every system with every defence in front, under one threat, budget and protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from oakum.attacks.base import owned_by
from oakum.audits.accuracy import per_user
from oakum.audits.base import Subject, System, goodness, percent, verdict_of, within
from oakum.audits.poisoning import PoisoningDrill
from oakum.audits.record import Finding, Plot
from oakum.audits.techniques import threat_of
from oakum.audits.trials import Result
from oakum.metrics.estimate import Estimate
from oakum.metrics.robustness import exposure
from oakum.metrics.statistics import compare

NONE = "no defence"


class Grid(PoisoningDrill):
    """The drill's fits read side by side: one cell a system, technique and defence.

    A cell is T-HR@k of the cold targets on genuine people after the attack with the defence in place; beside it stands
    what the defence changes on clean data. Cells are fits of the same pool as the drill's, so nothing is fitted twice and
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
        for system in subject.victims:
            clean[system.slug] = self._shown(subject, system, owned, "", results)
            for defence in [NONE, *self.cures_for(system)]:
                if defence != NONE:
                    prices[system.slug, defence] = self._price(subject, system, defence, results)
                front = "" if defence == NONE else f"{defence} "
                for attack in self.attacks:
                    key = f"{front}{self._key(attack, max(self.shares))} "
                    cells[system.slug, attack, defence] = self._shown(subject, system, owned, key, results)
        return [self._finding(subject, cells, prices, clean)]

    def _names(self, subject: Subject, system: System, what: str) -> list[str]:
        return [f"{system.slug} {what}seed {s}" for s in self._seeds(subject, system)]

    def _shown(
        self, subject: Subject, system: System, owned: Any, what: str, results: Mapping[str, Result]
    ) -> Estimate:
        return exposure(self._hits(subject, owned, self._names(subject, system, what), results), seed=subject.seed)

    def _price(self, subject: Subject, system: System, defence: str, results: Mapping[str, Result]) -> Estimate:
        """Relative change of NDCG@10 on clean data, paired by user."""
        quality = lambda what: np.nanmean(
            [per_user(subject, results[n], "ndcg@10") for n in self._names(subject, system, what)], 0
        )
        base = quality("")
        gap, mean = compare(quality(f"{defence} clean "), base, seed=subject.seed).difference, float(np.nanmean(base))
        return Estimate(gap.value / mean, gap.low / mean, gap.high / mean, gap.n, f"paired, {gap.how}")

    def _finding(
        self,
        subject: Subject,
        cells: Mapping[tuple[str, str, str], Estimate],
        prices: Mapping[tuple[str, str], Estimate],
        clean: Mapping[str, Estimate],
    ) -> Finding:
        top = max(self.shares)
        rows = [
            {
                "system": system,
                "technique": attack,
                "defence": defence,
                "exposure before": within(clean[system], 4),
                "exposure after": within(cell, 4),
                "NDCG@10 on clean data": within(prices[system, defence]) if (system, defence) in prices else "",
            }
            for (system, attack, defence), cell in cells.items()
        ]
        worst = lambda slug, defence: max(cells[slug, a, defence].value for a in self.attacks)
        offered = {s.slug: [NONE, *self.cures_for(s)] for s in subject.victims}
        best = {s: min(ds, key=lambda d: worst(s, d)) for s, ds in offered.items()}
        open_ = max(best, key=lambda s: worst(s, best[s]))
        left = worst(open_, best[open_])
        bare = max(best, key=lambda s: worst(s, NONE))
        said = "; ".join(
            f"{s}: {d} ({percent(worst(s, NONE), 2)} → {percent(worst(s, d), 2)})" for s, d in best.items()
        )
        attacked = max((cells[open_, a, best[open_]] for a in self.attacks), key=lambda e: e.value)
        loss = 1 - goodness(left, 0.20, 0.01)
        return Finding(
            slug=self.slug,
            title=self.title,
            subject=f"{len(offered)} systems",
            verdict=verdict_of(loss),
            loss=loss,
            sentence=(
                f"{len(self.attacks)} techniques on {len(offered)} systems with {percent(top)} fake accounts: undefended, the worst "
                f"cell is {bare} with {percent(worst(bare, NONE), 2)} of genuine lists; with the best defence a system, the worst "
                f"that is left is {open_} with {percent(left, 2)}."
            ),
            measure=(
                f"T-HR@{self.k} of {self.targets} cold targets, mean over {self.seeds} seed(s); the same threat, budget, people "
                "and masks in every cell"
            ),
            clean=clean[open_],
            attacked=attacked,
            evidence=rows,
            plots=[self._heat(subject.victims, cells, d) for d in dict.fromkeys([NONE, *self.cures])],
            threat=threat_of(subject, subject.victims, self.attacks, top),
            budget=self._budget(subject, top).to_json(),
            advice=f"The best defence of each system against its worst technique: {said}.",
            power=(
                f"{len(cells)} cells, each with a 95 % interval of its own; among so many, a few overlap or part by chance. "
                "Compare cells by their intervals."
            ),
            reason=" ".join(
                f"'{d}' costs {s} more than 2 % of NDCG@10." for (s, d), p in prices.items() if p.high < -0.02
            ),
        )

    def _heat(self, systems: list[System], cells: Mapping[tuple[str, str, str], Estimate], defence: str) -> Plot:
        names = [a.removesuffix("-profiles") for a in self.attacks]
        value = lambda s, a: cells[s, a, defence].value if (s, a, defence) in cells else float("nan")
        series = [{"name": s.slug, "x": names, "y": [100 * value(s.slug, a) for a in self.attacks]} for s in systems]
        title = "Exposure without a defence, %" if defence == NONE else f"Exposure with {defence} in front, %"
        return Plot(
            kind="heat",
            title=title,
            alt="; ".join(
                f"{s['name']}: " + ", ".join(f"{x} {y:.2f} %" for x, y in zip(s["x"], s["y"], strict=True))
                for s in series
            ),
            x_label="technique",
            series=series,
        )
