"""Fine-tuning that keeps a recommender's lists where they are when the training data change a little."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from oakum.data import Dataset
from oakum.engine.learner import Facts, Losses, Phase, Plugin, Reps
from oakum.engine.run import Run
from oakum.errors import DataError, ModelFileError, ParameterError
from oakum.files import whole
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order
from oakum.seeds import Rng, generator

FORMAT = "oakum reference lists 1"


class FINEST(Spec):
    """Once a model is trained, fine-tunes it under small simulated changes of the log so that its lists keep their order.

    Paper: Oh et al. 2024. The base model's top K items T and the next K items C of every training place are frozen; then, for
    `epochs` more with a fresh optimiser, each epoch draws max(1, ⌊σ N⌋ ) rows and deletes them, or gives them the rarest item,
    or puts the rarest item before them, and L + γ (P1 + P2) is minimised: P1 = mean over k < K of max(0, δ − (s_Tk − s_Tk+1))
    keeps the order, P2 = mean over k of max(0, δ − (s_Tk − s_Ck)) keeps the top above the rest. Lists belong to the id of the
    row that ends the history, and count only while that row still holds its item. What it gives is lists that hardly move
    under small changes of the data *as long as seed and initial weights are the same*; another seed still moves them.
    `keep` writes the lists to a file, `anchor` takes those of an earlier run (yesterday's) in place of the own: retraining is
    then tied to the deployed lists, also where these were poisoned, and new items hardly enter them. Works over any model whose
    batches name log rows and whose scores are products of vectors; on a log without times rows are only deleted. Memory: rows ·
    2 K · 4 bytes; time: `epochs` more of the model's epochs, and batch · min(items, 2 K) · d for the penalty.
    Differs from the paper in the weight (γ = 0.1 there, which does little in few epochs) and in lists by one pass without
    dropout (`lists`: "training" takes them in the last epoch as the paper's code does).
    """

    slug = "finest"
    k: Annotated[int, Range(2, 10_000, search=(20, 100)), "K, places held; at most half of the items"] = 20
    gamma: Annotated[float, Range(0, 1000, search=(0.1, 10), log=True), "weight of the penalty; 0 is no plug-in"] = 1.0
    margin: Annotated[float, "δ, least gap of scores that is asked for"] = 0.1
    sigma: Annotated[float, Range(0, 1), "share of the rows that a simulated change touches"] = 0.01
    epochs: Annotated[int, Range(1, 100_000), "epochs of fine-tuning, after those of the model"] = 20
    learning_rate: Annotated[
        float | None, Range(above=0, high=10, search=(3e-4, 1e-3), log=True), "of the fine-tuning; none: the plan's"
    ] = None
    last: Annotated[int, Range(0), "only the last so many places of each person are held; 0: all"] = 0
    lists: Annotated[Literal["evaluation", "training"], "when the lists are taken"] = "evaluation"
    keep: Annotated[str, "file to write the lists to"] = ""
    anchor: Annotated[str, "file of an earlier run's lists, to hold to those"] = ""

    def build(self, schema: Any) -> FINESTPlugin:
        """The plug-in."""
        return FINESTPlugin(self)


def penalty(scores: Tensor, margin: float) -> Tensor:
    """P1 + P2 of each row, [b, 2 K] -> [b]: scores of T_1 … T_K, then of C_1 … C_K. Only differences of scores matter."""
    top, rest = scores.chunk(2, dim=1)
    order = F.relu(margin - (top[:, :-1] - top[:, 1:])).mean(1)
    return order + F.relu(margin - (top - rest)).mean(1)


def scores_of(query: Tensor, table: Tensor, items: Tensor) -> Tensor:
    """Products with each row's own items. [b, d], [i, d], [b, c] -> [b, c]; through all items where that is less work."""
    if len(table) <= 16 * items.shape[1]:
        return (query @ table.T).gather(1, items)
    return torch.bmm(F.embedding(items, table), query.unsqueeze(-1)).squeeze(-1)


def perturbed(data: Dataset, sigma: float, rng: Rng, *, above: int = -1) -> Dataset:
    """A simulated change of max(1, ⌊σ N⌋) rows: all deleted, or given the rarest item, or preceded by it. `above`: new rows
    get ids above this one too. Without times (nothing can be put before anything) the rows are deleted."""
    log = data.interactions
    rows = log.rows[rng.choice(len(log), max(1, int(sigma * len(log))), replace=False)]
    counts = np.where(data.item_counts > 0, data.item_counts, np.iinfo(np.int64).max)
    rarest = np.full(len(rows), counts.argmin(), np.int32)
    kind = int(rng.integers(3)) if log.times is not None else 0
    if kind == 0:
        return data.with_interactions(log.without(rows))
    changed = log.with_items(rows, rarest) if kind == 1 else log.with_before(rows, rarest, above=above)
    return data.with_interactions(changed)


class Ends:
    """The event that ends the history before each row of a log: its id and its item."""

    def __init__(self, data: Dataset) -> None:
        flat = data.histories
        assert flat.rows is not None
        order = np.argsort(flat.rows, kind="stable")
        first = flat.offsets[:-1][flat.lengths > 0]
        ids = np.concatenate([[-1], flat.rows[:-1]]).astype(np.int64)[: len(flat.rows)]
        ids[first] = -1
        items = np.concatenate([[-1], flat.items[:-1]]).astype(np.int64)[: len(flat.rows)]
        owners = flat.owners()
        self.from_end = (flat.offsets[1:][owners] - np.arange(len(owners)))[order]  # 1 for a person's last row
        self.rows, self.ids, self.items = flat.rows[order], ids[order], items[order]
        self.width = data.num_items
        self.pairs = (owners * self.width + flat.items)[order]
        self.pair_at = np.argsort(self.pairs, kind="stable")
        self.by_pair = self.pairs[self.pair_at]

    def of(self, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where each row of a batch stands here: by its log row, or else the last of its user and item; -1 where neither
        is of this log. And the id of the event before it, -1 where there is none. int64 [b], [b]."""
        rows = batch.rows.cpu().numpy()
        at = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        fits = self.rows[at] == rows
        users, items = getattr(batch, "users", None), getattr(batch, "items", None)
        if users is not None and items is not None and len(users) == len(items) == len(rows):
            pairs = users.cpu().numpy() * self.width + items.cpu().numpy()
            fits &= self.pairs[at] == pairs
            found = np.maximum(np.searchsorted(self.by_pair, pairs, side="right") - 1, 0)
            at = np.where(fits, at, self.pair_at[found])
            fits |= self.by_pair[found] == pairs
        return np.where(fits, at, -1), np.where(fits, self.ids[at], -1)


class FINESTPlugin(Plugin):
    """The frozen lists (facts: rows [n] sorted, items [n] their items, lists [n, 2 K]) and the penalty on leaving them."""

    def __init__(self, spec: FINEST) -> None:
        super().__init__()
        self.spec = spec
        self.base: Any = None

    def phases(self) -> tuple[Phase, ...]:
        """One after the model's own."""
        if self.spec.gamma == 0:
            return ()
        return (Phase(name="finest", after=True, epochs=self.spec.epochs, learning_rate=self.spec.learning_rate),)

    def start(self, run: Run) -> None:
        """The log as it is; each epoch's simulated change starts from it."""
        self.base = run.data

    def epoch(self, run: Run) -> None:
        """Freeze the lists: before the first epoch of fine-tuning, or in the last one of the model."""
        if self.spec.gamma == 0 or (self.spec.anchor and not run.phase.after):
            return
        if not run.phase.after:
            last = (run.phase.epochs or run.plan.epochs) - 1
            if self.spec.lists == "training" and run.epoch == last:
                self.put_facts(self.blank(run))
        elif run.epoch == 0:
            if self.spec.anchor:
                self.put_facts(read_lists(self.spec.anchor, self.base))
            elif self.spec.lists == "evaluation" or "lists" not in self.facts:
                self.freeze(run)
            self.settled()
            if self.spec.keep:
                write_lists(self.spec.keep, self.facts, self.base)

    def data(self, run: Run, data: Dataset) -> Dataset:
        """While fine-tuning, a log with a simulated change, another one each epoch."""
        if not run.phase.after or self.spec.gamma == 0 or self.spec.sigma == 0:
            return data
        rng = generator(run.seed, "finest", run.epoch)
        return perturbed(data, self.spec.sigma, rng, above=int(self.facts["rows"].max()))

    def loss(self, run: Run, batch: Batch, reps: Reps, losses: Losses) -> Losses:
        """While fine-tuning, the penalty of the rows with a list beside the model's losses; its mean is over those rows."""
        if self.spec.gamma == 0 or not run.phase.after:
            if "taken" in self.facts and run.epoch == (run.phase.epochs or run.plan.epochs) - 1 and self.spec.gamma:
                self.take(run, batch, self.query(run, batch, reps).detach())
            return losses
        ends = self.ends(run)
        at, ids = ends.of(batch)
        rows = self.facts["rows"].cpu().numpy()
        place = np.minimum(np.searchsorted(rows, ids), len(rows) - 1)
        # A row that was given another item is another event: its list says nothing of it.
        same = self.facts["items"].cpu().numpy()[place] == ends.items[np.maximum(at, 0)]
        held = np.flatnonzero((ids >= 0) & (rows[place] == ids) & same)
        query = self.query(run, batch, reps)
        value = query.new_zeros(len(query))
        if len(held):
            where = torch.from_numpy(held).to(query.device)
            lists = self.facts["lists"][torch.from_numpy(place[held])].to(query.device, torch.long)
            scores = scores_of(query[where], run.model.item_table(), lists)
            value = value.index_copy(0, where, penalty(scores, self.spec.margin) * (len(query) / len(held)))
        return {**losses, "_finest": self.spec.gamma * value}

    # --- lists ------------------------------------------------------------------------------------------------------
    def ends(self, run: Run) -> Ends:
        """The events before those of this epoch's log."""
        if "events before" not in run.memo:
            run.memo["events before"] = Ends(run.data)
        found: Ends = run.memo["events before"]
        return found

    @staticmethod
    def query(run: Run, batch: Batch, reps: Reps) -> Tensor:
        """The query vectors that the item table is compared with [b, d]; a model that moves other vectors (points of a metric)
        is asked for them."""
        found = reps.get("query")
        fits = found is not None and found.shape[-1] == run.model.item_table().shape[-1]
        return found if fits and found is not None else run.model.represent_query(batch)

    def blank(self, run: Run) -> Facts:
        """Empty lists of every row that ends a history before another."""
        ends = Ends(self.base)
        chosen = ends.ids >= 0
        if self.spec.last:
            chosen &= ends.from_end <= self.spec.last
        order = np.argsort(ends.ids[chosen], kind="stable")
        width = min(self.spec.k, int((self.base.item_counts > 0).sum()) // 2)
        if width < 2 or not len(order):
            raise DataError(
                f"FINEST holds lists of at least 2 items against 2 more; '{self.base.name}' has {int((self.base.item_counts > 0).sum())} "
                f"items and {len(order)} events that another follows. Give a larger log."
            )
        return {
            "rows": torch.from_numpy(ends.ids[chosen][order].copy()),
            "items": torch.from_numpy(ends.items[chosen][order].copy()),
            "lists": torch.zeros(len(order), 2 * width, dtype=torch.int32),
            "taken": torch.zeros(len(order), dtype=torch.bool),
            "unseen": torch.from_numpy(self.base.item_counts == 0),
        }

    def take(self, run: Run, batch: Batch, query: Tensor) -> None:
        """The lists of a batch's rows, as the model ranks now."""
        _, ids = self.ends(run).of(batch)
        rows = self.facts["rows"].cpu().numpy()
        place = np.minimum(np.searchsorted(rows, ids), len(rows) - 1)
        here = np.flatnonzero((ids >= 0) & (rows[place] == ids))
        with torch.no_grad():
            scores = query[torch.from_numpy(here).to(query.device)] @ run.model.item_table().T
            scores = scores.masked_fill(self.facts["unseen"].to(query.device), -torch.inf)
            found = scores.topk(self.facts["lists"].shape[1]).indices
        where = torch.from_numpy(place[here]).to(self.facts["lists"].device)
        self.facts["lists"][where] = found.to(self.facts["lists"])
        self.facts["taken"][where] = True

    def freeze(self, run: Run) -> None:
        """The lists of one pass over the training places without dropout."""
        self.put_facts(self.blank(run))
        model, now = run.model, run.data
        model.eval()
        run.use(self.base)
        try:
            order = Order(run.seed, run.phase.name, 0, run.plan.batch_size)
            for batch in model.batches(self.base, run.phase, order):
                with torch.no_grad():
                    self.take(run, batch, model.represent_query(batch.to(run.device)))
        except TypeError as error:
            raise ParameterError(
                f"FINEST cannot hold the lists of this system: {error} Take one that compares a query with item vectors."
            ) from error
        finally:
            run.use(now)
            model.train()

    def settled(self) -> None:
        """Only the lists that were taken stay."""
        taken = self.facts["taken"]
        if not bool(taken.any()):
            raise ParameterError("FINEST needs batches whose rows are rows of the log, and this system's are not.")
        self.put_facts({name: self.facts[name][taken] for name in ("rows", "items", "lists", "taken")})


def _vocabulary(data: Dataset) -> str:
    return hashlib.sha256("\x1f".join(map(str, data.items.ids.to_list())).encode()).hexdigest()


def write_lists(path: str | Path, facts: Facts, data: Dataset) -> None:
    """Reference lists as a safetensors file, with the identity of the item vocabulary they are written in."""
    from safetensors.torch import save_file

    kept = {name: facts[name].cpu().contiguous() for name in ("rows", "items", "lists")}
    with whole(Path(path)) as aside:
        save_file(kept, str(aside), metadata={"format": FORMAT, "items": _vocabulary(data)})


def read_lists(path: str | Path, data: Dataset) -> Facts:
    """Reference lists of an earlier run. `ModelFileError` where the file is none of them or speaks of other items."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            notes = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in ("rows", "items", "lists")} if notes else {}
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"The reference lists {path} cannot be read: {error}. Write them with `keep`.") from None
    if notes.get("format") != FORMAT or len({len(t) for t in found.values()}) != 1 or found["lists"].shape[1] % 2:
        raise ModelFileError(f"{path} holds no reference lists; write them with `keep` of an earlier run.")
    if notes.get("items") != _vocabulary(data):
        raise ModelFileError(
            f"The reference lists {path} are over other items than '{data.name}'; read the log with the same vocabulary."
        )
    if not len(found["rows"]) or int(found["lists"].min()) < 0 or int(found["lists"].max()) >= data.num_items:
        raise ModelFileError(f"The reference lists {path} are damaged: they name items that do not exist.")
    order = torch.argsort(found["rows"])
    return {**{name: t[order] for name, t in found.items()}, "taken": torch.ones(len(order), dtype=torch.bool)}
