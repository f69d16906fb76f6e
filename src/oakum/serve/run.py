"""Binding, signals and the end: a service as a process."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from oakum.errors import ParameterError
from oakum.serve.app import build_app
from oakum.serve.protocol import patient
from oakum.serve.service import Service
from oakum.serve.settings import Settings
from oakum.serve.web import pages
from oakum.state import open_state


def run(model: str | Path, state: str | Path, settings: Settings, ready: Callable[[str, str], None] | None) -> None:
    """See `oakum.serve.serve`."""
    opened = open_state(state)
    try:
        service = Service(model, opened, settings)
        listener = bind(settings)
    except BaseException:
        opened.close()
        raise
    told = lambda: ready(address_of(listener), service.now[0].id) if ready is not None else None
    server_of(service, told).run(sockets=[listener])


def server_of(service: Service, told: Callable[[], None]) -> uvicorn.Server:
    """The HTTP server of a service; `told` is called once it takes connections. It stops the service when it stops."""
    settings = service.settings
    config = uvicorn.Config(
        build_app(service, pages=pages(service)),
        http=patient(settings.seconds, settings.connections),
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=int(max(5, settings.seconds)),
        timeout_graceful_shutdown=int(settings.drain),
        backlog=2048,
    )
    server = _Server(config)
    server.told = told
    return server


class _Server(uvicorn.Server):
    told: Callable[[], None]

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Being asked to stop is not a failure: the signal is not raised again once everything is finished."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.told()


def bind(settings: Settings) -> socket.socket:
    """The listening socket, taken before anything is told to anybody; port 0 takes a free one."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise ParameterError(f"{where} cannot be listened at ({error.strerror or error}); choose another.") from None
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL under which a listening socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
