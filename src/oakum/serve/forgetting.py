"""People leave a served model and its state together, with one statement of both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from oakum import store
from oakum.data import Dataset
from oakum.errors import DataError
from oakum.forgetting import Forgotten, digest_of, forget
from oakum.serve.models import Shelf
from oakum.serve.refresh import refresh
from oakum.state import State
from oakum.state.experiments import answers_of
from oakum.state.statements import put_statement


def leave(
    model: str | Path,
    users: Sequence[str],
    state: State | None = None,
    *,
    log: Dataset | None = None,
    test: bool = True,
    seed: int = 0,
) -> Forgotten:
    """Take people out of a model folder and, where given, out of the state of its service; the statement.

    The model is made anew without them, every older version is deleted, the state forgets them as `DELETE /v1/users/{id}`
    does, its accepted events of the others are folded in again, and the statement is stored there. Whom the model never
    learned may leave too where the state knows something of them. Raises `DataError` for somebody whom neither knows.
    """
    shelf = Shelf(model)
    # Accepted events of a state are folded in again below, so the model without them is what people are taken out of.
    start = store.load(shelf.current() if state is None else shelf.base())
    names = (log.users if log is not None else start.users).encode(list(users))
    learned = [u for u, code in zip(users, names, strict=True) if code >= 0]
    for user, code in zip(users, names, strict=True):
        if code < 0 and (state is None or not _stored(state, shelf, user)):
            raise DataError(f"The model knows no user {user!r}; nothing was changed.")
    if learned:
        made, said = forget(start, learned, log=log, test=test, seed=seed)
    else:
        made = start
        said = Forgotten(
            date=datetime.now(UTC).date().isoformat(), system=start.spec.slug, people=(), events=0,
            method="the first model had not learned from them; later versions, which may have, are deleted",
            before=start.record.data, after=start.record.data, test=None,
        )  # fmt: skip
    removed = None
    if state is not None:
        removed = sum(state.forget(u)["events"] for u in dict.fromkeys(users))
    said = replace(said, people=tuple(dict.fromkeys(digest_of(u) for u in users)), stored=removed)
    shelf.replace(made)
    if state is not None:
        refresh(model, state, seed=seed)
        record: dict[str, Any] = json.loads(json.dumps(said.to_json()), parse_constant=lambda _: None)
        put_statement(state, {"people": list(said.people), "statement": said.statement, "record": record})
    return said


def _stored(state: State, shelf: Shelf, user: str) -> bool:
    """Whether there is anything of a person to delete: events, a part in an experiment, a deletion to be completed, or a
    later model's memory."""
    if state.of_user(user, limit=1) or answers_of(state, user) or state.is_forgotten(user):
        return True
    return bool(store.load(shelf.current()).users.encode([user])[0] >= 0)
