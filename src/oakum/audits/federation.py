"""Federation: what hostile clients can do where people's rows stay with them, and what a robust server takes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from oakum.attacks.base import ROUNDS, Budget, Goal, cold_targets, owned_by, propose
from oakum.audits.accuracy import per_user, price_of
from oakum.audits.base import Audit, Subject, System, goodness, not_measured, percent, verdict_of, within
from oakum.audits.record import Cure, Finding
from oakum.audits.trials import Result, Trial
from oakum.catalogue import load_class
from oakum.engine.federation import federated
from oakum.metrics.robustness import exposure, retention, target_hits
from oakum.metrics.statistics import estimate
from oakum.parameters import Range


class FederationAudit(Audit):
    """The system trained in a federation, by honest clients and with a few hostile ones among them, under the mean and under
    a robust rule: exposure, accuracy, and what federating costs by itself."""

    slug = "hostile-clients"
    title = "Clients that lie"
    attacks: Annotated[tuple[str, ...], "techniques of hostile clients, by slug"] = ("boosting-clients",)
    rule: Annotated[str, "robust rule of the server tried as the cure, by slug"] = "fed-median"
    share: Annotated[float, Range(above=0, high=0.5), "hostile clients as a share of the people"] = 0.01
    rounds: Annotated[int, Range(1), "rounds of an epoch, where the plan has no federation"] = 16
    targets: Annotated[int, Range(1, 1000), "cold items pushed"] = 5
    k: Annotated[int, Range(1, 50), "places of a list that count as exposure"] = 50

    def goal(self, subject: Subject) -> Goal:
        """Cold targets, drawn once."""
        return cold_targets(subject.data, self.targets, seed=subject.seed)

    def _refuses(self, subject: Subject) -> str:
        if not any(s.learned for s in subject.victims):
            return "None of the audited systems is trained, so none can be federated."
        asked = any(s.plan.get("step") is not None for s in subject.systems)
        if subject.mode != "full" and not asked:
            return "The quick audit federates nothing unless the plan does (--set step=...); the full one does."
        return ""

    def _unfit(self, subject: Subject, system: System) -> str:
        """Why these attacks cannot act on the system, which its empty model tells without a fit."""
        from oakum.engine.fit import schema_of
        from oakum.engine.outsiders import cannot_act

        model = system.spec.build(schema_of(system.spec, subject.data))
        return next(filter(None, (cannot_act(load_class(a, "attack")(), model) for a in self.attacks)), "")

    def _budget(self, subject: Subject) -> Budget:
        people = int((subject.data.user_counts > 0).sum())
        return Budget(users=max(1, round(self.share * people)), rounds=ROUNDS)

    def trials(self, subject: Subject) -> Mapping[str, Trial]:
        """For each trained system: honest and hostile federations, both under the plan's rule and under the robust one."""
        if self._refuses(subject):
            return {}
        from oakum.engine.fit import plan_of

        out = {}
        people = int((subject.data.user_counts > 0).sum())
        rule = load_class(self.rule, "defence")()
        for system in (s for s in subject.victims if s.learned and not self._unfit(subject, s)):
            step = system.plan.get("step")
            base = federated(step) if step is not None else federated(None).replace(clients=-(-people // self.rounds))
            steps = {"honest": base, f"{self.rule} honest": base.replace(aggregate=rule)}
            for attack in self.attacks:
                technique = load_class(attack, "attack")()
                whole = plan_of(system.spec, {**system.plan, "step": base})
                made = propose(
                    technique, subject.data, self.goal(subject), self._budget(subject), seed=subject.seed, plan=whole
                )
                hostile = federated(None if made.plan is None else made.plan.step).hostile
                for name in ("honest", f"{self.rule} honest"):
                    steps[name.replace("honest", attack)] = steps[name].replace(hostile=hostile)
            for name, changed in steps.items():
                out[f"{system.slug} {name}"] = Trial(
                    spec=system.spec,
                    plan={**system.plan, "step": changed},
                    plugins=system.plugins,
                    seed=subject.seeds[0],
                    refusable=True,
                )
            out[f"{system.slug} central"] = system.trial(seed=subject.seeds[0])
        return out

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """One finding a system that can be federated; the others say why they cannot."""
        reason = self._refuses(subject)
        if reason:
            return [not_measured(self, "every system", reason)]
        return [self._judge(subject, s, results) for s in subject.victims if s.learned]

    def _judge(self, subject: Subject, system: System, results: Mapping[str, Result]) -> Finding:
        if reason := self._unfit(subject, system):
            return not_measured(self, system.slug, reason)
        mine = {n.removeprefix(f"{system.slug} "): r for n, r in results.items() if n.startswith(f"{system.slug} ")}
        refused = next((r.refused for r in mine.values() if r.refused), "")
        if refused:
            return not_measured(self, system.slug, refused)
        owned = owned_by(subject.data, [subject.split.test])[subject.users]
        codes = self.goal(subject).codes
        shown = {
            n: exposure(target_hits(r.lists, codes, owned, self.k), seed=subject.seed) for n, r in mine.items()
        }  # fmt: skip
        worst = max(self.attacks, key=lambda a: shown[a].value)
        clean, attacked, after = shown["honest"], shown[worst], shown[f"{self.rule} {worst}"]
        federating = price_of(subject, [mine["central"]], [mine["honest"]])
        price = price_of(subject, [mine["honest"]], [mine[f"{self.rule} honest"]])
        quality = {n: per_user(subject, r, "ndcg@10") for n, r in mine.items()}
        kept = retention(quality["honest"], quality[worst], seed=subject.seed)
        loss = 1 - goodness(attacked.value, 0.20, 0.01)
        if attacked.overlaps(clean):
            loss = min(loss, 0.2)
        budget = self._budget(subject)
        return Finding(
            slug=self.slug,
            title=self.title,
            subject=system.slug,
            verdict=verdict_of(loss),
            loss=loss,
            sentence=(
                f"{budget.users} hostile clients ({percent(self.share)}) of a federation of {system.title} move the exposure of "
                f"{self.targets} cold items from {percent(clean.value, 2)} to {percent(attacked.value, 2)} "
                f"[{percent(attacked.low, 2)}, {percent(attacked.high, 2)}] of genuine lists by '{worst}'; NDCG@10 keeps "
                f"{percent(kept.value)} of its value, so accuracy alone does not show them."
            ),
            measure=(
                f"T-HR@{self.k}: mean over {self.targets} targets of the share of genuine people without the target whose top "
                f"{self.k} holds it; hostile clients are nobody's denominator"
            ),
            clean=clean,
            attacked=attacked,
            evidence=[
                {
                    "federation": name,
                    "exposure": within(e, 4),
                    "NDCG@10": within(estimate(quality[name], seed=subject.seed), 4),
                }
                for name, e in shown.items()
            ],
            threat="holds clients; sees the shared weights that the server sends; never a person's row, the log or the test part",
            budget=budget.to_json(),
            cures=[
                Cure(
                    slug=self.rule,
                    sentence=(
                        f"under '{self.rule}' the same clients reach {percent(after.value, 2)} of genuine lists, and honest "
                        f"clients alone change NDCG@10 by {percent(price.value)}."
                    ),
                    after=after,
                    price=price,
                )
            ],
            advice="Bound what one client can move, and watch exposure, not accuracy.",
            power=(
                f"One seed, {len(subject.users):,} genuine people; federating by itself changes NDCG@10 by "
                f"{within(federating)} of the central fit's."
            ),
            seconds=float(sum(r.record.get("seconds", 0) for r in mine.values())),
        )
