"""The evaluators of information retrieval: pytrec_eval, ir-measures, ranx. All read dictionaries of text ids."""

from __future__ import annotations

from typing import Any

import numpy as np

DISTRIBUTION = "pytrec_eval-terrier"


def pytrec_eval(case: Any) -> dict[str, Any]:
    """trec_eval in C."""
    import pytrec_eval as library

    arrays = _arrays(case)
    with case.timed():
        truth, run = _dictionaries(*arrays)
        evaluator = library.RelevanceEvaluator(truth, {"ndcg_cut.10", "recall.20", "map_cut.20"})
        rows = list(evaluator.evaluate(run).values())
        mean = lambda name: float(np.mean([r[name] for r in rows]))
        return {"ndcg": mean("ndcg_cut_10"), "recall": mean("recall_20"), "map": mean("map_cut_20")}


def ir_measures(case: Any) -> dict[str, Any]:
    """ir-measures."""
    import ir_measures as library
    from ir_measures import AP, R, nDCG

    arrays = _arrays(case)
    with case.timed():
        truth, run = _dictionaries(*arrays)
        values = library.calc_aggregate([nDCG @ 10, R @ 20, AP @ 20], truth, run)
    return {
        "ndcg": values[nDCG @ 10], "recall": values[R @ 20], "map": values[AP @ 20], "distribution": "ir-measures",
    }  # fmt: skip


def ranx(case: Any) -> dict[str, Any]:
    """ranx."""
    import ranx as library

    names = ["ndcg@10", "recall@20", "map@20"]
    arrays = _arrays(case)
    with case.timed():
        truth, run = _dictionaries(*arrays)
        values = library.evaluate(library.Qrels(truth), library.Run(run), names)
    found = dict(zip(("ndcg", "recall", "map"), (float(values[n]) for n in names), strict=True))
    return {**found, "distribution": "ranx"}


def _arrays(case: Any) -> list[Any]:
    return [case.array(n) for n in ("top", "scores", "truth_users", "truth_items")]


def _dictionaries(top: Any, scores: Any, user: Any, item: Any) -> tuple[Any, Any]:
    people, things = [str(u) for u in range(len(top))], [str(i) for i in range(100_000)]
    run = {
        u: {things[i]: s for i, s in zip(row, values, strict=True)}
        for u, row, values in zip(people, top.tolist(), scores.tolist(), strict=True)
    }
    truth: dict[str, dict[str, int]] = {u: {} for u in people}
    for u, i in zip(user.tolist(), item.tolist(), strict=True):
        truth[people[u]][things[i]] = 1
    return truth, run
