"""Who looks at a page: a signed cookie that names a key, and tokens that only our own forms carry."""

from __future__ import annotations

import hmac
import secrets
import time
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from oakum.serve.problems import Problem
from oakum.serve.service import Service
from oakum.state.keys import ROLES, Key, check

SESSION, VISIT = "oakum_session", "oakum_visit"
LASTS = 12 * 3600  # seconds


class Session:
    """What the cookies of a request say. key: the key that signed in, None for nobody (and where keys are not needed).

    The cookie holds the key's id, a time and a signature over both and the key's digest: it ends with the time, with the
    key, and it cannot be made without the state's own secret. The key itself is not in it.
    """

    def __init__(self, service: Service, request: Request) -> None:
        self.service = service
        self.secure = request.url.scheme == "https"
        self.visit = request.cookies.get(VISIT, "")
        self.fresh = not (len(self.visit) == 32 and self.visit.isalnum())
        if self.fresh:
            self.visit = secrets.token_hex(16)
        self.key = self._key(request.cookies.get(SESSION, "")) if service.keys.needed else None

    def role(self) -> str:
        """What may be seen: everything where no keys are needed, nothing ("") before signing in."""
        if not self.service.keys.needed:
            return ROLES[-1]
        return self.key.role if self.key is not None else ""

    def may(self, role: str) -> bool:
        """Whether a role is granted."""
        own = self.role()
        return bool(own) and ROLES.index(own) >= ROLES.index(role)

    def token(self) -> str:
        """What a form must carry: bound to this browser and to who is signed in."""
        return self._sign("form", self.visit, self.key.id if self.key is not None else "")

    def check(self, given: str, origin: str | None, host: str) -> None:
        """Refuse a form that is not ours. Raises `Problem`."""
        foreign = origin is not None and origin.partition("://")[2] != host
        if foreign or not hmac.compare_digest(given.encode(), self.token().encode()):
            raise Problem("not-allowed", "The form is too old or not from this page; open the page again and repeat.")

    def sign_in(self, given: str) -> None:
        """Take a key. Raises `Problem` where it is not known."""
        self.service.keys.poll()
        self.key = check(self.service.keys.known, given.strip())
        if self.key is None:
            raise Problem("no-key", "The key is not known. `oakum keys --add NAME` makes one.")
        self.visit, self.fresh = secrets.token_hex(16), True

    def remember(self, response: Response) -> None:
        """Put the sign-in into the browser."""
        assert self.key is not None
        ends = str(int(time.time()) + LASTS)
        value = f"{self.key.id}.{ends}.{self._sign('session', self.key.id, ends, self.key.hash)}"
        response.set_cookie(SESSION, value, max_age=LASTS, httponly=True, samesite="strict", secure=self.secure)

    def finish(self, response: Response) -> None:
        """Give the browser its number where it has none."""
        if self.fresh:
            response.set_cookie(VISIT, self.visit, httponly=True, samesite="strict", secure=self.secure)

    def _key(self, cookie: str) -> Key | None:
        id, _, rest = cookie.partition(".")
        ends, _, signature = rest.partition(".")
        key = self.service.keys.known.get(id)
        wanted = self._sign("session", id, ends, key.hash if key is not None else "")
        same = hmac.compare_digest(signature.encode(), wanted.encode())
        if key is None or not same or key.revoked is not None or int(ends) < time.time():
            return None
        return key

    def _sign(self, *parts: str) -> str:
        secret = hmac.new(self.service.state.salt.encode(), b"oakum pages", sha256).digest()
        return hmac.new(secret, "\x1f".join(parts).encode(), sha256).hexdigest()
