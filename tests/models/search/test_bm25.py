"""BM25 against the formula written out, and its files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from oakum.data import Queries, Ragged
from oakum.engine.fit import fit
from oakum.models.search.bm25 import BM25
from oakum.store import load, save
from tests.toys import random_log

TEXTS = ["red car and red boat", "Blue car", "green house, old house", "", "car car car"]


def fitted(**settings: Any) -> Any:
    data = random_log(users=6, items=len(TEXTS), events=20)
    return fit(BM25(**settings), replace(data, tables={"items": pl.DataFrame({"title": TEXTS})}))


def asked(*texts: str, histories: Any = None) -> Queries:
    return Queries(np.full(len(texts), -1, np.int32), Ragged.of(histories or [[]] * len(texts)), None, list(texts))


def slow(query: str, text: str, k1: float = 1.2, b: float = 0.75) -> float:
    documents = [t.lower().replace(",", "").split() for t in TEXTS]
    said = [d for d in documents if d]
    mean = sum(map(len, said)) / len(said)
    own = text.lower().replace(",", "").split()
    out = 0.0
    for word in query.lower().split():
        df = sum(word in d for d in said)
        tf = own.count(word)
        if tf:
            idf = np.log(1 + (len(said) - df + 0.5) / (df + 0.5))
            out += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(own) / mean))
    return out


@pytest.mark.parametrize("query", ["car", "red car", "old old house", "Boat unheard"])
def test_scores_are_the_formula(query: str) -> None:
    model = fitted(k1=0.9, b=0.4)
    scores = model.score(asked(query))[0]
    expected = [slow(query, t, 0.9, 0.4) if t else np.nan for t in TEXTS]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    for text in (TEXTS[0], TEXTS[4]):  # given words, as a defence asks
        codes = model.scorer.codes(text.lower().split())
        assert model.scorer.score_words(query, codes[None])[0] == pytest.approx(slow(query, text, 0.9, 0.4))


def test_a_history_asks_with_its_texts_and_silence_says_nothing() -> None:
    scores = fitted().score(asked("", "", histories=[[1], []]))
    assert np.isnan(scores[1]).all()
    assert np.nanargmax(scores[0]) == 1
    assert np.isnan(scores[0][3])


def test_saving_is_bit_equal(tmp_path: Any) -> None:
    model = fitted()
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    np.testing.assert_array_equal(model.score(asked("red car")), again.score(asked("red car")))
