"""CLHE against plain loops; DieT's teacher, what it may see, and what reaches it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from oakum.claims.diet import planted  # noqa: E402
from oakum.data import Dataset, Queries, Ragged, Relation  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.engine.fitted import Fitted  # noqa: E402
from oakum.errors import DataError, ParameterError  # noqa: E402
from oakum.models.bundle.clhe import CLHE  # noqa: E402
from oakum.models.bundle.diet import DieT  # noqa: E402
from oakum.models.classic.bpr_mf import BPRMF  # noqa: E402
from oakum.store import load, save  # noqa: E402
from tests.oracles.bundles import scores  # noqa: E402
from tests.toys import random_log  # noqa: E402

SMALL: dict[str, Any] = {"embedding_dim": 8, "vectors": "vector", "views": ("content", "feedback")}
PLAN = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01}


def market(seed: int = 0) -> Dataset:
    return planted(seed, 48, items=60, themes=6, shoppers=100)


def asked(*sets: list[int]) -> Queries:
    return Queries(np.full(len(sets), -1, np.int32), Ragged.of(sets))


@pytest.fixture(scope="module")
def diet() -> Fitted:
    return fit(DieT(**SMALL), market(), plan=PLAN, seed=1)


@pytest.mark.parametrize(
    "views", [("content",), ("feedback",), ("content", "feedback"), ("content", "feedback", "bundles")]
)
def test_scores_are_those_of_plain_loops(views: tuple[str, ...]) -> None:
    data = market()
    vectors = data.tables["items"]["vector"].to_list()
    words = [f"thing {'abcdef'[i % 6]}" for i in range(60)]
    table = pl.DataFrame({"vector": [None, *vectors[1:]], "title": [None, *words[1:]]})
    data = replace(data, tables={"items": table})
    model = fit(CLHE(**{**SMALL, "views": views, "encoder": "hashed:6"}), data, plan=PLAN, seed=2)
    sets = [[3, 7, 9, 20], [5], [11, 2, 40]]
    found = model.score(asked(*sets))
    for row, given in zip(found, sets, strict=True):
        wanted = scores(model.model, given)
        seen = np.isfinite(row)
        assert seen.sum() >= 40
        np.testing.assert_allclose(row[seen], wanted[seen], rtol=1e-4, atol=1e-5)


def test_the_order_of_items_and_the_padding_change_nothing(diet: Fitted) -> None:
    a = diet.score(asked([4, 9, 17, 30]))
    b = diet.score(asked([30, 4, 17, 9, 4], [1, 2, 3, 5, 6, 7, 8, 10]))[:1]
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    theirs = diet.model.teacher_scores(asked([4, 9, 17, 30])).numpy()
    ours = diet.model.teacher_scores(asked([30, 17, 9, 4], list(range(12)))).numpy()[:1]
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6)


def test_without_a_teachers_opinion_it_is_clhe_bit_by_bit() -> None:
    plain, silent = (fit(spec, market(), plan=PLAN, seed=4) for spec in (CLHE(**SMALL), DieT(beta=0.0, **SMALL)))
    told = fit(DieT(beta=1.0, **SMALL), market(), plan=PLAN, seed=4)
    own = silent.model.state_dict()
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, own[name]), name
    assert any(not torch.equal(v, told.model.state_dict()[n]) for n, v in plain.model.state_dict().items())


def test_shoppers_change_nothing_of_the_teacher() -> None:
    data = market()
    edges = data.relations["feedback"]
    order = np.random.default_rng(0).permutation(60).astype(np.int32)
    other = replace(data, relations={"feedback": Relation(edges.source, "items", edges.sources, order[edges.targets])})
    a, b = (fit(DieT(**SMALL), d, plan=PLAN, seed=4).model for d in (data, other))
    for (name, x), y in zip(a.teacher.state_dict().items(), b.teacher.state_dict().values(), strict=True):
        assert torch.equal(x, y), name
    assert torch.equal(a.teacher_scores(asked([3, 4])), b.teacher_scores(asked([3, 4])))
    assert not torch.equal(a.item_vectors(), b.item_vectors())


def test_no_gradient_reaches_the_teacher_from_what_it_tells(diet: Fitted) -> None:
    from oakum.sampling.batches import Order

    data = market()
    model = diet.model.train()
    (batch,) = model.batches(data, model.phases()[0], Order(0, "main", 0, 64))
    losses = model.losses(batch, model.represent(batch))
    parameters = list(model.teacher.parameters())
    assert set(losses) == {"softmax", "_item", "_bundle", "_teacher", "_distilled"}
    for name, value in losses.items():
        grads = torch.autograd.grad(value.mean(), parameters, allow_unused=True, retain_graph=True)
        reached = any(g is not None and bool(g.any()) for g in grads)
        assert reached == (name == "_teacher"), name
    own = torch.autograd.grad(losses["_distilled"].mean(), list(model.sets.parameters()))
    assert any(bool(g.any()) for g in own)
    model.eval()


def test_items_in_no_bundle_are_left_out_of_the_lesson() -> None:
    data = market()
    log = data.interactions
    data = data.with_interactions(log.take(log.items >= 10))
    fitted = fit(DieT(**SMALL), data, plan=PLAN, seed=1)
    opinion = fitted.model.teacher_scores(asked([20, 30])).numpy()
    assert np.isnan(opinion[0, :10]).all()
    assert np.isfinite(opinion[0, 10:]).all()
    assert np.isfinite(fitted.score(asked([20, 30]))).all()  # the student places them by what they are


def test_a_teacher_may_go_first() -> None:
    both = [
        fit(DieT(**SMALL, teacher_epochs=n), market(), plan={**PLAN, "epochs": e}, seed=4).model
        for n, e in ((2, 1), (2, 3))
    ]
    states = [m.teacher.state_dict() for m in both]
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())
    assert not torch.equal(both[0].sets.blocks[0].out.weight, both[1].sets.blocks[0].out.weight)


def test_counts_in_bundles_can_be_taken_off(diet: Fitted) -> None:
    other = fit(DieT(**SMALL, frequency_correction=1.0), market(), plan=PLAN, seed=1)
    assert not np.array_equal(diet.score(asked([3])), other.score(asked([3])))


@pytest.mark.parametrize("alter", ["drop", "noise", "mask"])
def test_altered_items_are_other_looks_at_the_same(alter: str, diet: Fitted) -> None:
    spec = CLHE(**SMALL, alter=alter)
    model = spec.build(replace(diet.schema))
    model.put_facts(dict(diet.model.facts))
    with torch.no_grad():
        views = model.encoder.views(model.facts, torch.arange(60))
    torch.manual_seed(0)
    found = model.altered(views)
    assert found.shape == views.shape
    assert not torch.equal(found, views)
    if alter == "mask":
        assert ((found == 0).all(-1).sum(1) == 1).all()
    if alter == "noise":
        assert float((found - views).norm(dim=-1).max()) == pytest.approx(0.02, rel=1e-4)


def test_a_learned_system_may_read_the_feedback() -> None:
    spec = DieT(**{**SMALL, "views": ("feedback",)}, collaborative=BPRMF(embedding_dim=4))
    data = market()
    model = fit(spec, data, plan=PLAN, seed=1)
    assert model.model.facts["feedback"].shape == (60, 4)
    nobody = ~np.isin(np.arange(60), data.relations["feedback"].targets)
    assert np.isnan(model.score(asked([int(np.flatnonzero(~nobody)[0])]))[0, nobody]).all()


def test_a_bundle_of_unknown_items_is_refused_in_a_sentence(diet: Fitted) -> None:
    with pytest.raises(
        ParameterError, match=r"knows none of the 2 items given \(first: 'tent'\); name at least one of the 60"
    ):
        diet.recommend(history=["tent", "stove"], k=3)
    answer = diet.recommend(history=["i1", "tent"], k=3)[0]
    assert answer["ignored"] == ["tent"]
    assert len(answer["items"]) == 3
    assert "fallback" not in answer


def test_what_it_cannot_read_is_refused_in_words() -> None:
    bare = replace(random_log(), tables={})
    with pytest.raises(DataError, match=r"neither a table of items with text.*add 'bundles'"):
        fit(DieT(), bare)
    with pytest.raises(ParameterError, match="Got 'colour' instead"):
        fit(CLHE(views=("bundles", "colour")), bare)
    with pytest.raises(DataError, match="no column 'picture' of vectors"):
        fit(CLHE(vectors="picture", encoder="hashed:4"), random_log())
    data = market()
    ragged = pl.DataFrame({"vector": [[1.0, 2.0, 3.0]] + [[1.0]] * 59})
    with pytest.raises(DataError, match=r"vectors of one length \(3\); found 1 numbers for item 'i1'"):
        fit(CLHE(**SMALL), replace(data, tables={"items": ragged}))


def test_saved_and_loaded_with_its_feedback(diet: Fitted, tmp_path: Any) -> None:
    save(diet, tmp_path / "m")
    again = load(tmp_path / "m")
    sets = asked([3, 7], [1])
    np.testing.assert_array_equal(diet.score(sets), again.score(sets))
    assert torch.equal(diet.model.teacher_scores(sets), again.model.teacher_scores(sets))
