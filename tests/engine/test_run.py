"""The seed of a step is the one that torch itself would set, and leaves nothing behind."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from oakum.engine.learner import Phase  # noqa: E402
from oakum.engine.run import Run  # noqa: E402
from oakum.seeds import derive  # noqa: E402


def test_a_step_is_seeded_as_by_torch_and_nothing_is_queued() -> None:
    run = Run(None, 3, SimpleNamespace(), None, (), torch.device("cpu"), Phase(), epoch=2, step=7)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(3, "step", "main", 2, 7))
        expected = torch.rand(5)
        waiting = len(getattr(torch.cuda, "_queued_calls", []))
        for _ in range(10):
            run.seed_step()
        assert torch.equal(torch.rand(5), expected)
    # A call that waits for a device keeps its stack: over a long training that is gigabytes.
    assert len(getattr(torch.cuda, "_queued_calls", [])) == waiting
