"""What all models of labelled rows share: how fields are chosen and coded, batches, the loss, predictions and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oakum import losses
from oakum.data import Dataset, Ids, Interactions, Queries, Schema
from oakum.data.fields import Layout
from oakum.data.rows import GROUPS, RowCoder, labels_of
from oakum.engine.learner import Facts, Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.errors import DataError
from oakum.nn.fields import FieldEmbedding
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order, Rows, rows

BLOCK = 1 << 13  # rows predicted at once: their activations stay in the cache


class RowSpec(Spec):
    """The settings that every model of rows has."""

    fields: Annotated[tuple[str, ...], "columns to use by name (user and item are the ids); none: all"] = ()
    categorical: Annotated[tuple[str, ...], "columns that are categories, where the guess is wrong"] = ()
    numeric: Annotated[tuple[str, ...], "columns that are numbers, where the guess is wrong"] = ()
    min_count: Annotated[int, Range(1, 1_000_000), "values in fewer training rows share one vector"] = 2
    positive_from: Annotated[float | None, Range(), "values from here on are positive; none: values are 0 and 1"] = None
    l2: Annotated[float, Range(0, 100, search=(1e-7, 1e-2), log=True), "weight of the squares of the rows' vectors"] = (
        0.0
    )

    def plan(self) -> Plan:
        """Adam, and an early stop on the AUC of the validation rows."""
        return Plan(learning_rate=1e-3, batch_size=1024, epochs=20, evaluate_every=1, patience=2, metric="auc")

    def coder(self, data: Dataset) -> RowCoder:
        """How the rows of these data become fields."""
        kinds = {**dict.fromkeys(self.categorical, "categorical"), **dict.fromkeys(self.numeric, "numeric")}
        return RowCoder.learn(data, chosen=self.fields, kinds=kinds, min_count=self.min_count)

    def sizes(self, data: Dataset) -> Mapping[str, int]:
        """Rows of every field's table."""
        return self.coder(data).sizes()


class RowModel(Model):
    """Embedded fields -> a logit. A subclass says `logit`; everything else is here.

    The vectors of all fields are the representation "fields" [b, f, d]. A user or item that training did not know has
    the vector "unknown" beside its features, a column that is not given is "missing".
    """

    private = ()

    def __init__(self, spec: Any, schema: Schema, width: int, *, init_std: float | None = 0.01) -> None:
        super().__init__()
        self.spec = spec
        self.sizes = {k: v for k, v in schema.sizes.items() if k.partition("/")[0] in GROUPS}
        self.layouts = {g: Layout.from_sizes(schema.sizes, g) for g in GROUPS}
        self.layout = self.layouts["user"] + self.layouts["item"] + self.layouts["context"]
        self.embed = FieldEmbedding(self.layout, width, init_std=init_std)
        # An item is known by more than its id where the log brings a table: then one without events can be scored.
        self.reads_content = bool({*self.layouts["item"].names} - {"item"})
        self.coder: RowCoder | None = None
        self._encoded: tuple[Any, Any] = (None, None)

    def logit(self, fields: Tensor, codes: Tensor, values: Tensor) -> Tensor:
        """[b, f, d] and the slots they came from [b, s] -> [b]."""
        raise TypeError(f"{type(self).__name__} does not say its logit.")

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """Vocabularies of the training rows, and the slots of all users and items; on a refresh the vocabularies stay."""
        coder = self.spec.coder(data) if self.coder is None else self.coder.over(data)
        if self.coder is None and coder.sizes() != self.sizes:
            raise DataError(f"'{data.name}' has other fields than the model was built for.")
        return {k: torch.from_numpy(v) for k, v in coder.facts().items()}

    def put_facts(self, facts: Facts) -> None:
        """Build the coder once, whenever its facts change."""
        super().put_facts(facts)
        if "users/codes" in self.facts:
            self.coder = RowCoder.from_facts(self.sizes, {k: v.cpu().numpy() for k, v in self.facts.items()})
            self._encoded = (None, None)

    def labels(self, log: Interactions) -> NDArray[np.float32]:
        """Labels of the rows, 0 or 1."""
        return labels_of(log, self.spec.positive_from)

    def remarks(self, log: Interactions) -> tuple[str, ...]:
        """What these rows lack and what training did not know of them, in sentences."""
        assert self.coder is not None
        return self.coder.remarks(log)

    def part(self, log: Interactions, phase: Phase) -> NDArray[np.bool_] | None:
        """The rows that a phase learns from, bool [n]; None for all."""
        return None

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Every row once. Context columns are coded once for all epochs: 8 bytes a slot."""
        log = data.interactions
        labels = labels_of(log, self.spec.positive_from, data.name)
        if phase.on == "train" and len(labels) and labels.min() == labels.max():
            raise DataError(f"Every label of '{data.name}' is {labels[0]:g}: rows of both kinds are needed to learn.")
        assert self.coder is not None
        coder = self.coder
        if self._encoded[0] is not log:
            self._encoded = (log, coder.context.encode(log.fields, len(log)))
        codes, values = self._encoded[1]
        slots = lambda at: coder.join(log.users[at], log.items[at], codes[at], values[at])
        return rows(log, labels, slots, order, self.part(log, phase))

    def represent(self, batch: Batch) -> Reps:
        """fields [b, f, d]."""
        assert isinstance(batch, Rows)
        return {"fields": self.embed(batch.codes, batch.values)}

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """log_loss [b], and l2 [b] of the vectors of the rows where it has a weight."""
        assert isinstance(batch, Rows)
        out = {"log_loss": losses.log_loss(self.logit(reps["fields"], batch.codes, batch.values), batch.labels)}
        if self.spec.l2:
            out["l2"] = self.spec.l2 * losses.l2(reps["fields"])
        return out

    def predict(self, log: Interactions) -> Tensor:
        """Probabilities [n]."""
        assert self.coder is not None
        parts = [self._chance(*self.coder.encode(log.take(slice(at, at + BLOCK)))) for at in range(0, len(log), BLOCK)]
        return torch.cat(parts) if parts else torch.zeros(0)

    def score(self, queries: Queries, items: Ids | None = None) -> Tensor:
        """Chances of every item for every request; the context comes from `queries.fields`, what is not there is missing.

        [q, items], [q, i] or [q, c]; NaN for -1.
        """
        assert self.coder is not None
        size = len(self.coder.items[0])
        asked = np.arange(size, dtype=np.int32) if items is None else np.asarray(items, np.int32)
        grid = np.broadcast_to(asked, (len(queries), asked.shape[-1]))
        context = self.coder.context.encode(dict(queries.fields or {}), len(queries))
        out = torch.empty(grid.shape)
        step = max(1, BLOCK // max(1, grid.shape[1]))
        for start in range(0, len(grid), step):
            part = grid[start : start + step]
            owner = np.repeat(np.arange(start, start + len(part)), part.shape[1])
            slots = self.coder.join(queries.users[owner], part.reshape(-1), context[0][owner], context[1][owner])
            out[start : start + step] = self._chance(*slots).reshape(part.shape).float().cpu()
        return out.masked_fill(torch.from_numpy(grid < 0), torch.nan)

    def _chance(self, codes: NDArray[np.int32], values: NDArray[np.float32]) -> Tensor:
        device = self.embed.table.weight.device
        c, v = torch.from_numpy(codes.astype(np.int64)).to(device), torch.from_numpy(values).to(device)
        return self.logit(self.embed(c, v), c, v).double().sigmoid()
