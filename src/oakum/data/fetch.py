"""Known public data sets: fetched from their owners, checked against the published digest, unpacked safely."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from oakum.errors import DataError, ParameterError, nearest

LARGEST = 4 << 30  # bytes unpacked
GROUPLENS = "https://files.grouplens.org/datasets/movielens"


@dataclass(frozen=True, slots=True)
class Known:
    """Where a data set lives. digest_url: a text whose words hold its MD5, as its owners publish it."""

    url: str
    digest_url: str
    note: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def _movielens(name: str, note: str) -> Known:
    return Known(f"{GROUPLENS}/{name}.zip", f"{GROUPLENS}/{name}.zip.md5", f"{note} Research use; see its README.")


KNOWN = {
    "movielens-100k": _movielens("ml-100k", "100,000 ratings, 943 people, 1998."),
    "movielens-1m": _movielens("ml-1m", "1,000,209 ratings, 6,040 people, 2003."),
    "movielens-10m": _movielens("ml-10m", "10 million ratings, 72,000 people, 2009."),
    "movielens-20m": _movielens("ml-20m", "20 million ratings, 138,000 people, 2015."),
    "movielens-25m": _movielens("ml-25m", "25 million ratings, 162,000 people, 2019."),
    "movielens-32m": _movielens("ml-32m", "32 million ratings, 200,948 people, 2024."),
    "movielens-latest-small": _movielens("ml-latest-small", "100,836 ratings, 610 people, 2018."),
}


def fetch(name: str, folder: str | Path, *, known: dict[str, Known] | None = None, timeout: float = 30.0) -> Path:
    """Download, check, unpack to `folder`/name. Nothing appears there unless all of it is right.

    Raises `DataError` in one sentence where there is no network, the digest differs or the archive is unsafe.
    """
    known = KNOWN if known is None else known
    if name not in known:
        raise ParameterError(f"There is no known data set '{name}'.{nearest(name, known)}")
    what, target = known[name], Path(folder) / name
    if target.exists():
        raise DataError(f"{target} exists already; delete it to fetch it again.")
    Path(folder).mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder))
    try:
        archive = aside / "archive.zip"
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with urllib.request.urlopen(what.digest_url, timeout=timeout) as reply:
                words = reply.read(4096).decode("utf-8", "replace").lower().split()
            with urllib.request.urlopen(what.url, timeout=timeout) as reply, archive.open("wb") as out:
                while chunk := reply.read(1 << 20):
                    digest.update(chunk)
                    out.write(chunk)
        except (urllib.error.URLError, TimeoutError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise DataError(
                f"{name} could not be fetched ({reason}); check the network, or put the files in {target} yourself."
            ) from None
        if digest.hexdigest() not in words:
            raise DataError(
                f"{name} arrived with MD5 {digest.hexdigest()}, which is not the published one; it was thrown away."
            )
        _unpack(archive, aside / "files", name)
        inner = list((aside / "files").iterdir())
        os.replace(inner[0] if len(inner) == 1 and inner[0].is_dir() else aside / "files", target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _unpack(archive: Path, into: Path, name: str) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            members = file.infolist()
            for m in members:
                path = PurePosixPath(m.filename)
                if path.is_absolute() or ".." in path.parts or (m.external_attr >> 16) & 0o170000 == 0o120000:
                    raise DataError(f"The archive of {name} holds an unsafe path ({m.filename!r}); it was thrown away.")
            if sum(m.file_size for m in members) > LARGEST:
                raise DataError(
                    f"The archive of {name} would unpack to more than {LARGEST >> 30} GiB; it was thrown away."
                )
            into.mkdir()
            file.extractall(into)
    except zipfile.BadZipFile:
        raise DataError(f"What arrived for {name} is no zip archive; it was thrown away.") from None
