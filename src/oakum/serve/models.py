"""The model that answers now: a snapshot that never changes, and the shelf that says which snapshot it is."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from oakum import store
from oakum.data import Filter, Ids, Queries, Ranking
from oakum.engine.fitted import Fitted
from oakum.errors import ModelFileError
from oakum.files import whole
from oakum.kernels.topk import tie_ranks

POINTER = "current.json"
REFRESHED = "refreshed"
KEPT = 3


class Finder(Protocol):
    """How the best items are found for requests: the seam under which a search index can be put."""

    def find(self, queries: Queries, k: int, where: Filter) -> Ranking:
        """The best `k` items of each request under a filter."""
        ...


class Exact:
    """Scores everything; the answer that every index is measured against."""

    def __init__(self, fitted: Fitted) -> None:
        self.fitted = fitted

    def find(self, queries: Queries, k: int, where: Filter) -> Ranking:
        """The best `k` items of each request under a filter."""
        return self.fitted.rank(queries, k, where=where)


@dataclass(frozen=True, eq=False)
class Served:
    """One loaded model. id: system and the digest of its folder's table of digests; data_version: what it was trained
    on; users, items: text of an id → code; popular: codes, most popular first."""

    fitted: Fitted
    folder: Path
    id: str
    data_version: str
    users: dict[str, int]
    items: dict[str, int]
    item_ids: tuple[str, ...]
    popular: Ids
    finder: Finder

    @classmethod
    def load(cls, folder: Path) -> Served:
        """Read a saved model and make it ready to answer. Raises `ModelFileError` in words."""
        fitted = store.load(folder)
        digest = sha256((folder / "schema.json").read_bytes()).hexdigest()
        users = {str(u): c for c, u in enumerate(fitted.users.ids.to_list())}
        names = tuple(str(i) for i in fitted.items.ids.to_list())
        popular = np.lexsort((tie_ranks(len(names)), -fitted.item_counts)).astype(np.int32)
        served = cls(
            fitted, folder, f"{fitted.spec.slug}-{digest[:12]}", fitted.record.data[:16], users,
            {i: c for c, i in enumerate(names)}, names, popular, Exact(fitted),
        )  # fmt: skip
        served._warm()
        return served

    def _warm(self) -> None:
        """One answer of each kind, so that the first request does not pay for compiling."""
        everyone = np.flatnonzero(self.fitted.histories.lengths > 0)[:1].astype(np.int32)
        queries = self.fitted.queries(everyone)
        self.finder.find(queries, 1, Filter(exclude=queries.histories))
        self.fitted.score(Queries(np.full(len(everyone), -1, np.int32), queries.histories))

    def codes(self, ids: list[str]) -> NDArray[np.int32]:
        """Codes of item ids, -1 where the model does not know one."""
        return np.array([self.items.get(i, -1) for i in ids], np.int32)


class Shelf:
    """A model folder and the refreshed models in it. `current.json` names the one that answers; it is replaced in one
    step, so a reader sees the old or the new one. Without it the folder itself is the model."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def current(self) -> Path:
        """The folder of the model that answers."""
        pointer = self.folder / POINTER
        if not pointer.exists():
            return self.folder
        try:
            name = json.loads(pointer.read_text(encoding="utf-8"))["model"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelFileError(f"{pointer} cannot be read ({type(error).__name__}); delete it or refresh.") from None
        if not isinstance(name, str) or not re.fullmatch(r"[0-9]{4,9}", name):
            raise ModelFileError(f"{pointer} names {name!r}, which is no refreshed model; delete it or refresh.")
        return self.folder / REFRESHED / name

    def mark(self) -> tuple[Any, ...] | None:
        """A value that changes when another model should answer; None while a folder is being replaced."""
        try:
            folder = self.current()
            found = (folder / "schema.json").stat()
        except (OSError, ModelFileError):
            return None
        return str(folder), found.st_ino, found.st_mtime_ns, found.st_size

    def publish(self, fitted: Fitted) -> Path:
        """Save a model beside the others and let it answer from now on; the latest few are kept for `back`."""
        numbers = self._numbers()
        name = f"{(numbers[-1] if numbers else 0) + 1:04d}"
        made = store.save(fitted, self.folder / REFRESHED / name)
        self._point(name)
        for old in numbers[: -KEPT + 1]:
            _remove(self.folder / REFRESHED / f"{old:04d}")
        return made

    def replace(self, fitted: Fitted) -> None:
        """Let this model answer, and delete every other: for models that must not come back."""
        store.save(fitted, self.folder)  # over the whole folder: the pointer and the old versions go in the same step

    def back(self) -> Path:
        """Let the model before the current one answer again."""
        now = self.current()
        if now == self.folder:
            raise ModelFileError(f"{self.folder} holds no refreshed model to go back from.")
        older = [n for n in self._numbers() if n < int(now.name)]
        if older:
            self._point(f"{older[-1]:04d}")
        else:
            (self.folder / POINTER).unlink()
        return self.current()

    def _numbers(self) -> list[int]:
        folder = self.folder / REFRESHED
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(int(p.name) for p in found if p.name.isdigit())

    def _point(self, name: str) -> None:
        with whole(self.folder / POINTER) as aside:
            aside.write_text(json.dumps({"model": name}) + "\n", encoding="utf-8")


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
