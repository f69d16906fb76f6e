"""Statements of deletion: what was done when a person left, kept without the person."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from oakum.forgetting.forget import digest_of
from oakum.state.base import State, now_text


def put_statement(state: State, value: Mapping[str, Any]) -> str:
    """Store a statement ({"people": digests, "statement": text, …}); its id."""
    row = (secrets.token_hex(8), now_text(), json.dumps(dict(value), ensure_ascii=False, allow_nan=False))

    def change(cursor: Any) -> None:
        cursor.execute("INSERT INTO statements (id, made, value) VALUES (?, ?, ?)", row)

    state.write(change)
    return row[0]


def statements(state: State, user_id: str | None = None) -> list[dict[str, Any]]:
    """All statements, or those about one person, newest first: id, made, and what was stored."""
    rows = state.read("SELECT id, made, value FROM statements ORDER BY made DESC, id")
    found = [{"id": i, "made": m, **json.loads(v)} for i, m, v in rows]
    return found if user_id is None else [s for s in found if digest_of(user_id) in s.get("people", ())]
