"""A code of bits before a model: its pieces against their formulas, histories that are cleaned, saved with the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oakum.catalogue import load_class  # noqa: E402
from oakum.claims.base import Context  # noqa: E402
from oakum.claims.quantized_latent_filter import _as_log, bits, drawn_digits, penalties  # noqa: E402
from oakum.data import Filter, Queries, Ragged  # noqa: E402
from oakum.defences.wrap.quantized import CodeModel, LatentCode, LatentFilter, Purified, flips, project  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.errors import DataError  # noqa: E402
from oakum.nn.quantize import hard_bits, soft_bits  # noqa: E402
from oakum.store import load, save  # noqa: E402
from tests.toys import checkerboard  # noqa: E402


def test_the_pieces_are_what_the_formulas_say() -> None:
    assert bits(Context(None)).holds
    assert penalties(Context(None)).holds
    z = torch.tensor([0.0, 0.05, 0.1, 0.2, -0.05])
    assert hard_bits(z, 0.1).tolist() == [1, 1, -1, -1, 1]
    assert soft_bits(torch.tensor([0.0]), 0.1).item() == pytest.approx(5 / 6)


def test_random_signs_give_the_square_of_the_jacobian() -> None:
    torch.manual_seed(0)
    model = CodeModel(LatentCode(input_dim=4, bits=3, width=5, gp="hutchinson"))
    x = torch.randn(1, 4, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(lambda t: model.encode(t)[0][0], x)[:, 0]
    found = [float(model.steepness(x, model.encode(x)[0]).detach() ** 2) for _ in range(4000)]
    assert np.mean(found) == pytest.approx(float(jacobian.square().sum()), rel=0.1)
    plain = CodeModel(LatentCode(input_dim=4, bits=3, width=5))
    plain.load_state_dict(model.state_dict())
    assert float(plain.steepness(x, plain.encode(x)[0]).detach()) == pytest.approx(
        float(jacobian.sum(0).norm()), rel=1e-4
    )


def test_no_gradient_of_the_hard_decoder_reaches_the_encoder() -> None:
    torch.manual_seed(0)
    model = CodeModel(LatentCode(input_dim=4, bits=6, width=5))
    model.put_facts({"rows": torch.rand(8, 4)})
    from oakum.sampling.batches import Batch

    batch = Batch(torch.arange(8))
    losses = model.losses(batch, model.represent(batch))
    assert all(v.shape == (8,) for v in losses.values())
    grads = torch.autograd.grad(losses["_hard"].sum(), list(model.encoder.parameters()), allow_unused=True)
    assert all(g is None for g in grads)
    assert torch.autograd.grad(losses["_slope"].sum(), next(model.encoder.parameters()))[0].abs().sum() > 0


def test_projection_equals_the_dense_one() -> None:
    data = checkerboard(20)
    rng = np.random.default_rng(0)
    basis, scale = rng.normal(size=(20, 5)).astype(np.float32), rng.random(5).astype(np.float32) + 0.2
    dense = data.matrix.toarray()
    wanted = np.clip(dense @ basis / np.sqrt(dense.sum(1, keepdims=True)) / scale, -1, 1)
    np.testing.assert_allclose(project(data.matrix, basis, scale), wanted, atol=1e-5)


SMALL = LatentFilter(input_dim=2, bits=16, width=32, epochs=100, keep=0.5)


@pytest.fixture(scope="module")
def guarded() -> Any:
    return fit(load_class("ease")(), checkerboard()).behind(SMALL, checkerboard())


def test_events_of_another_taste_are_left_out(guarded: Any) -> None:
    data = checkerboard()
    users = np.arange(50)
    polluted = Ragged.of([[*data.histories.row(u)[:12], (u + 1) % 50, (u + 3) % 50] for u in users])
    left = guarded.scorer.purified(Queries(users.astype(np.int32), polluted))
    strange = (left.histories.items + left.histories.owners()) % 2 == 1
    assert strange.mean() < 0.01  # two of fourteen before
    assert len(left.histories.items) > 0.9 * 12 * 50
    assert (left.users == -1).mean() > 0.9


def test_clean_histories_stay_and_nobody_loses_all(guarded: Any) -> None:
    data = checkerboard()
    asked = guarded.queries(np.arange(50, dtype=np.int32))
    left = guarded.scorer.purified(asked)
    assert len(left.histories.items) > 0.97 * len(data)
    whole = left.histories.lengths == asked.histories.lengths
    np.testing.assert_array_equal(left.users[whole], asked.users[whole])
    alone = Queries(np.full(50, -1, np.int32), Ragged.of([[u] for u in range(50)]))
    assert (guarded.scorer.purified(alone).histories.lengths == 1).all()
    nothing = Queries(np.array([-1], np.int32), Ragged.empty(1))
    assert np.isnan(guarded.score(nothing)).all()
    found = guarded.rank(asked, 1, where=Filter(exclude=asked.histories)).items[:, 0]
    assert np.mean(found == np.arange(50)) > 0.9


def test_blocks_change_nothing(guarded: Any) -> None:
    asked = guarded.queries(np.arange(50, dtype=np.int32))
    a, b = guarded.scorer.purified(asked), guarded.scorer.purified(asked, block=7)
    np.testing.assert_array_equal(a.histories.items, b.histories.items)


def test_saved_and_loaded_with_the_model(guarded: Any, tmp_path: Any) -> None:
    from oakum.defences.wrap.topn import TopN

    queries = guarded.queries(np.arange(50, dtype=np.int32))
    both = guarded.behind(TopN(minimum=5, n=3, num_groups=1), checkerboard())
    save(both, tmp_path / "m")
    again = load(tmp_path / "m")
    np.testing.assert_array_equal(again.score(queries), guarded.score(queries))
    np.testing.assert_array_equal(again.rank(queries, 3).scores, both.rank(queries, 3).scores)
    assert [d.slug for d, _ in again.guards] == ["quantized-latent-filter", "topn-calibration"]
    assert isinstance(again.scorer.inner, Purified)
    assert again.guards[0][0] == SMALL


def test_same_seed_same_filter(guarded: Any) -> None:
    again = fit(load_class("ease")(), checkerboard()).behind(SMALL, checkerboard())
    for name, value in guarded.scorer.state().items():
        np.testing.assert_array_equal(value, again.scorer.state()[name])


def test_vectors_are_coded_from_a_column() -> None:
    x, y = drawn_digits(200, 0)
    assert x.shape == (200, 64)
    assert np.abs(x).max() <= 1
    assert np.bincount(y).tolist() == [20] * 10
    spec = LatentCode(input_dim=64, bits=16, width=32, column="pixels")
    code = fit(spec, _as_log(x), plan={"epochs": 300}).model.eval()
    t = torch.from_numpy(x)
    with torch.no_grad():
        assert float((code(t) - t).square().mean()) < 0.8 * float((t - t.mean(0)).square().mean())
    assert flips(code, t, t) == 0
    assert 0 < flips(code, t, (t + 0.3 * torch.randn_like(t)).clamp(-1, 1)) < 0.5
    with pytest.raises(DataError, match="scale it first"):
        fit(spec, _as_log(x * 2), plan={"epochs": 1})
