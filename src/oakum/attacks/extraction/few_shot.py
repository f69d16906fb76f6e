"""Model extraction: a copy of a recommender, from a few real sequences and the lists it answers with."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import torch

from oakum.attacks.access import Access, Goal, Threat
from oakum.attacks.base import Attack
from oakum.attacks.changes import Budget
from oakum.attacks.extraction.distil import Continue, ContinuePlugin, Distil, Pool
from oakum.attacks.imitate import Imitation, Oracle, asked_log, imitate, told_part
from oakum.catalogue import load_class
from oakum.data import Dataset, Ids, Queries, Ragged
from oakum.engine.fit import fit
from oakum.errors import BudgetExceeded, ParameterError
from oakum.parameters import Range, Spec
from oakum.seeds import Rng


class FewShot(Attack):
    """Copies a served recommender: sends sequences, reads the ranked lists and trains a model of its own on them.

    Paper: Few-shot model extraction, arXiv 2411.11677, over the data-free extraction of Yue et al. 2021. The questions are all
    prefixes of a few real sequences (`share` of the people), then `continuations` of their beginnings: the next event comes
    from the victim's own list with probability g, else from the transitions of the few (`continue_by` "learned": g and the
    choice are fitted to the few; "uniform": always from the list). `source` "random" and "autoregressive" are the data-free
    comparators. The copy learns L_rank + repair · L_BR: each place of a list above the next and above items that are not in it;
    every missed item above every intruder among the first ten. Works on any victim that answers newcomers, `surrogate` is any
    model of sequences. Cost: time epochs · queries · items d, memory queries · k + a batch · items. Newcomers: all questions
    are a newcomer's. Budget: queries alone; a history that was asked once is not charged again. Differs from the paper: the forms
    of the sampler, of g and of the repair loss are reconstructed from summaries; items are read without metadata; the pool leaves
    the transition out that it explains; epochs are fixed, not chosen by NDCG on held-out lists.
    """

    slug = "model-extraction"
    threat = Threat.LOG | Threat.LISTS
    knowledge: ClassVar[str] = "the sequences of a small share of the people"
    goals: ClassVar[tuple[str, ...]] = ("copy",)
    source: Annotated[
        Literal["few-shot", "random", "autoregressive"], "questions: from real sequences, or made without data"
    ] = "few-shot"
    share: Annotated[float, Range(above=0, high=1), "people whose sequences the adversary has"] = 0.1
    length: Annotated[int, Range(1, 1000), "events of a question, at most"] = 20
    k: Annotated[int, Range(2, 1000), "places of a list that are read"] = 50
    continuations: Annotated[int, Range(0, 100), "made sequences a real one, where queries are left"] = 3
    continue_by: Annotated[Literal["learned", "uniform"], "how a sequence goes on"] = "learned"
    temperature: Annotated[float, Range(above=0, high=100), "of the choice within a list, where learned"] = 1.0
    repair: Annotated[float, Range(0, 1000), "weight of the repair loss"] = 1.0
    surrogate: Annotated[str, "slug of the copy's architecture, a model of sequences"] = "sasrec"
    embedding_dim: Annotated[int, Range(1, 4096), "width of the copy"] = 64
    dropout: Annotated[float, Range(0, below=1), "dropout of the copy"] = 0.1
    epochs: Annotated[int, Range(1, 10_000), "passes over the lists"] = 40
    learning_rate: Annotated[float, Range(above=0, high=1), "step size"] = 3e-3

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Imitation:
        """The copy."""
        data = access.log()
        if not budget.queries:
            raise BudgetExceeded(f"'{self.slug}' copies what it may ask, and its budget has no queries.")
        oracle = Oracle(access, min(self.k, data.num_items), budget.queries)
        seed = int(rng.integers(2**31))
        questions = self.questions(oracle, data, rng, seed)
        return imitate(
            oracle,
            data,
            self.model(),
            questions,
            Distil(repair=self.repair),
            plan=self.training(self.epochs),
            seed=seed,
        )

    def model(self) -> Spec:
        """The empty copy."""
        spec: Spec = load_class(self.surrogate, "model").make(embedding_dim=self.embedding_dim, dropout=self.dropout)
        return spec

    def training(self, epochs: int) -> dict[str, object]:
        """How everything is trained here: few sequences, small batches."""
        return {"epochs": epochs, "learning_rate": self.learning_rate, "batch_size": 8, "clip_norm": 5.0}

    # --- what is asked ----------------------------------------------------------------------------------------------
    def questions(self, oracle: Oracle, data: Dataset, rng: Rng, seed: int = 0) -> Ragged:
        """The sequences whose every prefix is asked, as far as the budget goes."""
        n = -(-oracle.left // self.length)
        if self.source == "random":
            return Ragged.of(rng.integers(0, data.num_items, (n, self.length)).tolist())
        if self.source == "autoregressive":
            starts = rng.integers(0, data.num_items, n).astype(np.int32)
            return self.extend(oracle, Ragged(np.arange(n + 1), starts), rng, None, data)
        real = few(data, self.share, self.length, rng)
        lists, answered = oracle.ask_all(real)
        if not oracle.left or not self.continuations:
            return real
        guide = None
        if self.continue_by == "learned":
            spec = self.model()
            plugin = Continue(embedding_dim=self.embedding_dim, temperature=self.temperature)
            known, lists = told_part(real, lists, answered)
            log = asked_log(data, known, lists, np.ones(len(lists), bool), closed=False)
            fitted = fit(
                spec, log, plan={**self.training(max(1, self.epochs // 2)), "patience": 0}, plugins=[plugin], seed=seed
            )
            guide = Guide(fitted, fitted.plugins[0], Pool(real, data.num_items))
        seeds = real.take(np.tile(np.arange(len(real)), self.continuations))
        kept = np.minimum(rng.integers(1, self.length, len(seeds)), seeds.lengths) if self.length > 1 else seeds.lengths
        begun = seeds.slices(seeds.offsets[:-1], kept)
        begun = begun.take(np.arange(min(len(begun), -(-oracle.left * 2 // self.length))))
        made = self.extend(oracle, begun, rng, guide, data)
        return Ragged.of([s.row(r).tolist() for s in (real, made) for r in range(len(s))])

    def extend(self, oracle: Oracle, begun: Ragged, rng: Rng, guide: Guide | None, data: Dataset) -> Ragged:
        """Sequences carried on to `length` events while queries are left."""
        rows = [begun.row(r).tolist() for r in range(len(begun))]
        while True:
            short = [r for r in rows if len(r) < self.length]
            lists, answered = oracle.ask(Ragged.of(short))
            going = np.flatnonzero(answered & (lists[:, 0] >= 0)) if len(short) else np.empty(0, np.int64)
            if not len(going):
                return Ragged.of(rows)
            histories = Ragged.of([short[i] for i in going])
            items = uniform(lists[going], rng) if guide is None else guide.next(histories, lists[going], rng)
            for i, item in zip(going, items, strict=True):
                short[i].append(int(item))
            if not oracle.left and len(going) < len(short):
                return Ragged.of(rows)


def few(data: Dataset, share: float, length: int, rng: Rng) -> Ragged:
    """The latest `length` events of a random share of the people, at least one of them."""
    people = np.flatnonzero(data.histories.lengths > 0)
    if not len(people):
        raise ParameterError(f"Nobody in '{data.name}' has an event, so there is no sequence to start from.")
    chosen = rng.choice(people, max(1, round(share * len(people))), replace=False)
    return data.histories.take(chosen).tail(length)


def uniform(lists: Ids, rng: Rng) -> Ids:
    """Any place of each list."""
    ends = (lists >= 0).sum(1)
    out: Ids = lists[np.arange(len(lists)), (rng.random(len(lists)) * ends).astype(np.int64)]
    return out


class Guide:
    """How the few sequences go on, as fitted: from the list by what the state likes, or from the pool."""

    def __init__(self, fitted: object, plugin: ContinuePlugin, pool: Pool) -> None:
        self.fitted, self.plugin, self.pool = fitted, plugin, pool

    def next(self, histories: Ragged, lists: Ids, rng: Rng) -> Ids:
        """The next item of each sequence, int32 [q]."""
        model = self.fitted.model.eval()  # type: ignore[attr-defined]
        with torch.no_grad():
            h = model.query_vectors(Queries(np.full(len(lists), -1, np.int32), histories)).nan_to_num()
            log_p, log_g = self.plugin.choice(h, model.item_table(), torch.from_numpy(lists.astype(np.int64)))
        edge = log_p.double().exp().cumsum(1).numpy()
        place = (edge < rng.random(len(lists))[:, None] * edge[:, -1:]).sum(1)
        inside = lists[np.arange(len(lists)), np.minimum(place, (lists >= 0).sum(1) - 1)]
        outside = self.pool.draw(histories.items[histories.offsets[1:] - 1].astype(np.int64), rng)
        return np.where(rng.random(len(lists)) < log_g[:, 0].double().exp().numpy(), inside, outside).astype(np.int32)
