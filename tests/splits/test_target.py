"""Splits that ask for one domain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.api import fit
from oakum.data import Dataset, Filter
from oakum.errors import ParameterError, ProtocolError
from oakum.evaluation import evaluate
from oakum.splits import split
from oakum.splits.lint import lint
from oakum.splits.protocol import Split
from tests.toys import beside, random_log, walks

DATA = beside(random_log())


def sequences_of(parts: Split) -> list[list[tuple[int, int]]]:
    """(part, item) in order for every user; part 3 is in none."""
    log = DATA.interactions
    where = np.full(int(log.rows.max()) + 1, 3)
    for number, events in enumerate((parts.train.interactions, parts.valid, parts.test)):
        assert events is not None
        where[events.rows] = number
    order = log.order()
    out: list[list[tuple[int, int]]] = [[] for _ in range(DATA.num_users)]
    for at in order:
        out[log.users[at]].append((int(where[log.rows[at]]), int(log.items[at])))
    return out


def test_the_last_event_of_the_target_is_asked_and_nothing_after_it_is_known() -> None:
    parts = split(DATA, "leave-last", target="main")
    assert parts.protocol.candidates == "domain:main"
    for events in sequences_of(parts):
        asked = [n for n, (part, _) in enumerate(events) if part == 2]
        held = [n for n, (part, item) in enumerate(events) if part == 1 and item < 30]
        assert len(asked) == len(held) == 1
        inside = [n for n, (_, item) in enumerate(events) if item < 30]
        assert inside[-2:] == [held[0], asked[0]]
        for n, (part, item) in enumerate(events):
            if item >= 30:
                assert part == (0 if n < held[0] else 1 if n < asked[0] else 3)
    assert any("of other domains after the ones asked for" in s for s in parts.protocol.left_out)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2), st.floats(0.1, 0.4))
def test_time_cuts_every_domain_at_the_same_moments(valid: int, test: float) -> None:
    parts = split(DATA, "time", target="main", test=test, valid=0.1 * valid)
    train, late = parts.train.interactions.times, parts.test.times
    assert train is not None
    assert late is not None
    assert train.max() < late.min()
    assert (parts.test.items < 30).all()
    if parts.valid is not None:
        assert parts.valid.times is not None
        assert train.max() < parts.valid.times.min() <= parts.valid.times.max() < late.min()


def test_what_is_asked_for_and_ranked_is_of_the_target() -> None:
    parts = split(DATA, "leave-last", target="side")
    for part in ("valid", "test"):
        truth = parts.truth(part)
        assert (truth.relevant.items >= 30).all()
        assert truth.allow is not None
        assert (truth.allow >= 30).all()
    events = parts.truth("test").histories.items
    assert (events < 30).any()
    found = evaluate(fit("popularity", parts.train_and_valid), parts, k=(3,))
    assert found.metrics["hit_rate@3"].value > 0.2
    everything = evaluate(fit("popularity", parts.train_and_valid), split(DATA, "leave-last"), k=(3,))
    assert everything.metrics["hit_rate@3"].value < found.metrics["hit_rate@3"].value
    assert any(f.code == "one-domain" for f in lint(parts))


def test_random_parts_take_a_target_too() -> None:
    parts = split(DATA, "holdout", target="main")
    assert (parts.test.items < 30).all()
    assert (parts.train.interactions.items >= 30).sum() == (DATA.interactions.items >= 30).sum()


def test_unknown_targets_and_rules_without_one_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"no domain 'mian'\. Known: main, side"):
        split(DATA, "leave-last", target="mian")
    with pytest.raises(ProtocolError, match="takes no target"):
        split(DATA, "users", target="main")
    none = DATA.with_interactions(DATA.interactions.take(DATA.interactions.items < 30))
    with pytest.raises(ProtocolError, match="no event in the domain 'side'"):
        split(none, "leave-last", target="side")


def test_a_target_of_a_model_holds_in_filters_and_fallbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    from oakum.models.classic.knn import ItemKNNModel

    data: Dataset = beside(walks())
    monkeypatch.setattr(ItemKNNModel, "candidates", np.arange(20, 28, dtype=np.int32))
    model = fit("item-knn", data)
    ranking = model.rank(model.queries(np.arange(5, dtype=np.int32)), 6, where=Filter(deny=np.array([21], np.int32)))
    kept = ranking.items[ranking.items >= 0]
    assert len(kept)
    assert (kept >= 20).all()
    assert 21 not in kept
    assert all(i["item"].startswith("s") for i in model.recommend(["nobody"], k=3)[0]["items"])
    parts = split(data, "leave-last", test=2)
    found = evaluate(fit("item-knn", parts.train), parts, k=(3,))
    assert (parts.truth().within(model.candidates).relevant.items >= 20).all()
    assert found.metrics["recall@3"].value > 0
    monkeypatch.setattr(ItemKNNModel, "candidates", np.empty(0, np.int32))
    with pytest.raises(ProtocolError, match="another target domain"):
        evaluate(model, parts)
