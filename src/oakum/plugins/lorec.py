"""Fraud weights calibrated by text: whoever looks planted, also to an encoder of language, weighs less in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from oakum.backends.embed import history_vectors, width_of
from oakum.data import Dataset, Ragged, Schema
from oakum.engine.learner import Facts, Losses, Model, Phase, Plugin, Reps
from oakum.engine.run import Run
from oakum.errors import ParameterError
from oakum.nn.attention import Block, open_mask
from oakum.nn.project import projected
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order
from oakum.sampling.sequences import PAD, Sequences, windows
from oakum.seeds import keyed_hash

START = 3.0  # evidence that everybody begins with
PROMPT = "In a log of recommendations, how likely is it that this person is a fraudster? History: "


class LoRec(Spec):
    """Lowers the weight of people whose histories look planted, by a detector that a frozen text encoder keeps honest.

    Paper: Zhang et al. 2024 (LoRec). A transformer over [item vector; state] of a history gives z and p = P(fraud); it learns
    mean[BCE(p, y) + entropy · 1[y = 0] H(p)] - alignment · cos(z, e), e a projection of what the encoder makes of the history
    as text. y = 1: accounts made by `teachers` over the log, which the recommender never sees; y = 0: everybody in the log.
    Every `every` epochs people above the mean score lose one point of evidence W, which the others share; w = sigmoid(W) /
    sigmoid(3), (0.5, 1) lifted to 1, weighs their losses from epoch `begin` on. Nothing happens where `most`, a third, or more is
    flagged. reads "titles": the mean of the titles' vectors; "prompt": one text a person, for encoders with a long window (a
    folder of any language model is one). Time: `passes` passes of the detector over all people an epoch, each people · t ·
    (t + width) · width; memory: people · width of the encoder floats. Newcomers: untouched, it is gone after training. Works over
    any model that compares a query with item vectors; without a sequence the state is the query vector of its own kind.
    Differs: the state is the one before each event; widths come from a fixed random projection; the plan's optimiser and
    decay serve both.
    """

    slug = "lorec"
    begin: Annotated[int, Range(0), "first epoch (from 0) in which weights act"] = 30
    gamma: Annotated[float, Range(0, 10), "exponent on the weights; 0 is no plug-in"] = 1.0
    every: Annotated[int, Range(1), "epochs between two looks at everybody's score"] = 5
    passes: Annotated[int, Range(1, 100), "passes of the detector after each epoch"] = 2
    rate: Annotated[float, Range(above=0, high=1, search=(1e-4, 1e-1), log=True), "its learning rate"] = 1e-2
    batch_size: Annotated[int, Range(2, 65_536), "people in a step of the detector"] = 512
    width: Annotated[int, Range(2, 2048), "width of item vector and of state in the detector; even"] = 64
    max_length: Annotated[int, Range(1, 10_000), "events read, the latest ones"] = 50
    entropy: Annotated[float, Range(0, 100), "weight of the decision of the unlabelled (lambda 1)"] = 0.5
    alignment: Annotated[float, Range(0, 100), "weight of the agreement with the text (lambda 2); 0 reads none"] = 1.0
    encoder: Annotated[str, "text encoder: minilm, hashed:DIM, or a folder of any model"] = "minilm"
    reads: Annotated[Literal["titles", "prompt"], "titles one by one, or one text a person"] = "titles"
    teachers: Annotated[tuple[str, ...], "attacks that make the known fakes, by slug"] = ("random-profiles",)
    most: Annotated[float, Range(above=0, high=1), "share of people from which on flags count as none"] = 1 / 3
    share: Annotated[float, Range(above=0, high=1), "known fakes as a share of the people"] = 0.01

    def sizes(self, data: Dataset) -> Mapping[str, int]:
        """The width of the encoder."""
        return {"text": width_of(self.encoder) if self.alignment and self.gamma else 0}

    def build(self, schema: Schema) -> LoRecPlugin:
        """The detector."""
        if self.width % 2:
            raise ParameterError(f"'width' of lorec must be even: two heads share it. Got {self.width}.")
        return LoRecPlugin(self, schema)


# --- the parts, as functions ----------------------------------------------------------------------------------------
def weight_of(evidence: Tensor) -> Tensor:
    """W -> sigmoid(W) / sigmoid(3), values in (0.5, 1) lifted to 1: 4 -> 1.031, 3 to 0 -> 1, -1 -> 0.282. Any shape."""
    raw = torch.sigmoid(evidence) / torch.sigmoid(torch.tensor(START, dtype=evidence.dtype))
    return torch.where((raw > 0.5) & (raw < 1), torch.ones_like(raw), raw)


def updated(evidence: Tensor, p: Tensor, most: float = 1 / 3) -> Tensor | None:
    """Evidence [n] after a look at the scores [n]: one point less above the mean score, shared by the others; None, where a
    share of `most` or more is flagged: the detector is not sharp enough yet."""
    flagged = p > p.mean()
    count, n = int(flagged.sum()), len(p)
    if not 0 < count < n * most:
        return None
    return torch.where(flagged, evidence - 1, evidence + count / (n - count))


def calibrated(logit: Tensor, y: Tensor, z: Tensor, e: Tensor | None, entropy: float, alignment: float) -> Losses:
    """The detector's losses [b] by name. y: 1 known fake, 0 unlabelled; z, e: [b, w] what is told of a person, and the text."""
    out = {"_fraud": F.binary_cross_entropy_with_logits(logit, y, reduction="none")}
    if entropy:
        p = torch.sigmoid(logit)
        out["_entropy"] = entropy * (1 - y) * (F.softplus(logit) - p * logit)
    if alignment and e is not None:
        out["_text"] = -alignment * F.cosine_similarity(z, e, dim=-1)
    return out


def teach(data: Dataset, teachers: tuple[str, ...], share: float) -> Ragged:
    """Known fakes: what each teacher adds to this log, for targets drawn among unpopular items; at least two a teacher."""
    from oakum.attacks.base import budget_for, cold_targets, propose
    from oakum.catalogue import load_class

    rows: list[Any] = []
    for t, slug in enumerate(teachers):
        goal = cold_targets(data, min(5, max(1, data.num_items // 10)), seed=t, popularity=(0.0, 1.0))
        budget = budget_for(data, share / len(teachers), targets=len(goal.targets))
        per = budget.clicks // budget.users
        budget = budget.replace(users=max(2, budget.users), clicks=max(2, budget.users) * per)
        fakes = propose(load_class(slug, "attack")(), data, goal, budget, seed=t).change.profiles  # type: ignore[attr-defined]
        rows += [fakes.row(r) for r in range(len(fakes))]
    return Ragged.of(rows)


class Detector(nn.Module):
    """A summary of a history, and how likely its owner is a fake."""

    def __init__(self, width: int, text: int) -> None:
        super().__init__()
        self.summary = nn.Parameter(0.02 * torch.randn(1, 1, 2 * width))
        self.blocks = nn.ModuleList(Block(2 * width, 2, 0.1, hidden=128) for _ in range(2))
        self.head = nn.Sequential(
            nn.Linear(2 * width, 128), nn.Dropout(0.1), nn.GELU(), nn.BatchNorm1d(128), nn.Linear(128, 1), nn.BatchNorm1d(1)
        )  # fmt: skip
        self.text = nn.Linear(text, 2 * width) if text else None

    def forward(self, x: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Events [s, t, 2 width] and where they are no padding [s, t] -> z [s, 2 width], logits [s]."""
        t, d = x.shape[1:]
        back = torch.arange(t - 1, -1, -1, device=x.device, dtype=x.dtype)[:, None]
        angle = back / 10_000 ** (torch.arange(0, d, 2, device=x.device, dtype=x.dtype) / d)
        x = torch.cat([self.summary.expand(len(x), 1, d), x + torch.cat([angle.sin(), angle.cos()], 1)], 1)
        mask = open_mask(F.pad(there, (1, 0), value=True))
        for block in self.blocks:
            x = block(x, mask)
        z = x[:, 0]
        logit: Tensor = self.head(z).squeeze(-1)
        return z, logit


class LoRecPlugin(Plugin):
    """The detector, everybody's evidence, and the weights."""

    def __init__(self, spec: LoRec, schema: Schema) -> None:
        super().__init__()
        self.spec, self.people = spec, schema.num_users
        self.detector = Detector(spec.width, schema.sizes.get("text", 0))
        self.evidence: Tensor
        self.due: Tensor
        self.register_buffer("evidence", torch.full((schema.num_users,), START))
        self.register_buffer("due", torch.tensor(spec.every))
        self.running: list[Run] = []

    def phases(self) -> tuple[Phase, ...]:
        """`passes` over everybody after each epoch of the model."""
        if self.spec.gamma == 0:
            return ()
        steps = self.spec.passes * max(1, -(-self.people // self.spec.batch_size))
        return (Phase(name="fraud", own=True, every=2**31 - 1, steps=steps, learning_rate=self.spec.rate),)

    def start(self, run: Run) -> None:
        """Keeps hold of the run: the detector reads the model as it stands."""
        own: Any = type(run.model)
        if self.spec.gamma and (own.represent_query is Model.represent_query or own.item_table is Model.item_table):
            raise ParameterError(
                "lorec reads the item vectors and the states of what it defends, and this system has none. Take one that "
                "compares a query with item vectors."
            )
        self.running = [run]

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """Histories of everybody and of the known fakes, and what the encoder makes of them."""
        if self.spec.gamma == 0:
            return {}
        own = data.histories
        fakes = teach(data, self.spec.teachers, self.spec.share)
        every = Ragged(
            np.concatenate([own.offsets, own.offsets[-1] + fakes.offsets[1:]]),
            np.concatenate([own.items, fakes.items]),
            None if own.times is None else np.concatenate([own.times, _spread(own.times, fakes)]),
        )
        every = every.tail(self.spec.max_length + 1)
        found = {"offsets": every.offsets, "items": every.items, "known": np.arange(len(every)) >= len(own)}
        if every.times is not None:
            found["times"] = every.times
        if self.detector.text is not None:
            found["text"] = history_vectors(
                data, every, self.spec.encoder, prompt=PROMPT if self.spec.reads == "prompt" else ""
            )
        return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in found.items()}

    # --- histories as the detector reads them ---------------------------------------------------------------------
    def histories(self) -> Ragged:
        """Everybody's, then the known fakes'."""
        facts = {k: self.facts[k].cpu().numpy() for k in ("offsets", "items", "times") if k in self.facts}
        return Ragged(facts["offsets"], facts["items"], facts.get("times"))

    def read(self, who: Tensor) -> tuple[Tensor, Tensor]:
        """[item vector; state before it] of each event but the first, [s, t, 2 width], and where there is one [s, t]; the
        model stands still meanwhile and gets no gradient."""
        run = self.running[0]
        own: Any = getattr(getattr(run.model, "base", run.model), "spec", None)
        longest = min(self.spec.max_length, getattr(own, "max_length", self.spec.max_length))
        part = self.histories().take(who.cpu().numpy()).tail(longest + 1)
        batch = windows(part, np.minimum(who.cpu().numpy(), self.people - 1), "each", 0).to(who.device)
        model, moving = run.model, run.model.training
        model.eval()
        with torch.no_grad():
            table = model.item_table()
            states = model.represent_query(batch) if self.sequential(run) else _means(table, batch)
            x = torch.cat([projected(table[batch.items], self.spec.width), projected(states, self.spec.width)], 1)
        model.train(moving)
        out = x.new_zeros(batch.inputs.numel(), x.shape[1]).index_copy(0, batch.place, x)
        return out.view(*batch.inputs.shape, -1), batch.inputs != PAD

    def sequential(self, run: Run) -> bool:
        """Whether the model reads a history as one window with a state at each place: what its batches are."""
        if "reads sequences" not in run.memo:
            order = Order(0, run.phase.name, 0, run.plan.batch_size)
            first: Any = next(iter(run.model.batches(run.data, run.phase, order)), None)
            run.memo["reads sequences"] = isinstance(first, Sequences) and len(first.inputs) < len(first)
        found: bool = run.memo["reads sequences"]
        return found

    def scores(self) -> Tensor:
        """P(fraud) of everybody in the log [users]; NaN below two events."""
        lengths = torch.from_numpy(self.histories().lengths[: self.people])
        who = torch.nonzero(lengths > 1).squeeze(1).to(self.evidence.device)
        out = torch.full_like(self.evidence, torch.nan)
        learning = self.detector.training
        self.detector.eval()
        with torch.no_grad():
            for at in who.split(512):
                out[at] = torch.sigmoid(self.detector(*self.read(at))[1])
        self.detector.train(learning)
        return out

    # --- hooks ----------------------------------------------------------------------------------------------------
    def epoch(self, run: Run) -> None:
        """A look at everybody, where it is due; tried again after the next epoch where too many are flagged."""
        if self.spec.gamma == 0 or run.epoch < int(self.due) or "offsets" not in self.facts:
            return
        p = self.scores()
        seen = torch.isfinite(p)
        moved = updated(self.evidence[seen], p[seen], self.spec.most) if bool(seen.any()) else None
        if moved is not None:
            self.evidence[seen] = moved
        self.due.fill_(run.epoch + (1 if moved is None else self.spec.every))

    def loss(self, run: Run, batch: Batch, reps: Reps, losses: Losses) -> Losses:
        """Every ranking loss by the weight of its row's person."""
        users = getattr(batch, "users", None)
        if self.spec.gamma == 0 or run.epoch < self.spec.begin or users is None:
            return losses
        weight = weight_of(self.evidence)[users] ** self.spec.gamma
        aside = lambda name, value: name == "l2" or name.startswith("_") or len(value) != len(weight)
        return {n: v if aside(n, v) else v * weight for n, v in losses.items()}

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Slices of everybody with two events, and beside each as many of the known fakes as any other slice has."""
        long = self.histories().lengths > 1
        shuffled = lambda codes, name: codes[np.argsort(keyed_hash(order.key(name), codes), kind="stable")]
        people = shuffled(np.flatnonzero(long[: self.people]), "people")
        fakes = shuffled(self.people + np.flatnonzero(long[self.people :]), "fakes")
        n = max(1, -(-len(people) // self.spec.batch_size))
        each = -(-len(fakes) // n)
        for i, part in enumerate(np.array_split(people, n)):
            yield Batch(
                torch.from_numpy(np.concatenate([part, np.take(fakes, range(i * each, (i + 1) * each), mode="wrap")]))
            )

    def represent(self, batch: Batch) -> Reps:
        """z [b, 2 width], and the logits."""
        z, logit = self.detector(*self.read(batch.rows))
        return {"query": z, "logits": logit}

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """As `calibrated`."""
        e = None
        if self.detector.text is not None:
            e = F.gelu(self.detector.text(self.facts["text"][batch.rows]))
        y = self.facts["known"][batch.rows].to(reps["query"].dtype)
        return calibrated(reps["logits"], y, reps["query"], e, self.spec.entropy, self.spec.alignment)


def _spread(times: NDArray[np.int64], fakes: Ragged) -> NDArray[np.int64]:
    place = np.arange(len(fakes.items)) - fakes.offsets[fakes.owners()]
    low, high = int(times.min()), int(times.max())
    return low + (high - low) * place // np.maximum(1, fakes.lengths[fakes.owners()])


def _means(table: Tensor, batch: Sequences) -> Tensor:
    """The mean of the item vectors before each target: the state of a model that reads no order."""
    there = (batch.inputs != PAD).unsqueeze(-1).to(table.dtype)
    sums = (table[batch.inputs.clamp_min(0)] * there).cumsum(1) / there.cumsum(1).clamp_min(1)
    return sums.flatten(0, 1)[batch.place]
