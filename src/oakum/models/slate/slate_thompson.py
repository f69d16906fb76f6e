"""A variational recommender of slates: learns from what was shown and not taken, and explores by its own doubt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oakum.data import Dataset, Filter, Ids, Queries, Ranking, Schema
from oakum.data.features import item_groups
from oakum.data.world import taken_of
from oakum.engine.learner import Facts, Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.engine.run import Run
from oakum.kernels.select import topk_scores
from oakum.nn.variational import Drift, Posterior, kl_normal
from oakum.parameters import Range, Spec
from oakum.recommending import interleaved
from oakum.sampling.batches import Batch, Order
from oakum.sampling.sequences import pad_left
from oakum.sampling.slates import Among, Slates, choices, count_slates, slates

START = 0.5  # prior standard deviation of where a person starts
POOL = 1024  # items drawn anew for each request; all of them where there are no more


class SlateThompson(Spec):
    """Fills a slate, learning from everything that was shown beside what was taken, and explores where it is unsure.

    Paper: Eide et al. 2021. Each step is a choice among the items shown and "nothing": softmax of −|y_t − v_i| and a bias
    b[length]; y_t = W h_t with h a GRU over the items taken (a step without a take leaves it), h_0 from the takes; items
    v_i ~ N(μ_g, σ_g²) around the means of their group. Everything has an independent Gaussian posterior, fitted by the
    ELBO in two phases: items under h' = γh + (1 − γ)v, then the GRU over still items. Asked without a seed it shows the
    posterior means' best; with a seed each list is drawn: "thompson" one draw a request, "in-slate" one draw a place (all
    first ranks, then all second ranks, the first k distinct). A log without slates is read as takes among drawn items.
    Memory 8 · items · d bytes of weights, no parameter per user; time: events · (places · d + d²) an epoch and items · d a
    step for the prior. Newcomers: the same, from their history, as everybody.
    Differs from the paper: σ_g is half-normal through a softplus (|N| sticks at 0), the likelihood is not tempered by
    default (at the paper's 0.01 the posterior is far too narrow to explore by), windows hold takes only when asked, and in
    catalogues of more than 1024 items only the most promising ones are drawn anew in a request.
    """

    slug = "slate-thompson"
    embedding_dim: Annotated[int, Range(1, 1024, search=(8, 64), log=True), "width d of items and states"] = 25
    user_model: Annotated[Literal["gru", "linear", "average", "markov"], "how a take moves a person"] = "gru"
    groups: Annotated[str, "columns of the item table that make an item's group, with commas; none: one group"] = ""
    among: Annotated[Literal["shown", "drawn"], "a take is chosen among what was shown, or among drawn items"] = "shown"
    num_negatives: Annotated[int, Range(1, 4096), "drawn items a take, where none are known to have been shown"] = 24
    max_length: Annotated[int, Range(1, 10_000, search=(10, 50), log=True), "choices of a person read, the latest"] = 20
    distance: Annotated[Literal["euclidean", "dot"], "closeness of y and v: −|y − v| or y · v"] = "euclidean"
    policy: Annotated[Literal["in-slate", "thompson", "greedy"], "how lists are drawn given a seed"] = "in-slate"
    temperature: Annotated[float, Range(0, 100), "factor on the posterior scales when lists are drawn"] = 1.0
    num_samples: Annotated[int, Range(1, 64), "posterior draws a step, dealt out to the users of the batch"] = 4
    likelihood_temperature: Annotated[
        float, Range(above=0, high=100, search=(1e-3, 1.2), log=True), "divides the log-likelihood; below 1 narrows"
    ] = 1.0
    group_scale: Annotated[float, Range(above=0, search=(0.01, 15), log=True), "prior scale of group means κ_μ"] = 5.0
    spread_scale: Annotated[float, Range(above=0, search=(0.01, 15), log=True), "prior scale of spreads κ_σ"] = 5.0
    rnn_scale: Annotated[float, Range(above=0, search=(0.1, 15), log=True), "prior scale of GRU weights κ_rnn"] = 5.0
    largest_scale: Annotated[float, Range(above=0, high=100, search=(0.05, 10)), "cap on posterior scales"] = 10.0

    def plan(self) -> Plan:
        """Each phase has these epochs. The batch size counts users (the paper's 30,000 at rate 3e-4 suit its 2.3M)."""
        return Plan(learning_rate=1e-2, batch_size=256, epochs=100, clip_norm=100.0, evaluate_every=1, patience=25)

    def sizes(self, data: Dataset) -> Mapping[str, int]:
        """groups: how many; places: items of the longest slate."""
        places = int(choices(data, slates=self.among == "shown").lengths.max(initial=1))
        return {"groups": int(item_groups(data, self.groups).max(initial=0)) + 1, "places": places}

    def build(self, schema: Schema) -> SlateThompsonModel:
        """Posteriors of the right sizes."""
        return SlateThompsonModel(self, schema)


class SlateThompsonModel(Model):
    """Posteriors of items, groups, dynamics and of taking nothing."""

    def __init__(self, spec: SlateThompson, schema: Schema) -> None:
        super().__init__()
        self.spec, d = spec, spec.embedding_dim
        groups, places = schema.sizes.get("groups", 1), schema.sizes.get("places", 1)
        self.items = Posterior(schema.num_items, d, largest=spec.largest_scale)
        self.centres = Posterior(groups, d, largest=spec.largest_scale)
        self.spreads = Posterior(groups, d, largest=spec.largest_scale)  # before the softplus
        self.nothing = Posterior(places + 1, largest=spec.largest_scale)
        self.drift = Drift(spec.user_model, d, largest=spec.largest_scale)
        self.doubt = nn.Parameter(torch.tensor(math.log(0.2 / 4.8)))  # a of h_0, between 0.001 and 5

    def phases(self) -> tuple[Phase, ...]:
        """Items under linear dynamics, then the GRU over still items."""
        items = Phase(name="items", moves=("items", "centres", "spreads", "nothing", "drift.inertia", "doubt"))
        return (items, Phase(name="gru", moves=("drift.gru",))) if hasattr(self.drift, "gru") else (items,)

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """The group of each item, and the number of choices in an epoch."""
        _, count = count_slates(data, max_length=self.spec.max_length, among=self._among(data))
        groups = torch.from_numpy(item_groups(data, self.spec.groups))
        return {"groups": groups, "choices": torch.tensor(max(1, count))}

    def epoch(self, run: Run) -> None:
        """From the second phase on, takes move people through the gates."""
        self.drift.gated.fill_(run.phase.name == "gru")

    def settle(self) -> None:
        """Means of the GRU stay within 10."""
        for name, value in self.drift.named_parameters():
            if name.startswith("gru") and name.endswith("mean"):
                value.data.clamp_(-10, 10)

    def _among(self, data: Dataset) -> Among:
        return self.spec.among if "slate" in data.interactions.fields else "drawn"

    def data(self, run: Run, data: Dataset) -> Dataset:
        """Takes alone where choices are among drawn items, so that samplers avoid what was taken and nothing else."""
        log = data.interactions
        if self._among(data) == "shown" or log.values is None or (log.values > 0).all():
            return data
        return data.with_interactions(log.take(log.values > 0))

    def rows(self, data: Dataset, phase: Phase) -> int:
        """Users with a choice."""
        return count_slates(data, max_length=self.spec.max_length, among=self._among(data))[0]

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """The latest choices of each user."""
        among = self._among(data)
        wants = self.spec.num_negatives if among == "drawn" else 0
        return slates(data, order, max_length=self.spec.max_length, among=among, wants=wants)

    # --- training -----------------------------------------------------------------------------------------------
    def start_of(self, taken: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale of h_0 [s, d] from takes [s, t]: weights 1 / (count so far)⁴; the prior where there are none."""
        there = (taken >= 0).float().unsqueeze(-1)
        weight = there / there.cumsum(1).clamp_min(1) ** 4
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-12)
        vectors = self.items.mean[taken.clamp_min(0)]
        mean, count = (weight * vectors).sum(1), there.sum(1)
        away = (there * (vectors - mean.unsqueeze(1)) ** 2).sum(1) / count.clamp_min(1)
        scale = (0.001 + 4.999 * torch.sigmoid(self.doubt)) * (away + 1e-6).sqrt()
        return mean, torch.where(count > 0, scale, START)

    def liking(self, y: Tensor, v: Tensor) -> Tensor:
        """Scores within [−100, 20] of vectors that broadcast: [..., d], [..., d] -> [...]."""
        found = (y * v).sum(-1) if self.spec.distance == "dot" else -((y - v).square().sum(-1) + 1e-12).sqrt()
        return found.clamp(-100, 20)

    def represent(self, batch: Batch) -> Reps:
        """query [b, d], positive [b, d] (0 where nothing was taken), negative [b, n, d], all under posterior draws."""
        assert isinstance(batch, Slates)
        n, (windows, t) = self.spec.num_samples, batch.inputs.shape
        rest = batch.shown if batch.negatives is None else batch.negatives.items
        every = torch.cat([batch.inputs.flatten(), batch.items, rest.flatten()])
        rows, code = torch.unique(every.clamp_min(0), return_inverse=True)
        drawn = self.items.draw(n, rows=rows)
        past, own, beside = code.split([windows * t, len(batch), rest.numel()])
        deal = torch.arange(windows, device=rows.device) % n  # the draw that each person lives under
        people = torch.div(batch.place, t, rounding_mode="floor")
        mean, scale = self.start_of(batch.inputs)
        vectors = drawn[deal[:, None], past.view(windows, t)]
        vectors = vectors.masked_fill((batch.inputs < 0).unsqueeze(-1), torch.nan)
        y = self.drift(vectors, mean + scale * torch.randn_like(scale), n, 1.0)[:, :-1]
        mine = deal[people]
        other = rest >= 0
        if batch.negatives is None:
            other &= torch.arange(rest.shape[1], device=rows.device) + 1 != batch.chosen[:, None]
            nothing = self.nothing.draw(n)[mine, self.lengths(batch.shown)]
        else:
            nothing = torch.full_like(batch.items, -100, dtype=y.dtype)
        share = 1 / torch.bincount(people, minlength=windows).clamp_min(1)
        return {
            "query": y.flatten(0, 1)[batch.place],
            "positive": drawn[mine, own] * (batch.items >= 0).unsqueeze(-1),
            "negative": drawn[mine[:, None], beside.view(rest.shape)],
            "_other": other,
            "_nothing": nothing,
            "_start": (kl_normal(mean, scale, 0.0, START).sum(-1) * share)[people],
        }

    def lengths(self, shown: Tensor) -> Tensor:
        """The bias that each slate [q, places] looks up."""
        return (shown >= 0).sum(1).clamp(max=len(self.nothing.mean) - 1)

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """choice [b]: −log chance of what was chosen; l2 [b]: the row's share of the divergence from the prior."""
        assert isinstance(batch, Slates)
        taken = batch.items >= 0
        own = self.liking(reps["query"], reps["positive"]).masked_fill(~taken, -100)
        rest = self.liking(reps["query"].unsqueeze(1), reps["negative"]).masked_fill(~reps["_other"], -100)
        total = torch.logsumexp(torch.cat([reps["_nothing"][:, None], own[:, None], rest], 1), 1)
        prior = self.divergence() / self.facts["choices"] + reps["_start"]
        choice = total - torch.where(taken, own, reps["_nothing"])
        return {"choice": choice, "l2": self.spec.likelihood_temperature * prior}

    def divergence(self) -> Tensor:
        """KL of all but the starts from the prior, a scalar: the spreads' by one draw, the items' under a draw of groups."""
        spec, groups = self.spec, self.facts["groups"]
        raw = self.spreads.draw(1)[0]
        spread = F.softplus(raw)
        # Half-normal in softplus(x), so the density of x holds the softplus's slope.
        log_p = 0.5 * math.log(2 / math.pi) - math.log(spec.spread_scale) - 0.5 * (spread / spec.spread_scale) ** 2
        log_q = -self.spreads.scale().log() - 0.5 * math.log(2 * math.pi * math.e)
        total = (log_q - log_p - F.logsigmoid(raw)).sum() + self.centres.kl(0.0, spec.group_scale)
        total = total + self.items.kl(self.centres.draw(1)[0][groups], spread[groups] + 1e-3)
        return total + self.nothing.kl(0.0, 1.0) + self.drift.kl(spec.rnn_scale)

    # --- answering ----------------------------------------------------------------------------------------------
    def preferences(self, queries: Queries) -> Tensor:
        """y of each request under the posterior means [q, d]."""
        taken = self._taken(queries)
        vectors = self.items.mean[taken.clamp_min(0)].masked_fill((taken < 0).unsqueeze(-1), torch.nan)
        return self.drift(vectors, self.start_of(taken)[0], 1, 0.0)[:, -1]

    def _taken(self, queries: Queries) -> Tensor:
        taken = taken_of(queries.histories)
        width = min(self.spec.max_length, int(taken.lengths.max(initial=1)))
        return torch.from_numpy(pad_left(taken, max(1, width))).to(self.doubt.device)

    def score(self, queries: Queries, items: Ids | None = None) -> Tensor:
        """Closeness under the posterior means; NaN where nothing was ever shown."""
        y = self.preferences(queries)
        table: Tensor = self.items.mean
        if items is not None:
            table = table[torch.from_numpy(np.maximum(items, 0).astype(np.int64)).to(y.device)]
        if self.spec.distance == "euclidean" and table.dim() == 2:  # the same without a [q, items, d] array
            out = -torch.cdist(y, table, compute_mode="donot_use_mm_for_euclid_dist").clamp(max=100)
        else:
            out = self.liking(y.unsqueeze(1), table)
        if items is not None:
            out = out.masked_fill(torch.from_numpy(items < 0).to(y.device), torch.nan)
        silent = torch.from_numpy(queries.histories.lengths == 0).to(y.device)
        return out.masked_fill(silent[:, None], torch.nan)

    def chances(self, queries: Queries, shown: Ids, draws: int = 0) -> Tensor:
        """The chance that nothing (column 0) or each shown item (-1 pads) is taken, [q, places + 1]: under the posterior
        means, or averaged over so many posterior draws (from torch's generator)."""
        items, every = torch.from_numpy(shown.astype(np.int64)).to(self.doubt.device), []
        for warmth in [1.0] * draws or [0.0]:
            y, vectors = self._world(queries, items, warmth)
            nothing = self.nothing.draw(1, temperature=warmth)[0, self.lengths(items)]
            likings = self.liking(y.unsqueeze(1), vectors).masked_fill(items < 0, -100)
            every.append(torch.softmax(torch.cat([nothing[:, None], likings], 1), 1))
        return torch.stack(every).mean(0)

    def recommend_lists(self, queries: Queries, k: int, where: Filter, seed: int | None) -> Ranking:
        """The best under the means, or lists drawn by the policy; scores are those under the means either way."""
        scores = self.score(queries).float().cpu().numpy()
        scores[where.closed_rows(scores.shape[1], len(scores))] = np.nan
        spec = self.spec
        if seed is None or spec.policy == "greedy":
            return Ranking(*topk_scores(scores, k))
        reach = 3 * spec.temperature * self.items.scale().amax(-1)
        if spec.distance == "dot":
            reach = reach * self.preferences(queries).norm(dim=1, keepdim=True)
        pool = topk_scores(scores + reach.cpu().numpy(), min(POOL, scores.shape[1]))[0]
        draws = [self._draw(queries, pool, k) for _ in range(k if spec.policy == "in-slate" else 1)]
        items = interleaved(np.stack(draws), k)
        found = np.take_along_axis(scores, np.maximum(items, 0).astype(np.int64), 1)
        return Ranking(items, np.where(items >= 0, found, np.float32(np.nan)))

    def _draw(self, queries: Queries, pool: Ids, k: int) -> Ids:
        """The best k of each request's pool [q, c] under one draw of its own."""
        y, items = self._world(
            queries, torch.from_numpy(pool.astype(np.int64)).to(self.doubt.device), self.spec.temperature
        )
        scores = self.liking(y.unsqueeze(1), items).cpu().numpy()
        places = topk_scores(np.where(pool >= 0, scores, np.float32(np.nan)), k)[0]
        best = np.take_along_axis(pool, np.maximum(places, 0).astype(np.int64), 1)
        return np.where(places >= 0, best, np.int32(-1))

    def _world(self, queries: Queries, chosen: Tensor, warmth: float) -> tuple[Tensor, Tensor]:
        """y [q, d] and vectors [q, c, d] of the chosen items [q, c]: a draw for each request, scales times `warmth`."""
        mean, scale, taken = self.items.mean, self.items.scale(), self._taken(queries)
        fresh = lambda rows: torch.randn(*rows.shape, mean.shape[1], device=mean.device)
        at = lambda rows, noise: mean[rows.clamp_min(0)] + warmth * scale[rows.clamp_min(0)] * noise  # [q, c, d]
        noise = fresh(chosen)
        # An item that stands among the chosen and in the history is one item: the same noise moves it in both.
        twin = (taken.unsqueeze(-1) == chosen.unsqueeze(1)).float()
        past = at(taken, twin @ noise + (1 - twin.sum(-1, keepdim=True)) * fresh(taken))
        start, doubt = self.start_of(taken)
        start = start + warmth * doubt * torch.randn_like(doubt)
        past = past.masked_fill((taken < 0).unsqueeze(-1), torch.nan)
        return self.drift(past, start, len(queries) if warmth else 1, warmth)[:, -1], at(chosen, noise)
