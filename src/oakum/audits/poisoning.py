"""The poisoning drill: attack, measure, defend, measure again, in the attacker's currency."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from oakum.attacks.base import Budget, Goal, budget_for, cold_targets, owned_by
from oakum.audits.accuracy import clean_trials, price_of
from oakum.audits.base import Audit, Subject, System, goodness, percent, verdict_of, within
from oakum.audits.plots import exposure_plot
from oakum.audits.record import Cure, Finding
from oakum.audits.techniques import beyond, has_size, key_of, looks, proposed, threat_of
from oakum.audits.trials import Result, Trial
from oakum.catalogue import entry, load_class
from oakum.defences.base import Defence, Training
from oakum.metrics.estimate import Estimate
from oakum.metrics.robustness import budget_to_harm, exposure, lift, reach, success_reduction, target_hits
from oakum.parameters import Range, fields


class PoisoningDrill(Audit):
    """How many fake accounts buy how much exposure for items that nobody was looking for, and what stops it.

    Fake accounts join the training log, the system is fitted again from scratch with the same seed, and the framework
    counts the genuine people whose list now holds a target. The same again with each cure in place, on the poisoned
    log (what it saves) and on the clean one (what it costs).
    """

    slug = "poisoning-drill"
    title = "Fake accounts"
    attacks: Annotated[tuple[str, ...], "techniques, by slug"] = ("bandwagon-profiles", "average-profiles")
    shares: Annotated[tuple[float, ...], "fake accounts as shares of the people"] = (0.01, 0.03)
    cures: Annotated[tuple[str, ...], "defences tried, by slug"] = ("vat", "pca")
    targets: Annotated[int, Range(1, 1000), "cold items pushed"] = 5
    k: Annotated[int, Range(1, 50), "places of a list that count as exposure"] = 50
    harm: Annotated[float, Range(above=0, below=1), "exposure that counts as harm for the price in accounts"] = 0.05
    queries: Annotated[int, Range(0), "looks at its victim that a technique may have, for those that look"] = 6000
    seeds: Annotated[int, Range(1, 10), "seeds fitted"] = 2
    eps: Annotated[tuple[float, ...], "sizes tried on the validation part for plug-ins that have one"] = (
        0.1,
        0.2,
        0.3,
    )
    tolerance: Annotated[float, Range(0, 1), "relative loss of validation accuracy that a size may cost"] = 0.01

    # --- the plan -----------------------------------------------------------------------------------------------
    def goal(self, subject: Subject) -> Goal:
        """Cold targets, drawn once."""
        return cold_targets(subject.data, self.targets, seed=subject.seed)

    def _key(self, attack: str, share: float, system: System | None = None) -> str:
        return key_of(attack, share, system)

    def _budget(self, subject: Subject, share: float) -> Budget:
        queries = self.queries if any(looks(a) for a in self.attacks) else 0
        return budget_for(subject.data, share, targets=self.targets).replace(queries=queries)

    def _seeds(self, subject: Subject, system: System) -> tuple[int, ...]:
        return subject.seeds[: self.seeds] if system.learned else subject.seeds[:1]

    def cures_for(self, system: System) -> list[str]:
        """Plug-ins need a system that is trained; detectors work before any."""
        return [c for c in self.cures if system.learned or entry(c).kind == "defence"]

    def _plugin(self, slug: str, system: System, eps: float) -> Defence:
        # It begins after a sixth of the epochs, as in the papers (5 of 30), however few the audit trains.
        found = load_class(slug)
        settings = {"eps": eps, "begin": min(4, int(system.plan.get("epochs", 30)) // 6)}
        own = {f.name for f in fields(found)}
        return Training(plugin=found(**{n: v for n, v in settings.items() if n in own}))

    def sized(self, system: System) -> list[str]:
        """The cures whose size has to be chosen."""
        return [c for c in self.cures_for(system) if entry(c).kind == "plugin" and has_size(c)]

    def sizing(self, subject: Subject) -> dict[str, Trial]:
        """Fits on the training part alone, one a size, that are measured on the validation part."""
        out = {}
        for system in subject.victims if subject.split.valid is not None else ():
            for cure in self.sized(system):
                out[f"{system.slug} {cure} 0"] = replace(system.trial(seed=subject.seed), tune=True, refusable=True)
                for eps in self.eps:
                    defence = self._plugin(cure, system, eps)
                    trial = system.trial(seed=subject.seed, plugins=tuple(defence.plugins()))
                    out[f"{system.slug} {cure} {eps}"] = replace(trial, tune=True, refusable=True)
        return out

    def choose(self, subject: Subject, results: Mapping[str, Result]) -> None:
        """The largest size whose accuracy on the validation part stays within the tolerance of the undefended fit."""
        for system in subject.victims:
            for cure in self.sized(system):
                base = results.get(f"{system.slug} {cure} 0")
                sized = {e: results[f"{system.slug} {cure} {e}"] for e in self.eps} if base is not None else {}
                if base is None or any(r.refused for r in sized.values()):
                    continue
                floor = (1 - self.tolerance) * last_look(base)
                good = [e for e, r in sized.items() if last_look(r) >= floor]
                subject.notes[f"{system.slug} {cure} eps"] = max(good, default=min(self.eps))

    def _cure(self, slug: str, system: System, share: float, subject: Subject) -> Defence:
        if entry(slug).kind == "plugin":
            return self._plugin(slug, system, float(subject.notes.get(f"{system.slug} {slug} eps", self.eps[0])))
        found = load_class(slug)
        # A detector does not know the share of fakes; it is told the largest one drilled, as an operator would guess.
        made: Defence = found(share=share) if any(f.name == "share" for f in fields(found)) else found()
        return made

    def trials(self, subject: Subject) -> Mapping[str, Trial]:
        """Clean fits, poisoned fits, and both with each cure."""
        out = dict(clean_trials(subject))
        top = max(self.shares)
        for system in subject.victims:
            for attack, share in itertools.product(self.attacks, self.shares):
                key = self._key(attack, share, system)
                if key not in subject.changes:
                    budget = self._budget(subject, share)
                    subject.changes[key] = ("clean", proposed(subject, system, attack, self.goal(subject), budget))
            for seed in self._seeds(subject, system):
                for attack, share in itertools.product(self.attacks, self.shares):
                    key = self._key(attack, share, system)
                    out[f"{system.slug} {self._key(attack, share)} seed {seed}"] = system.trial(data=key, seed=seed)
                for cure in self.cures_for(system):
                    defence = self._cure(cure, system, top, subject)
                    out[f"{system.slug} {cure} clean seed {seed}"] = system.trial(
                        defence=defence, seed=seed, refusable=True
                    )
                    for attack in self.attacks:
                        key = self._key(attack, top, system)
                        out[f"{system.slug} {cure} {self._key(attack, top)} seed {seed}"] = system.trial(
                            data=key, defence=defence, seed=seed, refusable=True
                        )
        return out

    def refusal(self, system: System, cure: str, results: Mapping[str, Result]) -> str:
        """Why a defence does not go with a system; "" where it does."""
        if cure not in self.cures_for(system):
            return f"'{cure}' acts while a model is trained, and '{system.slug}' is computed, not trained."
        return next((r.refused for n, r in results.items() if n.startswith(f"{system.slug} {cure} ") and r.refused), "")

    # --- the judgement ------------------------------------------------------------------------------------------
    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """One finding a victim: its worst technique, the price in accounts, each cure with its own price."""
        return [self._judge(subject, system, results) for system in subject.victims]

    def _hits(
        self, subject: Subject, owned: Any, names: list[str], results: Mapping[str, Result]
    ) -> NDArray[np.float64]:
        codes = self.goal(subject).codes
        found = [target_hits(results[n].lists, codes, owned, self.k) for n in names]
        out: NDArray[np.float64] = np.mean(found, 0)
        return out

    def _judge(self, subject: Subject, system: System, results: Mapping[str, Result]) -> Finding:
        owned = owned_by(subject.data, [subject.split.test])[subject.users]
        seeds = self._seeds(subject, system)
        hits = lambda what: self._hits(subject, owned, [f"{system.slug} {what}seed {s}" for s in seeds], results)
        clean_hits = hits("")
        clean = exposure(clean_hits, seed=subject.seed)
        table: dict[tuple[str, float], Estimate] = {}
        rows: list[dict[str, Any]] = []
        for attack, share in itertools.product(self.attacks, self.shares):
            after = hits(f"{self._key(attack, share)} ")
            table[attack, share] = exposure(after, seed=subject.seed)
            budget = self._budget(subject, share)
            rows.append(
                {
                    "technique": attack,
                    "fake accounts": f"{budget.users} ({percent(share)})",
                    "events": budget.clicks,
                    "exposure before": within(clean, 4),
                    "exposure after": within(table[attack, share], 4),
                    "people newly reached": percent(float(np.nanmean(reach(clean_hits, after)))),
                    "log-odds lift": round(lift(clean_hits, after, seed=subject.seed).value, 2),
                    "apart": "no" if table[attack, share].overlaps(clean) else "yes",
                }
            )
        top = max(self.shares)
        worst = max(self.attacks, key=lambda a: table[a, top].value)
        attacked = table[worst, top]
        price = budget_to_harm(self.shares, [table[worst, s].value for s in self.shares], harm=self.harm).share
        fits = lambda what: [results[f"{system.slug} {what}seed {s}"] for s in seeds]
        why_not = {c: self.refusal(system, c, results) for c in self.cures_for(system)}
        cures = [
            self._judge_cure(subject, system, c, worst, top, hits, price_of(subject, fits(""), fits(f"{c} clean ")))
            for c, reason in why_not.items()
            if not reason
        ]
        people = int((subject.data.user_counts > 0).sum())
        loss = 1 - goodness(attacked.value, 0.20, 0.01)
        if attacked.overlaps(clean):
            loss = min(loss, 0.2)
        money = (
            f"{round(price * people)} ({percent(price)}) would put one before {percent(self.harm, 0)} of people"
            if np.isfinite(price)
            else f"the mark of {percent(self.harm, 0)} of people is not reached"
        )
        sentence = (
            f"{system.title}: {self._budget(subject, top).users} fake accounts ({percent(top)} of {people:,}) of the technique "
            f"'{worst}' move the exposure of {self.targets} cold items from {percent(clean.value, 2)} to "
            f"{percent(attacked.value, 2)} [{percent(attacked.low, 2)}, {percent(attacked.high, 2)}] of genuine lists; {money}."
        )
        best = max(
            (
                c
                for c in cures
                if c.after is not None and c.after.value < attacked.value and not c.after.overlaps(attacked)
            ),
            key=lambda c: attacked.value - (c.after.value if c.after else 0),
            default=None,
        )
        if attacked.overlaps(clean):
            advice = "Nothing to mend at this budget; try --full, or more accounts."
        elif best is None:
            advice = "None of the cures tried brought it down beyond doubt; watch new accounts that arrive together."
        else:
            advice = f"Use '{best.slug}': {best.sentence}"
        return Finding(
            slug=self.slug,
            title=self.title,
            subject=system.slug,
            verdict=verdict_of(loss),
            loss=loss,
            sentence=sentence,
            measure=(
                f"T-HR@{self.k}: mean over {self.targets} targets of the share of genuine people without the target whose top "
                f"{self.k} holds it; training and validation items removed; fake accounts never counted"
            ),
            clean=clean,
            attacked=attacked,
            evidence=rows,
            plots=[exposure_plot(system.title, clean, table, cures, worst, top, self.k)],
            threat=threat_of(subject, [system], self.attacks, top),
            budget=self._budget(subject, top).to_json(),
            cures=cures,
            advice=advice,
            power=(
                f"{len(subject.users):,} genuine people, {len(seeds)} seed(s): exposure below "
                f"{percent(3 / max(1, len(subject.users) * self.targets), 3)} cannot be told from none.{beyond(self.attacks)}"
            ),
            reason=" ".join([self._reason(system, clean, attacked, cures), *filter(None, why_not.values())]).strip(),
            seconds=float(
                sum(r.record.get("seconds", 0) for n, r in results.items() if n.startswith(f"{system.slug} "))
            ),
        )

    def _judge_cure(
        self, subject: Subject, system: System, cure: str, worst: str, top: float, hits: Any, price: Estimate
    ) -> Cure:
        cured = hits(f"{cure} {self._key(worst, top)} ")
        after = exposure(cured, seed=subject.seed)
        saved = success_reduction(hits(""), hits(f"{self._key(worst, top)} "), cured, seed=subject.seed).value
        eps = subject.notes.get(f"{system.slug} {cure} eps")
        size = f" at eps {eps}, chosen on the validation part" if eps is not None else ""
        words = (
            f"takes back {percent(saved, 0)} of what the attack won"
            if np.isfinite(saved)
            else "had nothing to take back"
        )
        return Cure(
            slug=cure,
            sentence=f"it {words} (exposure {percent(after.value, 2)}) and changes NDCG@10 by {percent(price.value)} on clean data{size}.",
            after=after,
            price=price,
        )

    def _reason(self, system: System, clean: Estimate, attacked: Estimate, cures: list[Cure]) -> str:
        out = []
        if attacked.overlaps(clean):
            out.append("The intervals before and after overlap: at this budget the attack cannot be told from chance.")
        for cure in cures:
            halved = cure.after is not None and cure.after.value - clean.value <= 0.5 * (attacked.value - clean.value)
            if not attacked.overlaps(clean) and not halved:
                out.append(f"'{cure.slug}' does not halve what the attack won on {system.title}.")
            if cure.price is not None and cure.price.high < -0.02:
                out.append(f"'{cure.slug}' costs more than 2 % of NDCG@10 here.")
        return " ".join(out)


def last_look(result: Result) -> float:
    """The last value on the validation part that a fit recorded."""
    looks = [h["validation"] for h in result.record["history"] if "validation" in h]
    return float(next(iter(looks[-1].values()))) if looks else float("nan")
