"""API keys: drawn at random, shown once, kept as digests, compared in constant time."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from oakum.errors import ParameterError, nearest
from oakum.state.base import State, now_text

ROLES = ("read", "write", "admin")  # each may do what those before it may
_FORM = re.compile(r"oakum_([0-9a-f]{8})_([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret."""

    id: str
    name: str
    role: str
    hash: str
    made: str
    revoked: str | None

    def may(self, role: str) -> bool:
        """Whether this key grants a role."""
        return ROLES.index(self.role) >= ROLES.index(role)


def new_key(state: State, name: str, role: str = "write") -> str:
    """Make a key and return it; only its digest is kept.

    The secret has 256 random bits, so a plain SHA-256 cannot be searched; slow hashes are for words people choose.
    """
    if role not in ROLES:
        raise ParameterError(f"There is no role '{role}'.{nearest(role, ROLES)}")
    if not name or len(name) > 100 or not name.isprintable():
        raise ParameterError("The name of a key has 1 to 100 printable characters.")
    if any(k.name == name and k.revoked is None for k in keys(state)):
        raise ParameterError(f"There is a key called '{name}' already; revoke it first or choose another name.")
    id, secret = secrets.token_hex(4), secrets.token_hex(32)
    row = (id, name, role, _digest(secret), now_text())

    def change(cursor: Any) -> None:
        cursor.execute("INSERT INTO keys (id, name, role, hash, made) VALUES (?, ?, ?, ?, ?)", row)

    state.write(change)
    return f"oakum_{id}_{secret}"


def revoke(state: State, name: str) -> None:
    """Make a key worthless."""
    if not any(k.name == name and k.revoked is None for k in keys(state)):
        known = ", ".join(k.name for k in keys(state) if k.revoked is None)
        raise ParameterError(f"There is no key '{name}' in use. Known: {known or 'none'}.")
    made = now_text()

    def change(cursor: Any) -> None:
        cursor.execute("UPDATE keys SET revoked = ? WHERE name = ? AND revoked IS NULL", (made, name))

    state.write(change)


def keys(state: State) -> list[Key]:
    """All keys, oldest first."""
    rows = state.read("SELECT id, name, role, hash, made, revoked FROM keys ORDER BY made, id")
    return [Key(*row) for row in rows]


def check(known: dict[str, Key], given: str) -> Key | None:
    """The key that was given, None where it is unknown or revoked. The time taken does not depend on the secret."""
    form = _FORM.fullmatch(given)
    if form is None:
        return None
    key = known.get(form[1])
    same = hmac.compare_digest(_digest(form[2]), key.hash if key is not None else "0" * 64)
    return key if same and key is not None and key.revoked is None else None


def _digest(secret: str) -> str:
    return sha256(secret.encode("ascii")).hexdigest()
