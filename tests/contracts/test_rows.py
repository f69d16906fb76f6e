"""What every model of labelled rows must do, run over all of the catalogue; a new entry is tested by being there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from oakum.catalogue import entries, load_class  # noqa: E402
from oakum.data import Dataset, Interactions, Queries, Ragged, Vocabulary  # noqa: E402
from oakum.engine.fit import fit, schema_of  # noqa: E402
from oakum.errors import DataError, Interrupted, ParameterError  # noqa: E402
from oakum.evaluation import evaluate  # noqa: E402
from oakum.metrics.calibration import auc  # noqa: E402
from oakum.splits import split  # noqa: E402
from oakum.store import load, save  # noqa: E402
from tests.contracts.test_models import spec_of  # noqa: E402
from tests.contracts.test_resume import stop_after  # noqa: E402
from tests.toys import labelled_rows  # noqa: E402

ROWS = [s for s, e in entries().items() if e.kind == "model" and "ctr" in e.task]


def plan_of(slug: str, **changes: Any) -> dict[str, Any]:
    return {**(entries()[slug].contract or {}).get("plan", {}), **changes}


def fitted(slug: str, data: Dataset, *, seed: int = 0, epochs: int = 3) -> Any:
    """The system with the small settings of its contract."""
    return fit(spec_of(slug), data, plan=plan_of(slug, epochs=epochs), seed=seed)


def with_fields(data: Dataset, **changes: Any) -> Dataset:
    log = data.interactions
    return data.with_interactions(replace(log, fields={**log.fields, **changes}))


@pytest.mark.parametrize("slug", ROWS)
def test_default_settings_construct_and_round_trip(slug: str) -> None:
    cls = load_class(slug)
    assert cls.from_json(cls().to_json()) == cls()
    assert cls.slug == slug
    words = (cls.__doc__ or "").lower()
    assert all(word in words for word in ("memory", "time", "newcomers"))


@pytest.mark.parametrize("slug", ROWS)
def test_build_needs_sizes_only(slug: str) -> None:
    spec = spec_of(slug)
    schema = schema_of(spec, labelled_rows())
    assert spec.build(type(schema).from_json(schema.to_json())) is not None


@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize("slug", ROWS)
def test_learns_what_is_there_to_learn(slug: str, pairs: bool) -> None:
    parts = split(labelled_rows(900, pairs=pairs), "rows", test=0.3)
    model = fit(spec_of(slug), parts, plan=plan_of(slug, evaluate_every=1, patience=3, metric="log_loss"))
    found = evaluate(model, parts).metrics
    assert found["auc"].value > 0.75
    assert found["auc"].low < found["auc"].value < found["auc"].high
    assert found["log_loss"].value < 0.65


@pytest.mark.parametrize("slug", ROWS)
def test_a_batch_equals_single_rows_and_labels_are_not_read(slug: str) -> None:
    data = labelled_rows()
    model = fitted(slug, data)
    log = data.interactions
    whole = model.predict(log)
    assert whole.shape == (len(log),)
    assert ((whole > 0) & (whole < 1)).all()
    single = np.concatenate([model.predict(log.take(slice(r, r + 1))) for r in range(0, 60, 7)])
    np.testing.assert_allclose(whole[:60:7], single, rtol=1e-5)
    blind = replace(log, values=np.full(len(log), np.nan, np.float32))
    np.testing.assert_array_equal(model.predict(blind), whole)
    np.testing.assert_array_equal(model.predict(data), whole)


@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize("slug", ROWS)
def test_saving_and_loading_is_bit_equal(slug: str, pairs: bool, tmp_path: Path) -> None:
    data = labelled_rows(pairs=pairs)
    model = fitted(slug, data)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(model.predict(data), again.predict(data))
    assert again.spec == model.spec
    if pairs:
        assert again.recommend(["u01"], k=3, context={"site": "s1"}) == model.recommend(
            ["u01"], k=3, context={"site": "s1"}
        )
    else:
        with pytest.raises(ParameterError, match="without items"):
            again.recommend(["u01"])


@pytest.mark.parametrize("slug", ROWS)
def test_what_training_did_not_know_is_unknown_and_what_is_not_given_missing(slug: str) -> None:
    data = labelled_rows()
    model = fitted(slug, data)
    n = len(data)
    a, b = (model.predict(with_fields(data, site=np.full(n, name))) for name in ("never", "seen before"))
    np.testing.assert_array_equal(a, b)
    log = data.interactions
    less = replace(log, fields={k: v for k, v in log.fields.items() if k != "price"})
    np.testing.assert_array_equal(
        model.predict(less), model.predict(with_fields(data, price=np.full(n, np.nan)).interactions)
    )
    strangers = Dataset(log, Vocabulary(pl.Series("id", [f"x{k}" for k in range(30)])), data.items)
    np.testing.assert_array_equal(model.predict(strangers), model.predict(replace(log, users=np.full(n, -1, np.int32))))


@pytest.mark.parametrize("slug", ROWS)
def test_new_values_and_missing_columns_are_said_in_a_sentence_each(slug: str) -> None:
    data = labelled_rows()
    model = fitted(slug, data)
    log = data.interactions
    assert model.remarks(data) == ()
    sites = np.where(np.arange(len(log)) % 4 == 0, "new one", log.fields["site"])
    odd = with_fields(data, site=sites)
    odd = odd.with_interactions(
        replace(
            odd.interactions, fields={k: v for k, v in odd.interactions.fields.items() if k not in ("price", "tags")}
        )
    )
    lacking, unknown = model.remarks(odd)
    assert lacking.startswith("The rows have no column tags, price, which the model reads")
    assert "site in 25.0% of the rows (first: 'new one')" in unknown
    assert [n for n in evaluate(model, odd).notes if n in (lacking, unknown)] == [lacking, unknown]
    strangers = Dataset(odd.interactions, Vocabulary(pl.Series("id", [f"x{k}" for k in range(30)])), data.items)
    assert "user in 100.0% of the rows, site" in model.remarks(strangers)[1]


@pytest.mark.parametrize("slug", ROWS)
def test_rows_that_say_nothing_and_rows_without_labels_are_refused(slug: str) -> None:
    data = labelled_rows(pairs=False)
    model = fitted(slug, data)
    log = data.interactions
    foreign = data.with_interactions(replace(log, fields={"a": np.arange(len(log)), "b": np.arange(len(log))}))
    with pytest.raises(
        DataError, match=r"none of the columns that the model reads \(site, tags, price, hour\).*have: a, b"
    ):
        model.predict(foreign)
    blind = data.with_interactions(replace(log, values=None))
    assert model.predict(blind).shape == (len(log),)
    with pytest.raises(DataError, match=r"'clicks' has no label: a column of 0 and 1"):
        evaluate(model, blind)
    with pytest.raises(DataError, match=r"needs ratings, labels or other values"):
        fit(spec_of(slug), blind)


@pytest.mark.parametrize("slug", ROWS)
def test_only_training_rows_make_the_vocabulary(slug: str) -> None:
    data = labelled_rows()
    parts = split(data, "rows")
    odd = np.where(np.isin(data.interactions.rows, parts.test.rows), "only in test", data.interactions.fields["site"])
    turned = split(with_fields(data, site=odd), "rows")
    assert schema_of(spec_of(slug), parts.train) == schema_of(spec_of(slug), turned.train)


@pytest.mark.parametrize("slug", ROWS)
def test_names_and_the_order_of_the_file_change_nothing(slug: str) -> None:
    data = labelled_rows()
    plain = fitted(slug, data).predict(data)
    log = data.interactions
    renamed = Dataset(
        replace(log, fields={**log.fields, "site": np.char.add("z", log.fields["site"])}),
        Vocabulary(data.users.ids + "!"),
        Vocabulary(data.items.ids + "!"),
        data.tables,
        name="clicks",
    )
    np.testing.assert_array_equal(fitted(slug, renamed).predict(renamed), plain)
    order = np.random.default_rng(1).permutation(len(log))
    shuffled = data.with_interactions(log.take(order))
    np.testing.assert_array_equal(fitted(slug, shuffled).predict(data), plain)


@pytest.mark.parametrize("slug", ROWS)
def test_same_seed_same_figures_and_data_untouched(slug: str) -> None:
    data = labelled_rows()
    before = data.interactions.digest()
    a, b, other = (fitted(slug, data, seed=s).predict(data) for s in (3, 3, 4))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, other)
    assert data.interactions.digest() == before


@pytest.mark.parametrize("slug", ROWS)
def test_gradients_reach_every_parameter_and_losses_are_finite(slug: str) -> None:
    data = labelled_rows()
    start, end = (fitted(slug, data, epochs=n) for n in (0, 2))
    begun = dict(start.model.named_parameters())
    for name, value in end.model.named_parameters():
        first = begun.get(name)
        if first is None or first.shape != value.shape:  # a search kept other tables than an untrained one would
            assert (entries()[slug].contract or {}).get("search")
            continue
        moved = (value != first).flatten(1).any(1) if value.dim() > 1 else value != first
        assert moved.float().mean() > 0.6, name
    for entry in end.record.history:
        assert all(np.isfinite(v) for v in entry["losses"].values())


@pytest.mark.parametrize("slug", ROWS)
def test_scores_of_items_are_chances_of_rows(slug: str) -> None:
    data = labelled_rows()
    model = fitted(slug, data)
    users = np.array([4, 7, -1], np.int32)
    fields = {"site": np.array(["s1", "s2", "s0"]), "hour": np.array([1, 2, 3])}
    queries = Queries(users, Ragged.empty(3), fields=fields)
    found = model.score(queries)
    assert found.shape == (3, 12)
    rows = Interactions(
        np.repeat(users, 12),
        np.tile(np.arange(12, dtype=np.int32), 3),
        fields={k: np.repeat(v, 12) for k, v in fields.items()},
    )
    np.testing.assert_allclose(found.reshape(-1), model.predict(rows), rtol=1e-5)
    np.testing.assert_allclose(model.score(queries, np.array([3, 0], np.int32)), found[:, [3, 0]], rtol=1e-5)
    own = model.score(queries, np.array([[1, 2, -1]] * 3, np.int32))
    np.testing.assert_allclose(own[:, :2], found[:, 1:3], rtol=1e-5)
    assert np.isnan(own[:, 2]).all()


@pytest.mark.parametrize("slug", ROWS)
def test_lists_leave_out_what_was_clicked_and_answer_newcomers(slug: str) -> None:
    data = labelled_rows()
    model = fitted(slug, data)
    log = data.interactions
    answer = model.recommend(["u03", "nobody"], k=12)
    had = {f"i{i:02}" for i in log.items[(log.users == 3) & (log.values == 1)]}
    listed = {i["item"] for i in answer[0]["items"]}
    assert not listed & had
    assert listed | had == set(data.items.ids.to_list())
    assert len(answer[1]["items"]) == 12


@pytest.mark.parametrize("slug", ROWS)
@pytest.mark.parametrize("at", [1, 5, 9])
def test_resumed_equals_uninterrupted(slug: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = split(labelled_rows(400), "rows")
    settings = plan_of(slug, epochs=3, batch_size=64, evaluate_every=1, metric="log_loss")
    straight = fit(spec_of(slug), parts, plan=settings, seed=5)
    state = {**settings, "checkpoint": str(tmp_path / "state")}
    with monkeypatch.context() as patch:
        stop_after(patch, at)
        with pytest.raises(Interrupted, match="resume"):
            fit(spec_of(slug), parts, plan=state, seed=5)
    resumed = fit(spec_of(slug), parts, plan=state, seed=5)
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_early_stopping_keeps_the_lowest_log_loss() -> None:
    parts = split(labelled_rows(400), "rows")
    model = fit(
        spec_of("deepfm"), parts, plan={"epochs": 25, "learning_rate": 0.05, "batch_size": 64, "metric": "log_loss"}
    )
    seen = [h["validation"]["log_loss"] for h in model.record.history]
    assert len(seen) < 25
    assert parts.valid is not None
    found = model.predictions(parts.valid)
    labels, p = found.labels, np.clip(found.values, 1e-7, 1 - 1e-7)
    assert -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p)) == pytest.approx(min(seen), abs=1e-6)


def test_bad_labels_and_bad_asks_are_said() -> None:
    data = labelled_rows()
    log = data.interactions
    with pytest.raises(DataError, match=r"needs ratings, labels or other values, and the log .clicks. has only"):
        fit(spec_of("fm"), data.with_interactions(replace(log, values=None)))
    stars = data.with_interactions(replace(log, values=log.values * 4 + 1))
    with pytest.raises(DataError, match=r"is [15], and labels are 0 or 1"):
        fit(spec_of("fm"), stars)
    model = fit(spec_of("fm").replace(positive_from=4.0), stars, plan=plan_of("fm"))
    assert auc(model.predict(log), log.values) > 0.7
    with pytest.raises(DataError, match="Every label of 'clicks' is 1"):
        fit(spec_of("fm"), data.with_interactions(replace(log, values=np.ones_like(log.values))))
    with pytest.raises(ParameterError, match=r"no field .sit..*.site."):
        fit(spec_of("fm").replace(fields=("sit",)), data)
    with pytest.raises(ParameterError, match="ranks items and does not predict rows"):
        fit(spec_of("bpr-mf"), data, plan={"epochs": 1}).predict(data)
    with pytest.raises(ParameterError, match="metric of predicted rows"):
        fit(spec_of("bpr-mf"), split(data, "rows"), plan={"epochs": 1, "metric": "auc"})
    with pytest.raises(DataError, match="events of users with items"):
        fit(spec_of("bpr-mf"), labelled_rows(pairs=False))
