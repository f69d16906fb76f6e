"""New events become part of the model: screened, joined to what it was trained on, published in one step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oakum import store
from oakum.data import Dataset
from oakum.defences.detect.coordination import Coordination
from oakum.engine.closed import Predicts
from oakum.engine.fit import fit_again, spec_is_learned
from oakum.errors import ParameterError
from oakum.needs import check
from oakum.serve.models import Shelf
from oakum.state import State
from oakum.state.feedback import joined, screen
from oakum.state.schema import ACCEPTED


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """What a refresh did. batch: the screening, None where nothing was pending; events: accepted ones in the new model;
    left_out: accepted ones of users or items that the model has no place for; refitted: trained afresh, with new users
    and items; folder: the new model, None where nothing would change."""

    batch: dict[str, Any] | None
    events: int
    left_out: int
    refitted: bool
    folder: Path | None


def refresh(
    model: str | Path,
    state: State,
    *,
    log: Dataset | None = None,
    refit: bool | None = None,
    detector: Coordination | None = None,
    seed: int = 0,
) -> Refreshed:
    """Screen the pending events of a state, make the model anew with all accepted ones, and let it answer.

    It starts from the model as it was first saved or last released (or from `log`), so a batch that was taken back leaves
    no trace. Events of deleted users are left out, whether they came from the log or from the state. refit: train afresh over the users
    and items known by now; otherwise weights are kept and the histories renewed. By default systems computed in closed
    form are refitted and learned ones are not.
    """
    shelf = Shelf(model)
    first = store.load(shelf.base())
    if log is None and isinstance(first.model, Predicts):
        raise ParameterError(
            f"'{first.spec.slug}' learns from rows of both kinds, and a saved model keeps the positive ones alone; give --log."
        )
    base = _without_forgotten(log if log is not None else first.log(), state)
    batch = screen(state, base, detector=detector, seed=seed)
    accepted = [e for e in state.events(ACCEPTED)]
    again = not spec_is_learned(first.spec) if refit is None else refit
    data, left_out = joined(base, accepted, extend=again)
    check(first.spec, data)
    if again:
        made = fit_again(first, data)
    else:
        made = first.refresh(data)
    now = shelf.current()
    same = now != shelf.folder and _data_of(now) == made.record.data and not refit
    folder = None if same else shelf.publish(made)
    return Refreshed(batch=batch, events=len(accepted) - left_out, left_out=left_out, refitted=again, folder=folder)


def _without_forgotten(data: Dataset, state: State) -> Dataset:
    if not state.forgotten:
        return data
    gone = np.array([state.is_forgotten(str(u)) for u in data.users.ids.to_list()], bool)
    kept = data.interactions.take(~gone[data.interactions.users])
    return data.with_interactions(kept)


def _data_of(folder: Path) -> str:
    import json

    found: str = json.loads((folder / "schema.json").read_text(encoding="utf-8")).get("data", "")
    return found
