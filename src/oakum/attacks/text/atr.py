"""Sellers who reword their own items so that a recommender that reads text ranks them higher."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.attacks.base import Access, Attack, Budget, Change, EditText, Goal, Nothing, Threat
from oakum.attacks.changes import text_column
from oakum.attacks.text.plausible import similarity
from oakum.attacks.text.tokens import Edit, Effort, token_search
from oakum.data import Dataset, Queries
from oakum.data.texts import item_texts, item_texts_of, text_columns, words_of
from oakum.parameters import Range
from oakum.seeds import Rng

Floats = NDArray[np.floating[Any]]
_ROOM = 1e-4  # what the framework's own measurement may differ by


class TextRewriting(Attack):
    """How much rank can a seller gain by wording alone?

    Paper: Oh et al. 2024. The gradient-free form: words that sell in the target's category replace or join its own, one at
    a time, where they raise the score over a sample of people, as long as the text stays within the budget's likeness
    (norm: 1 − cosine of the text before and after). The victim is asked, never opened: a look is one reading of the reworded
    catalogue and one score a person. objective "rank" is the paper's L_rank = mean max(0, best_u − s(u, t) + 0.01) in place of
    the mean score; words "random" is the control, which takes every edit that is allowed.
    Memory people · targets; time looks · (one reading of the catalogue + people). Newcomers: people are asked by their histories.
    Differs: the paper's language models (fine-tuned, prompted) are not here; this is the lower bound of what they can do.
    """

    slug = "text-rewriting"
    goals: ClassVar[tuple[str, ...]] = ("promote",)
    threat = Threat.LOG | Threat.CATALOGUE | Threat.SCORES | Threat.RETRAIN
    writes = True
    knowledge = "what sells, and the scores that the victim gives after each rewording"

    words: Annotated[Literal["greedy", "random"], "keep what raises the score, or whatever is allowed"] = "greedy"
    objective: Annotated[Literal["score", "rank"], "what is raised: the mean score, or −L_rank"] = "score"
    people: Annotated[int, Range(1, 100_000), "people whose scores are read"] = 32
    vocabulary: Annotated[int, Range(1, 10_000), "words of the category that are tried"] = 40
    places: Annotated[int, Range(1, 100), "places tried a round"] = 3
    tried: Annotated[int, Range(1, 1000), "words tried a place"] = 8
    rounds: Annotated[int, Range(0, 100), "rounds an item"] = 4
    longest: Annotated[int, Range(1, 1000), "words of a text at most"] = 100
    encoder: Annotated[str, "encoder that likeness is judged by"] = "minilm"

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        """New texts for as many targets as edits are allowed."""
        data = access.log()
        known = np.flatnonzero(data.user_counts > 0).astype(np.int32)
        users = np.sort(rng.choice(known, min(self.people, len(known)), replace=False))
        queries = Queries(users, data.histories.take(users))
        before = access.scores(queries, goal.codes)
        if not budget.norm or not budget.edits or not np.isfinite(before).any():
            return Nothing()
        best: Floats | None = None
        if self.objective == "rank":
            everything = access.scores(queries)
            best = np.where(np.isfinite(everything), everything, -np.inf).max(1)
        targets = goal.targets[: budget.edits]
        looks = (budget.queries - access.spent) // (len(users) + 1) // len(targets)
        if self.words == "greedy" and not looks:
            return Nothing()
        column = text_column(data)
        changed: dict[int, str] = {}
        for target in targets:
            old = str(data.tables["items"][column][target] or "")
            new = self._reword(access, queries, target, old, best, changed, looks, budget.norm, rng)
            if new != old:
                changed[target] = new
        return EditText(tuple(changed), tuple(changed.values())) if changed else Nothing()

    def _reword(
        self,
        access: Access,
        queries: Queries,
        target: int,
        old: str,
        best: Floats | None,
        changed: dict[int, str],
        looks: int,
        norm: float,
        rng: Rng,
    ) -> str:
        data = access.log()
        pool = selling_words(data, target, self.vocabulary)
        told, written = (
            item_texts(data).texts[target],
            lambda t: item_texts_of(pl.DataFrame({"title": [t]}), "").texts[0],
        )
        if not pool or not old:
            return old

        def value(tokens: Sequence[str]) -> float:
            change = EditText((*changed, target), (*changed.values(), " ".join(tokens)))
            own = access.retrain(change).scores(queries, np.array([target], np.int32))
            if best is not None:
                return -rank_loss(own, best)
            return float(np.nanmean(own))

        def keep(tokens: tuple[str, ...]) -> tuple[str, ...] | None:
            if len(tokens) > self.longest or len(set(tokens)) < len(tokens) - len(old.split()) // 2:
                return None
            now = told.replace(written(old), written(" ".join(tokens)), 1)
            likeness = float(similarity([told], [now], self.encoder)[0])
            return tokens if 1 - likeness <= norm - _ROOM else None

        def candidates(here: tuple[str, ...]) -> Iterator[list[Edit]]:
            for _ in range(self.places):
                at = int(rng.integers(len(here) + 1))
                chosen = rng.choice(pool, min(self.tried, len(pool)), replace=False).tolist()
                group = [Edit(at, w, "insert") for w in chosen if w not in here]
                if at < len(here):
                    group += [Edit(at, w) for w in chosen if w not in here]
                yield [group[i] for i in rng.permutation(len(group))[: self.tried]]

        start = tuple(old.split())
        if self.words == "random":
            here = start
            for _ in range(self.rounds):
                for group in candidates(here):
                    here = next((t for e in group[:1] if (t := keep(e.on(here))) is not None), here)
            return " ".join(here)
        effort = Effort(steps=self.rounds, evaluations=looks)
        found, _ = token_search(lambda many: np.array([value(t) for t in many]), start, candidates, effort, keep)
        return " ".join(found)


def selling_words(data: Dataset, target: int, count: int) -> list[str]:
    """Words of the target's category by how many events their items have, most first; of the whole catalogue where items
    have no category. Words of one or two letters, numbers and signs are left out."""
    table = data.tables["items"]
    kinds = [c for kind, c in text_columns(table) if kind == "categories"]
    titles = item_texts(data, ("title",)).texts
    same = np.ones(data.num_items, bool)
    if kinds and table[kinds[0]][target] is not None:
        own = table[kinds[0]][target]
        same = np.array([value is not None and str(value) == str(own) for value in table[kinds[0]].to_list()])
    sold: Counter[str] = Counter()
    counts = data.item_counts
    for item in np.flatnonzero(same).tolist():
        if item != target and counts[item]:
            for word in set(words_of(titles[item])):
                if len(word) > 2 and word.isalpha():
                    sold[word] += int(counts[item])
    return [w for w, _ in sorted(sold.items(), key=lambda pair: (-pair[1], pair[0]))[:count]]


def rank_loss(own: Floats, best: Floats, margin: float = 0.01) -> float:
    """L_rank: mean over people and targets of max(0, best_u − s(u, t) + margin). own [users, targets], best [users]."""
    return float(np.maximum(0.0, best[:, None] - own + margin).mean())


class Promotion(NamedTuple):
    """score: mean score of the targets; hits: mean share of the first k places that targets take; rank: their mean place
    among the candidates, from 1, ties in the middle."""

    score: float
    hits: float
    rank: float


def promotion(scores: Floats, targets: Sequence[int] | NDArray[np.integer[Any]], k: int = 20) -> Promotion:
    """What targets (columns) have among candidates. scores [users, candidates], finite; ties by column."""
    own = scores[:, list(targets)]
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    above = (scores[:, None, :] > own[:, :, None]).sum(2)
    equal = (scores[:, None, :] == own[:, :, None]).sum(2) - 1
    return Promotion(
        float(own.mean()), float(np.isin(order, targets).sum(1).mean() / k), float((above + equal / 2 + 1).mean())
    )
