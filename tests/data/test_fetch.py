"""Downloads: from a server on this machine only."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from oakum.data.fetch import KNOWN, Known, fetch
from oakum.data.read import read
from oakum.errors import DataError, ParameterError


def archive(**members: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            file.writestr(name, text)
    return out.getvalue()


GOOD = archive(
    **{"ml/ratings.dat": "1::2::3::978300760\n2::2::4::978300761\n2::3::4::978300762\n", "ml/README": "terms"}
)


class Shelf(ThreadingHTTPServer):
    """Serves bytes by path; a length in `lies` is declared instead of the true one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Clerk)
        self.files: dict[str, bytes] = {}
        self.lies: dict[str, int] = {}

    def put(self, name: str, content: bytes) -> str:
        self.files[f"/{name}"] = content
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Clerk(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Shelf)
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(self.server.lies.get(self.path, len(content))))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    server = Shelf()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_a_set_is_fetched_checked_unpacked_and_readable(shelf: Shelf, tmp_path: Path) -> None:
    seen: list[int] = []
    url = shelf.put("ml.zip", GOOD)
    shelf.put("ml.zip.md5", f"MD5 (ml.zip) = {md5(GOOD)}\n".encode())
    source = Known(url, "none", len(GOOD), md5_url=f"{url}.md5")
    folder = fetch("ml", tmp_path, known={"ml": source}, progress=seen.append)
    assert folder == tmp_path / "ml"
    assert len(read(folder)) == 3
    assert seen[-1] == len(GOOD)
    assert [p.name for p in tmp_path.iterdir()] == ["ml"]
    shelf.files.clear()
    assert fetch("ml", tmp_path, known={"ml": source}) == folder


def test_a_sha256_is_checked_too(shelf: Shelf, tmp_path: Path) -> None:
    source = Known(shelf.put("ml.zip", GOOD), "none", 1, digest=f"sha256:{hashlib.sha256(GOOD).hexdigest()}")
    assert (fetch("ml", tmp_path, known={"ml": source}) / "ratings.dat").exists()


def refused(shelf: Shelf, tmp_path: Path, source: Known, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        fetch("ml", tmp_path / "in", known={"ml": source})
    assert list((tmp_path / "in").iterdir()) == []
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_a_wrong_checksum_is_thrown_away(shelf: Shelf, tmp_path: Path) -> None:
    refused(
        shelf,
        tmp_path,
        Known(shelf.put("ml.zip", GOOD), "none", 1, digest=f"md5:{'0' * 32}"),
        "damaged or was changed",
    )


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"])
def test_an_archive_cannot_leave_its_folder(shelf: Shelf, tmp_path: Path, name: str) -> None:
    packed = archive(**{"fine.csv": "1,2", name: "evil"})
    refused(shelf, tmp_path, Known(shelf.put("ml.zip", packed), "none", 1), "would leave its folder")


def test_links_in_an_archive_are_refused(shelf: Shelf, tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    refused(shelf, tmp_path, Known(shelf.put("ml.zip", out.getvalue()), "none", 1), "the link 'link'")


def test_a_zip_bomb_stops_at_the_limit(shelf: Shelf, tmp_path: Path) -> None:
    packed = archive(a="0" * 3_000_000, b="0" * 3_000_000)
    refused(
        shelf,
        tmp_path,
        Known(shelf.put("ml.zip", packed), "none", 1, limit=4_000_000),
        "unpacks to more than",
    )


def test_a_download_over_its_limit_stops(shelf: Shelf, tmp_path: Path) -> None:
    refused(
        shelf,
        tmp_path,
        Known(shelf.put("ml.zip", b"x" * 5000), "none", 1, limit=1000),
        "more than 1,000 bytes",
    )


def test_a_download_that_breaks_off_is_noticed(shelf: Shelf, tmp_path: Path) -> None:
    shelf.lies["/ml.zip"] = len(GOOD) + 10
    refused(shelf, tmp_path, Known(shelf.put("ml.zip", GOOD), "none", 1), "broke off after")


def test_a_damaged_archive_is_a_sentence(shelf: Shelf, tmp_path: Path) -> None:
    broken = bytearray(GOOD)
    broken[40] ^= 0xFF
    refused(shelf, tmp_path, Known(shelf.put("ml.zip", bytes(broken)), "none", 1), "damaged")


def test_a_missing_file_and_a_missing_checksum(shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("ml.zip", GOOD)
    refused(shelf, tmp_path, Known(url + "x", "none", 1), "answers 404")
    shelf.put("bad.md5", b"<html>not here</html>")
    refused(shelf, tmp_path, Known(url, "none", 1, md5_url=url.replace("ml.zip", "bad.md5")), "holds no MD5")


def test_no_network_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(DataError, match=r"cannot be reached .* give `read` its folder"):
        fetch("ml", tmp_path, known={"ml": Known(f"http://127.0.0.1:{port}/ml.zip", "none", 1)})
    assert list(tmp_path.iterdir()) == []


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no http or https address"):
        fetch("ml", tmp_path, known={"ml": Known("file:///etc/passwd", "none", 1)})


def test_the_registry_is_sound() -> None:
    for name, source in KNOWN.items():
        assert source.url.startswith("https://"), name
        assert source.licence
        assert source.size > 0
        assert source.to_json()["note"] == source.note
        if source.digest is not None:
            kind, value = source.digest.split(":")
            assert len(value) == {"md5": 32, "sha256": 64}[kind]
    with pytest.raises(ParameterError, match="Did you mean 'movielens-1m'"):
        fetch("movielens-1n", "x")
