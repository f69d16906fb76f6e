"""APR, VAT and PamaCF: the facts of the sheet that need no training on real data."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from oakum.engine.fit import fit  # noqa: E402
from oakum.errors import ParameterError  # noqa: E402
from oakum.models.classic.bpr_mf import BPRMF  # noqa: E402
from oakum.plugins.apr import APR, table_rows  # noqa: E402
from oakum.plugins.vat import VAT, PamaCF, user_losses  # noqa: E402
from oakum.sampling.batches import Batch, Pairs  # noqa: E402
from tests.toys import random_log  # noqa: E402

PLAN = {"epochs": 2, "batch_size": 128, "learning_rate": 0.01}


def weights(**settings: Any) -> Any:
    return fit(BPRMF(embedding_dim=8), random_log(), plan=PLAN, seed=1, **settings)


def sizes(plugin: Any, users: list[int], losses: list[float]) -> Any:
    batch = Pairs(torch.arange(len(users)), 1, None, torch.tensor(users), torch.zeros(len(users), dtype=torch.long))
    return plugin.build(None).sizes(batch, {}, torch.tensor(losses))


def test_equal_losses_give_apr_to_the_last_bit() -> None:
    losses = [0.6931472] * 8
    users = list(range(8))
    vat, apr = sizes(VAT(eps=0.3), users, losses), sizes(APR(eps=0.3), users, losses)
    assert torch.equal(vat, apr)


def test_users_fitted_alike_train_as_under_apr(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every user's loss replaced by the mean, a VAT run and an APR run end in the same bits."""
    import oakum.plugins.vat as module

    monkeypatch.setattr(module, "user_losses", lambda u, rank, how: (torch.ones(len(rank)), torch.tensor(1.0)))
    vat = weights(plugins=[VAT(eps=0.2, begin=0)])
    apr = weights(plugins=[APR(eps=0.2, begin=0)])
    for a, b in zip(vat.model.state_dict().values(), apr.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_move_falls_in_the_loss_and_stays_in_its_range() -> None:
    users = list(range(400))
    losses = torch.logspace(-6, 4, 400).tolist()
    found = sizes(VAT(eps=1.0), users, losses)
    assert (found[1:] <= found[:-1]).all()
    middle = (found < 2.0) & (found > 0.5379)
    assert middle.sum() > 50
    assert (found[1:] < found[:-1])[middle[1:]].all()  # strictly, where float32 can tell the values apart
    assert float(found.min()) > 0.5378
    assert float(found.max()) <= 2.0


def test_a_user_who_was_drawn_twice_is_no_less_vulnerable_unless_sums_are_asked_for() -> None:
    users, losses = [0, 0, 1, 2], [0.4, 0.4, 0.4, 0.4]
    mean = sizes(VAT(eps=1.0), users, losses)
    torch.testing.assert_close(mean, torch.ones(4))
    summed = sizes(VAT(eps=1.0, aggregate="sum"), users, losses)
    assert summed[0] == summed[1] < summed[2] == summed[3]
    own, average = user_losses(torch.tensor(users), torch.tensor(losses), "sum")
    assert own.tolist() == pytest.approx([0.8, 0.8, 0.4, 0.4])
    assert float(average) == pytest.approx(1.6 / 3)  # over distinct users, not rows


def test_a_batch_without_users_takes_every_row_for_a_user() -> None:
    found = VAT(eps=1.0).build(None).sizes(Batch(torch.arange(3)), {}, torch.tensor([0.1, 0.5, 0.9]))
    assert found[0] > found[1] > found[2]


def test_pamacf_moves_long_vectors_further() -> None:
    query = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    plugin = PamaCF(eps=1.0).build(None)
    found = plugin.sizes(Batch(torch.arange(3)), {"query": query}, torch.zeros(3))
    wanted = 2 * torch.sigmoid(torch.tensor([1.0, 4.0, 9.0]) / (14 / 3) - 1)
    torch.testing.assert_close(found, wanted)


def test_no_move_is_the_loss_once_more() -> None:
    found = weights(plugins=[VAT(eps=0.0, gamma=0.7, begin=0)]).record.history
    for epoch in found:
        assert epoch["losses"]["adversarial"] == pytest.approx(0.7 * epoch["losses"]["bpr"], rel=1e-6)


def test_it_begins_when_it_should() -> None:
    found = weights(plugins=[APR(begin=1)]).record.history
    assert "adversarial" not in found[0]["losses"]
    assert found[1]["losses"]["adversarial"] > found[1]["losses"]["bpr"]


def test_regularisers_are_not_counted_twice() -> None:
    strong = fit(BPRMF(embedding_dim=8, l2=1.0), random_log(), plan=PLAN, seed=1, plugins=[APR(eps=0.0, begin=0)])
    losses = strong.record.history[0]["losses"]
    assert losses["l2"] > 0
    assert losses["adversarial"] == pytest.approx(losses["bpr"], rel=1e-6)


@pytest.mark.parametrize("plugin", [APR(begin=0, scope="row"), VAT(begin=0, scope="row"), PamaCF(begin=0, scope="row")])
def test_row_scope_trains_and_differs_from_sample_scope(plugin: Any) -> None:
    by_row, by_sample = weights(plugins=[plugin]), weights(plugins=[plugin.replace(scope="sample")])
    a, b = by_row.model.state_dict()["users.weight"], by_sample.model.state_dict()["users.weight"]
    assert torch.isfinite(a).all()
    assert not torch.equal(a, b)


def test_row_scope_says_what_it_needs() -> None:
    with pytest.raises(ParameterError, match="scope='sample'"):
        table_rows(Batch(torch.arange(3)))
