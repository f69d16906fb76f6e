"""One draw of negatives for a whole batch, against a loop over rows."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oakum import losses  # noqa: E402
from oakum.engine.learner import Phase  # noqa: E402
from oakum.engine.plan import Plan  # noqa: E402
from oakum.engine.run import Run  # noqa: E402
from oakum.sampling.batches import Pairs  # noqa: E402
from oakum.sampling.negatives import owned_by  # noqa: E402
from oakum.sampling.samplers import Shared  # noqa: E402
from tests.toys import random_log  # noqa: E402


def draw(step: int = 0, n: int = 12):
    data = random_log()
    run = Run(Plan(), 3, data, None, (), torch.device("cpu"), Phase(), step=step)  # type: ignore[arg-type]
    users = torch.tensor([0, 5, 5, 39])
    return data, users, Shared().draw(run, Pairs(users, n, None, users, users), n)


def test_a_row_gives_no_weight_to_what_its_user_has() -> None:
    data, users, found = draw()
    assert found.items.shape == found.log_q.shape == (1, 12)
    dense = data.matrix.toarray()
    for r, user in enumerate(users.tolist()):
        for c, item in enumerate(found.items[0].tolist()):
            assert float(found.weight[r, c]) == 1.0 - dense[user, item]
    torch.testing.assert_close(found.log_q, torch.full((1, 12), -float(np.log(30))))


def test_draws_repeat_within_a_step_and_change_with_it() -> None:
    assert torch.equal(draw(1)[2].items, draw(1)[2].items)
    assert not torch.equal(draw(1)[2].items, draw(2)[2].items)
    counts = np.bincount(np.concatenate([draw(s, 30)[2].items[0].numpy() for s in range(200)]), minlength=30)
    assert counts.min() > 130  # 200 expected, standard deviation 14
    assert counts.max() < 270


def test_nobody_owns_nothing() -> None:
    matrix = random_log().matrix
    assert not owned_by(np.array([-1]), np.arange(30), matrix.indptr, matrix.indices).any()


def test_products_with_shared_negatives_are_those_with_own_ones() -> None:
    torch.manual_seed(0)
    query, shared = torch.randn(5, 4), torch.randn(1, 7, 4)
    torch.testing.assert_close(
        losses.against(query, shared), losses.against(query, shared.expand(5, 7, 4).contiguous())
    )
