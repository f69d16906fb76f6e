"""Certificates: which lists of a text search no rewording by synonyms can change, proven and not tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from oakum.audits.base import Audit, Subject, System, goodness, not_measured, percent, verdict_of, within
from oakum.audits.record import Cure, Finding
from oakum.audits.trials import Bench, Probe, Result, Trial
from oakum.catalogue import entry
from oakum.data import Queries, Ragged
from oakum.data.texts import item_texts, words_of
from oakum.metrics.estimate import Estimate
from oakum.metrics.statistics import compare, estimate, proportion
from oakum.parameters import Range
from oakum.seeds import generator


class Certified(Probe):
    """Types words of random items, and asks for the list, the smoothed list and its certificate."""

    requests: Annotated[int, Range(1), "what is typed: so many times a few words of an item"] = 60
    words: Annotated[int, Range(1, 50), "words typed, at most"] = 3
    k: Annotated[int, Range(1, 100), "places that are certified"] = 10
    few: Annotated[int, Range(1), "words replaced in the second, smaller promise"] = 1
    samples: Annotated[int, Range(1), "draws a document"] = 1000
    encoder: Annotated[str, "encoder of single words that synonyms are made from"] = "minilm"

    def ask(self, bench: Bench, trial: Trial, fitted: Any) -> Mapping[str, NDArray[Any]]:
        """certified, few, plain, found, smoothed [requests]: the verdicts, and 1 / place of the item whose words were typed in
        the plain and in the smoothed list (0 beyond `k`); bound: o_d of all documents of the lists; slack [1]."""
        from oakum.defences.certdr import CertDR, Smoothed

        data = bench.dataset(trial.data)
        texts = [words_of(t) for t in item_texts(data).texts]
        rng = generator(trial.seed, "typed words")
        said = np.array([i for i, t in enumerate(texts) if len(set(t)) >= self.words], np.int64)
        items = np.sort(rng.choice(said, min(self.requests, len(said)), replace=False))
        typed = [" ".join(rng.choice(sorted(set(texts[i])), self.words, replace=False)) for i in items]
        scores = fitted.score(Queries(np.full(len(typed), -1, np.int32), Ragged.empty(len(typed)), None, typed))
        known = scores[np.isfinite(scores) & (scores > 0)]
        # g has to tell the scores of listed documents apart: its centre lies among them.
        centre, scale = (float(np.median(known)), float(np.std(known)) / 2 or 1.0) if len(known) else (0.0, 1.0)
        spec = CertDR(
            depth=2 * self.k, samples=self.samples, centre=centre, scale=scale, seed=trial.seed, encoder=self.encoder
        )
        ranker = spec.wrap(fitted, data)
        sparing = Smoothed(spec.replace(substitutions=self.few), ranker.base, item_texts(data).texts, ranker.synonyms)
        rows, bounds, slack = [], [], 0.0
        for item, text in zip(items.tolist(), typed, strict=True):
            listed = ranker.listed(text)
            if len(listed) <= self.k:
                continue
            proof = ranker.certify(text, self.k)
            place = lambda order, own=item: (
                1 / (1 + order[: self.k].tolist().index(own)) if own in order[: self.k] else 0
            )
            below = proof.f[self.k :] + [sparing.bound(int(i)) for i in proof.items[self.k :]]
            few = proof.f[self.k - 1] - float(below.max()) > proof.slack
            rows.append([proof.certified, few, proof.plain, place(listed), place(proof.items)])
            bounds.append(proof.bound)
            slack = proof.slack
        table = np.array(rows, np.float64).reshape(-1, 5)
        names = ("certified", "few", "plain", "found", "smoothed")
        out = {n: table[:, c] for c, n in enumerate(names)}
        return {**out, "bound": np.concatenate(bounds) if bounds else np.empty(0), "slack": np.array([slack])}


class CertificateAudit(Audit):
    """Which result lists are proof against every rewording by synonyms, and what the proof costs the search."""

    slug = "certified-lists"
    title = "Lists that no synonym moves"
    requests: Annotated[int, Range(1), "lists that are certified"] = 60
    k: Annotated[int, Range(1, 100), "places that are certified"] = 10
    few: Annotated[int, Range(1), "words replaced in the second, smaller promise"] = 1
    encoder: Annotated[str, "encoder of single words that synonyms are made from"] = "minilm"

    def reading(self, subject: Subject) -> list[System]:
        """The audited systems that read what is typed."""
        return [s for s in subject.victims if {"search", "text"} <= set(entry(s.slug).task)]

    def _refuses(self, subject: Subject) -> str:
        if not self.reading(subject):
            return "None of the audited systems answers typed words by the words of texts; name one that does (bm25)."
        return "" if subject.mode == "full" else "The quick audit proves nothing; the full one does."

    def trials(self, subject: Subject) -> Mapping[str, Trial]:
        """One fit a system."""
        if self._refuses(subject):
            return {}
        probe = Certified(requests=self.requests, k=self.k, few=self.few, encoder=self.encoder)
        return {s.slug: s.trial(seed=subject.seeds[0], probe=probe, refusable=True) for s in self.reading(subject)}

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """The certified share by promise, and what smoothing does to finding an item by its words."""
        reason = self._refuses(subject)
        if reason:
            return [not_measured(self, "every system", reason)]
        return [self._judge(subject, s, results[s.slug]) for s in self.reading(subject)]

    def _judge(self, subject: Subject, system: System, result: Result) -> Finding:
        if result.refused or not len(result.found["certified"]):
            why = result.refused or f"No list is longer than {self.k} places, so there is nothing to keep out."
            return not_measured(self, system.slug, why)
        of = lambda name: proportion(float(result.found[name].sum()), len(result.found[name]), unit="requests")
        whole, few, plain = (of(n) for n in ("certified", "few", "plain"))
        found, smoothed = result.found["found"], result.found["smoothed"]
        gap, mean = compare(smoothed, found, seed=subject.seed).difference, max(float(found.mean()), 1e-9)
        price = Estimate(gap.value / mean, gap.low / mean, gap.high / mean, gap.n, f"known items found; {gap.how}")
        bound = result.found["bound"]
        none = Estimate(0.0, 0.0, 0.0, len(found), "exact: without smoothing nothing is proven")
        loss = 1 - goodness(whole.value, 0.0, 0.5)
        return Finding(
            slug=self.slug,
            title=self.title,
            subject=system.slug,
            verdict=verdict_of(loss, notice=0.25, weak=0.9),
            loss=loss,
            sentence=(
                f"Of {len(found)} lists of {system.title}, smoothed, {percent(whole.value)} [{percent(whole.low)}, "
                f"{percent(whole.high)}] are proven to keep their first {self.k} whatever words of one other text are replaced "
                f"by synonyms, and {percent(few.value)} where {self.few} word may be; without smoothing none is."
            ),
            measure=(
                f"CRQ@{self.k}: share of requests (a few words of an item) whose first {self.k} places are certified; the draws "
                "mislead a list with a chance of 5 % at most"
            ),
            clean=none,
            attacked=none,
            evidence=[
                {
                    "promise": "any number of words",
                    "certified": within(whole),
                    "authors' looser rule": within(plain),
                },
                {"promise": f"{self.few} word", "certified": within(few), "authors' looser rule": ""},
                {
                    "promise": "bound o_d, median and 90 %",
                    "certified": f"{np.median(bound):.2f}, {np.quantile(bound, 0.9):.2f}",
                },
                {"promise": "slack of the draws", "certified": f"{float(result.found['slack'][0]):.3f}"},
                {
                    "promise": "typed item found, mean 1 / place",
                    "certified": f"{within(estimate(found, seed=subject.seed))} plain, "
                    f"{within(estimate(smoothed, seed=subject.seed))} smoothed",
                },
            ],
            threat=(
                "one text outside the first places is reworded by allowed synonyms; insertions, deletions, paraphrase and several "
                "texts at once are not covered"
            ),
            budget={"words": "any number, or " + str(self.few)},
            cures=[
                Cure(
                    slug="certdr",
                    sentence=(
                        f"smoothing over synonyms proves {percent(whole.value)} of the lists and moves the mean 1 / place of "
                        f"the typed item by {percent(price.value)}."
                    ),
                    after=whole,
                    price=price,
                )
            ],
            advice="Certify the lists of frequent requests offline; a list without a proof is not thereby broken.",
            power=(
                f"{len(found)} requests. A proof holds for every synonym attack that the threat names; what is not certified may "
                "still hold."
            ),
            seconds=float(result.record.get("seconds", 0)),
        )
