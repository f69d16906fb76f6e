"""A PostgreSQL server of the test's own, from whatever server binaries this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote


def binaries() -> Path | None:
    """The folder of `initdb` and `postgres`: on the path, or where Debian puts it."""
    found = shutil.which("initdb")
    if found and shutil.which("postgres"):
        return Path(found).resolve().parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    return next((p for p in reversed(places) if (p / "initdb").exists() and (p / "postgres").exists()), None)


class Postgres:
    """One server in a folder of its own, reached through a socket in it; nothing listens on the network."""

    def __init__(self, bin: Path, folder: Path) -> None:
        self.bin, self.folder = bin, folder
        self.process: subprocess.Popen[bytes] | None = None
        self.user = None
        if os.geteuid() == 0:  # the server refuses to run as root
            self.user = next(u for u in ("postgres", "nobody") if _exists(u))
            shutil.chown(folder, self.user)
        self._run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "oakum", "-E", "UTF8", "--locale=C", "-N")
        self._made = 0

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run([self.bin / name, *arguments], check=True, capture_output=True, user=self.user, cwd=self.folder)

    def start(self) -> None:
        """Start and wait until it answers."""
        log = (self.folder / "log").open("ab")
        command = [
            self.bin / "postgres",
            "-D",
            str(self.folder / "data"),
            "-k",
            str(self.folder),
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",  # processes are killed here, not machines: what the kernel holds is safe
        ]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, user=self.user, cwd=self.folder)
        log.close()
        import psycopg

        end = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """End at once, as a crash would (SIGQUIT: no checkpoint, connections dropped)."""
        if self.process is not None:
            self.process.send_signal(3)
            self.process.wait(30)
            self.process = None

    def url(self, database: str) -> str:
        """The address of a database."""
        return f"postgresql://oakum@/{database}?host={quote(str(self.folder), safe='')}"

    def fresh(self) -> str:
        """The address of a new, empty database."""
        import psycopg

        self._made += 1
        name = f"t{self._made}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)


def _exists(user: str) -> bool:
    import pwd

    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


@contextmanager
def postgres() -> Iterator[Postgres | None]:
    """A running server, None where no binaries are found."""
    bin = binaries()
    if bin is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="oakum-pg-"))
    server = Postgres(bin, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
