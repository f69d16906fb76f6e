"""What the sheet of passages that surface for a concept says must hold."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from oakum.claims.base import Claim, Context, Outcome
from oakum.seeds import generator

#: The form of the sheet's own measurement.
FORM: dict[str, Any] = {"length": 20, "rounds": 12, "copies": 8, "tried": 48, "flips": 8}


def _unit(x: Any) -> Any:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@cache
def concept(folder: Any, technique: str = "T1055", held_in: int = 60, seed: int = 0, cut: int = 3000) -> Any:
    """Encoder; texts; vectors of held-in and held-out sentences that TRAM gives a technique, and of the corpus: sentences
    of procedures, all of the technique's own, the rest drawn, `cut` in all (the sheet's form: 8,487)."""
    import polars as pl

    from oakum.backends.embed import embed, embedder

    table = pl.read_parquet(folder / "texts.parquet")
    tagged = pl.col("technique_ids").list.contains(technique)
    # A sub-technique speaks of the same concept.
    tagged = tagged | pl.col("technique_ids").list.eval(pl.element().str.starts_with(technique + ".")).list.any()
    said = table.filter((pl.col("collection") == "tram") & tagged)["text"].unique(maintain_order=True).to_list()
    rng = generator(seed, "concept")
    said = [said[i] for i in rng.permutation(len(said))]
    asked = set(said)
    pool = table.filter(pl.col("collection") == "procedures")
    own = pool.filter(tagged)["text"].unique(maintain_order=True).to_list()
    rest = [t for t in pool["text"].unique(maintain_order=True).to_list() if t not in set(own)]
    drawn = rng.choice(len(rest), max(0, min(cut - len(own), len(rest))), replace=False)
    corpus = [t for t in [*own, *(rest[i] for i in np.sort(drawn))] if t not in asked]
    encoder: Any = embedder("minilm")
    vectors = lambda texts: embed(texts, encoder)
    half = min(held_in, 2 * len(said) // 3)
    return encoder, (said, corpus), vectors(said[:half]), vectors(said[half : half + 30]), vectors(corpus)


def linearity(context: Context) -> Outcome:
    """The best of 1,000 passages for the mean similarity is the nearest to the centroid."""
    rng = generator(context.seed, "linearity")
    agree = 0
    for trial in range(20):
        queries, passages = _unit(rng.normal(size=(60, 64))), rng.normal(size=(1000, 64))
        if trial % 2:  # cosine; without it the dot product
            passages = _unit(passages)
        agree += int((queries @ passages.T).mean(0).argmax() == (passages @ queries.mean(0)).argmax())
    return Outcome(f"{agree} of 20 draws agree (10 by cosine, 10 by dot product)", agree == 20)


def gradients(context: Context) -> Outcome:
    """The gradient by one-hot against central differences on the true encoder, and the search's own promises."""
    import torch

    from oakum.attacks.text.gaslite import GASLITE, one_hot_gradient
    from oakum.backends.pretrained import Pretrained, minilm_folder

    encoder: Any = Pretrained(minilm_folder(), label="minilm")
    _, _, queries, _, _ = concept(context.folder("threat-text-techniques"))
    centroid = _unit(queries.mean(0))
    _, trace = GASLITE(length=6, rounds=2, copies=2, tried=8, flips=3).passage(
        encoder, centroid, generator(context.seed, "small")
    )
    rises = bool((np.diff(trace.values) >= 0).all())
    text, _ = GASLITE(length=6, rounds=1, copies=2, tried=8, flips=3).passage(encoder, centroid, generator(1, "small"))
    stands = encoder.text_of(encoder.pieces(text)) == text
    encoder._parts[2].double()
    tokens = np.array([encoder.pieces("a small sentence to look at closely")], np.int64)
    gradient = one_hot_gradient(encoder, tokens, centroid.astype(np.float64))[0]
    table = encoder.table()
    rows, target = table[torch.from_numpy(tokens)], torch.from_numpy(centroid.astype(np.float64))
    rng, worst, step = generator(context.seed, "places"), 0.0, 1e-5
    with torch.no_grad():
        for _ in range(20):
            place, piece = int(rng.integers(tokens.shape[1])), int(rng.integers(len(table)))
            ends = []
            for sign in (1, -1):
                moved = rows.clone()
                moved[0, place] += sign * step * table[piece]
                ends.append(float((encoder.vectors_at(moved) @ target)[0]))
            exact = (ends[0] - ends[1]) / (2 * step)
            worst = max(worst, abs(exact - gradient[place, piece]) / max(abs(exact), 1e-6))
    return Outcome(
        f"largest relative difference {worst:.1e} at 20 places in float64; the search never fell: {rises}; the text "
        f"tokenises back: {stands}",
        worst < 1e-4 and rises and stands,
    )


def surfaces(context: Context, form: dict[str, Any] | None = None, cut: int = 3000) -> Outcome:
    """Message, stuffing, search and the centroid itself, on sentences of one technique."""
    from oakum.attacks.text.gaslite import GASLITE, appeared, centroids

    encoder, (said, _), inside, outside, corpus = concept(context.folder("threat-text-techniques"), cut=cut)
    attack = GASLITE(**(form or FORM))
    centroid = centroids(inside, 1, generator(0, "one"))[0]
    searched, trace = attack.passage(encoder, centroid, generator(context.seed, "gaslite"))
    texts = {"message": attack.message, "stuffing": " ".join([attack.message, *said[:3]]), "searched": searched}
    rows = {n: encoder.encode([t]) for n, t in texts.items()} | {"ideal": centroid[None]}
    share = {
        n: (float(v[0] @ centroid), appeared(inside, corpus, v).mean(), appeared(outside, corpus, v).mean())
        for n, v in rows.items()
    }
    told = "; ".join(f"{n} cos {c:.3f}, in {i:.2f}, out {o:.2f}" for n, (c, i, o) in share.items())
    win, stuffed, ideal = share["searched"], share["stuffing"], share["ideal"]
    holds = all(win[j] >= 2 * stuffed[j] and win[j] <= ideal[j] + 0.05 for j in (1, 2)) and win[1] > 0
    return Outcome(f"{told} ({len(corpus):,} sentences, {trace.evaluations:,} looks)", bool(holds))


def budgets(context: Context) -> Outcome:
    """What clustering allows with one, two and four passages."""
    from oakum.attacks.text.gaslite import appeared, centroids

    _, _, inside, outside, corpus = concept(context.folder("threat-text-techniques"))
    shares = {}
    for count in (1, 2, 4):
        made = centroids(inside, count, generator(0, "clusters"))
        shares[count] = (appeared(inside, corpus, made).mean(), appeared(outside, corpus, made).mean())
    told = ", ".join(f"B = {b}: in {i:.2f}, out {o:.2f}" for b, (i, o) in shares.items())
    return Outcome(told, bool(shares[1][0] <= shares[2][0] <= shares[4][0]))


def searches(context: Context, looks: int = 500, length: int = 12, seeds: int = 3, weight: float = 0.2) -> Outcome:
    """Three searches at the same number of looks at the encoder, and what asking for fluency costs."""
    from oakum.attacks.text.gaslite import GASLITE, centroids
    from oakum.attacks.text.plausible import Bigrams

    encoder, (_, spoken), inside, _, _ = concept(context.folder("threat-text-techniques"))
    centroid = centroids(inside, 1, generator(0, "one"))[0]
    base = GASLITE(length=length, copies=4, tried=24, flips=4)
    forms = {
        "gaslite": base.replace(rounds=looks // 96),
        "gcg": base.replace(search="gcg", rounds=looks // 96),
        "hotflip": base.replace(search="hotflip", top=96, rounds=looks // 96),
    }
    mean = {}
    for name, form in forms.items():
        runs = [form.passage(encoder, centroid, generator(s, "searches"))[1] for s in range(seeds)]
        mean[name] = float(np.mean([r.values[-1] for r in runs]))
    language = Bigrams(spoken)
    texts = [
        forms["gaslite"].replace(fluency=f).passage(encoder, centroid, generator(0, "searches"), language)[0]
        for f in (0.0, weight)
    ]
    strange = [language.perplexity(t) for t in texts]
    near = [float(v @ centroid) for v in encoder.encode(texts)]
    told = ", ".join(f"{n} {v:.3f}" for n, v in mean.items())
    return Outcome(
        f"cosine after about {looks} looks, {seeds} seeds: {told}; fluency 0 → {weight:g}: perplexity {strange[0]:.0f} → "
        f"{strange[1]:.0f}, cosine {near[0]:.3f} → {near[1]:.3f}",
        bool(mean["gaslite"] > mean["gcg"] > mean["hotflip"] and strange[1] < strange[0] and near[1] < near[0]),
    )


CLAIMS = (
    Claim("linearity", "Many queries are one vector: their centroid", "argmax agrees, cosine and dot", linearity),
    Claim(
        "gradients",
        "The gradient by one-hot equals central differences; the search never falls; the text tokenises back",
        "equal in float64",
        gradients,
        training=True,
        seconds=10,
    ),
    Claim(
        "surfaces",
        "One searched passage surfaces at least twice as often as stuffing, seen and unseen, and not above the centroid",
        "in .73 against .12 and .90; out .40 against .13 and .63 (8,487 sentences)",
        surfaces,
        training=True,
        seconds=110,
    ),
    Claim(
        "budgets",
        "More passages allow no less",
        "non-decreasing on held-in queries, ideal passages",
        budgets,
        training=True,
        seconds=3,
    ),
    Claim(
        "searches",
        "At equal looks: gaslite > gcg > hotflip; fluency costs similarity",
        "cosines in this order; perplexity and cosine fall with fluency",
        searches,
        training=True,
        seconds=90,
    ),
)
