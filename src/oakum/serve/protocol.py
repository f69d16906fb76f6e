"""HTTP connections that do not wait for ever: headers have a deadline, and there is a most number of connections."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS = 1 << 16  # bytes without an end of headers in them


def patient(seconds: float, connections: int) -> type[HttpToolsProtocol]:
    """A protocol class with these limits. The body has its own deadline, in `Guard`."""

    class Patient(HttpToolsProtocol):
        _late: asyncio.TimerHandle | None = None
        _inside = False  # between the headers and the end of a request
        _unread = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > connections:
                transport.abort()
                return
            self._wait()

        def data_received(self, data: bytes) -> None:
            if not self._inside:
                self._wait()
                self._unread += len(data)
            super().data_received(data)
            if self._unread > HEADERS:
                self.transport.abort()

        def on_headers_complete(self) -> None:
            self._inside, self._unread = True, 0
            self._calm()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._inside = False
            super().on_message_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._calm()
            super().connection_lost(exc)

        def _wait(self) -> None:
            if self._late is None:
                self._late = self.loop.call_later(seconds, self.transport.close)

        def _calm(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Patient
