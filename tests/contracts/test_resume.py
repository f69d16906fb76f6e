"""A run that was stopped and goes on ends with the same weights, bit by bit, wherever it was stopped."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from oakum.catalogue import entries  # noqa: E402
from oakum.engine import steps  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.errors import Interrupted, ModelFileError  # noqa: E402
from oakum.plugins.vat import VAT  # noqa: E402
from oakum.splits import split  # noqa: E402
from tests.contracts.test_models import LEARNED, spec_of  # noqa: E402
from tests.toys import random_log  # noqa: E402


def settings(slug: str, folder: Path | None) -> dict[str, Any]:
    contract = entries()[slug].contract or {}
    plan = dict(contract.get("plan", {}))
    return {
        **plan,
        "epochs": 4,
        "batch_size": 12 if contract.get("sequence") or contract.get("users") else 128,
        "evaluate_every": 1,
        "checkpoint": None if folder is None else str(folder),
    }


def stop_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Send an interrupt at a step, as a terminal would."""
    real = steps.central
    seen = {"n": 0}

    def central(*args: Any) -> Any:
        seen["n"] += 1
        if seen["n"] == count:
            signal.raise_signal(signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(steps, "central", central)


@pytest.mark.parametrize("slug", LEARNED)
@pytest.mark.parametrize("at", [1, 3, 6, 11])
def test_resumed_equals_uninterrupted(slug: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = split(random_log(events=700), "holdout")
    plugins = [VAT(begin=1, eps=0.05)]
    straight = fit(spec_of(slug), parts, plan=settings(slug, None), plugins=plugins, seed=5)
    with monkeypatch.context() as patch:
        stop_after(patch, at)
        with pytest.raises(Interrupted, match="resume"):
            fit(spec_of(slug), parts, plan=settings(slug, tmp_path / "state"), plugins=plugins, seed=5)
    resumed = fit(spec_of(slug), parts, plan=settings(slug, tmp_path / "state"), plugins=plugins, seed=5)
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert straight.record.history == resumed.record.history


def test_an_interrupt_within_a_step_lets_it_end_and_a_second_one_leaves_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = split(random_log(events=700), "holdout")
    ordinary = lambda folder: {**settings("bpr-mf", folder), "step": None}
    straight = fit(spec_of("bpr-mf"), parts, plan=ordinary(None), seed=5)
    real = steps.central
    for number, signals in ((4, 1), (7, 2)):
        seen = {"n": 0}

        def central(*args: Any, number: int = number, signals: int = signals, seen: dict[str, int] = seen) -> Any:
            found = real(*args)  # the weights have moved, the place has not
            seen["n"] += 1
            if seen["n"] == number:
                for _ in range(signals):
                    signal.raise_signal(signal.SIGINT)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(steps, "central", central)
            with pytest.raises(Interrupted, match="at once" if signals == 2 else "Stopped in"):
                fit(spec_of("bpr-mf"), parts, plan=ordinary(tmp_path / "state"), seed=5)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = fit(spec_of("bpr-mf"), parts, plan=ordinary(tmp_path / "state"), seed=5)
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert straight.record.history == resumed.record.history


def test_a_state_of_another_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = split(random_log(events=700), "holdout")
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Interrupted):
            fit(spec_of("bpr-mf"), parts, plan={**settings("bpr-mf", tmp_path), "step": None}, seed=5)
    with pytest.raises(ModelFileError, match="another run"):
        fit(spec_of("bpr-mf"), parts, plan={**settings("bpr-mf", tmp_path), "step": None}, seed=6)


def test_a_damaged_state_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelFileError, match="delete it"):
        fit(spec_of("bpr-mf"), random_log(), plan=settings("bpr-mf", tmp_path), seed=5)
