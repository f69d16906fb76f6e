"""The same numbers as two public implementations, where the definitions are the same."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from metrics.lists import random_lists, ranking, truth
from oakum.metrics import accuracy, stability

K = 10
# ours -> (ranx, ir-measures). ranx divides precision by k and AP by |R| as we do.
NAMES = {
    "recall": ("recall", "R"),
    "precision": ("precision", "P"),
    "hit_rate": ("hit_rate", "Success"),
    "mrr": ("mrr", "RR"),
    "map": ("map", "AP"),
    "ndcg": ("ndcg", "nDCG"),
}


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(7)
    lists = [rng.permutation(60)[:15].tolist() for _ in range(40)]
    relevant = [rng.permutation(60)[: rng.integers(1, 20)].tolist() for _ in range(40)]
    grades = [int(g) for row in relevant for g in rng.integers(1, 4, len(row))]
    flat = iter(grades)
    qrels = {f"q{q}": {f"d{i}": next(flat) for i in row} for q, row in enumerate(relevant)}
    run = {f"q{q}": {f"d{i}": 1.0 - p / 100 for p, i in enumerate(row)} for q, row in enumerate(lists)}
    return ranking(lists), truth(relevant, grades), qrels, run


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_agrees_with_ranx(case, name):
    lists, wanted, qrels, run = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ranx

        theirs = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), f"{NAMES[name][0]}@{K}", return_mean=False)
    ours = accuracy.places(lists, wanted, [K]).value(name, K)
    order = [f"q{q}" for q in range(len(ours))]
    theirs = dict(zip(ranx.Qrels(qrels).qrels.keys(), theirs, strict=True))
    assert ours == pytest.approx([theirs[q] for q in order], abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_agrees_with_ir_measures(case, name):
    lists, wanted, qrels, run = case
    import ir_measures

    measure = getattr(ir_measures, NAMES[name][1]) @ K
    theirs = {m.query_id: m.value for m in ir_measures.iter_calc([measure], qrels, run)}
    ours = accuracy.places(lists, wanted, [K]).value(name, K)
    # trec_eval prints single precision for some of its measures.
    assert ours == pytest.approx([theirs[f"q{q}"] for q in range(len(ours))], abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_finite_rank_biased_overlap_agrees_with_the_compatibility_of_ir_measures():
    """Compatibility (Clarke et al. 2021) is the overlap with an ideal list, which grades can spell out."""
    from ir_measures import Compat, iter_calc

    rng = np.random.default_rng(1)
    a, b = random_lists(rng, 30, 12, 25), random_lists(rng, 30, 12, 25)
    kept = [q for q in range(30) if a[q] and b[q]]
    run = {f"q{q}": {f"d{i}": 1.0 - p / 100 for p, i in enumerate(a[q])} for q in kept}
    ideal = {f"q{q}": {f"d{i}": 100 - p for p, i in enumerate(b[q])} for q in kept}
    theirs = {m.query_id: m.value for m in iter_calc([Compat(p=0.9, normalize=False)], ideal, run)}
    ours = stability.frbo(ranking([a[q] for q in kept], k=12), ranking([b[q] for q in kept], k=12), 12, p=0.9)
    assert ours == pytest.approx([theirs[f"q{q}"] for q in kept], abs=1e-9)
    assert len(kept) > 20
