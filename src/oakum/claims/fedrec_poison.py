"""What the sheet on poisoned gradients says holds, and what a federation must be for it to mean anything."""

from __future__ import annotations

from typing import Any

import numpy as np

from oakum.claims.base import Claim, Context, Outcome
from oakum.claims.common import figures, folded, quality

#: The victim of the sheet: one network over 8-wide vectors.
VICTIM = {"form": "mlp", "hidden": (16, 8, 8), "init_std": 0.01}


def _victim(**changes: Any) -> Any:
    from oakum.models.classic.ncf import NCF

    return NCF(**{**VICTIM, **changes})


def _coldest(split: Any, whole: Any) -> int:
    """The item with the fewest events of all among those that training has."""
    return int(np.argmin(np.where(split.train.item_counts > 0, whole.item_counts, np.iinfo(np.int64).max)))


def federation(
    context: Context,
    split: Any,
    whole: Any,
    tactic: Any = None,
    *,
    clients: int = 6,
    spec: Any = None,
    rule: Any = None,
    **plan: Any,
) -> dict[str, float]:
    """Train in rounds of 256 clients whose gradients are added up, with hostile ones where a tactic is given; exposure of
    the coldest item on people who have it nowhere (training and test items are not shown), and recall@20."""
    from oakum.attacks.drill import exposures
    from oakum.engine.federation import Federated, Hostile
    from oakum.engine.fit import fit
    from oakum.metrics.robustness import exposure

    target = _coldest(split, whole)
    hostile = None
    if tactic is not None:
        hostile = Hostile(clients=clients, rounds=1_000_000, tactic=tactic, targets=(target,))
    step = Federated(clients=256, weigh="sum", aggregate=rule, hostile=hostile)
    plan = {"optimiser": "sgd", "learning_rate": 1e-3, "epochs": 12, "patience": 0, "step": step, **plan}
    fitted = fit(spec or _victim(), split.train, plan=plan, seed=context.seed)
    people = np.flatnonzero(split.train.user_counts > 0).astype(np.int32)
    own = whole.histories.take(people)
    shown = exposures(fitted, people, own, np.array([target]), whole.matrix[people], (10, 30))
    found = {f"ER@{k}": float(exposure(shown[f"t_hr@{k}"]).value) for k in (10, 30)}
    return found | {"recall@20": quality(fitted, split, ("recall@20",))["recall@20"]}


def central(context: Context) -> Outcome:
    """One local step of all clients under the mean is the central step; made together or one by one it is the same."""
    from oakum.data.simulate import Market, simulate
    from oakum.defences.aggregate.trimmed import TrimmedMean
    from oakum.engine.federation import Federated
    from oakum.engine.fit import fit
    from oakum.models.classic.bpr_mf import BPRMF

    data = simulate(Market(users=60, items=50, events=1500), seed=context.seed)
    twice = data.interactions.take(np.arange(300))
    data = data.with_interactions(data.interactions.append(type(twice)(twice.users, twice.items, None, twice.times)))
    worst, between = 0.0, 0.0
    for spec in (BPRMF(embedding_dim=8, l2=1e-4), _victim(init_std=0.1), _victim(form="neumf", init_std=0.1)):
        plan = {"optimiser": "sgd", "learning_rate": 0.2, "epochs": 2, "batch_size": len(data)}
        run = lambda step, p=plan, s=spec: fit(s, data, plan={**p, "step": step}, seed=1).model.state_dict()
        gap = lambda a, b: max(float((a[n] - b[n]).abs().max()) for n in a)
        worst = max(worst, gap(run(None), run(Federated())))
        one_by_one = Federated(clients=17, weigh="sum", aggregate=TrimmedMean(trim=0.0))
        weighed = run(Federated(clients=17, weigh="sum"))
        between = max(between, gap(weighed, run(one_by_one)))
    return Outcome(
        f"largest difference to the central step {worst:.1e}, of clients one by one to the batch {between:.1e}",
        worst < 1e-5 and between < 1e-5,
        "BPR-MF and both forms of NCF; 300 events are in the log twice",
    )


def _seen(spec: Any, people: int, seed: int) -> Any:
    import torch

    from oakum.data import Schema
    from oakum.engine.uploads import Seen

    torch.manual_seed(seed)
    model = spec.build(Schema(people, 50))
    private = tuple(n for n, _ in model.named_parameters() if "users" in n)
    return Seen(model, private, 50, torch.tensor([7]), True, {}, torch.Generator().manual_seed(seed))


def wish(context: Context) -> Outcome:
    """The poison by hand: −(1 − s) p for a product; its mean over people; rows that are not touched."""
    import torch

    from oakum.attacks.federated.a_ra import RandomApproximation
    from oakum.attacks.federated.common import people_of
    from oakum.models.classic.bpr_mf import BPRMF

    view = _seen(BPRMF(embedding_dim=8, l2=1e-4, init_std=1.0), 1, context.seed)
    rows: Any = RandomApproximation(people_count=1, std=1.0).upload(view)["items.weight"]
    p, v = people_of(view)[0][0], view.model.items.weight[7]
    gap = float((rows[7] + (1 - torch.sigmoid(p @ v)) * p).detach().abs().max())
    others = int(torch.count_nonzero(rows.any(1))) - 1
    many: Any = RandomApproximation(people_count=5000)
    push = lambda spec, name: float(many.upload(_seen(spec, 5000, context.seed))[name][7].norm())
    product = push(BPRMF(embedding_dim=8, l2=1e-4, init_std=0.01), "items.weight")
    network = push(_victim(), "mlp_items.weight")
    return Outcome(
        f"error {gap:.1e}; other rows touched {others}; mean push of 5,000 people: product {product:.1e}, network {network:.1e}",
        gap < 1e-6 and others == 0 and product < 1e-3 and network > 20 * product,
    )


def mining(context: Context) -> Outcome:
    """Scores of the target among mined people, step by step."""
    import torch

    from oakum.attacks.federated.a_hum import HardUserMining
    from oakum.sampling.batches import Pairs

    scores = []
    for steps in range(31):
        view = _seen(_victim(), 10, context.seed)
        HardUserMining(steps=steps).upload(view)
        users = torch.arange(10)
        with torch.no_grad():
            found = view.model.score_candidates(Pairs(users, users=users), view.targets.expand(10, 1))
        scores.append(found.double().mean().item())
    return Outcome(
        f"mean score {scores[0]:.5f} before, {scores[-1]:.5f} after 30 steps, falling at {int((np.diff(scores) < 0).sum())} of 30",
        bool((np.diff(scores) < 0).all()),
    )


def promotion(context: Context, users: int | None = 3000, epochs: int = 12, clients: int = 6) -> Outcome:
    """6 hostile clients among the first 3,000 people of ML-1M; users=None takes all."""
    from oakum.attacks.federated.a_hum import HardUserMining
    from oakum.attacks.federated.a_ra import RandomApproximation
    from oakum.attacks.federated.boost import Boosting

    split, whole = folded(context.folder("movielens-1m"), "fold", users=users)
    tactics = {
        "nobody": None, "A-ra": RandomApproximation(), "A-hum": HardUserMining(), "boosting": Boosting(),
        "boosting with 29 random items": Boosting(filler=29),
    }  # fmt: skip
    found = {n: federation(context, split, whole, t, clients=clients, epochs=epochs) for n, t in tactics.items()}
    near = all(abs(v["recall@20"] - found["nobody"]["recall@20"]) < 0.01 for v in found.values())
    holds = found["nobody"]["ER@30"] == 0 and min(found[n]["ER@10"] for n in ("A-ra", "A-hum")) > 0.5 and near
    return Outcome("; ".join(f"{n}: {figures(v)}" for n, v in found.items()), holds)


def rules(context: Context, clients: int = 3) -> Outcome:
    """Robust rules against A-ra on ML-100K, and how many genuine uploads touch the target's row."""
    from oakum.attacks.federated.a_ra import RandomApproximation
    from oakum.defences.aggregate.clip import NormClipping
    from oakum.defences.aggregate.median import CoordinateMedian

    split, whole = folded(context.folder("movielens-100k"), "cv_fold")
    tried = {
        "sum": None,
        "clip rows": NormClipping(by="row"),
        "clip uploads": NormClipping(),
        "median": CoordinateMedian(),
    }
    found = {
        n: federation(context, split, whole, RandomApproximation(), clients=clients, rule=r, learning_rate=0.01)
        for n, r in tried.items()
    }
    clean = federation(context, split, whole, learning_rate=0.01)
    many = federation(
        context, split, whole, RandomApproximation(), clients=250, rule=CoordinateMedian(), learning_rate=0.01
    )
    counts = split.train.user_counts
    touched = float(np.mean(1 - (1 - 1 / split.train.num_items) ** (4 * counts[counts > 0])))
    text = "; ".join(f"{n}: {figures(v)}" for n, v in {"nobody hostile, sum": clean, **found}.items())
    barely = min(found[n]["ER@10"] for n in ("clip rows", "median")) > 0.5 * found["sum"]["ER@10"]
    return Outcome(
        text,
        barely and found["sum"]["ER@10"] > 0.5,
        f"negatives are uniform over all items, so {touched:.0%} of genuine uploads touch the coldest row too, and 3 hostile "
        f"clients are outvoted there as on the network; 250 are a majority of the row and win under the median: ER@10 {many['ER@10']:.3f}",
    )


def trained(context: Context, epochs: int = 40) -> Outcome:
    """How many clients A-ra needs to stand in half of the lists: of a barely trained victim, and of NeuMF after 40 epochs of
    Adam."""
    from oakum.attacks.federated.a_ra import RandomApproximation
    from oakum.models.classic.ncf import NCF

    split, whole = folded(context.folder("movielens-100k"), "cv_fold")
    learned: dict[str, Any] = {"spec": NCF(), "optimiser": "adam", "learning_rate": 5e-3, "epochs": epochs}
    words, needed = [], {}
    for name, plan in (("barely trained", {"learning_rate": 0.01}), ("NeuMF", learned)):
        nobody = federation(context, split, whole, **plan)
        words.append(f"{name}: nobody: {figures(nobody)}")
        needed[name] = np.inf
        for clients in (1, 2, 3, 4, 6, 8):
            found = federation(context, split, whole, RandomApproximation(), clients=clients, **plan)
            words.append(f"{clients} clients: {figures(found)}")
            if found["ER@10"] > 0.5:
                needed[name] = clients
                break
    return Outcome(
        "; ".join(words) + f"; needed for half of the lists: {needed['barely trained']:g} and {needed['NeuMF']:g}",
        needed["barely trained"] < needed["NeuMF"],
    )


def product(context: Context) -> Outcome:
    """Federated BPR-MF: as good as trained centrally, and A-ra finds nothing to push."""
    from oakum.attacks.federated.a_ra import RandomApproximation
    from oakum.engine.fit import fit
    from oakum.models.classic.bpr_mf import BPRMF

    split, whole = folded(context.folder("movielens-100k"), "cv_fold")
    spec = BPRMF(embedding_dim=16, l2=1e-4)
    plan: dict[str, Any] = {"optimiser": "adam", "learning_rate": 0.01, "epochs": 30}
    size = int(len(split.train) / -(-len(split.train.users) // 256))
    alone = fit(spec, split.train, plan={**plan, "batch_size": size}, seed=context.seed)
    before = federation(context, split, whole, spec=spec, **plan)
    after = federation(context, split, whole, RandomApproximation(std=0.1), clients=3, spec=spec, **plan)
    one = quality(alone, split, ("recall@20",))["recall@20"]
    return Outcome(
        f"central recall@20 {one:.4f}; federated {figures(before)}; with 3 hostile clients {figures(after)}",
        abs(before["recall@20"] - one) < 0.02 and after["ER@10"] < 0.05,
    )


def against_a_product(context: Context) -> Outcome:
    """NeuMF beside BPR-MF on ML-100K, all items ranked, both trained centrally for as many passes."""
    from oakum.engine.fit import fit
    from oakum.models.classic.bpr_mf import BPRMF
    from oakum.models.classic.ncf import NCF

    split, _ = folded(context.folder("movielens-100k"), "cv_fold")
    names = ("recall@20", "ndcg@20")
    plan = {"learning_rate": 2e-3, "batch_size": 1024, "epochs": 20, "patience": 0, "step": None}
    ncf = quality(fit(NCF(), split.train, plan=plan, seed=context.seed), split, names)
    mf = quality(fit(BPRMF(l2=1e-4), split.train, plan=plan, seed=context.seed), split, names)
    top = quality(fit(_popularity(), split.train), split, names)
    return Outcome(
        f"NeuMF {figures(ncf)}; BPR-MF {figures(mf)}; popularity {figures(top)}",
        ncf["ndcg@20"] <= mf["ndcg@20"] and ncf["ndcg@20"] > 1.1 * top["ndcg@20"],
    )


def _popularity() -> Any:
    from oakum.catalogue import load_class

    return load_class("popularity")()


_ATTACKS = ("a-ra", "a-hum", "boosting-clients")
CLAIMS = (
    Claim(
        "central", "Clients' gradients add up to the gradient of the batch; one local step of all is the central step",
        "equal to 1e-6 a step (1e-5 after several)", central, ("ncf", "fed-avg", "fed-trimmed-mean"),
    ),
    Claim(
        "wish", "The poison of A-ra: −(1 − s) p for a product and nothing on average, much through a network, other rows 0",
        "as stated", wish, ("a-ra",),
    ),
    Claim("mining", "Mining lowers the target's score at every one of 30 steps", "monotone", mining, ("a-hum",)),
    Claim(
        "promotion", "6 hostile clients among 3,000 people (ML-1M) put the coldest item into most lists by epoch 12",
        "ER@10 above .5 (sheet .925 A-ra, .893 A-hum), 0 without; recall within .01", promotion, (*_ATTACKS, "ncf"), True, 90,
    ),
    Claim(
        "rules", "Row-wise clipping and median barely help a cold target (ML-100K, 3 hostile clients)",
        "ER@10 stays", rules, ("fed-median", "norm-clipping", "a-ra"), True, 60,
    ),
    Claim(
        "trained", "Against a victim that has learned A-ra needs more clients (NeuMF, Adam, ML-100K)", "the needed share of clients grows",
        trained, ("a-ra",), True, 120,
    ),
    Claim(
        "product", "Federated BPR-MF is as good as central (ML-100K, 30 epochs), and A-ra has no drift in a product",
        "recall@20 within .02; ER@10 about 0", product, ("a-ra", "fed-avg"), True, 30,
    ),
    Claim(
        "against-a-product", "NeuMF stays below a product of vectors (ML-100K, 20 epochs)",
        "below matrix factorisation, above popularity", against_a_product, ("ncf",), True, 60,
    ),
)  # fmt: skip
