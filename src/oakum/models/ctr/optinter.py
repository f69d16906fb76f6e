"""For every pair of fields: memorise its crosses, factorise it, or leave it alone; searched, then trained anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from oakum import losses
from oakum.data import Dataset, Interactions, Schema
from oakum.data.crosses import Keys, join_keys, learn_crosses, pairs_of, part_keys
from oakum.data.fields import Layout
from oakum.data.rows import RowCoder
from oakum.engine.learner import Facts, Losses, Phase, Reps
from oakum.engine.plan import Plan
from oakum.errors import DataError, ParameterError
from oakum.models.ctr.base import RowModel, RowSpec
from oakum.nn.fields import CrossEmbedding, FieldEmbedding
from oakum.nn.interact import MLP
from oakum.parameters import Range
from oakum.sampling.batches import Batch, Rows
from oakum.seeds import derive, keyed_hash

CHOICES = ("memorise", "factorise", "naive")
WEIGHTS = ("embed.", "crosses.", "factors.", "deep.")
ANNEAL, COLDEST = 5e-5, 0.01  # what the temperature loses in a step of the search, and where it stops
HELD = 0.5  # share of the rows that a bilevel search chooses on
LARGEST = 1 << 22  # crosses of one pair that get a vector, at most: the most frequent


class OptInter(RowSpec):
    """Finds out which pairs of fields are worth a memory of their own, which a product, and which nothing.

    Paper: Lyu et al. 2022. For a pair (i, j): m = a vector of the cross (its two values as one), f = v_i ⊙ v_j, n = 0; in the
    search b = w_m m + w_f f + w_n n with w = softmax(a / t), t falling from 1; then every pair takes its largest a, and new
    weights are trained. z = MLP([fields; all b]). The search moves weights and a in turn, a on rows held back from the weights;
    "joint" (the authors' code) moves both on the same batches, which favours memory. `choices` leaves the search out: one for all pairs,
    or one a pair. Only what was chosen keeps its tables.
    Memory 12 bytes a weight in training: width d a value, `cross_dim` a value and a kept cross; 8 bytes a kept cross for its
    key. Time epochs · rows · (pairs · (cross_dim + log crosses) + inputs · hidden), twice for search and training; pairs grow
    with the square of the fields. Newcomers: the vector "unknown" of the user field, the rare cross of its pairs, the other
    fields as they are.
    Differs from the paper in choosing on held rows by default, in searching without Gumbel noise unless `gumbel` (as the authors' code), in choosing and stopping on
    a validation part (their code: on the test part), in a start of all a at 0, in fields' vectors of ordinary size (theirs start
    near 0), in crossing the categorical columns (their Criteo crosses take numeric ones), and in giving memory back after the search.
    """

    slug = "optinter"
    embedding_dim: Annotated[int, Range(1, 4096, search=(4, 64), log=True), "width d of the fields' vectors"] = 20
    cross_dim: Annotated[int, Range(1, 4096, search=(2, 32), log=True), "width of memorised and factorised pairs"] = 10
    hidden: Annotated[tuple[int, ...], "widths of the network's layers"] = (700, 700, 700, 700, 700)
    cross_count: Annotated[int, Range(1, 1_000_000), "crosses in fewer training rows share their pair's vector"] = 5
    choices: Annotated[tuple[str, ...], "memorise, factorise or naive, for all pairs or for each; none: searched"] = ()
    search: Annotated[Literal["joint", "bilevel"], "choices move on held rows, or on those of the weights"] = "bilevel"
    search_epochs: Annotated[int | None, Range(1, 100_000), "passes of the search, at most; none: the plan's"] = None
    gumbel: Annotated[bool, "draw the choices of each step of the search with Gumbel noise"] = False
    cross_l2: Annotated[float, Range(0, 100, search=(1e-7, 1e-2), log=True), "weight of the squares of the pairs"] = 0.0

    def plan(self) -> Plan:
        """The authors' batches; search and training stop at the first epoch without a better AUC."""
        return super().plan().replace(batch_size=2000, epochs=10, patience=1)

    def crosses(self, data: Dataset, coder: RowCoder) -> list[Keys]:
        """The crosses of each pair that get a vector of their own."""
        codes, _ = coder.encode(data.interactions)
        return learn_crosses(codes, pairs_of(coder.layout), min_count=self.cross_count, largest=LARGEST)

    def sizes(self, data: Dataset) -> Mapping[str, int]:
        """Rows of every field's table, and crosses of every pair."""
        coder = self.coder(data)
        found = self.crosses(data, coder)
        if not found:
            names = ", ".join(coder.layout.names)
            raise DataError(
                f"optinter crosses categorical columns, and '{data.name}' has fewer than two (fields: {names}); name some with "
                "categorical=NAME,NAME, or use deepfm."
            )
        return {**coder.sizes(), **{f"crosses/{p}": len(keys) for p, keys in enumerate(found)}}

    def build(self, schema: Schema) -> OptInterModel:
        """Empty tables and layers of the right sizes: all of them, or those of the given choices."""
        strange = [c for c in self.choices if c not in CHOICES]
        if strange:
            raise ParameterError(f"The choices of OptInter are {', '.join(CHOICES)}. Got {strange[0]!r}.")
        return OptInterModel(self, schema)


class OptInterModel(RowModel):
    """Vectors of fields and of pairs, side by side into a network."""

    def __init__(self, spec: OptInter, schema: Schema) -> None:
        super().__init__(spec, schema, spec.embedding_dim, init_std=None)
        self.pairs = pairs_of(self.layout)
        self.kept = [schema.sizes[f"crosses/{p}"] for p in range(len(self.pairs))]
        if len(spec.choices) not in (0, 1, len(self.pairs)):
            raise ParameterError(f"choices must be one or {len(self.pairs)}, one a pair. Got {len(spec.choices)}.")
        self.alpha = nn.Parameter(torch.zeros(len(self.pairs), len(CHOICES)))
        given = [CHOICES.index(c) for c in spec.choices]
        self.choice: Tensor
        self.steps: Tensor
        self.register_buffer("choice", torch.full((len(self.pairs),), -1).copy_(torch.tensor(given or [-1])))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self._assemble()

    @property
    def searching(self) -> bool:
        """Whether the pairs are still open."""
        return bool((self.choice < 0).any())

    def _assemble(self) -> None:
        """New tables and layers for what is chosen, or for everything."""
        spec, open_ = self.spec, self.searching
        choice = self.choice.tolist()
        self.memorised = [p for p, c in enumerate(choice) if open_ or c == 0]
        factorised = [p for p, c in enumerate(choice) if open_ or c == 1]
        self.crosses = self.factors = None
        if self.memorised:
            pairs, kept = zip(*((self.pairs[p], self.kept[p]) for p in self.memorised), strict=True)
            self.crosses = CrossEmbedding(pairs, kept, spec.cross_dim)
        if factorised:
            ends = [self.pairs[p].slots for p in factorised]
            slots = sorted({s for pair in ends for s in pair})
            owner = np.repeat(np.arange(len(self.layout)), [f.width for f in self.layout.fields])
            own = Layout(tuple(self.layout.fields[owner[s]] for s in slots))
            self.factors = FieldEmbedding(own, spec.cross_dim, init_std=0.02)  # products of large noise are noise
            self._slots = torch.tensor(slots)
            self._ends = torch.tensor([[slots.index(s) for s in pair] for pair in ends])
        inputs = len(self.pairs) if open_ else len(self.memorised) + len(factorised)
        width = len(self.layout) * spec.embedding_dim + inputs * spec.cross_dim
        self.deep = MLP(width, spec.hidden, norm="layer")
        self.to(self.choice.device)

    def resize(self, state: Mapping[str, Tensor]) -> None:
        """Take the choices of a state, and the tables that go with them."""
        if "choice" in state and not torch.equal(state["choice"].cpu(), self.choice.cpu()):
            self.choice.copy_(state["choice"])
            self._assemble()

    def phases(self) -> Sequence[Phase | tuple[Phase, ...]]:
        """The search, unless the choices are given, and the training of new weights under them."""
        train = Phase(name="train", moves=WEIGHTS)
        if self.spec.choices:
            return (train,)
        bilevel = self.spec.search == "bilevel"
        search = Phase(
            name="search",
            moves=WEIGHTS if bilevel else ("",),
            steps=1,
            epochs=self.spec.search_epochs,
            alone=True,
        )
        choose = Phase(name="choose", moves=("alpha",), steps=1)
        return ((search, choose) if bilevel else search, train)

    def part(self, log: Interactions, phase: Phase) -> NDArray[np.bool_] | None:
        """In a bilevel search the rows of the weights, or those held back for the choices."""
        if phase.name == "train" or self.spec.search == "joint":
            return None
        place = keyed_hash(derive(0, "held"), log.rows).astype(np.float64) / 2.0**64
        held: NDArray[np.bool_] = place < HELD
        return held if phase.name == "choose" else ~held

    def rows(self, data: Dataset, phase: Phase) -> int:
        """Rows of an epoch."""
        part = self.part(data.interactions, phase)
        return len(data) if part is None else int(part.sum())

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """Vocabularies, and the crosses that have a vector; at the end of a search the choices are made here."""
        facts = dict(super().prepare(data, phase))
        ending = phase.name == "train" and self.searching
        if "keys" not in self.facts:
            keys = self.spec.crosses(data, self.coder or self.spec.coder(data))
        elif ending:
            keys = part_keys(self.facts["keys"].cpu().numpy(), self.pairs)
        else:
            return facts  # refreshed: values and crosses stay
        if ending:
            self.decide()
        own = self.memorised
        facts["keys"] = torch.from_numpy(join_keys([keys[p] for p in own], [self.pairs[p] for p in own]))
        return facts

    def decide(self) -> None:
        """Every pair takes its largest a; everything else begins anew."""
        self.choice.copy_(self.alpha.detach().argmax(1))
        self.embed = FieldEmbedding(self.layout, self.spec.embedding_dim, init_std=None)
        self._assemble()

    def settle(self) -> None:
        """Count the steps of the search."""
        if self.searching:
            self.steps += 1

    @property
    def temperature(self) -> float:
        """1 at first, less with every step, down to 0.01."""
        return max(COLDEST, 1.0 - ANNEAL * int(self.steps))

    def weights(self) -> Tensor:
        """How much of each choice a pair takes in the search [p, 3]; rows sum to 1."""
        logits: Tensor = self.alpha
        if self.spec.gumbel and self.training:
            logits = logits - torch.empty_like(logits).exponential_().log()
        return F.softmax(logits / self.temperature, dim=-1)

    def met(self, codes: Tensor, values: Tensor) -> list[Tensor]:
        """Memorised pairs [b, m, d] and factorised ones [b, f, d], where there are any."""
        out = []
        if self.crosses is not None:
            out.append(self.crosses(codes, self.facts["keys"]))
        if self.factors is not None:
            slots, ends = self._slots.to(codes.device), self._ends.to(codes.device)
            v = self.factors(codes[:, slots], values[:, slots])
            out.append(v[:, ends[:, 0]] * v[:, ends[:, 1]])
        return out

    def logit(self, fields: Tensor, codes: Tensor, values: Tensor) -> Tensor:
        """The network over the fields and what is taken of each pair."""
        met = self.met(codes, values)
        if self.searching:
            w = self.weights()
            met = [w[:, :1] * met[0] + w[:, 1:2] * met[1]]
        out: Tensor = self.deep(torch.cat([fields.flatten(1), *(part.flatten(1) for part in met)], 1))
        return out

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """log_loss [b], and l2 [b] of the vectors of fields and pairs where they have weights."""
        out = super().losses(batch, reps)
        assert isinstance(batch, Rows)
        if self.spec.cross_l2 and (met := self.met(batch.codes, batch.values)):
            penalty = self.spec.cross_l2 * losses.l2(*met)
            out["l2"] = out["l2"] + penalty if "l2" in out else penalty
        return out

    def found(self) -> list[tuple[str, str, str]]:
        """What each pair of fields takes: (name, name, memorise | factorise | naive), or "open" before the search is over."""
        return [
            (*pair.names, CHOICES[c] if c >= 0 else "open")
            for pair, c in zip(self.pairs, self.choice.tolist(), strict=True)
        ]
