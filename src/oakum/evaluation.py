"""`evaluate`: a fitted model against held-out events, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from oakum.data import Dataset, Filter, Interactions, Queries, Ranking
from oakum.data.interactions import distinct_pairs
from oakum.data.rows import labels_of
from oakum.engine.closed import Predicts
from oakum.engine.fitted import Fitted
from oakum.errors import ProtocolError
from oakum.metrics import Estimate, measure
from oakum.metrics.calibration import summarise_predictions
from oakum.metrics.statistics import estimates
from oakum.splits.protocol import Split, Truth, contains

BASES = ("ndcg", "recall", "capped_recall", "precision", "map", "mrr", "hit_rate")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics by name; newcomers: the same over people without a past; notes: who was measured, who was left out."""

    metrics: dict[str, Estimate]
    newcomers: dict[str, Estimate]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = lambda m: {k: e.to_json() for k, e in m.items()}
        return {"metrics": plain(self.metrics), "newcomers": plain(self.newcomers), "notes": list(self.notes)}


def evaluate(
    fitted: Fitted,
    test: Split | Dataset,
    *,
    k: Sequence[int] = (10, 20),
    remove_seen: bool = True,
    seed: int = 0,
) -> Evaluation:
    """Full ranking of all items for everybody with an event in the test part (of a split, or of another log).

    People without a training event are answered with popular items and counted, and also shown apart. Items the model
    never saw cannot be found; they stay in the denominator. A system that predicts rows is measured on the rows of the
    part instead: auc, log_loss, brier and ece, with intervals over users where the log has them and rows else.
    """
    if isinstance(fitted.model, Predicts):
        return _evaluate_rows(fitted, test.test if isinstance(test, Split) else test, seed=seed)
    if isinstance(test, Dataset):
        return _evaluate_file(fitted, test, k=k, seed=seed)
    truth, notes = test.truth(), test.protocol.left_out
    if not len(truth):
        raise ProtocolError(
            "No test user has an item left to find: every test event repeats the user's training events."
        )
    everybody = len(truth)
    truth = truth.within(fitted.candidates)
    if not len(truth):
        raise ProtocolError(
            "No test event is of an item that the model may recommend: it was fitted for another target domain."
        )
    if len(truth) < everybody:
        notes = (*notes, f"{everybody - len(truth):,} people have no test event in the model's target domain.")
    ranking = fitted.rank(truth.queries, max(k), where=truth.filter(remove_seen=remove_seen), fallback=True)
    names = [f"{base}@{cut}" for cut in k for base in BASES]
    values = measure(ranking, truth, names)
    fresh = truth.histories.lengths == 0
    metrics = estimates(values, seed=seed)
    apart = estimates({n: v[fresh] for n, v in values.items()}, seed=seed) if fresh.any() else {}
    said = [f"{len(truth):,} people measured, {int(fresh.sum()):,} of them without a past.", *notes]
    if ranking.fallback is not None and ranking.fallback.any():
        said.append(f"{int(ranking.fallback.sum()):,} people were answered with popular items.")
    return Evaluation(metrics, apart, tuple(said))


def _evaluate_rows(fitted: Fitted, data: Dataset | Interactions, *, seed: int) -> Evaluation:
    """Probabilities against labels, row by row."""
    if not len(data):
        raise ProtocolError("There is no test row to measure on.")
    if isinstance(data, Dataset) and data.interactions.values is None:
        labels_of(data.interactions, None, data.name)  # says what is missing, by the name of the file
    found = fitted.predictions(data)
    if isinstance(data, Dataset) and found.users is not None:  # people by the ids of their own log
        found = replace(found, users=data.interactions.users)
    rate = float(found.labels.mean())
    notes = [f"{len(found):,} rows measured, {rate:.1%} of them positive."]
    if 0 < rate < 1:
        floor = -rate * np.log(rate) - (1 - rate) * np.log(1 - rate)
        notes.append(f"Always answering {rate:.3f} would have a log loss of {floor:.4f} and an AUC of 0.5.")
    else:
        notes.append("All labels are equal, so there is no AUC.")
    notes.extend(fitted.remarks(data))
    return Evaluation(summarise_predictions(found, seed=seed), {}, tuple(notes))


@dataclass(frozen=True, eq=False)
class Answers:
    """Lists for the people of a test file. truth: users are codes of the file; relevant items that the model does not know
    have places after its vocabulary; histories are what the model was trained on. unknown, repeated: test events left out
    of what can be found, and of what counts."""

    truth: Truth
    ranking: Ranking
    unknown: int
    repeated: int


def answers_to(fitted: Fitted, data: Dataset, k: int) -> Answers:
    """Full ranking for everybody with an event in a file that the model did not train on, unknown people as newcomers."""
    log = data.interactions
    users = fitted.users.encode(data.users.ids)
    items = fitted.items.encode(data.items.ids)
    # Unknown items cannot be found but count as relevant: they get places after the vocabulary in the truth alone.
    extra = np.flatnonzero(items < 0)
    place = items.copy()
    place[extra] = len(fitted.items) + np.arange(len(extra))
    pairs = distinct_pairs(log.users, place[log.items], data.num_users, len(fitted.items) + len(extra))
    owners = fitted.histories.take(users)
    seen = owners.matrix(len(fitted.items) + len(extra))
    fresh = ~contains(seen, pairs.owners().astype(np.int32), pairs.items)
    pairs = pairs.keep(fresh)
    asked = np.flatnonzero(pairs.lengths)
    if not len(asked):
        raise ProtocolError(
            "Every test event repeats a training event of the same user; there is nothing left to find."
        )
    truth = Truth(asked.astype(np.int32), pairs.take(asked), owners.take(asked))
    if fitted.candidates is not None:  # an unknown item may be of the target domain
        truth = truth.within(np.concatenate([fitted.candidates, place[extra]]).astype(np.int32))
        if not len(truth):
            raise ProtocolError("No test event is of an item that the model may recommend.")
    histories = truth.histories
    codes = np.where(histories.lengths > 0, users[truth.users], -1).astype(np.int32)
    ranking = fitted.rank(Queries(codes, histories), k, where=Filter(exclude=histories), fallback=True)
    return Answers(truth, ranking, int((items[log.items] < 0).sum()), int((~fresh).sum()))


def _evaluate_file(fitted: Fitted, data: Dataset, *, k: Sequence[int] = (10, 20), seed: int = 0) -> Evaluation:
    """A test file against a saved model."""
    found = answers_to(fitted, data, max(k))
    values = measure(found.ranking, found.truth, [f"{base}@{cut}" for cut in k for base in BASES])
    new = found.truth.histories.lengths == 0
    notes = [
        f"{len(found.truth):,} people measured, {int(new.sum()):,} of them without a past (answered with popular items)."
    ]
    if found.unknown:
        notes.append(
            f"{found.unknown:,} test events are of items the model does not know; they count and cannot be found."
        )
    if found.repeated:
        notes.append(
            f"{found.repeated:,} test pairs repeat training events and are not counted: seen items are not recommended again."
        )
    metrics = estimates(values, seed=seed)
    apart = estimates({n: v[new] for n, v in values.items()}, seed=seed) if new.any() else {}
    return Evaluation(metrics, apart, tuple(notes))
