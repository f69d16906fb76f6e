"""RecGPT: what a token sees, exact scores against brute force, beams, codes of texts, another shop's catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from oakum.data import Dataset, Filter, Interactions, Queries, Ragged, Schema, Vocabulary  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.engine.fitted import Fitted  # noqa: E402
from oakum.errors import DataError, ModelFileError, ParameterError  # noqa: E402
from oakum.models.generative.published import from_published  # noqa: E402
from oakum.models.generative.recgpt import TIE, RecGPT  # noqa: E402
from oakum.splits import split  # noqa: E402
from oakum.store import load, save  # noqa: E402
from tests.oracles.gpt2 import next_item, rebuilt  # noqa: E402
from tests.toys import random_log  # noqa: E402

THINGS = ("lamp", "table", "bicycle", "violin", "kettle", "tent")
SMALL: dict[str, Any] = {
    "encoder": "hashed:24", "levels": (4, 3), "embedding_dim": 16, "num_heads": 2, "max_length": 8, "tokeniser_epochs": 3
}  # fmt: skip
PLAN = {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3}


def shop(name: str, titles: list[str | None], users: int = 12, seed: int = 0) -> Dataset:
    """A log over items with these titles."""
    rng = np.random.default_rng(seed)
    log = Interactions(
        np.repeat(np.arange(users), 6).astype(np.int32), rng.integers(0, len(titles), users * 6).astype(np.int32),
        times=np.arange(users * 6, dtype=np.int64),
    )  # fmt: skip
    ids = lambda kind, n: Vocabulary(pl.Series("id", [f"{name}-{kind}{i}" for i in range(n)]))
    items = pl.DataFrame({"title": pl.Series(titles, dtype=pl.String)})
    return Dataset(log, ids("u", users), ids("i", len(titles)), {"items": items}, name=name)


def titles(n: int, word: str = "plain") -> list[str | None]:
    return [f"{word} {THINGS[i % 6]} of make {i // 6} in {['red', 'blue', 'green'][i % 3]}" for i in range(n)]


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit(RecGPT(**SMALL), shop("home", titles(30)), plan=PLAN, seed=1)


def asked(*histories: list[int]) -> Queries:
    return Queries(np.full(len(histories), -1, np.int32), Ragged.of(histories))


def states(model: Any, codes: Any, slices: Any) -> Any:
    n = codes.shape[1]
    with torch.no_grad():
        return model.reader(codes, slices, torch.ones(1, n, dtype=torch.bool), torch.arange(n))


def test_a_token_sees_its_own_item_and_earlier_ones_and_no_later_one() -> None:
    torch.manual_seed(0)
    model = RecGPT(**SMALL).build(Schema(2, 5)).eval()
    codes, slices = torch.randint(0, 12, (1, 6, 4)), torch.randn(1, 6, 4, 6)
    plain = states(model, codes, slices)
    for item in range(6):
        for token in range(4):
            other = codes.clone()
            other[0, item, token] = (other[0, item, token] + 5) % 12
            gap = (states(model, other, slices) - plain).abs().amax(-1)
            assert (gap[:item] == 0).all()  # earlier items never look ahead
            assert (gap[item] > 1e-4).all()  # all tokens of the item look at one another
            assert (gap[item + 1 :] > 1e-6).all()
            moved = slices.clone()
            moved[0, item, token] += 1.0
            beside = (states(model, codes, moved) - plain).abs().amax(-1)
            assert (beside[:item] == 0).all()
            assert (beside[item] > 1e-4).all()


def test_scores_equal_brute_force(fitted: Fitted) -> None:
    histories = [[1, 2, 3], [7], [4, 4, 9, 11, 20, 21, 22, 23, 24, 25]]
    found = fitted.score(asked(*histories))
    model = fitted.model
    codes, vectors = model.facts["codes"], model.facts["vectors"]
    fsq = model.tokeniser.fsq
    with torch.no_grad():
        for r, history in enumerate(histories):
            read = torch.tensor([history[-8:]])
            slices = vectors[read].view(1, read.shape[1], 4, 6)
            there = torch.ones_like(read, dtype=torch.bool)
            logits = model.reader.head(model.reader(codes[read], slices, there, torch.tensor([read.shape[1] - 1]))[0])
            probs = logits.softmax(-1)
            meant = torch.cat([sum(p * fsq.values(torch.tensor(v)) for v, p in enumerate(row)) for row in probs])
            for i in range(30):
                exact = sum(float(probs[k, codes[i, k]].log()) for k in range(4))
                near = float(torch.nn.functional.cosine_similarity(meant, vectors[i], dim=0))
                assert found[r, i] == pytest.approx(exact + TIE * near, abs=1e-5)


def test_a_temperature_changes_no_order(fitted: Fitted) -> None:
    model = fitted.model
    for _, log_probs, _ in model._read(asked([1, 2], [3])):
        from oakum.nn.decode import exact

        cold = torch.log_softmax(log_probs.double() / 0.1, -1)
        plain, sharp = exact(log_probs.double(), model.facts["codes"]), exact(cold, model.facts["codes"])
        torch.testing.assert_close(sharp - 10 * plain, (sharp - 10 * plain)[:, :1].expand_as(plain))


def test_the_beam_at_full_width_ranks_as_exact_scores_do(fitted: Fitted) -> None:
    wide = Fitted(
        fitted.spec.replace(decode="beam", beam_width=400), fitted.model, fitted.schema, data_of(fitted), fitted.record
    )
    wide.model = wide.spec.build(fitted.schema).eval()
    wide.model.load_state_dict(fitted.model.state_dict())
    wide.model.put_facts(fitted.model.facts)
    queries = asked([1, 2, 3], [7], [20, 4, 4], [])
    where = Filter(deny=np.array([5], np.int32), exclude=queries.histories)
    a, b = fitted.rank(queries, 30, where=where), wide.rank(queries, 30, where=where)
    np.testing.assert_array_equal(a.items, b.items)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
    assert (a.items[3] == -1).all()  # nothing is said without a history


def data_of(fitted: Fitted) -> Dataset:
    return shop("home", titles(30))


def test_narrow_beams_give_items_of_the_catalogue_in_order_of_their_scores() -> None:
    model = fit(RecGPT(**SMALL, decode="beam"), shop("home", titles(30)), plan=PLAN, seed=1)
    queries = model.queries(np.arange(12, dtype=np.int32))
    found = model.rank(queries, 10, where=Filter(exclude=queries.histories))
    whole = model.score(queries)
    for r in range(12):
        items = found.items[r][found.items[r] >= 0]
        assert len(items) >= 3
        assert not set(items) & set(queries.histories.row(r))
        np.testing.assert_allclose(found.scores[r][: len(items)], whole[r, items], atol=1e-5)
        assert (np.diff(found.scores[r][: len(items)]) <= 0).all()
    few = model.rank(queries, 10, where=Filter(allow=np.arange(5, dtype=np.int32)))
    assert set(few.items.flatten()) <= {-1, 0, 1, 2, 3, 4}


def test_equal_texts_have_equal_codes_and_neither_item_is_lost() -> None:
    names = titles(24)
    names[7] = names[3]
    model = fit(RecGPT(**SMALL), shop("home", names), plan=PLAN, seed=1)
    codes = model.model.facts["codes"]
    assert torch.equal(codes[3], codes[7])
    found = model.rank(asked([1, 2, 3]), 24).items[0]
    assert sorted(found) == list(range(24))


def test_items_of_one_code_are_told_apart_by_their_text(fitted: Fitted) -> None:
    model = fitted.model
    codes = model.facts["codes"]
    same = [(i, j) for i in range(30) for j in range(i) if torch.equal(codes[i], codes[j])]
    assert same, "the toy should have items of one code"
    scores = fitted.score(asked([1, 2, 3]))[0]
    vectors = torch.nn.functional.normalize(model.facts["vectors"], dim=-1)
    for _, _, text in model._read(asked([1, 2, 3])):
        near = vectors @ text[0].detach()
        apart = [(i, j) for i, j in same if abs(float(near[i] - near[j])) > 1e-2]
        for i, j in apart:
            assert (scores[i] > scores[j]) == bool(near[i] > near[j])


def test_another_catalogue_is_tokenised_and_the_weights_stay(fitted: Fitted, tmp_path: Path) -> None:
    before = {k: v.clone() for k, v in fitted.model.state_dict().items()}
    other = shop("away", [*titles(9, "fancy"), *titles(4)], users=5, seed=3)
    moved = fitted.refresh(other)
    for name, value in moved.model.state_dict().items():
        assert torch.equal(value, before[name])
    # The same words get the same code in either shop.
    assert torch.equal(moved.model.facts["codes"][9:], fitted.model.facts["codes"][:4])
    answer = moved.recommend(history=["away-i2", "away-i11"], k=5)[0]
    assert len(answer["items"]) == 5
    assert all(i["item"].startswith("away-") for i in answer["items"])
    save(moved, tmp_path / "moved")
    again = load(tmp_path / "moved")
    assert again.recommend(history=["away-i2", "away-i11"], k=5)[0] == answer
    assert len(fitted.model.facts["codes"]) == 30


def test_items_without_words_are_neither_read_nor_recommended() -> None:
    names = titles(20)
    names[4] = names[5] = None
    model = fit(RecGPT(**SMALL), shop("home", names), plan=PLAN, seed=1)
    scores = model.score(asked([1, 4, 2, 5], [1, 2], [4, 5]))
    assert np.isnan(scores[:2, 4:6]).all()
    assert np.isfinite(np.delete(scores[:2], [4, 5], axis=1)).all()
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)
    assert np.isnan(scores[2]).all()


def test_each_phase_moves_its_own_part_and_the_first_is_not_validated() -> None:
    data = random_log()
    parts = split(data, "leave-last")
    no_reader = fit(RecGPT(**SMALL), data, plan={**PLAN, "learning_rate": 1e-3}, seed=1)
    watched = fit(RecGPT(**SMALL), parts, plan={**PLAN, "evaluate_every": 1}, seed=1)
    phases = [h["phase"] for h in watched.record.history]
    assert phases == ["tokeniser"] * 3 + ["main"] * 2
    assert ["validation" in h for h in watched.record.history] == [False] * 3 + [True] * 2
    frozen = fit(RecGPT(**{**SMALL, "tokeniser_epochs": 0}), data, plan=PLAN, seed=1)
    fresh = fit(RecGPT(**SMALL), data, plan={**PLAN, "epochs": 0}, seed=1)
    same = lambda a, b, part: all(
        torch.equal(v, b.model.state_dict()[k]) for k, v in a.model.state_dict().items() if k.startswith(part)
    )
    assert same(frozen, fresh, "tokeniser.")
    assert not same(frozen, fresh, "reader.")
    assert not same(no_reader, fresh, "tokeniser.")


def test_wrong_sizes_are_refused_in_words() -> None:
    schema = Schema(3, 4)
    with pytest.raises(ParameterError, match=r"num_slices \(5\) must divide the width"):
        RecGPT(**{**SMALL, "num_slices": 5}).build(schema)
    with pytest.raises(ParameterError, match=r"num_heads \(3\) must divide embedding_dim"):
        RecGPT(**{**SMALL, "num_heads": 3}).build(schema)
    with pytest.raises(ParameterError, match="at least 2"):
        RecGPT(**{**SMALL, "levels": (8, 1)}).build(schema)
    bare = Dataset(*(getattr(shop("home", titles(9)), n) for n in ("interactions", "users", "items")), name="bare")
    with pytest.raises(DataError, match="text"):
        fit(RecGPT(**SMALL), bare, plan=PLAN)


# --- the authors' weights ---------------------------------------------------------------------------------------
def made_up(spec: RecGPT, width: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """State dictionaries of the published names and shapes, filled at random."""
    torch.manual_seed(5)
    d, part, v = spec.embedding_dim, width // spec.num_slices, int(np.prod(spec.levels))
    gpt = {"gpt2model.wte.weight": (v + 20, d), "gpt2model.wpe.weight": (40, d), "pred_head.weight": (v + 1, d)}
    gpt |= {"linear_layer.weight": (d, part)}
    norms = ["norm_seq", "norm_aux", "gpt2model.ln_f"]
    for i in range(spec.num_layers):
        name = f"gpt2model.h.{i}"
        norms += [f"{name}.ln_1", f"{name}.ln_2"]
        for layer, shape in (
            ("attn.c_attn", (d, 3 * d)),
            ("attn.c_proj", (d, d)),
            ("mlp.c_fc", (d, 4 * d)),
            ("mlp.c_proj", (4 * d, d)),
        ):
            gpt |= {f"{name}.{layer}.weight": shape, f"{name}.{layer}.bias": shape[1:]}
    gpt |= {f"{n}.{kind}": (d,) for n in norms for kind in ("weight", "bias")}
    dims = len(spec.levels)
    ae = {
        "decoder.position_emb.weight": (spec.num_slices, part),
        "encoder.position_emb.weight": (spec.num_slices, part),
    }
    dense = [
        ("quantizer.project_in", dims, part),
        ("quantizer.project_out", part, dims),
        ("decoder.linear_layer.0", width, part),
        ("decoder.linear_layer.2", width, width),
    ]
    for i in range(spec.tokeniser_layers):
        name = f"decoder.transformer_layers.{i}"
        dense += [(f"{name}.attention.linear_layers.{j}", part, part) for j in range(3)]
        dense += [
            (f"{name}.attention.output_linear", part, part),
            (f"{name}.feed_forward.w_1", 4 * part, part),
            (f"{name}.feed_forward.w_2", part, 4 * part),
        ]
        ae |= {f"{name}.{s}_sublayer.norm.{kind}": (part,) for s in ("input", "output") for kind in ("weight", "bias")}
    for name, out, into in dense:
        ae |= {f"{name}.weight": (out, into), f"{name}.bias": (out,)}
    fill = lambda shapes: {
        k: 0.5 * torch.randn(*s) + ("norm" in k or "ln_" in k) * k.endswith("weight") for k, s in shapes.items()
    }
    return fill(gpt), fill(ae)


def test_published_weights_give_the_published_answers(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    spec = RecGPT(**SMALL)
    gpt, ae = made_up(spec, 24)
    ae["quantizer.project_in.weight"] *= 4  # so that several codes are used
    save_file(gpt, str(tmp_path / "gpt.safetensors"))
    save_file(ae, str(tmp_path / "ae.safetensors"))
    data = shop("home", titles(30))
    model = from_published(spec, data, tmp_path / "gpt.safetensors", tmp_path / "ae.safetensors").model
    slow = {k: v.double().numpy() for k, v in gpt.items()}
    slow_ae = {k: v.double().numpy() for k, v in ae.items()}
    vectors, codes = model.facts["vectors"].double().numpy(), model.facts["codes"].tolist()
    assert len({tuple(c) for c in codes}) > 5
    with torch.no_grad():
        again = model.tokeniser(model.facts["vectors"]) / model.tokeniser.scale
    for i in range(30):
        tokens, whole = rebuilt(slow_ae, vectors[i], spec.levels, 4, 2)
        assert tokens == codes[i]
        np.testing.assert_allclose(again[i].numpy(), whole, atol=2e-4)
    for history in ([3], [1, 2, 3, 8, 9], list(range(10, 18))):
        logits = next_item(
            slow, [codes[i] for i in history], vectors[history].reshape(len(history), 4, 6), 2, spec.max_length
        )
        wanted = torch.from_numpy(logits[:, :12]).log_softmax(-1)
        ((_, found, _),) = model._read(asked(history))
        np.testing.assert_allclose(found[0].detach().numpy(), wanted, atol=2e-3)


def test_published_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    spec = RecGPT(**SMALL)
    gpt, ae = made_up(spec, 24)
    data = shop("home", titles(30))
    paths = (tmp_path / "gpt.safetensors", tmp_path / "ae.safetensors")
    save_file(ae, str(paths[1]))
    paths[0].write_bytes(b"a pickle, perhaps")
    with pytest.raises(ModelFileError, match="cannot be read as safetensors"):
        from_published(spec, data, *paths)
    save_file({k: v for k, v in gpt.items() if k != "norm_seq.weight"}, str(paths[0]))
    with pytest.raises(ModelFileError, match=r"lacks the tensor 'norm_seq.weight'"):
        from_published(spec, data, *paths)
    save_file({**gpt, "linear_layer.weight": torch.zeros(16, 7)}, str(paths[0]))
    with pytest.raises(ModelFileError, match="do not fit"):
        from_published(spec, data, *paths)
