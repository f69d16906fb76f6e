"""Services for tests: one in a thread of this process, one in a process of its own that can be killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oakum.client import Client
from oakum.serve.run import address_of, bind, server_of
from oakum.serve.service import Service
from oakum.serve.settings import Settings
from oakum.state import open_state

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def living(model: Path, state: str | Path, **settings: Any) -> Iterator[tuple[str, Service]]:
    """A service in a thread; its address and its inside."""
    chosen = Settings(**{"port": 0, "poll": 0.05, "workers": 2, **settings})
    service = Service(model, open_state(state), chosen)
    listener = bind(chosen)
    started = threading.Event()
    server = server_of(service, started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert started.wait(20)
        yield address_of(listener), service
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


class Process:
    """`oakum serve` as a process. It keeps its port over restarts, as a real one does."""

    def __init__(self, model: Path, state: str | Path, *options: str, before: Any = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [
            sys.executable,
            "-m",
            "oakum",
            "serve",
            str(model),
            "--state",
            str(state),
            "--port",
            str(self.port),
        ]
        self.command += [*options, "--json"]
        self.before = before
        self.process: subprocess.Popen[str] | None = None
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = ""

    def start(self) -> Process:
        """Start and wait until it is ready."""
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, preexec_fn=self.before
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"it did not start: {self.process.communicate()[1][-2000:]}")
        assert json.loads(line)["url"] == self.url
        return self

    def kill(self) -> None:
        """End it without a word of warning."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def stop(self) -> int:
        """Ask it to end, as an init system does; the exit status. Its log is kept."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.log += self.process.communicate(timeout=30)[1]
        return self.process.returncode

    def client(self, **options: Any) -> Client:
        """A client of it."""
        return Client(self.url, **options)


def wait_for(condition: Any, seconds: float = 10.0) -> None:
    """Until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def raw(url: str, *parts: bytes, pause: float = 0.0, wait: float = 5.0) -> bytes:
    """What comes back for bytes sent piece by piece; "" where the other side hangs up without an answer."""
    host, port = url.removeprefix("http://").split(":")
    out = b""
    with socket.create_connection((host, int(port)), timeout=wait) as line:
        try:
            for part in parts:
                line.sendall(part)
                time.sleep(pause)
            while piece := line.recv(65536):
                out += piece
                head, _, body = out.partition(b"\r\n\r\n")
                told = [int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length")]
                if told and len(body) >= told[0]:
                    break
        except (ConnectionError, TimeoutError):
            pass
    return out
