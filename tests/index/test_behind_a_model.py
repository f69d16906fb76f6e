"""Models behind an index: the same lists where the index is exact, filters that still give k, stale indexes refused."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from oakum.api import fit
from oakum.data import Filter
from oakum.errors import ParameterError
from oakum.index.attributes import Attributes, Is
from oakum.store import load, save
from tests.toys import random_log

FAISS = find_spec("faiss") is not None
SYSTEMS: dict[str, dict[str, Any]] = {
    "pure-svd": {"embedding_dim": 8},
    "ials": {"embedding_dim": 8, "iterations": 2},
    "bpr-mf": {"embedding_dim": 8, "epochs": 2},
    "lightgcn": {"embedding_dim": 8, "epochs": 2},
    "sasrec": {"epochs": 1},
    "alpharec": {"encoder": "hashed:16", "embedding_dim": 8, "epochs": 1},
}


@pytest.fixture(scope="module", params=SYSTEMS)
def model(request: pytest.FixtureRequest) -> Any:
    from oakum.catalogue import load_class
    from oakum.parameters import fields

    own = {f.name for f in fields(load_class(request.param))}
    chosen = {k: v for k, v in SYSTEMS[request.param].items() if k in own or k == "epochs"}
    return fit(request.param, random_log(), **chosen)


def everyone(model: Any) -> Any:
    return model.queries(np.arange(len(model.users), dtype=np.int32))


@pytest.mark.parametrize("kind", ["exact", "planned"])
def test_an_exact_index_gives_the_models_own_lists(model: Any, kind: str) -> None:
    index = model.index(kind, **({"graph": False} if kind == "planned" else {}))
    queries = everyone(model)
    rules = (
        Filter(), Filter(exclude=queries.histories), Filter(allow=np.arange(0, 30, 3, dtype=np.int32)),
        Filter(deny=np.array([1, 2], np.int32), exclude=queries.histories),
    )  # fmt: skip
    for where in rules:
        plain, near = model.rank(queries, 6, where=where), model.rank(queries, 6, where=where, index=index)
        np.testing.assert_allclose(plain.scores, near.scores, rtol=1e-5, atol=1e-6)
        same = plain.items == near.items
        # Where an order differs, the scores are equal to the last bits.
        assert same.mean() > 0.99
    asked = {"k": 5, "allow": [f"i{i}" for i in range(0, 30, 2)], "remove_seen": False}
    first, second = model.recommend(["u1", "nobody"], **asked), model.recommend(["u1", "nobody"], index=index, **asked)
    assert [[i["item"] for i in a["items"]] for a in first] == [[i["item"] for i in a["items"]] for a in second]
    assert "popular" in second[1]["fallback"]
    newcomer = model.recommend(history=["i1", "i2"], k=5, index=index)
    assert [i["item"] for i in newcomer[0]["items"]] == [
        i["item"] for i in model.recommend(history=["i1", "i2"], k=5)[0]["items"]
    ]


@pytest.mark.skipif(not FAISS, reason="a graph is built by faiss (the extra 'index')")
def test_filters_by_attributes_still_give_k(model: Any) -> None:
    index = model.index("hnsw")
    odd = Attributes(random_log().tables["items"]).filter(Is("category", "odd"))
    for answer in model.recommend([f"u{u}" for u in range(40)], k=4, where=odd, remove_seen=False, index=index):
        assert len(answer["items"]) == 4
        assert all(int(i["item"][1:]) % 2 == 1 for i in answer["items"])
    both = model.recommend(["u3"], k=20, where=odd, allow=["i1", "i2", "i3"], remove_seen=False, index=index)
    assert {i["item"] for i in both[0]["items"]} <= {"i1", "i3"}


def test_a_loaded_model_takes_the_index_of_the_saved_one(model: Any, tmp_path: Any) -> None:
    index = model.index("exact")
    again = load(save(model, tmp_path / "m"))
    queries = everyone(model)
    np.testing.assert_array_equal(again.rank(queries, 3, index=index).items, model.rank(queries, 3, index=index).items)


def test_what_does_not_fit_is_refused(model: Any) -> None:
    other = fit("pure-svd", random_log(seed=1), embedding_dim=4)
    with pytest.raises(ParameterError, match="built over other item vectors"):
        model.recommend(["u1"], index=other.index("exact"))
    with pytest.raises(ParameterError, match="ranks by 'cosine'"):
        model.rank(everyone(model), 3, index=model.index("exact", metric="cosine"))
    with pytest.raises(ParameterError, match="does not rank by a dot product"):
        fit("item-knn", random_log()).index()
    with pytest.raises(ParameterError, match="makes its lists in another way"):
        fit("item-knn", random_log()).rank(everyone(model), 3, index=other.index("exact"))
