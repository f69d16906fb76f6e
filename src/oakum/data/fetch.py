"""`fetch`: well-known public logs, downloaded from their owners, checked and unpacked safely."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import shutil
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from oakum.errors import DataError, ParameterError, nearest

_BLOCK = 1 << 20
_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Known:
    """A public data set: where its owner keeps it, how to know it is whole, and what one may do with it.

    digest: "md5:..." or "sha256:..." as the owner publishes it; md5_url: where the owner publishes it
    instead; neither means that the owner publishes none. size: rough bytes of the download, for people;
    limit: bytes never exceeded.

    """

    url: str
    licence: str
    size: int
    digest: str | None = None
    md5_url: str | None = None
    limit: int = 8 << 30

    @property
    def note(self) -> str:
        """Size and terms, for a list."""
        return f"{self.size / 1e6:.0f} MB. {self.licence}."

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "note": self.note}


_MOVIELENS = "https://files.grouplens.org/datasets/movielens/"
_GROUPLENS = (
    "GroupLens terms (README of the set): research use, acknowledgement, no redistribution and no "
    "commercial use without "
    "permission; cite Harper and Konstan (2015)"
)


def _movielens(name: str, size: int, md5: str | None = None, *, listed: bool = True) -> Known:
    url = f"{_MOVIELENS}{name}.zip"
    return Known(url, _GROUPLENS, size, f"md5:{md5}" if md5 else None, f"{url}.md5" if listed and not md5 else None)


KNOWN: dict[str, Known] = {
    "movielens-100k": _movielens("ml-100k", 4_924_029, "0e33842e24a9c977be4e0107933c0723"),
    "movielens-1m": _movielens("ml-1m", 5_917_549, "c4d9eecfca2ab87c1945afe126590906"),
    "movielens-10m": _movielens("ml-10m", 66_000_000, "ce571fd55effeba0271552578f2648bd"),
    "movielens-20m": _movielens("ml-20m", 199_000_000, "cd245b17a1ae2cc31bb14903e1204af3"),
    "movielens-25m": _movielens("ml-25m", 262_000_000, "6b51fb2759a8657d3bfcbfc42b592ada"),
    "movielens-32m": _movielens("ml-32m", 239_000_000, "d472be332d4daa821edc399621853b57"),
    "movielens-latest-small": _movielens("ml-latest-small", 1_000_000, listed=False),
    "lastfm-hetrec": Known(
        "https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-2k.zip",
        "HetRec 2011 (Cantador, Brusilovsky and Kuflik): non-commercial use, cite the workshop and Last.fm",
        2_600_000,
    ),
    "gowalla-checkins": Known(
        "https://snap.stanford.edu/data/loc-gowalla_totalCheckins.txt.gz",
        "Stanford SNAP: research use, cite Cho, Myers and Leskovec (2011)",
        105_000_000,
    ),
}


def fetch(
    name: str,
    target: str | Path,
    *,
    known: dict[str, Known] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Download a public set into the folder `target/name` and return that folder; `read` takes it from there.

    name: a key of `KNOWN`. The file goes to a temporary place, its size stays under the limit, its checksum
    is compared where its owner publishes one, archives are unpacked without leaving the folder, and only then
    the folder gets its name. A folder that exists already is returned as it is. progress: called with the
    bytes so far.

    Raises `DataError` in one sentence where there is no network, the checksum differs or the archive is
    hostile.

    """
    known = KNOWN if known is None else known
    if name not in known:
        raise ParameterError(f"'{name}' is no known public data set.{nearest(name, known)}")
    source, folder = known[name], Path(target).expanduser() / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder.parent))
    except OSError as error:
        raise DataError(f"{folder} could not be written ({error.strerror or error}).") from None
    try:
        packed = aside / PurePosixPath(urllib.request.url2pathname(source.url.rsplit("/", 1)[-1])).name
        download(source.url, packed, limit=source.limit, progress=progress)
        _verify(name, source, packed)
        content = aside / "content"
        content.mkdir()
        _unpack(packed, content, source.limit)
        inner = list(content.iterdir())
        os.replace(inner[0] if len(inner) == 1 and inner[0].is_dir() else content, folder)
    except OSError as error:
        raise DataError(f"{folder} could not be written ({error.strerror or error}).") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def download(url: str, path: Path, *, limit: int, progress: Callable[[int], None] | None = None) -> None:
    """The bytes behind a URL, at most `limit` of them; only http and https."""
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{url} is no http or https address.")
    done = 0
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, path.open("wb") as out:
            declared = answer.headers.get("Content-Length")
            while block := answer.read(_BLOCK):
                done += len(block)
                if done > limit:
                    raise DataError(f"{url} sends more than {limit:,} bytes, which is more than this set has; stopped.")
                out.write(block)
                if progress is not None:
                    progress(done)
            if declared is not None and declared.isdigit() and int(declared) != done:
                raise DataError(f"{url} broke off after {done:,} of {int(declared):,} bytes; try again.")
    except urllib.error.HTTPError as error:
        raise DataError(
            f"{url} answers {error.code} ({error.reason}); download it by hand and read the folder."
        ) from None
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
        ValueError,
    ) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"{url} cannot be reached ({reason}); download it elsewhere and give `read` its folder."
        ) from None


def _verify(name: str, source: Known, path: Path) -> None:
    digest = source.digest
    if digest is None and source.md5_url is not None:
        listed = path.with_name("published.md5")
        download(source.md5_url, listed, limit=_BLOCK)
        words = listed.read_text(encoding="ascii", errors="replace").split()
        found = [w.lower() for w in words if len(w) == 32 and set(w.lower()) <= set("0123456789abcdef")]
        if not found:
            raise DataError(f"{source.md5_url} holds no MD5 checksum, so {name} cannot be checked.")
        digest = f"md5:{found[0]}"
    if digest is None:
        return
    kind, _, wanted = digest.partition(":")
    sha = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            sha.update(block)
    if sha.hexdigest() != wanted.lower():
        raise DataError(
            f"The download of {name} has {kind} {sha.hexdigest()} where {wanted} is published: it is "
            "damaged or was "
            "changed, and was thrown away. Try again, or ask its owner."
        )


def _unpack(packed: Path, folder: Path, limit: int) -> None:
    try:
        if zipfile.is_zipfile(packed):
            _unzip(packed, folder, limit)
        elif packed.suffix == ".gz":
            with gzip.open(packed, "rb") as file:
                _copy(cast(IO[bytes], file), folder / packed.stem, limit)
        else:
            shutil.move(packed, folder / packed.name)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        gzip.BadGzipFile,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise DataError(f"The archive {packed.name} is damaged ({error}).") from None


def _unzip(packed: Path, folder: Path, limit: int) -> None:
    """Each ordinary member, inside `folder` and under `limit` bytes in all, or nothing."""
    root, left = folder.resolve(), limit
    with zipfile.ZipFile(packed) as archive:
        for member in archive.infolist():
            name = member.filename.replace("\\", "/")
            goal = (root / name).resolve()
            if (
                name.startswith("/")
                or ".." in PurePosixPath(name).parts
                or ":" in name
                or not goal.is_relative_to(root)
            ):
                raise DataError(
                    f"The archive {packed.name} holds '{member.filename}', which would leave its folder; refused."
                )
            if stat.S_ISLNK(member.external_attr >> 16):
                raise DataError(f"The archive {packed.name} holds the link '{member.filename}'; refused.")
            if member.is_dir():
                goal.mkdir(parents=True, exist_ok=True)
                continue
            goal.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as file:
                left -= _copy(file, goal, left)


def _copy(file: IO[bytes], goal: Path, limit: int) -> int:
    """Unpack one stream; what an archive says about its size is not believed."""
    done = 0
    with goal.open("wb") as out:
        while block := file.read(_BLOCK):
            done += len(block)
            if done > limit:
                raise DataError(f"The archive unpacks to more than {limit:,} bytes; refused.")
            out.write(block)
    return done
