"""Hostile clients of a federation: who they are, when they may answer, what they see, what a server takes from them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from oakum.engine.federation import Hostile, Tactic
from oakum.engine.learner import Model
from oakum.engine.run import Run
from oakum.engine.uploads import Seen, Upload, sparse
from oakum.errors import OakumError, ParameterError
from oakum.seeds import derive


def is_private(model: Model, name: str) -> bool:
    """Whether a parameter never leaves its client."""
    return any(name == own or name.startswith(f"{own}.") for own in model.private)


def private_names(model: Model) -> tuple[str, ...]:
    """The parameters that never leave their clients."""
    return tuple(n for n, _ in model.named_parameters() if is_private(model, n))


def cannot_act(tactic: Tactic, model: Model) -> str:
    """Why hostile clients cannot do this to a federation of the model; empty where they can."""
    if tactic.seizes or private_names(model):
        return ""
    return (
        f"'{tactic.slug}' makes people up as rows of a table that stays with its clients, and this system keeps no such "
        "table."
    )


def put(into: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Write values into parameters of the same names."""
    with torch.no_grad():
        for name, value in values.items():
            into[name].copy_(value)


class Outsiders:
    """The hostile clients of one run, kept to what the server sends and to the rounds that they were given."""

    def __init__(self, spec: Hostile, genuine: NDArray[np.int64], run: Run, tables: set[str]) -> None:
        self.spec, self.run, self.tables = spec, run, tables
        seizes, count, first = spec.tactic.seizes, spec.clients, int(genuine.max()) + 1
        if seizes and count >= len(genuine):
            raise ParameterError(f"{count} hostile clients cannot be {len(genuine)} participants; one must be genuine.")
        self.ids = genuine[-count:].tolist() if seizes else list(range(first, first + count))
        self.extra: list[int] = [] if seizes else self.ids
        self.private = private_names(run.model)
        if reason := cannot_act(spec.tactic, run.model):
            raise ParameterError(reason)
        self.model = self._blank(run.model, spec.tactic.people)

    def _blank(self, model: Model, people: int) -> Model:
        """The software as anyone can install it: the same model, private tables for made-up people, no data."""
        named = dict(model.named_parameters())
        empty = lambda p: nn.Parameter(torch.zeros(people, *p.shape[1:], device=p.device))
        memo = {id(named[n]): empty(named[n]) for n in self.private}
        out = copy.deepcopy(model, memo)
        out.train()
        return out

    def memory(self) -> dict[str, Tensor]:
        """What they keep from round to round: rounds answered, and a private row of their own for each."""
        out = {"hostile_rounds": torch.zeros((), dtype=torch.int64)}
        noise = torch.Generator().manual_seed(derive(self.run.seed, "hostile rows"))
        for name, p in self.run.model.named_parameters():
            if name in self.private:
                out[f"own/{name}"] = (torch.randn(len(self.ids), *p.shape[1:], generator=noise) * 0.01).to(p.device)
        return out

    def acting(self, here: Sequence[int], memory: dict[str, Tensor]) -> list[int]:
        """Those among the participants of a round who may answer as they like; a round in which any may is counted."""
        found = [c for c in here if c in self.ids]
        spent = int(memory["hostile_rounds"])
        if not found or self.run.epoch < self.spec.begin or spent >= self.spec.rounds:
            return []
        memory["hostile_rounds"] = torch.tensor(spent + 1)
        return found

    def upload(
        self,
        client: int,
        shared: Mapping[str, nn.Parameter],
        memory: Mapping[str, Tensor],
        honest: Upload | None = None,
    ) -> Upload:
        """What the tactic makes of what the server sent, checked as a server would."""
        put(dict(self.model.named_parameters()), {n: p.detach() for n, p in shared.items()})
        place = self.ids.index(client)
        run = self.run
        key = derive(run.seed, "hostile", client, run.phase.name, run.epoch, run.step)
        seen = Seen(
            self.model,
            self.private,
            run.data.num_items,
            torch.tensor(self.spec.targets, dtype=torch.long, device=run.device),
            self.spec.promote,
            {n: memory[f"own/{n}"][place : place + 1] for n in self.private},
            torch.Generator(run.device).manual_seed(key),
            honest,
        )
        return checked(self.spec.tactic.upload(seen), shared, self.tables)

    def note(self, memory: Mapping[str, Tensor]) -> str:
        """What the record says."""
        return f"{len(self.ids)} hostile clients answered in {int(memory['hostile_rounds'])} rounds."


def checked(upload: Upload, shared: Mapping[str, nn.Parameter], tables: set[str]) -> Upload:
    """What a server takes: shared names, their shapes, every row once, rows for tables. An upload with a value that is
    no number is taken as if nothing had been sent."""
    out: Upload = {}
    for name, value in upload.items():
        if name not in shared:
            raise OakumError(f"A hostile client uploads '{name}', which is not a shared parameter.")
        p = shared[name]
        if not isinstance(value, tuple):
            fits = value.shape == p.shape
            value = sparse(value.detach()) if name in tables else value.detach()
        else:
            fits = name in tables and value[1].shape == (len(value[0]), *p.shape[1:])
        if not fits:
            raise OakumError(f"A hostile client uploads '{name}' of another shape than {tuple(p.shape)}.")
        if isinstance(value, tuple):
            ids, place = torch.unique(value[0], return_inverse=True)
            value = (ids, value[1].new_zeros(len(ids), *p.shape[1:]).index_add_(0, place, value[1].detach()))
        if not torch.isfinite(value[1] if isinstance(value, tuple) else value).all():
            return {}
        out[name] = value
    return out
