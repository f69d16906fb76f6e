"""Retraining without some events in the very batches that they were in."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from oakum.engine.learner import Plugin
from oakum.engine.run import Run
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Negatives
from oakum.sampling.bundles import Bundles
from oakum.sampling.sequences import PAD, Sequences


class LeftOut(Spec):
    """Trains as if some events had never been, while every other event keeps its batch: what a deletion does by itself.

    Deleting an event also shifts which people share a batch, and that alone moves lists. Here the log stays whole; the events
    are taken out of each batch, as targets and from the histories of later targets, which close up. A history cut at
    `max_length` does not reach back for one event more. The share of a deletion's effect that is left under this plug-in is the
    event's own; the rest is re-batching. Facts that a model makes of the whole log (a graph, counts) still hold the events.
    Cost: none worth naming.
    """

    slug = "left-out"
    rows: Annotated[tuple[int, ...], "row ids of the events"] = ()
    gamma: Annotated[float, Range(0, 1), "0 is no plug-in"] = 1.0

    def build(self, schema: Any) -> LeftOutPlugin:
        """The plug-in."""
        return LeftOutPlugin(self)


def _rows_of(batch: Batch, keep: Tensor, apart: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a batch with the kept rows only; those named `apart` are laid out otherwise and left alone."""
    out: dict[str, Any] = {}
    for f in dataclasses.fields(batch):
        value = getattr(batch, f.name)
        if isinstance(value, Negatives):
            shared = len(value.items) != len(keep)
            weight = None if value.weight is None else value.weight[keep]
            value = (
                dataclasses.replace(value, weight=weight)
                if shared
                else Negatives(value.items[keep], value.log_q[keep], weight)
            )
        elif isinstance(value, Tensor) and f.name not in apart and len(value) == len(keep):
            value = value[keep]
        out[f.name] = value
    return out


class LeftOutPlugin(Plugin):
    """Takes rows out of batches."""

    def __init__(self, spec: LeftOut) -> None:
        super().__init__()
        self.spec = spec

    def batch(self, run: Run, batch: Batch) -> Batch:
        """The batch without the events. A batch of nothing else keeps its first row, at no cost to anybody but one step."""
        if self.spec.gamma == 0 or not self.spec.rows:
            return batch
        if isinstance(batch, Bundles):
            return self.smaller(run, batch)
        gone = torch.tensor(self.spec.rows, device=batch.rows.device)
        keep = ~torch.isin(batch.rows, gone)
        laid: tuple[str, ...] = ()
        if isinstance(batch, Sequences):
            laid = ("inputs", "times", "values")
            batch, empty = closed_up(batch, self.inputs_of(run, batch))
            keep &= ~empty
        if bool(keep.all()) or not bool(keep.any()):
            return batch
        out = type(batch)(**_rows_of(batch, keep, laid))
        return _own_windows(batch, out, keep) if isinstance(batch, Sequences) and isinstance(out, Sequences) else out

    def smaller(self, run: Run, batch: Bundles) -> Bundles:
        """The bundles without the items that only these events put there; one with fewer than two left has nothing to teach."""
        log, width = run.data.interactions, run.data.num_items
        if "left out" not in run.memo:
            pairs = log.users.astype(np.int64) * width + log.items
            gone = np.isin(log.rows, self.spec.rows)
            run.memo["left out"] = torch.from_numpy(np.setdiff1d(pairs[gone], pairs[~gone]))
        gone = run.memo["left out"].to(batch.members.device)
        members = batch.members.masked_fill(torch.isin(batch.users[:, None] * width + batch.members, gone), PAD)
        keep = (members >= 0).sum(1) >= 2
        if not bool(keep.any()):
            return batch
        return Bundles(**_rows_of(dataclasses.replace(batch, members=members), keep, ()))

    def inputs_of(self, run: Run, batch: Sequences) -> Tensor:
        """Flat positions of the events among the inputs: each target tells which stretch of whose history its window holds."""
        if "left out" not in run.memo:
            flat = run.data.histories
            assert flat.rows is not None
            order = np.argsort(flat.rows, kind="stable")
            gone = np.flatnonzero(np.isin(flat.rows, self.spec.rows))
            run.memo["left out"] = flat.rows[order], order, gone, flat.owners()[gone], flat.items[gone]
        rows, order, gone, owners, items = run.memo["left out"]
        users, place = batch.users.cpu().numpy(), batch.place.cpu().numpy()
        inputs = batch.inputs.cpu().numpy()
        width = inputs.shape[1]
        found = [np.empty(0, np.int64)]
        for t in np.flatnonzero(np.isin(users, owners)):
            ends_at = (
                order[np.searchsorted(rows, int(batch.rows[t]))] - 1
            )  # the event at `place`, in the flat histories
            mine = owners == users[t]
            column = place[t] % width - (ends_at - gone[mine])
            inside = (column >= 0) & (column < width)
            window = place[t] // width
            there = inputs[window, column[inside]] == items[mine][inside]
            found.append(window * width + column[inside][there])
        return torch.from_numpy(np.unique(np.concatenate(found)))


def _own_windows(batch: Sequences, out: Sequences, keep: Tensor) -> Sequences:
    """Where each target has a window of inputs to itself, the windows of targets that went go with them."""
    width = batch.inputs.shape[1]
    window = torch.arange(len(keep), device=batch.place.device)
    if len(batch.inputs) != len(keep) or not torch.equal(batch.place // width, window):
        return out
    laid = {n: v[keep] for n in ("inputs", "times", "values") if (v := getattr(batch, n)) is not None}
    return dataclasses.replace(out, place=out.place % width + window[: len(out)] * width, **laid)


def closed_up(batch: Sequences, gone: Tensor) -> tuple[Sequences, Tensor]:
    """The batch without the inputs at these flat positions, what stood before them moved up; and which targets, bool [b],
    have no history left."""
    width = batch.inputs.shape[1]
    laid = {n: getattr(batch, n) for n in ("inputs", "times", "values")}
    laid = {n: v.clone() for n, v in laid.items() if v is not None}
    place = batch.place.clone()
    for flat in sorted(gone.tolist()):  # from left to right: earlier moves do not touch what stands after
        s, c = divmod(flat, width)
        for name, value in laid.items():
            value[s, 1 : c + 1] = value[s, :c].clone()
            value[s, 0] = PAD if name == "inputs" else 0
        place[(place >= s * width) & (place < flat)] += 1
    out = dataclasses.replace(batch, place=place, **laid)
    return out, out.inputs.flatten()[place] == PAD
