"""The certificate against enumeration: every rewording of small documents, exact expectations."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.attacks.text.synonyms import Synonyms, all_but_the_top, read_vectors
from oakum.defences.certdr import CertDR, bound_of, slack
from oakum.errors import DataError, ParameterError


def graph(seed: int, words: int = 6, cap: int = 3) -> Synonyms:
    """Random pairs; sets cut at random to at most `cap` words, so that sizes differ and overlaps are below 1."""
    rng = np.random.default_rng(seed)
    pairs = [(a, b) for a in range(words) for b in range(a) if rng.random() < 0.35]
    return Synonyms.of([f"w{i}" for i in range(words)], pairs, cap)


def law(synonyms: Synonyms, document: tuple[int, ...]) -> dict[tuple[int, ...], float]:
    """The exact distribution of Z."""
    sets = [synonyms.sets[w].tolist() for w in document]
    chance = 1 / np.prod([len(s) for s in sets])
    return {z: float(chance) for z in product(*sets)}


def rewordings(synonyms: Synonyms, document: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(product(*[[w, *synonyms.allowed[w].tolist()] for w in document]))


def apart(a: dict[Any, float], b: dict[Any, float]) -> float:
    return sum(abs(a.get(z, 0) - b.get(z, 0)) for z in a.keys() | b.keys()) / 2


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_the_bound_holds_for_every_rewording(seed: int) -> None:
    synonyms, rng = graph(seed), np.random.default_rng(seed)
    document = tuple(rng.integers(0, 6, 3).tolist())
    clean = law(synonyms, document)
    for limit in (0, 1, 2):
        most = bound_of(synonyms.overlaps[list(document)], limit)
        for other in rewordings(synonyms, document):
            if not limit or sum(a != b for a, b in zip(document, other, strict=True)) <= limit:
                assert apart(clean, law(synonyms, other)) <= most + 1e-12


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_one_word_meets_the_bound_exactly(seed: int) -> None:
    synonyms = graph(seed)
    for word in range(6):
        others = [apart(law(synonyms, (word,)), law(synonyms, (o,))) for o in synonyms.allowed[word].tolist()]
        assert max(others, default=0.0) == pytest.approx(1 - synonyms.overlaps[word])


def certified(scores: Any, documents: Any, synonyms: Synonyms, k: int, overlaps: Any) -> Any:
    """Exact f, the order, and whether the first k are certain."""
    f = np.array([sum(p * scores[z] for z, p in law(synonyms, d).items()) for d in documents])
    order = np.argsort(-f, kind="stable")
    o = np.array([bound_of(overlaps[list(d)]) for d in documents])
    return f, order, bool((f[order[k:]] + o[order[k:]] < f[order[k - 1]]).all())


def broken(scores: Any, documents: Any, synonyms: Synonyms, k: int, f: Any, order: Any) -> bool:
    """Whether some rewording of some document after place k reaches the first k."""
    for r in order[k:]:
        for other in rewordings(synonyms, documents[r]):
            if sum(p * scores[z] for z, p in law(synonyms, other).items()) >= f[order[k - 1]]:
                return True
    return False


def lists(count: int, wrong: bool) -> tuple[int, int]:
    """How many of random small lists are certified, and how many of those an exhaustive attack breaks."""
    found = failed = 0
    for seed in range(count):
        synonyms, rng = graph(seed, cap=4 if seed % 2 else 2), np.random.default_rng(seed)
        if wrong:  # sets of unequal size, and overlaps over the own set alone
            sets = tuple(s[: 1 + w % 3] if w in s[: 1 + w % 3] else s for w, s in enumerate(synonyms.sets))
            synonyms = Synonyms(synonyms.words, synonyms.allowed, sets)
        overlaps = synonyms.overlaps
        if wrong:
            own = lambda w, o: len(np.intersect1d(synonyms.sets[w], synonyms.sets[o])) / len(synonyms.sets[w])  # noqa: B023
            overlaps = np.array([min([1.0, *(own(w, o) for o in synonyms.allowed[w].tolist())]) for w in range(6)])
        documents = [tuple(rng.integers(0, 6, 2).tolist()) for _ in range(4)]
        worth = rng.random((6, 6)) ** rng.choice([0.2, 1, 6], size=(6, 1))
        scores = {z: float(worth[z]) for z in product(range(6), repeat=2)}
        f, order, sure = certified(scores, documents, synonyms, 1, overlaps)
        found += sure
        failed += sure and broken(scores, documents, synonyms, 1, f, order)
    return found, failed


def test_no_certified_list_is_ever_broken() -> None:
    found, failed = lists(300, wrong=False)
    assert found > 5
    assert failed == 0


def test_a_wrong_bound_is_caught_by_the_same_attack() -> None:
    assert lists(1500, wrong=True)[1] > 0


def test_within_a_whole_component_nothing_moves() -> None:
    synonyms = Synonyms.of(["a", "b", "c", "d"], [(0, 1), (1, 2)])
    assert synonyms.overlaps.tolist() == [1.0] * 4
    uniform = np.random.default_rng(0).random((50, 3))
    one = synonyms.draws(np.array([0, 1, 3]), uniform)
    other = synonyms.draws(np.array([1, 2, 3]), uniform)
    np.testing.assert_array_equal(one, other)
    assert set(one[:, 0]) == {0, 1, 2}
    assert set(one[:, 2]) == {3}
    assert synonyms.draws(np.array([-1, 0]), uniform[:, :2])[:, 0].tolist() == [-1] * 50


def test_the_draws_stay_within_their_slack() -> None:
    rng, alpha, m = np.random.default_rng(0), 0.05, 50
    values = rng.random(7)
    gap = np.abs(values[rng.integers(0, 7, (1000, m))].mean(1) - values.mean())
    assert (gap <= slack(m, alpha) / 2).mean() >= 1 - alpha
    assert slack(1000, 0.05) == pytest.approx(0.0859, abs=1e-4)
    assert slack(1000, 0.05, 20) > slack(1000, 0.05)


def test_synonyms_from_vectors_against_pairs() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 6))
    v = all_but_the_top(vectors, 1)
    made = Synonyms.from_vectors([str(i) for i in range(30)], vectors, 0.5, cap=4, directions=1)
    for w in range(30):
        assert made.allowed[w].tolist() == [o for o in range(30) if o != w and v[o] @ v[w] > 0.5]
        assert w in made.sets[w]
        assert len(made.sets[w]) <= 4
        assert all(w in made.allowed[o] for o in made.allowed[w])  # both ways


def test_vectors_are_read_from_lines(tmp_path: Any) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("good 1 2\nfine 3 4\nodd 5 6\n")
    words, rows = read_vectors(path, ["odd", "good"])
    assert words == ["good", "odd"]
    assert rows.tolist() == [[1, 2], [5, 6]]
    path.write_text("good 1 2\nfine 3\n")
    with pytest.raises(DataError, match="line 2: 'fine' has 1 numbers"):
        read_vectors(path)
    path.write_text("good one\n")
    with pytest.raises(DataError, match="line 1"):
        read_vectors(path)


def victim() -> Any:
    from dataclasses import replace

    import polars as pl

    from oakum.engine.fit import fit
    from oakum.models.search.bm25 import BM25
    from tests.toys import random_log

    rng = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma", "delta", "eps", "zeta", "eta", "theta"]
    titles = [" ".join(rng.choice(words, 5)) for _ in range(30)]
    data = replace(random_log(), tables={"items": pl.DataFrame({"title": titles})})
    return data, fit(BM25(), data)


def test_the_wrapped_ranker_scores_lists_by_f_and_certifies_only_what_is_sure() -> None:
    from oakum.data import Queries, Ragged

    data, fitted = victim()
    defence = CertDR(encoder="hashed:4", threshold=0.9, directions=1, samples=64, depth=8, centre=1.0, scale=1.0)
    ranker = defence.wrap(fitted, data)
    asked = Queries(np.array([-1], np.int32), Ragged.empty(1), None, ["alpha beta"])
    scores = ranker.score(asked)[0]
    listed = ranker.listed("alpha beta")
    assert (scores[listed] >= 0).all()
    assert (np.delete(scores, listed) < 0).all()
    found = ranker.certify("alpha beta", 3)
    np.testing.assert_allclose(scores[found.items], found.f, atol=1e-6)
    assert (np.diff(found.f) <= 0).all()
    assert found.certified == (found.margin > 0)
    assert found.certified or not found.plain  # the tight rule is never below the loose one
    assert "insertions" in found.threat
    with pytest.raises(ParameterError, match="from 1 to 7"):
        ranker.certify("alpha", 8)


def test_without_synonyms_the_smoothed_ranker_is_the_ranker() -> None:
    data, fitted = victim()
    ranker = CertDR(encoder="hashed:4", threshold=1.0, directions=0, samples=2, depth=8).wrap(fitted, data)
    from oakum.data import Queries, Ragged

    asked = Queries(np.array([-1], np.int32), Ragged.empty(1), None, ["alpha beta"])
    plain = ranker.bounded(fitted.score(asked)[0])
    for item in ranker.listed("alpha beta").tolist():
        assert ranker.smoothed("alpha beta", item) == pytest.approx(plain[item], abs=1e-6)
        assert ranker.bound(item) == pytest.approx(0.0)


def test_models_without_words_are_refused() -> None:
    from oakum.engine.fit import fit
    from oakum.models.classic.popularity import Popularity

    data, _ = victim()
    with pytest.raises(ParameterError, match="'popularity' does not"):
        CertDR().wrap(fit(Popularity(), data), data)
