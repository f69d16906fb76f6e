"""Slots become vectors, field by field."""

from __future__ import annotations

import polars as pl
import pytest

torch = pytest.importorskip("torch")

from oakum.data.fields import Coder  # noqa: E402
from oakum.nn.fields import FieldEmbedding  # noqa: E402

COLUMNS = {
    "a": pl.Series(["x", "y", "x", "y", None, "new"]),
    "tags": pl.Series([["p", "q"], ["p"], [], ["q", "r"], ["p", "q", "r"], ["zz"]]),
    "b": pl.Series(["u", "u", "v", "v", "u", "v"]),
    "price": pl.Series([0.5, 1.5, 2.5, None, 4.0, 1.25]),
    "tail": pl.Series([["p"], ["q"], ["p", "q"], [], ["q"], ["p"]]),
}


def slow(embed: FieldEmbedding, codes: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Row by row, field by field, slot by slot."""
    out = torch.zeros(len(codes), len(embed.layout), embed.table.embedding_dim)
    for r in range(len(codes)):
        slot = start = 0
        for f, field in enumerate(embed.layout.fields):
            for _ in range(field.width):
                out[r, f] += embed.table.weight[start + codes[r, slot]] * values[r, slot]
                slot += 1
            start += field.rows
    return out


def test_agrees_with_a_loop() -> None:
    coder = Coder.learn(COLUMNS, min_count=1)
    assert [f.kind for f in coder.layout.fields] == ["categorical", "multi", "categorical", "numeric", "multi"]
    codes, values = (torch.from_numpy(x) for x in coder.encode(COLUMNS, 6))
    embed = FieldEmbedding(coder.layout, 4, init_std=1.0)
    found = embed(codes, values)
    assert found.shape == (6, 5, 4)
    torch.testing.assert_close(found, slow(embed, codes, values))


def test_what_training_never_met_says_nothing() -> None:
    coder = Coder.learn({"a": pl.Series(["x", "y"])}, min_count=1)
    embed = FieldEmbedding(coder.layout, 4)
    codes, values = (torch.from_numpy(x) for x in coder.encode({"a": pl.Series(["new", None, "x"])}, 3))
    found = embed(codes, values)
    assert (found[:2] == 0).all()
    assert (found[2] != 0).all()


def test_a_list_of_one_is_its_only_member_and_no_value_is_no_vector() -> None:
    coder = Coder.learn({"t": pl.Series([["p", "q"], ["p"]])}, min_count=1)
    embed = FieldEmbedding(coder.layout, 4, init_std=1.0)
    codes, values = (torch.from_numpy(x) for x in coder.encode({"t": pl.Series([["p"], ["q"], ["p", "q"]])}, 3))
    found = embed(codes, values)
    torch.testing.assert_close(found[0, 0], embed.table.weight[2])
    torch.testing.assert_close(found[2], (found[0] + found[1]) / 2)
    assert (embed(codes, values * 0) == 0).all()


def test_gradients_of_categories_agree_with_a_loop() -> None:
    columns = {name: COLUMNS[name] for name in ("a", "b")}
    coder = Coder.learn(columns, min_count=1)
    codes, values = (torch.from_numpy(x) for x in coder.encode(columns, 6))
    embed = FieldEmbedding(coder.layout, 4, init_std=1.0)
    weights = torch.randn(6, 2, 4)
    own, want = (
        torch.autograd.grad((f * weights).sum(), embed.table.weight)
        for f in (embed(codes, values), slow(embed, codes, values))
    )
    torch.testing.assert_close(own, want)
