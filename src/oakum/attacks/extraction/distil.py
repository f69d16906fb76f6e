"""What a copy and its questions are learned by: losses over the victim's lists, as plug-ins over any model of sequences."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oakum import losses as rows_of
from oakum.data import Dataset, Ragged, Schema
from oakum.engine.learner import Facts, Losses, Phase, Plugin, Reps
from oakum.engine.run import Run
from oakum.errors import DataError
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch


def lists_of(data: Dataset) -> Tensor:
    """The victim's list before each row, int64 [rows, k]; -1 where a list ends early or there is none."""
    table = data.tables.get("lists")
    if table is None:
        raise DataError(
            f"'{data.name}' has no table 'lists' of what a victim answered; see `attacks.imitate.asked_log`."
        )
    told = np.array(table["items"].to_list(), np.int64)
    out = np.full((int(data.interactions.rows.max()) + 1, told.shape[1]), -1, np.int64)
    out[table["row"].to_numpy()] = told
    return torch.from_numpy(out)


class Distil(Spec):
    """Puts the victim's lists in place of what a model of sequences learns from.

    L = L_rank + repair · L_BR of the scores s = query · item over all items; rows without a list count 0. Cost: b · items
    scores a step, and their top k.
    """

    margin: Annotated[float, Range(0, 100), "by how much each place beats the next, and any item not in the list"] = 0.5
    repair: Annotated[float, Range(0, 1000), "weight of the repair loss; 0 leaves it out"] = 1.0
    repair_k: Annotated[int, Range(1, 1000), "places whose items the repair loss compares"] = 10
    repair_margin: Annotated[float, Range(0, 100), "by how much a missed item must beat an intruder"] = 0.5

    def build(self, schema: Schema) -> DistilPlugin:
        """The plug-in; it has no weights."""
        return DistilPlugin(self)


class DistilPlugin(Plugin):
    """The losses of the lists."""

    def __init__(self, spec: Distil) -> None:
        super().__init__()
        self.spec = spec

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """The list before each row."""
        return {"lists": lists_of(data)}

    def loss(self, run: Run, batch: Batch, reps: Reps, losses: Losses) -> Losses:
        """Of the model's own losses only "l2" stays."""
        lists = self.facts["lists"][batch.rows]
        scores = reps["query"] @ run.model.item_table().T
        out = {name: value for name, value in losses.items() if name == "l2"}
        out["rank"] = rows_of.ordered(scores, lists, others(lists, scores.shape[1]), self.spec.margin)
        if self.spec.repair:
            k = min(self.spec.repair_k, lists.shape[1])
            out["repair"] = self.spec.repair * rows_of.repair(scores, lists[:, :k], self.spec.repair_margin)
        return out


def others(lists: Tensor, num_items: int) -> Tensor:
    """For every place of each list an item that is not in it, uniformly, int64 [b, k]; -1 where there is none."""
    known = lists >= 0
    rest = num_items - known.sum(1, keepdim=True)
    drawn = (torch.rand(lists.shape, device=lists.device) * rest).long().clamp_max(num_items - 1)
    # The r-th item outside of a sorted list c is r + the number of c_j - j that are at most r.
    ranked = torch.where(known, lists, num_items).sort(1).values
    gaps = ranked - torch.arange(lists.shape[1], device=lists.device)
    gaps = torch.where(ranked < num_items, gaps, num_items)
    found = drawn + torch.searchsorted(gaps.contiguous(), drawn.contiguous(), right=True)
    return torch.where(known & (rest > 0), found, -1)


class Continue(Spec):
    """Learns how people's sequences go on: from the victim's list, or from what else people had.

    -log(g · softmax_{i in list}(query · item_i / temperature) + (1 - g) · P(next | last)), g = sigmoid(w · query + b); the pool's
    P leaves the very transition out that it is asked for.
    """

    embedding_dim: Annotated[int, Range(1, 4096), "width of the queries"] = 64
    temperature: Annotated[float, Range(above=0, high=100), "of the softmax over a list"] = 1.0

    def build(self, schema: Schema) -> ContinuePlugin:
        """The plug-in."""
        return ContinuePlugin(self)


class ContinuePlugin(Plugin):
    """The gate g, and the choice among a list."""

    def __init__(self, spec: Continue) -> None:
        super().__init__()
        self.spec = spec
        self.gate = nn.Linear(spec.embedding_dim, 1)

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """The list before each row, and how likely the pool goes on with its item."""
        flat = data.histories
        assert flat.rows is not None
        pool = Pool(flat.take(np.flatnonzero(flat.lengths > 1)), data.num_items)
        chance = np.ones(int(data.interactions.rows.max()) + 1, np.float32)
        later = np.flatnonzero(np.arange(len(flat.items)) > flat.offsets[flat.owners()])
        chance[flat.rows[later]] = pool.chance(flat.items[later - 1], flat.items[later], without=1)
        return {"lists": lists_of(data), "pool": torch.from_numpy(chance)}

    def choice(self, queries: Tensor, items: Tensor, lists: Tensor) -> tuple[Tensor, Tensor]:
        """log softmax over each list [b, k], -inf where it has ended, and log g, log(1 - g) [b, 2]."""
        scores = torch.einsum("bd,bkd->bk", queries, items[lists.clamp_min(0)]) / self.spec.temperature
        log_p = scores.masked_fill(lists < 0, -torch.inf).log_softmax(1)
        gate = self.gate(queries)
        return log_p, F.logsigmoid(torch.cat([gate, -gate], 1))

    def loss(self, run: Run, batch: Batch, reps: Reps, losses: Losses) -> Losses:
        """The likelihood of the mixture in place of the model's ranking losses."""
        lists = self.facts["lists"][batch.rows]
        known = lists[:, 0] >= 0
        lists = torch.where(known[:, None], lists, 0)
        target = batch.items  # type: ignore[attr-defined]
        log_p, log_g = self.choice(reps["query"], run.model.item_table(), lists)
        hit = (lists == target[:, None]) & known[:, None]
        own = torch.where(hit, log_p, -1e4).amax(1)
        pool = self.facts["pool"][batch.rows].log()
        value = -torch.logaddexp(log_g[:, 0] + own, log_g[:, 1] + pool)
        out = {name: v for name, v in losses.items() if name == "l2"}
        return {**out, "mixture": torch.where(known, value, torch.zeros_like(value))}


class Pool:
    """Transitions of a few sequences, smoothed by popularity: P(j | i) = (n_ij + a p_j) / (n_i + a), a = 0.1 · items."""

    def __init__(self, sequences: Ragged, num_items: int) -> None:
        from scipy import sparse

        place = np.arange(len(sequences.items))
        later = place[place > sequences.offsets[sequences.owners()]]
        pairs = (sequences.items[later - 1], sequences.items[later])
        self.counts = sparse.csr_matrix((np.ones(len(later)), pairs), (num_items, num_items))
        popularity = np.bincount(sequences.items, minlength=num_items).astype(np.float64)
        self.popularity = popularity / max(1.0, popularity.sum())
        self.smooth = 0.1 * max(1, int((popularity > 0).sum()))
        self.total = np.asarray(self.counts.sum(1)).ravel()

    def chance(self, last: np.ndarray, then: np.ndarray, *, without: int = 0) -> np.ndarray:
        """P(then | last), float64 [n], as if so many of these very transitions had not been seen."""
        found = np.asarray(self.counts[last, then]).ravel()
        out: np.ndarray = (np.maximum(found - without, 0) + self.smooth * self.popularity[then]) / (
            np.maximum(self.total[last] - without, 0) + self.smooth
        )
        return np.maximum(out, 1e-12)

    def draw(self, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """An item after each of these, int64 [n]."""
        out = rng.choice(len(self.popularity), len(last), p=self.popularity)
        seen = rng.random(len(last)) * (self.total[last] + self.smooth) < self.total[last]
        for n in np.flatnonzero(seen):
            row = slice(self.counts.indptr[last[n]], self.counts.indptr[last[n] + 1])
            chance = self.counts.data[row]
            out[n] = rng.choice(self.counts.indices[row], p=chance / chance.sum())
        return out
