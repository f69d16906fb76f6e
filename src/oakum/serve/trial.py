"""A candidate beside the model that answers: who is asked of which, and when it ends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from oakum.errors import ModelFileError
from oakum.release.experiment import Experiment
from oakum.serve.items import ItemTable
from oakum.serve.models import Served, Shelf
from oakum.state import State, StateError
from oakum.state.experiments import Running, answer, begin, end, experiments

REMEMBERED = 1_000_000  # people known to be recorded; forgotten at once when there are more


class Trial:
    """An experiment that runs. `now`: the candidate and its items, replaced as one value."""

    def __init__(self, experiment: Experiment, candidate: str | Path, shelf: Shelf, state: State, index: str | None):
        self.experiment, self.state, self.shelf, self.index = experiment, state, shelf, index
        self.candidates = Shelf(candidate)
        self.mark = self.candidates.mark()
        served = Served.load(self.candidates.current(), index)
        settings = {**experiment.to_json(), "candidate": served.fitted.spec.to_json(), "base": self.base()}
        self.running: Running = begin(state, experiment.name, settings)
        self.now: tuple[Served, ItemTable] = (served, ItemTable(served, state.items()))
        self._counter = ""
        self._known: set[str] = set()
        self._lock = Lock()

    def base(self) -> str:
        """What the candidate is compared with: the release that the current model comes from."""
        base = self.shelf.base()
        return "" if base == self.shelf.folder else base.name

    @property
    def ended(self) -> bool:
        """Whether the candidate answers nobody any more."""
        return self.running.ended is not None

    def takes(self, user_id: str) -> bool:
        """Whether the candidate answers this person."""
        return not self.ended and not self.state.is_forgotten(user_id) and self.experiment.takes_part(user_id)

    def note(self, user_id: str) -> None:
        """Remember when a person was answered first. The answer does not wait for the disk: where it cannot be written, the
        person is recorded at the next answer."""
        if self.ended or self.state.is_forgotten(user_id):
            return
        with self._lock:
            if user_id in self._known:
                return
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known.add(user_id)
        try:
            part = self.experiment.takes_part(user_id)
            future = answer(self.state, self.running.name, user_id, part, int(time.time() * 1e6))
        except StateError:
            self._known.discard(user_id)
            return
        future.add_done_callback(lambda f: self._known.discard(user_id) if f.exception() is not None else None)

    def retell(self, items: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over what was told of the items."""
        self.now = (self.now[0], ItemTable(self.now[0], items))

    def watch(self, told: Mapping[str, str]) -> str | None:
        """Look whether it was ended, here or elsewhere, and whether the candidate was refreshed; what happened, in words."""
        if self.ended:
            return None
        try:
            now = self.base()
        except ModelFileError:  # a pointer that leads nowhere is said by the watch of the model itself
            now = self.running.settings.get("base", "")
        if now != self.running.settings.get("base"):
            why = f"the model was replaced by a release ({now or 'the first'})"
            end(self.state, self.running.name, why)
            told = {**told, "experiments": "ended"}
        if told.get("experiments", "") != self._counter:
            self._counter = told.get("experiments", "")
            self.running = experiments(self.state).get(self.running.name, self.running)
            if self.ended:
                return f"The experiment '{self.running.name}' has ended: {self.running.why}."
        mark = self.candidates.mark()
        if mark is not None and mark != self.mark:
            self.mark = mark
            try:
                served = Served.load(self.candidates.current(), self.index)
            except Exception as error:  # whatever is wrong with it, the old one goes on
                return f"The new candidate is not used, the old one goes on answering: {error}"
            self.now = (served, ItemTable(served, self.state.items()))
            return f"The candidate is {served.id} now."
        return None
