"""Who may ask, and how often."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from oakum.serve.problems import Problem
from oakum.state import State
from oakum.state.keys import Key, check, keys

CALLERS = 10_000


class Keys:
    """The keys of a state, held in memory and read anew by `poll`."""

    def __init__(self, state: State, *, needed: bool) -> None:
        self.state, self.needed = state, needed
        self.known: dict[str, Key] = {}
        self.poll()

    def poll(self) -> None:
        """Take over new and revoked keys."""
        if self.needed:
            self.known = {k.id: k for k in keys(self.state)}

    def allow(self, header: str | None, role: str) -> Key | None:
        """The key of an Authorization header. Raises `Problem` where none is given, it is wrong, or it grants less."""
        if not self.needed:
            return None
        given = (header or "").strip()
        scheme, _, value = given.partition(" ")
        key = check(self.known, value.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            found = "The key is not known." if given else "No key was given."
            detail = f"{found} Send 'Authorization: Bearer KEY'; `oakum keys --add NAME` makes one."
            raise Problem("no-key", detail, {"WWW-Authenticate": 'Bearer realm="oakum"'})
        if not key.may(role):
            raise Problem("not-allowed", f"This needs the role '{role}'; the key '{key.name}' has '{key.role}'.")
        return key


class Rate:
    """A bucket of tokens a caller: `most` a second, twice that at once."""

    def __init__(self, most: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.clock = most, clock
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = Lock()

    def take(self, caller: str) -> None:
        """Count a request. Raises `Problem` where it is one too many."""
        if self.most is None:
            return
        room = max(1.0, 2 * self.most)
        with self._lock:
            now = self.clock()
            left, then = self._buckets.get(caller, (room, now))
            left = min(room, left + (now - then) * self.most)
            if left < 1:
                wait = (1 - left) / self.most
                detail = f"More than {self.most:g} requests a second; wait {wait:.2f} s."
                raise Problem("too-many", detail, {"Retry-After": str(max(1, round(wait)))})
            self._buckets[caller] = (left - 1, now)
            if len(self._buckets) > CALLERS:  # full buckets carry no memory worth keeping
                cut = now - room / self.most
                self._buckets = {c: b for c, b in self._buckets.items() if b[1] > cut}
