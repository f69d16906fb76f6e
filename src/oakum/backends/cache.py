"""Vectors kept on disk under the digest of (encoder, text): safetensors, written aside and renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file


def cache_folder() -> Path:
    """OAKUM_CACHE, or `oakum` in the user's cache folder."""
    named = os.environ.get("OAKUM_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "oakum"


class Cache:
    """The vectors of one encoder: a folder of files, each with `keys` uint8 [n, 16] and `vectors` float32 [n, dim].

    A file that is damaged or of another width is passed over and its texts are encoded again. Where the folder cannot
    be written the vectors are computed all the same. Processes that write at once write different files.
    """

    def __init__(self, encoder: str, dim: int, folder: Path | None = None) -> None:
        self.encoder, self.dim = encoder, dim
        digest = hashlib.sha256(encoder.encode()).hexdigest()[:24]
        self.folder = (folder or cache_folder()) / "embeddings" / digest

    def key(self, text: str) -> bytes:
        """The digest of (encoder, text), 16 bytes."""
        return hashlib.blake2b(f"{self.encoder}\x1f{text}".encode(), digest_size=16).digest()

    def get(self, texts: Sequence[str], encode: Callable[[Sequence[str]], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Float32 [n, dim] of distinct texts; what is not kept yet is encoded and kept."""
        out = np.zeros((len(texts), self.dim), np.float32)
        missing = {self.key(t): r for r, t in enumerate(texts)}
        for path in sorted(self.folder.glob("*.safetensors")) if missing and self.folder.is_dir() else ():
            held = self._read(path, missing)
            for key, row in held.items():
                out[missing.pop(key)] = row
            if not missing:
                break
        if missing:
            rows = sorted(missing.values())
            out[rows] = encode([texts[r] for r in rows])
            self._write([self.key(texts[r]) for r in rows], out[rows])
        return out

    def _read(self, path: Path, wanted: Mapping[bytes, int]) -> dict[bytes, NDArray[np.float32]]:
        """The vectors of those wanted keys that a file holds; none where it cannot be used."""
        try:
            with safe_open(str(path), framework="numpy") as file:
                keys = [k.tobytes() for k in file.get_tensor("keys")]
                found = {k: r for r, k in enumerate(keys) if k in wanted}
                if not found:
                    return {}
                vectors = file.get_tensor("vectors")
        except (OSError, SafetensorError):
            return {}
        if vectors.shape != (len(keys), self.dim) or vectors.dtype != np.float32 or not np.isfinite(vectors).all():
            return {}
        return {k: vectors[r] for k, r in found.items()}

    def _write(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:24]
        aside = self.folder / f".{name}.{os.getpid()}.new"
        table = {"keys": np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16), "vectors": vectors}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(table, str(aside))
            os.replace(aside, self.folder / f"{name}.safetensors")
        except (OSError, SafetensorError):
            with contextlib.suppress(OSError):
                aside.unlink()
