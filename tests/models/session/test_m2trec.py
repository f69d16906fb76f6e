"""M2TRec: items by their columns alone, against slow forms; new items, ties, levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from oakum.data import Dataset, Queries, Ragged, Vocabulary  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.engine.learner import Phase  # noqa: E402
from oakum.errors import DataError, ParameterError  # noqa: E402
from oakum.models.session.m2trec import M2TRec  # noqa: E402
from oakum.sampling.batches import Order  # noqa: E402
from tests.toys import random_log  # noqa: E402

SMALL = {
    "field_dim": 4,
    "embedding_dim": 8,
    "num_heads": 2,
    "num_layers": 1,
    "max_length": 6,
    "dropout": 0.0,
    "min_count": 1,
}


def shop(items: int = 30, extra: int = 0) -> Dataset:
    """The random log with brands, prices, tags and a code that nobody shares; `extra` items without events."""
    data = random_log(items=items)
    n = items + extra
    table = pl.DataFrame(
        {
            "brand": [f"b{k % 7}" for k in range(n)],
            "kind": [f"k{k % 3}" if k != 4 else None for k in range(n)],
            "tags": [[f"t{k % 2}", f"t{2 + k % 5}"] for k in range(n)],
            "price": [round(float(np.sin(k)), 3) for k in range(n)],
        }
    )
    return Dataset(
        data.interactions, data.users, Vocabulary(pl.Series("id", [f"i{k}" for k in range(n)])), {"items": table}
    )


def everyone(model: Any) -> Queries:
    return model.queries(np.arange(len(model.users), dtype=np.int32))


def trained(data: Dataset, epochs: int = 2, **settings: Any) -> Any:
    return fit(M2TRec(**{**SMALL, **settings}), data, plan={"epochs": epochs, "batch_size": 64, "learning_rate": 0.01})


def test_phi_is_the_columns_side_by_side() -> None:
    model = trained(shop()).model
    table, starts = model.fields.table.weight.detach().numpy(), {}
    start = 0
    for f in model.layout.fields:
        starts[f.name], start = start, start + f.rows
    told = model.told(torch.arange(30)).detach().numpy()
    price = np.array([round(float(np.sin(k)), 3) for k in range(30)])
    counts = shop().interactions
    weights = np.bincount(counts.items, minlength=30)
    mean = np.average(price, weights=weights)
    scale = np.sqrt(np.average((price - mean) ** 2, weights=weights))
    for k in (0, 4, 11):
        row = lambda name, code: table[starts[name] + code]
        wanted = [
            row("brand", 2 + k % 7),
            row("kind", 2 + k % 3) if k != 4 else row("kind", 0),
            (row("tags", 2 + k % 2) + row("tags", 4 + k % 5)) / 2,
            row("price", 1) * (price[k] - mean) / scale,
        ]
        np.testing.assert_allclose(told[k], np.concatenate(wanted), atol=1e-5)


def test_equal_columns_tie_everywhere_and_one_attribute_parts_them() -> None:
    data = shop()
    table = data.tables["items"]
    twin = pl.concat([table[:9], table[2:3], table[10:]])  # item 9 is told as item 2 is
    model = trained(replace(data, tables={"items": twin}), columns=("brand", "kind", "tags", "price"))
    scores = model.score(everyone(model))
    np.testing.assert_array_equal(scores[:, 9], scores[:, 2])
    parted = twin.with_columns(brand=pl.Series(["b5" if k == 9 else b for k, b in enumerate(twin["brand"])]))
    other = model.refresh(replace(data, tables={"items": parted}))
    assert (other.score(everyone(other))[:, 9] != scores[:, 2]).all()


def test_no_weight_belongs_to_an_item() -> None:
    few, many = (trained(shop(extra=n), epochs=1) for n in (0, 500))
    shapes = lambda m: {k: tuple(v.shape) for k, v in m.model.state_dict().items()}
    assert shapes(few) == shapes(many)
    grown = few.refresh(shop(extra=500))
    assert np.isfinite(grown.score(everyone(grown))).all()
    np.testing.assert_allclose(grown.score(everyone(grown))[:, :30], few.score(everyone(few)), atol=1e-6)


def test_an_item_of_which_nothing_is_known_is_not_guessed() -> None:
    data = shop(extra=2)
    blank = pl.DataFrame(
        {"brand": [None], "kind": [None], "tags": [None], "price": [None]}, schema=data.tables["items"].schema
    )
    model = trained(replace(data, tables={"items": pl.concat([data.tables["items"][:31], blank])}))
    scores = model.score(everyone(model))
    assert np.isfinite(scores[:, :31]).all()
    assert np.isnan(scores[:, 31]).all()


def test_a_session_feels_neither_padding_nor_mates_nor_order_without_positions() -> None:
    model = trained(shop())
    one = Queries(np.array([-1], np.int32), Ragged.of([[3, 8, 1]]))
    crowd = Queries(np.full(3, -1, np.int32), Ragged.of([[3, 8, 1], [5, 5, 6, 7, 8, 9], [2]]))
    np.testing.assert_allclose(model.score(crowd)[0], model.score(one)[0], atol=1e-5)
    swapped = Queries(np.array([-1], np.int32), Ragged.of([[1, 8, 3]]))
    assert np.abs(model.score(swapped) - model.score(one)).max() > 1e-5
    with torch.no_grad():
        model.model.encoder.positions.weight.zero_()
    model.model.train().eval()
    np.testing.assert_allclose(model.score(swapped), model.score(one), atol=1e-5)
    last = trained(shop(), pool="last")
    with torch.no_grad():
        last.model.encoder.positions.weight.zero_()
    last.model.train().eval()
    assert np.abs(last.score(swapped) - last.score(one)).max() > 1e-5


def untrained(data: Dataset, **settings: Any) -> Any:
    spec = M2TRec(**{**SMALL, **settings})
    model = spec.build(replace(data.schema, sizes=dict(spec.sizes(data))))
    model.put_facts(model.prepare(data, Phase()))
    return model.eval()


def test_losses_equal_the_loops() -> None:
    data = shop(extra=3)
    model = untrained(data)
    batch = next(iter(model.batches(data, Phase(), Order(0, "main", 0, 32))))
    reps = model.represent(batch)
    found = model.losses(batch, reps)
    assert set(found) == {"softmax", "_brand", "_kind", "_tags"}
    logits = reps["query"] @ model.leave(model.told(torch.arange(30))).T  # the three without events are not on offer
    plain = torch.nn.functional.cross_entropy(logits, batch.items, reduction="none")
    torch.testing.assert_close(found["softmax"], plain, rtol=1e-4, atol=1e-5)
    for name, head in zip(("brand", "kind", "tags"), model.heads, strict=True):
        log_p = head(reps["query"]).log_softmax(-1).detach()
        for b in range(0, len(batch), 5):
            k = int(batch.items[b])
            codes = {"brand": [2 + k % 7], "kind": [] if k == 4 else [2 + k % 3], "tags": [2 + k % 2, 4 + k % 5]}[name]
            wanted = sum(-float(log_p[b, c]) / len(codes) for c in codes)
            assert float(found[f"_{name}"][b].detach()) == pytest.approx(wanted, abs=1e-5)


def test_drawn_negatives_stand_for_all_items_on_offer() -> None:
    data = shop()
    model = untrained(data, num_negatives=30, levels=("kind",), level_weight=0.5)
    batch = next(iter(model.batches(data, Phase(), Order(0, "main", 0, 32))))
    from oakum.sampling.batches import Negatives

    every = torch.arange(30).repeat(len(batch), 1)
    batch.negatives = Negatives(every, torch.zeros(every.shape))
    drawn = model.losses(batch, model.represent(batch))
    batch.negatives = None
    whole = model.losses(batch, model.represent(batch))
    torch.testing.assert_close(drawn["softmax"], whole["softmax"], rtol=1e-4, atol=1e-5)
    fitted = trained(data, 3, num_negatives=8)
    assert fitted.record.history[-1]["losses"]["softmax"] < fitted.record.history[0]["losses"]["softmax"]


def test_levels_may_be_left_out_chosen_and_read_back() -> None:
    alone = trained(shop(), 1, level_weight=0.0)
    assert set(alone.record.history[0]["losses"]) == {"softmax"}
    model = trained(shop(), 1, columns=("brand", "price"), levels=("kind",))
    assert set(model.record.history[0]["losses"]) == {"softmax", "_kind"}
    chances = model.model.category_chances(everyone(model))
    assert chances["kind"].shape == (40, 5)
    torch.testing.assert_close(chances["kind"].sum(1), torch.ones(40))


def test_columns_that_are_not_there_or_are_no_categories_are_named() -> None:
    with pytest.raises(ParameterError, match=r"no column 'brnd'.*brand"):
        fit(M2TRec(**SMALL, columns=("brnd",)), shop())
    with pytest.raises(ParameterError, match="'price' holds no categories"):
        fit(M2TRec(**SMALL, levels=("price",)), shop())
    with pytest.raises(ParameterError, match="must divide"):
        fit(M2TRec(**{**SMALL, "num_heads": 3}), shop())
    same = replace(shop(), tables={"items": pl.DataFrame({"brand": ["b"] * 30})})
    with pytest.raises(DataError, match="tells items apart"):
        fit(M2TRec(**SMALL), same)
