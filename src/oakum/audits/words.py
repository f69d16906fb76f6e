"""Words: what sellers gain by rewording their items, where a system reads text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from oakum.attacks.base import Goal, cold_targets, owned_by, propose, written_budget
from oakum.audits.base import Audit, Subject, System, goodness, not_measured, percent, verdict_of, within
from oakum.audits.record import Cure, Finding, Plot
from oakum.audits.trials import Bench, Probe, Result, Trial
from oakum.catalogue import entry
from oakum.data import Filter, Queries
from oakum.metrics.estimate import Estimate
from oakum.metrics.robustness import exposure, target_hits, target_ranks
from oakum.metrics.statistics import estimate
from oakum.parameters import Range


class Reworded(Probe):
    """Rewords targets once a likeness, and asks people before and after."""

    targets: Annotated[tuple[int, ...], "codes of the items that are reworded"]
    norms: Annotated[tuple[float, ...], "how far a text may move: 1 − cosine with what it was"] = (0.3,)
    aimless: Annotated[bool, "once more with words that nobody chose, the control"] = True
    looks: Annotated[int, Range(1), "readings of the catalogue an item"] = 60
    people: Annotated[int, Range(1), "people whose lists are measured, at most"] = 1000
    encoder: Annotated[str, "encoder that likeness is judged by"] = "minilm"

    def ask(self, bench: Bench, trial: Trial, fitted: Any) -> Mapping[str, NDArray[Any]]:
        """ranks.NAME and lists.NAME [people, targets] and [people, 50] for "before", each likeness and "aimless"; spent
        [likenesses, 3] (texts reworded, questions, distance)."""
        from oakum.attacks.text.atr import TextRewriting

        data = bench.dataset(trial.data)
        goal, people = Goal(self.targets), bench.users[: self.people]
        asked = Queries(people, data.histories.take(people))
        away = Filter(exclude=asked.histories)
        again = lambda change: fitted.refresh(change.apply(data))
        out: dict[str, NDArray[Any]] = {}

        def look(name: str, model: Any) -> None:
            out[f"lists.{name}"] = model.rank(asked, 50, where=away).items
            scores = model.score(asked)
            out[f"ranks.{name}"] = target_ranks(scores, np.array(self.targets), exclude=asked.histories)

        look("before", fitted)
        spent = []
        forms: list[tuple[str, float, Any]] = [(f"{n:g}", n, "greedy") for n in self.norms]
        if self.aimless:
            forms.append(("aimless", self.norms[0], "random"))
        for name, norm, words in forms:
            attack = TextRewriting(words=words, encoder=self.encoder)
            queries = (attack.people + 1) * self.looks * len(self.targets) + attack.people
            budget = written_budget(len(self.targets), norm=norm, queries=queries)
            made = propose(
                attack, data, goal, budget, seed=trial.seed, victim=fitted, retrain=again, judge=self.encoder
            )
            look(name, fitted.refresh(made.poisoned))
            spent.append([made.cost.edits, made.cost.queries, made.cost.norm])
        return {**out, "spent": np.array(spent, np.float64)}


class WordsAudit(Audit):
    """How much rank the words of an item are worth by themselves, to a system that reads them."""

    slug = "reworded-items"
    title = "Bought by words"
    targets: Annotated[int, Range(1, 100), "cold items whose sellers reword them"] = 3
    norm: Annotated[float, Range(above=0, high=2), "how far a text may move: 1 − cosine with what it was"] = 0.3
    tight: Annotated[float, Range(above=0, high=2), "the same where texts that move farther wait for a person"] = 0.1
    looks: Annotated[int, Range(1), "readings of the catalogue an item"] = 60
    encoder: Annotated[str, "encoder that likeness is judged by"] = "minilm"
    k: Annotated[int, Range(1, 50), "places of a list that count as exposure"] = 50

    def reading(self, subject: Subject) -> list[System]:
        """The audited systems that read text."""
        return [s for s in subject.victims if "text" in entry(s.slug).needs]

    def _refuses(self, subject: Subject) -> str:
        if not self.reading(subject):
            return "None of the audited systems reads text; name one that does (alpharec, cml, m2trec) to measure it."
        return "" if subject.mode == "full" else "The quick audit rewords nothing; the full one does."

    def goal(self, subject: Subject) -> Goal:
        """Cold targets, drawn once."""
        return cold_targets(subject.data, self.targets, seed=subject.seed)

    def trials(self, subject: Subject) -> Mapping[str, Trial]:
        """One fit a system that reads text; nothing is trained on the new words, which are read at once."""
        if self._refuses(subject):
            return {}
        targets, norms = self.goal(subject).targets, (self.norm, self.tight)
        probe = Reworded(targets=targets, norms=norms, looks=self.looks, encoder=self.encoder)
        return {
            s.slug: s.trial(seed=subject.seeds[0], probe=probe, refusable=True) for s in self.reading(subject)
        }  # fmt: skip

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """Places won and exposure, with and without an aim, and behind a review of texts that move far."""
        reason = self._refuses(subject)
        if reason:
            return [not_measured(self, "every system", reason)]
        return [self._judge(subject, s, results[s.slug]) for s in self.reading(subject)]

    def _judge(self, subject: Subject, system: System, result: Result) -> Finding:
        if result.refused:
            return not_measured(self, system.slug, result.refused)
        n = len(result.found["lists.before"])
        owned = owned_by(subject.data, [subject.split.test])[subject.users[:n]]
        codes = self.goal(subject).codes
        shown, won = {}, {}
        for name in ("before", f"{self.norm:g}", f"{self.tight:g}", "aimless"):
            hits = target_hits(result.found[f"lists.{name}"], codes, owned, self.k)
            shown[name] = exposure(hits, seed=subject.seed)
            moved = result.found["ranks.before"] - result.found[f"ranks.{name}"]
            won[name] = estimate(_mean(np.where(np.isnan(hits), np.nan, moved)), seed=subject.seed)
        wide, tight = f"{self.norm:g}", f"{self.tight:g}"
        before, after = shown["before"], shown[wide]
        edits, queries, norm = result.found["spent"][0]
        items = subject.data.num_items
        loss = 1 - goodness(after.value - before.value, 0.20, 0.01)
        if after.overlaps(before):
            loss = min(loss, 0.2)
        rows = [
            ("before", "before"), (f"reworded, distance at most {wide}", wide), (f"at most {tight}", tight),
            (f"no aim, at most {wide}", "aimless"),
        ]  # fmt: skip
        cure = Cure(
            slug="text-review",
            sentence=(
                f"where texts that move by more than {tight} wait for a person, sellers win {won[tight].value:.0f} places and an "
                f"exposure of {percent(shown[tight].value, 2)}; no list changes on a catalogue that nobody rewords."
            ),
            after=shown[tight],
            price=Estimate(0.0, 0.0, 0.0, n, "exact: nothing is changed until somebody rewords"),
        )
        return Finding(
            slug=self.slug,
            title=self.title,
            subject=system.slug,
            verdict=verdict_of(loss),
            loss=loss,
            sentence=(
                f"Rewording {edits:.0f} of {self.targets} cold items moves them {won[wide].value:.0f} of {items:,} places "
                f"[{won[wide].low:.0f}, {won[wide].high:.0f}] up in the lists of {system.title} and their exposure from "
                f"{percent(before.value, 2)} to {percent(after.value, 2)}; words without an aim move them "
                f"{won['aimless'].value:.0f}."
            ),
            measure=(
                f"T-HR@{self.k}: mean over {self.targets} cold targets of the share of genuine people without the target whose "
                f"top {self.k} holds it; the model is not trained again, it reads the new words"
            ),
            clean=before,
            attacked=after,
            evidence=[
                {"texts": label, "exposure": within(shown[name], 4), "places won": within(won[name], 1)}
                for label, name in rows
            ],
            plots=[
                Plot(
                    kind="bars",
                    title="Places won by words",
                    alt="; ".join(f"{label}: {won[name].value:.0f}" for label, name in rows[1:]),
                    y_label=f"places won of {items:,}",
                    series=[
                        {
                            "name": "places",
                            "x": [label for label, _ in rows[1:]],
                            "y": [won[name].value for _, name in rows[1:]],
                            "low": [won[name].low for _, name in rows[1:]],
                            "high": [won[name].high for _, name in rows[1:]],
                        }
                    ],
                )
            ],
            threat="reads the log and the catalogue; rewords own items; sees scores after each rewording; no weight, no account",
            budget={"edits": int(edits), "queries": int(queries), "norm": round(float(norm), 3)},
            cures=[cure],
            advice="Send texts that move far from what they were to a person, and mix in a model that reads no text.",
            power=(
                f"{n} people, {self.targets} targets, one fit. A search over single words: a language model that writes whole "
                "texts does at least as well."
            ),
            seconds=float(result.record.get("seconds", 0)),
        )


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each row over what is there; NaN where nothing is."""
    known = ~np.isnan(values)
    return np.where(known.any(1), np.where(known, values, 0).sum(1) / np.maximum(known.sum(1), 1), np.nan)
