"""What every model of the catalogue must do, run over all of them; a new entry is tested by being there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oakum.catalogue import entries, load_class
from oakum.data import Dataset, Filter, Queries, Ragged
from oakum.engine.fit import fit, spec_is_learned
from oakum.errors import ParameterError
from oakum.store import load, save
from tests.toys import checkerboard, random_log, walks

MODELS = [s for s, e in entries().items() if e.kind == "model" and {"top-k", "next-item"} & {*e.task}]
LEARNED = [s for s in MODELS if entries()[s].extra == "torch"]
PERSONAL = [s for s in MODELS if (entries()[s].contract or {}).get("personal", True)]


def spec_of(slug: str) -> Any:
    """The system with the small settings of its contract."""
    return load_class(slug).from_json((entries()[slug].contract or {}).get("set", {}))


def fitted(slug: str, data: Dataset, *, seed: int = 0, epochs: int | None = None) -> Any:
    """The system fitted with the plan of its contract."""
    spec = spec_of(slug)
    plan = dict((entries()[slug].contract or {}).get("plan", {})) if spec_is_learned(spec) else None
    if plan is not None and epochs is not None:
        plan["epochs"] = epochs
    return fit(spec, data, plan=plan, seed=seed)


def everyone(model: Any) -> Queries:
    return model.queries(np.arange(len(model.users), dtype=np.int32))


def within_reach(model: Any) -> Any:
    """The items that a model may recommend: all, or those of its target domain."""
    return np.arange(len(model.items)) if model.candidates is None else model.candidates


@pytest.mark.parametrize("slug", MODELS)
def test_default_settings_construct_and_round_trip(slug: str) -> None:
    cls = load_class(slug)
    spec = cls()
    assert cls.from_json(spec.to_json()) == spec
    assert cls.slug == slug


@pytest.mark.parametrize("slug", MODELS)
def test_build_needs_sizes_only(slug: str) -> None:
    assert spec_of(slug).build(random_log().schema) is not None


@pytest.mark.parametrize("slug", MODELS)
def test_learns_what_is_there_to_learn(slug: str) -> None:
    contract = entries()[slug].contract or {}
    if contract.get("sequence"):
        data = walks()
        model = fitted(slug, data)
        queries = everyone(model)
        where = Filter(exclude=queries.histories if contract.get("remove_seen") else None)
        found = model.rank(queries, 1, where=where).items[:, 0]
        after = (np.arange(20) + 8) % 20
        asked = np.isin(after, within_reach(model))
        assert np.mean(found[asked] == after[asked]) > 0.95
    elif contract.get("repeats"):
        data = walks()
        model = fitted(slug, data)
        assert (model.rank(everyone(model), 1).items[:, 0] == (np.arange(20) + 7) % 20).all()
    elif contract.get("personal", True):
        data = checkerboard()
        model = fitted(slug, data)
        queries = everyone(model)
        found = model.rank(queries, 1, where=Filter(exclude=queries.histories)).items[:, 0]
        assert np.mean(found == np.arange(50)) > 0.95
    else:
        data = random_log()
        model = fitted(slug, data)
        first = model.rank(everyone(model), 1).items[:, 0]
        assert len(np.unique(first)) == 1  # the same list for everybody
        if slug == "popularity":
            assert data.item_counts[first[0]] == data.item_counts.max()


@pytest.mark.parametrize("slug", MODELS)
def test_a_batch_equals_single_requests(slug: str) -> None:
    model = fitted(slug, random_log(), epochs=3)
    queries = everyone(model)
    whole = model.score(queries)
    single = np.concatenate([model.score(queries.take(np.array([r]))) for r in range(0, len(queries), 7)])
    np.testing.assert_allclose(whole[::7], single, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("slug", MODELS)
def test_columns_of_scores_are_those_of_all_scores(slug: str) -> None:
    model = fitted(slug, random_log(), epochs=3)
    queries = everyone(model).take(np.arange(6))
    whole = model.score(queries)
    some = np.array([3, 0, 11], np.int32)
    np.testing.assert_allclose(model.score(queries, some), whole[:, some], rtol=2e-5, atol=1e-6)
    own = np.array([[1, 2, -1]] * 6, np.int32)
    found = model.score(queries, own)
    np.testing.assert_allclose(found[:, :2], whole[:, 1:3], rtol=2e-5, atol=1e-6)
    assert np.isnan(found[:, 2]).all()


@pytest.mark.parametrize("slug", MODELS)
def test_unseen_items_and_people_are_not_guessed(slug: str) -> None:
    data = random_log()
    log = data.interactions
    kept = data.with_interactions(log.take((log.items != 5) & (log.users != 7)))
    model = fitted(slug, kept, epochs=3)
    scores = model.score(everyone(model))
    if getattr(model.model, "reads_content", False):
        assert np.isfinite(scores[[0, 1, 2], 5]).all()  # placed by what is said of it
    else:
        assert np.isnan(scores[:, 5]).all()
        assert (model.rank(everyone(model), 30).items != 5).all()
    if slug in PERSONAL:
        assert np.isnan(scores[7]).all()
    answer = model.recommend(["u7", "nobody"], k=3)
    assert [len(a["items"]) for a in answer] == [3, 3]
    if slug in PERSONAL:
        assert all("popular" in a["fallback"] for a in answer)


@pytest.mark.parametrize("slug", MODELS)
def test_filters_hold_and_still_give_k(slug: str) -> None:
    model = fitted(slug, random_log(), epochs=3)
    queries = everyone(model)
    seen = model.rank(queries, 5, where=Filter(exclude=queries.histories)).items
    for r in range(len(queries)):
        assert not set(seen[r][seen[r] >= 0]) & set(queries.histories.row(r))
    allow = np.arange(0, 30, 2, dtype=np.int32)
    only = model.rank(queries, 5, where=Filter(allow=allow, deny=np.array([4], np.int32))).items
    assert (only >= 0).all()
    assert np.isin(only, allow).all()
    assert (only != 4).all()


@pytest.mark.parametrize("slug", MODELS)
def test_same_seed_same_scores_and_data_untouched(slug: str) -> None:
    data = random_log()
    before = data.digest
    a, b = (fitted(slug, data, seed=3, epochs=3).score for _ in range(2))
    queries = fitted(slug, data, seed=3, epochs=3).queries(np.arange(40, dtype=np.int32))
    np.testing.assert_array_equal(a(queries), b(queries))
    assert Dataset(data.interactions, data.users, data.items, data.tables).digest == before


@pytest.mark.parametrize("slug", LEARNED)
def test_another_seed_gives_other_scores(slug: str) -> None:
    data = random_log()
    a, b = (fitted(slug, data, seed=s, epochs=3) for s in (0, 1))
    assert not np.array_equal(a.score(everyone(a)), b.score(everyone(b)))


@pytest.mark.parametrize("slug", MODELS)
def test_saving_and_loading_is_bit_equal(slug: str, tmp_path: Any) -> None:
    model = fitted(slug, random_log(), epochs=3)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    queries = everyone(model)
    np.testing.assert_array_equal(model.score(queries), again.score(queries))
    assert again.recommend(["u1"], k=3) == model.recommend(["u1"], k=3)
    assert again.record.to_json() == model.record.to_json()
    assert again.spec == model.spec


@pytest.mark.parametrize("slug", MODELS)
def test_a_newcomer_is_answered_from_a_history(slug: str) -> None:
    model = fitted(slug, random_log(), epochs=3)
    queries = Queries(np.array([-1], np.int32), Ragged.of([[1, 2, 3]]))
    scores = model.score(queries)
    assert np.isfinite(scores[:, within_reach(model)]).all()
    if model.spec.unknown_ids == "refuse":
        with pytest.raises(ParameterError, match="unknown"):
            model.recommend(history=["i1", "i2", "unknown"], k=4)
        answer = model.recommend(history=["i1", "i2"], k=4)[0]
    else:
        answer = model.recommend(history=["i1", "i2", "unknown"], k=4)[0]
        assert answer["ignored"] == ["unknown"]
    assert len(answer["items"]) == 4
    assert "fallback" not in answer


@pytest.mark.parametrize("slug", [s for s in PERSONAL if s not in LEARNED])
def test_a_known_history_gives_the_known_scores(slug: str) -> None:
    model = fitted(slug, random_log())
    queries = everyone(model)
    stranger = Queries(np.full(len(queries), -1, np.int32), queries.histories)
    np.testing.assert_allclose(model.score(queries), model.score(stranger), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("slug", [s for s in MODELS if s not in LEARNED and s != "pure-svd"])
def test_renaming_items_permutes_scores(slug: str) -> None:
    data = random_log()
    order = np.random.default_rng(1).permutation(30).astype(np.int32)
    log = data.interactions
    renamed = data.with_interactions(type(log)(log.users, order[log.items], None, log.times, log.rows))
    if (entries()[slug].contract or {}).get("random_start"):
        pytest.skip("starts from random factors by item code; its quality, not its scores, is invariant")
    a, b = fitted(slug, data), fitted(slug, renamed)
    np.testing.assert_allclose(a.score(everyone(a)), b.score(everyone(b))[:, order], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("slug", MODELS)
def test_the_docstring_states_cost_and_newcomers(slug: str) -> None:
    words = (load_class(slug).__doc__ or "").lower()
    assert "memory" in words
    assert "time" in words
    assert "newcomers" in words


@pytest.mark.parametrize("slug", LEARNED)
def test_gradients_reach_every_parameter_and_losses_are_finite(slug: str) -> None:
    data = random_log()
    start = dict(fitted(slug, data, epochs=0).model.named_parameters())
    end = fitted(slug, data, epochs=2)
    for name, value in end.model.named_parameters():
        moved = (value != start[name]).flatten(1).any(1) if value.dim() > 1 else value != start[name]
        assert moved.float().mean() > 0.9, name
    for entry in end.record.history:
        assert all(np.isfinite(v) for v in entry["losses"].values())
