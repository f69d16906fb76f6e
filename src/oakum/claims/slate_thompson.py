"""What the sheet of the slate recommender says holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from oakum.claims.base import Claim, Context, Outcome


def _model(items: int = 6, places: int = 5, **settings: Any) -> Any:
    """An unfitted model over a few items, its takes and its lists known by hand."""
    import torch

    from oakum.data import Schema
    from oakum.models.slate.slate_thompson import SlateThompson

    torch.manual_seed(0)
    spec = SlateThompson(embedding_dim=3, **settings)
    model = spec.build(Schema(2, items, sizes={"places": places}))
    model.put_facts({"groups": torch.zeros(items, dtype=torch.long), "choices": torch.tensor(1)})
    return model.eval()


def _asked(*histories: list[int]) -> Any:
    from oakum.data import Queries, Ragged

    return Queries(np.full(len(histories), -1, np.int32), Ragged.of(histories))


def by_hand(context: Context) -> Outcome:
    """One step's likelihood, the slate of nothing, padding, and a step without a take."""
    import torch

    model = _model(user_model="linear")
    with torch.no_grad():
        model.nothing.mean.copy_(torch.linspace(-1, 1, 6))
        shown = np.array([[0, 3, 5, -1, -1], [-1] * 5], np.int32)
        found = model.chances(_asked([2], [2]), shown).double().numpy()
        v = model.items.mean.double().numpy()
        y = 0.5 * v[2] + 0.5 * v[2]  # h_0 is the one taken vector, γ = ½
        weight = np.exp(
            np.array([float(model.nothing.mean[3]), *(-float(np.linalg.norm(y - v[i])) for i in (0, 3, 5))])
        )
        gap = float(np.abs(found[0, :4] - weight / weight.sum()).max())
        nothing = float(abs(found[1, 0] - 1))
        padding = float(found[0, 4:].max())
        still = model.drift(torch.full((1, 2, 3), torch.nan), torch.ones(1, 3), 1, 0.0)
    holds = gap < 1e-6 and nothing < 1e-6 and padding < 1e-20 and bool((still == 1).all())
    return Outcome(f"gap {gap:.0e}; chance of nothing 1 − {nothing:.0e}; padding {padding:.0e}; state unchanged", holds)


def lists(context: Context) -> Outcome:
    """At temperature 0 the drawn list is the greedy one; no item twice; the same seed, the same list."""
    from oakum.engine.scoring import Scoring
    from oakum.recommending import rank

    queries = _asked(*([i % 40] for i in range(30)))
    cold = Scoring(_model(40, temperature=0.0, policy="in-slate", user_model="linear"))
    same = bool((rank(cold, queries, 8, seed=3).items == rank(cold, queries, 8).items).all())
    warm = Scoring(_model(40, temperature=1.0, policy="in-slate", user_model="linear"))
    a, b, c = (rank(warm, queries, 8, seed=s).items for s in (1, 1, 2))
    distinct = all(len({*row}) == 8 and (row >= 0).all() for row in a)
    holds = same and distinct and bool((a == b).all()) and bool((a != c).any())
    return Outcome("greedy at temperature 0; 30 lists of 8 distinct items; repeat under a seed, differ between", holds)


def closed_form(context: Context) -> Outcome:
    """Linear dynamics and Gaussian divergence against their formulas; the gradient against finite differences."""
    import torch

    from oakum.nn.variational import Drift, kl_normal

    drift = Drift("linear", 2, largest=10).double().requires_grad_(False)
    start, v = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[[3.0, -1.0]]]).double()
    gamma = float(drift.inertia.mean.detach())
    with torch.no_grad():
        none = float((drift(torch.full_like(v, torch.nan), start, 1, 0.0)[:, -1] - start).abs().max())
        one = float((drift(v, start, 1, 0.0)[:, -1] - (gamma * start + (1 - gamma) * v[:, 0])).abs().max())
    m, s = torch.tensor(0.7).double(), torch.tensor(0.4).double()
    p, q = torch.distributions.Normal(m, s), torch.distributions.Normal(m * 0 - 0.2, m * 0 + 1.5)
    kl = float((kl_normal(m, s, -0.2, 1.5) - torch.distributions.kl_divergence(p, q)).abs())
    inputs = [x.clone().requires_grad_() for x in (m, s)]
    exact = bool(torch.autograd.gradcheck(lambda a, b: kl_normal(a, b, -0.2, 1.5), inputs))
    holds = max(none, one, kl) < 1e-9 and exact
    return Outcome(f"no take {none:.0e}, one take {one:.0e}, divergence {kl:.0e}, gradients agree: {exact}", holds)


def _held_out(models: dict[str, Any], world: Any, data: Any, rounds: int, k: int, seed: int) -> dict[str, float]:
    """Mean log-likelihood of further rounds among random lists: of each model (averaged over 32 posterior draws), of
    the world itself ("true") and of an even choice ("even")."""
    import torch

    from oakum.data import Queries
    from oakum.data.world import followed, random_lists
    from oakum.seeds import generator

    everyone = np.arange(data.num_users, dtype=np.int32)
    policy = random_lists(k, seed=seed + 99)
    found: dict[str, list[float]] = {name: [] for name in [*models, "true"]}
    for turn in range(rounds):
        queries = Queries(everyone, data.histories)
        shown = policy(data, queries, turn)
        answer = world.respond(queries, shown, generator(seed, "held out", turn))
        taken = answer.values.reshape(-1, k)
        chosen = np.where(taken.any(1), taken.argmax(1) + 1, 0)
        chances = {"true": world.chances(queries, shown.items)}
        for name, fitted in models.items():
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(turn)
                chances[name] = fitted.model.chances(queries, shown.items, draws=32).numpy()
        for name, chance in chances.items():
            found[name] += np.log(chance[np.arange(len(chosen)), chosen]).tolist()
        data = followed(data, answer)
    return {**{name: float(np.mean(v)) for name, v in found.items()}, "even": -float(np.log(k + 1))}


def _fitted(log: Any, seed: int, plan: dict[str, Any] | None = None, init: Any = None, **settings: Any) -> Any:
    from oakum.engine.fit import fit
    from oakum.models.slate.slate_thompson import SlateThompson

    plan = {"epochs": 150, "batch_size": 50, "learning_rate": 0.05, **(plan or {})}
    return fit(SlateThompson(**{"groups": "group", **settings}), log, plan=plan, seed=seed, init=init)


WORLD = {"radius": 3.0, "spread": 0.3, "user_spread": 0.5, "nothing": -2.5, "inertia": 0.6, "sharpness": 1.0}


def simulated(context: Context) -> Outcome:
    """200 users, 100 items in 10 groups, 20 slates of 5 each: log-likelihood of 5 further rounds."""
    from oakum.data.world import draw_choosers, live, random_lists

    world, data = draw_choosers(200, 100, 10, 3, seed=context.seed, **WORLD)
    log = live(world, data, random_lists(5, seed=context.seed), 20, seed=context.seed)
    plan = {"learning_rate": 0.02}
    models = {
        kind: _fitted(log, context.seed, plan, embedding_dim=3, user_model=kind, likelihood_temperature=0.1)
        for kind in ("linear", "gru")
    }
    found = _held_out(models, world, log, 5, 5, context.seed)
    closed = {n: (found[n] - found["even"]) / (found["true"] - found["even"]) for n in models}
    said = "; ".join(f"{n} {found[n]:.3f} closes {closed[n]:.0%}" for n in models)
    measured = f"even {found['even']:.3f}, true {found['true']:.3f}; {said}"
    return Outcome(measured, all(0.5 < c < 1 for c in closed.values()))


def sparse(context: Context) -> Outcome:
    """2000 items shown 3 times each on average: one prior a group against one prior for all."""
    from oakum.data.world import draw_choosers, live, random_lists

    world, data = draw_choosers(200, 2000, 10, 2, seed=context.seed, **WORLD)
    log = live(world, data, random_lists(3, seed=context.seed), 10, seed=context.seed)
    models = {
        name: _fitted(log, context.seed, embedding_dim=2, user_model="linear", groups=groups)
        for name, groups in (("groups", "group"), ("flat", ""))
    }
    found = _held_out(models, world, log, 3, 3, context.seed)
    measured = ", ".join(f"{n} {v:.3f}" for n, v in found.items())
    return Outcome(measured, found["groups"] > found["flat"] and found["groups"] > found["even"])


def _explore(policy: str, seed: int, rounds: int) -> tuple[float, float]:
    """Share of lists with a take, and mean distance of the true traits within a list, over rounds with refits."""
    from oakum.data.world import draw_choosers, live, random_lists

    settings = {**WORLD, "user_spread": 2.0, "nothing": -1.5, "inertia": 0.9}
    world, data = draw_choosers(100, 100, 10, 2, seed=seed, **settings)
    log = live(world, data, random_lists(5, seed=seed), 2, seed=seed)
    apart: list[float] = []
    last: Any = None

    def lists(data: Any, queries: Any, turn: int) -> Any:
        nonlocal last
        plan = {"epochs": 100 if last is None else 15}
        last = _fitted(data, turn, plan, last, embedding_dim=2, user_model="linear", policy=policy)
        ranking = last.rank(queries, 5, seed=turn)
        traits = world.traits[ranking.items]
        apart.append(float(np.linalg.norm(traits[:, :, None] - traits[:, None], axis=-1).sum((1, 2)).mean() / 20))
        return ranking

    lived = live(world, log, lists, rounds, seed=seed + 1)
    assert lived.interactions.values is not None
    taken = lived.interactions.values[len(log) :].reshape(-1, 5).any(1)
    return float(taken.mean()), float(np.mean(apart))


def loop(context: Context) -> Outcome:
    """20 rounds with a refit before each, three worlds: lists drawn place by place against the best under the means."""
    found = {p: np.array([_explore(p, context.seed + s, 20) for s in range(3)]) for p in ("greedy", "in-slate")}
    gain = found["in-slate"] - found["greedy"]
    noise = 2 * gain[:, 0].std(ddof=1) / np.sqrt(len(gain))
    takes, apart = found["greedy"].mean(0), found["in-slate"].mean(0)
    measured = (
        f"distance within a list {apart[1]:.2f} against {takes[1]:.2f}; takes a list {apart[0]:.3f} against "
        f"{takes[0]:.3f} (difference {gain[:, 0].mean():+.3f} ± {noise:.3f})"
    )
    return Outcome(measured, bool(gain[:, 1].mean() > 0 and gain[:, 0].mean() > -noise))


def biased(context: Context) -> Outcome:
    """A logger that shows popular things: what the likelihood over shown items recovers, and that over drawn items."""
    from scipy.stats import spearmanr

    from oakum.data.world import draw_choosers, live, random_lists
    from oakum.seeds import generator

    world, data = draw_choosers(200, 100, 10, 3, seed=context.seed, **WORLD)
    weights = 1.0 / (1 + generator(context.seed, "popular").permutation(100))
    log = live(world, data, random_lists(5, weights=weights, seed=context.seed), 20, seed=context.seed)
    found = {}
    for among in ("shown", "drawn"):
        settings = {"embedding_dim": 3, "user_model": "linear", "likelihood_temperature": 0.1}
        fitted = _fitted(log, context.seed, {"learning_rate": 0.02}, among=among, **settings)
        queries = fitted.queries(np.arange(200, dtype=np.int32))
        true = -np.linalg.norm(world.states(queries)[:, None] - world.traits[None], axis=-1)
        rows = zip(fitted.score(queries), true, strict=True)
        found[among] = float(np.mean([spearmanr(a, b).statistic for a, b in rows]))
    measured = ", ".join(f"{n} {v:.3f}" for n, v in found.items())
    return Outcome(f"rank correlation with the true scores: {measured}", found["shown"] > found["drawn"])


def bandit(context: Context) -> Outcome:
    """Open-bandit, men's campaign, both loggers: log-likelihood of the last 30 % of the week."""
    import polars as pl
    import torch

    from oakum.data import Dataset, Interactions, Queries, Vocabulary

    frame = pl.read_parquet(context.folder("open-bandit") / "men_log.parquet").sort("timestamp")
    people = frame.select(pl.concat_str([f"user_feature_{i}" for i in range(4)], separator="|")).to_series()
    users = Vocabulary(people.unique().sort().rename("id"))
    items = Vocabulary(frame["item_id"].unique().sort().rename("id"))
    fields = {"slate": np.arange(len(frame)), "position": frame["position"].to_numpy().astype(np.int64)}
    times = frame["timestamp"].dt.epoch("us").to_numpy()
    taken = frame["click"].cast(pl.Float32).to_numpy()
    codes = (users.encode(people), items.encode(frame["item_id"]))
    log = Interactions(*codes, taken, times, fields=fields)
    data = Dataset(log, users, items, name="open-bandit")
    cut = int(0.7 * len(log))
    train, test = data.with_interactions(log.take(slice(0, cut))), log.take(slice(cut, len(log)))
    plan = {"epochs": 40, "batch_size": 64}
    fitted = _fitted(train, context.seed, plan, embedding_dim=4, user_model="linear", groups="", max_length=100)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        queries = Queries(test.users, train.histories.take(test.users))
        chance = fitted.model.chances(queries, test.items[:, None], draws=16).double().numpy()[:, 1]
    rate = taken[:cut].mean()
    shown = np.bincount(log.items[:cut], minlength=len(items))
    own = (np.bincount(log.items[:cut], taken[:cut], len(items)) + 200 * rate) / (shown + 200)
    value = lambda p: float(np.where(taken[cut:] > 0, np.log(p), np.log1p(-p)).mean())
    model, constant, rates = value(chance), value(np.full(len(test), rate)), value(own[test.items])
    measured = f"model {model:.4f}, one rate for all {constant:.4f}, a rate an item {rates:.4f}"
    clicks = f"{int(taken[:cut].sum())} clicks to learn from and {int(taken[cut:].sum())} to test on"
    why = f"{clicks}, one item a row: a rate for each item, too, does worse than one rate for all"
    return Outcome(measured, model >= constant, "" if model >= constant else why)


CLAIMS = (
    Claim("by-hand", "A step's likelihood equals a hand computation; a slate of nothing, padding, no take", "equal; 1; below 1e-20; state unchanged", by_hand),
    Claim("lists", "In-slate draws at temperature 0 are the greedy list; distinct items; a seed repeats", "exactly", lists),
    Claim("closed-form", "No take keeps h_0, one gives γh_0 + (1 − γ)v; the Gaussian divergence and its gradient", "equal", closed_form),
    Claim("simulated", "Held-out log-likelihood lies between an even choice and the true model, closing over half of the gap", "over 50 %", simulated, (), True, 30),
    Claim("sparse-items", "Items of 3 exposures: priors of groups beat one prior", "hierarchical above flat", sparse, (), True, 20),
    Claim("loop", "20 rounds with refits: in-slate draws are more diverse than greedy lists, with no fewer takes", "more diverse; not fewer within noise", loop, (), True, 60),
    Claim("biased-logging", "Where the logger shows popular things, the likelihood over shown items recovers the scores better", "shown above drawn", biased, (), True, 20),
    Claim("open-bandit", "Open-bandit: the held-out log-likelihood is at least that of one click rate for all", "at least (no figure in the paper)", bandit, (), True, 15, reference="one rate for all clicks"),
)  # fmt: skip
