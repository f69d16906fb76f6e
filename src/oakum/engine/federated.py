"""A federation, simulated: private rows stay with their clients, the server sees uploads, hostile clients see what it sends.

One process plays everybody, so what may be seen by whom is kept by construction: uploads are made of shared parameters
alone; hostile clients work on a copy of the software whose private tables hold made-up people only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from oakum.data import Dataset
from oakum.engine import steps
from oakum.engine.federation import Federated
from oakum.engine.learner import Learner, Model, Phase
from oakum.engine.optimisers import Update
from oakum.engine.outsiders import Outsiders, is_private, put
from oakum.engine.run import Run
from oakum.engine.uploads import Upload, gathered, sparse
from oakum.errors import ParameterError
from oakum.sampling.batches import Batch, Order
from oakum.seeds import derive, keyed_hash


@dataclass(frozen=True)
class Part:
    """One genuine participant of a round: its number, its rows of the batch, its people, its weight."""

    client: int
    at: Tensor
    users: Tensor
    weight: float


class Federation:
    """The step of one run. State that must outlive an interruption is in `memory`."""

    def __init__(self, spec: Federated, run: Run) -> None:
        self.spec, self.run, model = spec, run, run.model
        refuse_what_cannot(model, run)
        self.tables = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Embedding)}
        self.owner = self._deal(run.data)
        genuine = np.unique(self.owner[self.owner >= 0])
        self.size = int(genuine.max()) + 1
        self.hostile = None if spec.hostile is None else Outsiders(spec.hostile, genuine, run, self.tables)
        extra = [] if self.hostile is None else self.hostile.extra
        self.participants = np.concatenate([genuine, np.array(extra, np.int64)])
        self.schedule: list[NDArray[np.int64]] = []
        self.memory: dict[str, Tensor] = {} if self.hostile is None else self.hostile.memory()
        rule, everybody = spec.aggregate, self.size + len(extra)
        if rule is not None:
            self.memory |= {f"server/{k}": v for k, v in rule.memory(everybody).items()}
        if rule is not None and rule.personal:
            if run.plan.optimiser != "sgd":
                raise ParameterError(
                    f"'{rule.slug}' answers every client for itself, which needs plan optimiser 'sgd'."
                )
            for name, p in model.named_parameters():
                if not is_private(model, name):
                    self.memory[f"copy/{name}"] = p.detach().expand(everybody, *p.shape).clone()

    # --- who takes part -----------------------------------------------------------------------------------------
    def _deal(self, data: Dataset) -> NDArray[np.int64]:
        """The participant of each user, int64 [users]; -1 for users without events."""
        active = np.flatnonzero(data.user_counts > 0)
        owner = np.full(data.num_users, -1, np.int64)
        if not self.spec.groups:
            owner[active] = active
            return owner
        if self.spec.groups > len(active):
            raise ParameterError(f"{len(active)} people cannot be dealt to {self.spec.groups} groups.")
        order = np.argsort(keyed_hash(derive(self.run.seed, "groups"), active), kind="stable")
        share = (np.arange(self.spec.groups) + 1.0) ** self.spec.skew
        ends = np.maximum(np.round(np.cumsum(share) / share.sum() * len(active)), np.arange(self.spec.groups) + 1)
        owner[active[order]] = np.searchsorted(ends, np.arange(len(active)), side="right")
        return owner

    def _rounds(self, order: Order) -> list[NDArray[np.int64]]:
        """The participants of every round of an epoch; each round has a genuine one, hostile ones fall where they fall."""
        ids = self.participants
        ids = ids[np.argsort(keyed_hash(order.key("clients"), ids), kind="stable")]
        if self.spec.answers < 1:
            chance = keyed_hash(order.key("answers"), ids).astype(np.float64) / 2.0**64
            ids = ids[chance < self.spec.answers]
        size = self.spec.clients or max(1, len(ids))
        out: list[NDArray[np.int64]] = []
        waiting = ids[:0]
        for start in range(0, len(ids), size):
            here = np.concatenate([waiting, ids[start : start + size]])
            waiting = here if (here >= self.size).all() else ids[:0]
            if not len(waiting):
                out.append(here)
        if len(waiting) and out:
            out[-1] = np.concatenate([out[-1], waiting])
        return out

    def count(self) -> int:
        """About how many rounds an epoch has."""
        return -(-len(self.participants) // (self.spec.clients or len(self.participants)))

    def batches(self, learner: Learner, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """One batch a round: the learner's own over the events of the round's participants."""
        self.schedule = self._rounds(order)
        of_row = self.owner[data.interactions.users]
        by_client = np.argsort(of_row, kind="stable")
        sorted_ = of_row[by_client]
        for here in self.schedule:
            low, high = np.searchsorted(sorted_, np.sort(here)), np.searchsorted(sorted_, np.sort(here), side="right")
            rows = np.concatenate([by_client[a:b] for a, b in zip(low, high, strict=True)])
            local = data.with_interactions(data.interactions.take(np.sort(rows)))
            found = learner.batches(local, phase, replace(order, batch_size=max(1, len(rows))))
            batch = next(found, None)
            if batch is None or next(found, None) is not None or not hasattr(batch, "users"):
                raise ParameterError(f"{type(learner).__name__} cannot federate: {CANNOT['batches']}")
            yield batch

    # --- a round ------------------------------------------------------------------------------------------------
    def __call__(self, batch: Batch, moving: Sequence[nn.Parameter], update: Update) -> dict[str, float]:
        """One round: local work, uploads, the server's rule, everybody's change."""
        run, model = self.run, self.run.model
        names = {id(p): n for n, p in model.named_parameters()}
        shared = {names[id(p)]: p for p in moving if not is_private(model, names[id(p)])}
        private = {names[id(p)]: p for p in moving if is_private(model, names[id(p)])}
        rate = float(update.param_groups[0]["lr"])
        here = self.schedule[run.step].tolist()
        acting = [] if self.hostile is None else self.hostile.acting(here, self.memory)
        parts, weight = self._parts(batch, sum(c >= self.size for c in acting))
        rule = self.spec.aggregate
        linear = rule is None or (rule.linear and not rule.personal)
        single = self.spec.local_epochs == 1 and not self.spec.local_batch and not run.plugins
        if linear and single and all(c >= self.size for c in acting) and self._apart(batch, parts):
            losses = self._together(batch, parts, moving)
            for client in acting:
                assert self.hostile is not None
                add(shared, self.hostile.upload(client, shared, self.memory), weight)
        else:
            losses = self._one_by_one(batch, parts, acting, weight, shared, private, rate)
        for name, p in private.items():
            self._inside(name, p, torch.cat([part.users for part in parts]))
        with self._only(private, parts, update):
            steps.apply(run, list(shared.values()), update)
        return losses

    def _parts(self, batch: Batch, extra: int) -> tuple[list[Part], float]:
        """The participants with rows, and the weight of each of `extra` that came without."""
        users: Tensor = batch.users  # type: ignore[attr-defined]
        owner = torch.from_numpy(self.owner).to(users.device)[users]
        order = torch.argsort(owner, stable=True)
        clients, counts = torch.unique_consecutive(owner[order], return_counts=True)
        rows = float(len(users)) * (1 + extra / len(clients))  # a hostile one says that it has as many as others
        each = {"rows": 0.0, "clients": 1.0 / (len(clients) + extra), "sum": 1.0}[self.spec.weigh]
        out = []
        for client, at in zip(clients.tolist(), order.split(counts.tolist()), strict=True):
            out.append(Part(client, at, torch.unique(users[at]), each or len(at) / rows))
        return out, each or float(len(users)) / len(clients) / rows

    def _apart(self, batch: Batch, parts: Sequence[Part]) -> bool:
        """Whether a client's losses beside another's are those it has alone (no row looks at another)."""
        both = batch.take(torch.cat([p.at for p in parts[:2]]))
        own = len(parts[0].at)
        with torch.no_grad():
            beside = steps.losses_of(self.run, both)
            alone = steps.losses_of(self.run, batch.take(parts[0].at))
        fits = lambda n: beside[n].shape == (len(both),) and torch.allclose(beside[n][:own], alone[n], 1e-4, 1e-6)
        return all(fits(n) for n in beside)

    def _together(self, batch: Batch, parts: Sequence[Part], moving: Sequence[nn.Parameter]) -> dict[str, float]:
        """The weighted sum of all clients' gradients as one gradient: exact where no row looks at another."""
        weights = torch.zeros(len(batch), device=self.run.device)
        for part in parts:
            weights[part.at] = part.weight / len(part.at)
        losses = steps.gradients(self.run, batch, moving, weights)
        return {n: float(v.mean()) for n, v in losses.items()}

    def _one_by_one(
        self,
        batch: Batch,
        parts: Sequence[Part],
        acting: Sequence[int],
        weight: float,
        shared: Mapping[str, nn.Parameter],
        private: Mapping[str, nn.Parameter],
        rate: float,
    ) -> dict[str, float]:
        rule = self.spec.aggregate
        uploads: list[Upload] = []
        sums: dict[str, float] = {}
        kept = {n: torch.zeros_like(p) for n, p in private.items()}
        server = {n: p.detach().clone() for n, p in shared.items()}
        personal = rule is not None and rule.personal
        for part in parts:
            if personal:
                put(shared, {n: self.memory[f"copy/{n}"][part.client] for n in shared})
            local = batch.take(part.at)
            found, own, losses = self._local(local, part, shared, private, rate)
            for n, value in own.items():
                kept[n][part.users] += part.weight * value
            for n, v in losses.items():
                sums[n] = sums.get(n, 0.0) + v * len(local) / len(batch)
            if part.client in acting and self.hostile is not None:
                found = self.hostile.upload(part.client, shared, self.memory, found)
            uploads.append(found)
        if personal:
            put(shared, server)
        extra = [c for c in acting if c >= self.size]
        if self.hostile is not None:
            uploads += [self.hostile.upload(client, shared, self.memory) for client in extra]
        clients = torch.tensor([p.client for p in parts] + extra)
        weights = torch.tensor([p.weight for p in parts] + [weight] * len(extra), device=self.run.device)
        whole = gathered(uploads, clients, weights, rate, {n: p.shape for n, p in shared.items()})
        memory = {k[7:]: v for k, v in self.memory.items() if k.startswith("server/")}
        if rule is None:
            common = whole.total()
        else:
            replies = rule.combine(whole, memory)
            common = dict(replies.common)
            self.memory |= {f"server/{k}": v for k, v in memory.items()}
            for client, reply in zip(clients.tolist(), replies.each, strict=False):
                for n, value in reply.items():
                    self.memory[f"copy/{n}"][client] -= rate * value
        for n, p in [*shared.items(), *private.items()]:
            p.grad = common[n].to(p.dtype) if n in shared else kept[n]
        return sums

    def _local(
        self,
        local: Batch,
        part: Part,
        shared: Mapping[str, nn.Parameter],
        private: Mapping[str, nn.Parameter],
        rate: float,
    ) -> tuple[Upload, dict[str, Tensor], dict[str, float]]:
        """A client's work: the sum of the gradients of its local steps (each from where the last one led), by shared name
        and by private name; its mean losses. All weights are left as they were."""
        moving = [*shared.values(), *private.values()]
        size = self.spec.local_batch or len(local)
        whole = self.spec.local_epochs == 1 and size >= len(local)
        start = {n: p.detach().clone() for n, p in shared.items()} if not whole else {}
        rows = {n: p.detach()[part.users].clone() for n, p in private.items()} if not whole else {}
        found: dict[str, Tensor] = {}
        own: dict[str, Tensor] = {}
        sums: dict[str, float] = {}
        for _ in range(self.spec.local_epochs):
            for at in torch.randperm(len(local)).split(size):
                losses = steps.gradients(self.run, local if whole else local.take(at.to(local.rows.device)), moving)
                for n, v in losses.items():
                    sums[n] = sums.get(n, 0.0) + float(v.mean()) * len(at) / len(local) / self.spec.local_epochs
                for n, p in private.items():
                    if p.grad is not None:
                        self._inside(n, p, part.users)
                        slope = p.grad[part.users]
                        own[n] = own[n] + slope if n in own else slope
                        if not whole:
                            p.data[part.users] -= rate * part.weight * slope
                for n, p in shared.items():
                    if p.grad is not None:
                        found[n] = found[n] + p.grad if n in found else p.grad
                        if not whole:
                            p.data.sub_(p.grad, alpha=rate)
        put(shared, start)
        for n, value in rows.items():
            private[n].data[part.users] = value
        return {n: sparse(g) if n in self.tables else g for n, g in found.items()}, own, sums

    def _inside(self, name: str, parameter: nn.Parameter, users: Tensor) -> None:
        """Refuse a model whose loss reaches private rows of people who are not asked."""
        if parameter.grad is None or len(users) == len(parameter):
            return
        if torch.count_nonzero(parameter.grad) != torch.count_nonzero(parameter.grad[users]):
            kind = type(self.run.model).__name__
            raise ParameterError(f"{kind} cannot federate: its loss on a client's rows reads '{name}' of other people.")

    @contextmanager
    def _only(self, private: Mapping[str, nn.Parameter], parts: Sequence[Part], update: Update) -> Iterator[None]:
        """Private rows, and what the rule remembers of them, change for this round's people alone."""
        users = torch.cat([part.users for part in parts])
        people = next((len(p) for p in private.values()), len(users))
        if len(users) == people:
            yield
            return
        absent = torch.ones(people, dtype=torch.bool, device=users.device)
        absent[users] = False
        rows = lambda p: {k: v for k, v in update.state.get(p, {}).items() if v.shape == p.shape}
        before = {p: (p.detach()[absent], {k: v[absent] for k, v in rows(p).items()}) for p in private.values()}
        yield
        for p, (values, state) in before.items():
            p.data[absent] = values
            for k, v in rows(p).items():
                v[absent] = state.get(k, torch.zeros_like(v[absent]))

    # --- state --------------------------------------------------------------------------------------------------
    def state(self) -> dict[str, Tensor]:
        """What must be saved beside the weights."""
        return self.memory

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take a saved state up."""
        there = lambda k: self.run.device if k.startswith(("copy/", "own/")) else "cpu"
        self.memory = {k: v.to(there(k)) for k, v in state.items()}

    def notes(self) -> list[str]:
        """What the record says of the participants."""
        memory = {k[7:]: v for k, v in self.memory.items() if k.startswith("server/")}
        out = [] if self.spec.aggregate is None else self.spec.aggregate.notes(memory)
        return out if self.hostile is None else [*out, self.hostile.note(self.memory)]

    @contextmanager
    def wearing(self, client: int) -> Iterator[None]:
        """The model with the copy of one participant in place of the server's weights (`personal` rules only)."""
        model = self.run.model
        named = {n: p for n, p in model.named_parameters() if f"copy/{n}" in self.memory}
        kept = {n: p.detach().clone() for n, p in named.items()}
        put(named, {n: self.memory[f"copy/{n}"][client] for n in named})
        model.eval()
        try:
            yield
        finally:
            put(named, kept)
            model.eval()


CANNOT = {
    "batches": "its batches must come at once for any set of people and say whose each row is (users).",
    "facts": "it prepares {} from everybody's events, which no server of a federation has.",
}


def refuse_what_cannot(model: Model, run: Run) -> None:
    """Raise `ParameterError` where training would need what no client or server of a federation has."""
    kind = type(model).__name__.removesuffix("Model")
    facts = model.prepare(run.data, run.phase)
    if facts:
        raise ParameterError(f"{kind} cannot federate: {CANNOT['facts'].format(', '.join(sorted(facts)))}")
    for plugin in run.plugins:
        if plugin.phases() or next(plugin.parameters(), None) is not None:
            raise ParameterError(f"{type(plugin).__name__} has weights or phases of its own, which no client trains.")
    if not run.sampler.alone:
        raise ParameterError(
            f"The negatives '{run.sampler.slug}' are drawn from what other people have; a client alone can draw "
            "'uniform', 'shared', 'in-domain' or 'hard' ones: give the plan another sampler."
        )


def add(shared: Mapping[str, nn.Parameter], upload: Upload, weight: float) -> None:
    """Add an upload to the gradients that stand in the parameters."""
    for name, value in upload.items():
        p = shared[name]
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        if isinstance(value, tuple):
            p.grad.index_add_(0, value[0], weight * value[1])
        else:
            p.grad += weight * value
