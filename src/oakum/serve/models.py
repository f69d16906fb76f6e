"""The model that answers now: a snapshot that never changes, and the shelf that says which snapshot it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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
from oakum.kernels.select import tie_ranks

POINTER = "current.json"
REFRESHED = "refreshed"
KEPT = 3


class Finder(Protocol):
    """How the best items are found for requests: the seam under which a search index can be put."""

    def find(self, queries: Queries, k: int, where: Filter, *, seed: int | None = None) -> Ranking:
        """The best `k` items of each request under a filter; with a seed, models that explore draw their lists."""
        ...


class Search:
    """Finds by the model itself: all scores, or an index over its item vectors where one was asked for by kind."""

    def __init__(self, fitted: Fitted, kind: str | None = None) -> None:
        self.fitted = fitted
        scorer = fitted.scorer
        if hasattr(scorer, "item_vectors"):
            # A served model does not change: its table is made once.
            table = np.ascontiguousarray(scorer.item_vectors(), np.float32)
            scorer.item_vectors = lambda: table
        self.index = None if kind is None else fitted.index(kind)

    def find(self, queries: Queries, k: int, where: Filter, *, seed: int | None = None) -> Ranking:
        """The best `k` items of each request under a filter."""
        return self.fitted.rank(queries, k, where=where, seed=seed, index=self.index)


@dataclass(frozen=True, eq=False)
class Served:
    """One loaded model. id: system and the digest of its folder's table of digests; data_version: what it was trained
    on; users, items: text of an id → code; popular: codes of what may be shown, most popular first."""

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
    def load(cls, folder: Path, index: str | None = None) -> Served:
        """Read a saved model and make it ready to answer, searched by an index of that kind. Raises `ModelFileError` in
        words."""
        fitted = store.load(folder)
        digest = sha256((folder / "schema.json").read_bytes()).hexdigest()
        users = {str(u): c for c, u in enumerate(fitted.users.ids.to_list())}
        names = tuple(str(i) for i in fitted.items.ids.to_list())
        popular = np.lexsort((tie_ranks(len(names)), -fitted.item_counts)).astype(np.int32)
        if (own := fitted.candidates) is not None:
            popular = popular[np.isin(popular, own)]
        served = cls(
            fitted, folder, f"{fitted.spec.slug}-{digest[:12]}", fitted.record.data[:16], users,
            {i: c for c, i in enumerate(names)}, names, popular, Search(fitted, index),
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
    """A model folder and the later models in it. `current.json` names the one that answers, the one that refreshes start
    from, and those before them; it is replaced in one step, so a reader sees the old or the new state. Without it the
    folder itself is the model."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def current(self) -> Path:
        """The folder of the model that answers."""
        return self._folder(self._pointer()["model"])

    def base(self) -> Path:
        """The folder of the model that refreshes start from: the one last released, or the first."""
        return self._folder(self._pointer()["base"])

    def mark(self) -> tuple[Any, ...] | None:
        """A value that changes when another model should answer; None while a folder is being replaced."""
        try:
            folder = self.current()
            found = (folder / "schema.json").stat()
        except (OSError, ModelFileError):
            return None
        return str(folder), found.st_ino, found.st_mtime_ns, found.st_size

    def publish(self, fitted: Fitted, *, base: bool = False) -> Path:
        """Save a model beside the others and let it answer from now on; the latest few are kept for `back`.

        base: refreshes start from it from now on (a release), not only from what it was made of (a refresh).
        """
        try:
            now = self._pointer()
        except ModelFileError:  # a pointer that leads nowhere is replaced, and nothing is taken away on its word
            now = {}
        folder = self.folder / REFRESHED
        numbers = [int(p.name) for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []
        name = f"{max(numbers, default=0) + 1:04d}"
        made = store.save(fitted, folder / name)
        past = [*now["past"], [now["model"], now["base"]]][-KEPT + 1 :] if now else []
        self._point({"model": name, "base": name if base else now.get("base", ""), "past": past})
        kept = {name, now.get("base", ""), *(n for pair in past for n in pair)}
        for number in numbers if now else ():
            if f"{number:04d}" not in kept:
                _remove(folder / f"{number:04d}")
        return made

    def replace(self, fitted: Fitted) -> None:
        """Let this model answer, and delete every other: for models that must not come back."""
        store.save(fitted, self.folder)  # over the whole folder: the pointer and the old versions go in the same step

    def back(self) -> Path:
        """Let the model before the current one answer again."""
        now = self._pointer()
        if not now["model"]:
            raise ModelFileError(f"{self.folder} holds no earlier model to go back to.")
        first = "" if now["base"] == now["model"] else now["base"]
        *past, (model, base) = now["past"] or [[first, first]]
        self._point({"model": model, "base": base, "past": past})
        return self.current()

    def _folder(self, name: str) -> Path:
        return self.folder / REFRESHED / name if name else self.folder

    def _pointer(self) -> dict[str, Any]:
        pointer = self.folder / POINTER
        if not pointer.exists():
            return {"model": "", "base": "", "past": []}
        try:
            found = json.loads(pointer.read_text(encoding="utf-8"))
            past = [[m, b] for m, b in found.get("past", [])]
            state = {"model": found["model"], "base": found.get("base", ""), "past": past}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelFileError(f"{pointer} cannot be read ({type(error).__name__}); delete it or refresh.") from None
        for name in (state["model"], state["base"], *(n for pair in state["past"] for n in pair)):
            if not isinstance(name, str) or not re.fullmatch(r"([0-9]{4,9})?", name):
                raise ModelFileError(
                    f"{pointer} names {name!r}, which is no model of this folder; delete it or refresh."
                )
        return state

    def _point(self, state: Mapping[str, Any]) -> None:
        with whole(self.folder / POINTER) as aside:
            aside.write_text(json.dumps(state) + "\n", encoding="utf-8")


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
