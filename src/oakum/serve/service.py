"""What a running service holds, and how work gets done in it: bounded, off the event loop, on one snapshot a request."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from oakum.errors import OakumError
from oakum.serve.access import Keys, Rate
from oakum.serve.answers import REMEMBERED, Answer, Person, Wish, recommend_all
from oakum.serve.items import ItemTable
from oakum.serve.look import Look, Panel, Watched, look_at
from oakum.serve.metrics import Metrics
from oakum.serve.models import Served, Shelf
from oakum.serve.problems import Problem
from oakum.serve.settings import Settings
from oakum.serve.together import Together
from oakum.serve.trial import Trial
from oakum.state import State, StateError

T = TypeVar("T")


@dataclass(frozen=True)
class Asks:
    """Who asks for a list, as the request says."""

    user_id: str | None = None
    history: tuple[str, ...] | None = None
    text: str | None = None


Told = tuple[Answer, str | None]


class Service:
    """The model that answers (`served`, with its item `table`), the state, keys, rates and numbers.

    `served` and `table` are replaced as one value: a request takes them once and ends on what it began with.
    """

    def __init__(self, model: str | Path, state: State, settings: Settings) -> None:
        self.settings, self.state = settings, state
        self.metrics = Metrics()
        self.shelf = Shelf(model)
        self._mark = self.shelf.mark()
        served = Served.load(self.shelf.current(), settings.index)
        self._told = state.poll().get("items")
        self.now: tuple[Served, ItemTable] = (served, ItemTable(served, state.items()))
        self._tell()
        self.trial: Trial | None = None
        if settings.candidate is not None:
            self.trial = Trial(settings.experiment, settings.candidate, self.shelf, state, settings.index)
            if self.trial.ended:
                self.say(f"The experiment '{settings.experiment.name}' has ended; its candidate answers nobody.")
        self.panel = Panel(served)
        self.watched = Watched()
        self.looked: Look | None = None
        self.keys = Keys(state, needed=settings.needs_keys)
        self.rate = Rate(settings.most)
        self.pool = ThreadPoolExecutor(settings.workers, "oakum-work")
        self.running = 0
        self.together: Together[Asks, Told] = Together(self.pool, self._recommend)
        self._stop = threading.Event()
        self._swap = threading.Lock()
        self._poller = threading.Thread(target=self._watch, name="oakum-watch", daemon=True)

    # --- work ---------------------------------------------------------------------------------------------------
    async def work(self, do: Callable[..., T], *arguments: Any) -> T:
        """Run on a worker thread. Raises `Problem` at once where too much waits, `TimeoutError` where it takes too long
        (the thread finishes alone and its place stays taken until then)."""
        self._room()
        self.running += 1
        loop = asyncio.get_running_loop()
        future = self.pool.submit(do, *arguments)

        def done(_: Future[T]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._done)

        future.add_done_callback(done)
        return await asyncio.wait_for(asyncio.wrap_future(future), self.settings.seconds)

    def _room(self) -> None:
        if self.running >= self.settings.workers + self.settings.waiting:
            raise Problem("busy", "Too many requests wait for an answer; ask again in a moment.", {"Retry-After": "1"})

    def _done(self) -> None:
        self.running -= 1

    async def recommend(self, served: Served, table: ItemTable, asks: Asks, wish: Wish) -> Told:
        """A list, and a sentence where the person's events could not be read; see `work`. Those who wait meanwhile and
        wish alike are answered together."""
        self._room()
        self.running += 1
        try:
            return await asyncio.wait_for(self.together.ask((served, table, wish), asks), self.settings.seconds)
        finally:
            self.running -= 1

    def _recommend(self, kind: tuple[Served, ItemTable, Wish], asks: Sequence[Asks]) -> list[Told | Exception]:
        served, table, wish = kind
        people = [self.person(served, a.user_id, history=a.history, text=a.text) for a in asks]
        found = recommend_all(served, table, [person for person, _ in people], wish)
        return [
            a if isinstance(a, Exception) else (a, degraded) for a, (_, degraded) in zip(found, people, strict=True)
        ]

    async def durable(self, future: Future[Any]) -> Any:
        """The value of a queued change of the state, once it is on disk."""
        found = asyncio.wrap_future(future)
        try:
            await asyncio.wait_for(asyncio.shield(found), self.settings.seconds)
        except TimeoutError:
            found.add_done_callback(lambda f: f.exception())
            detail = (
                "The disk is slow, so it is not known whether this was stored; send it again under the same event_id."
            )
            raise Problem("late", detail, {"Retry-After": "1"}) from None
        except Exception:  # which one is said in words by the state
            return self.state.done(future)
        return future.result()

    def person(self, served: Served, user_id: str | None, **more: Any) -> tuple[Person, str | None]:
        """Who asks, with the events stored for them; and a sentence where they could not be read, in which case the
        answer comes from the model alone."""
        if user_id is None:
            return Person(**more), None
        gone = self.state.is_forgotten(user_id)
        try:
            return Person(user_id=user_id, events=self.state.recent(user_id, REMEMBERED), forgotten=gone, **more), None
        except StateError as error:
            return Person(user_id=user_id, forgotten=gone, **more), f"answered without the latest events: {error}"

    def arm(self, user_id: str | None) -> tuple[Served, ItemTable]:
        """The model that answers this person, with its items."""
        trial = self.trial
        return trial.now if trial is not None and user_id is not None and trial.takes(user_id) else self.now

    # --- life ---------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Look once, so that no request pays for what a first look loads; then begin to look for new models, items, keys."""
        self.look()
        self._poller.start()

    def stop(self) -> None:
        """Finish what runs, write what waits."""
        self._stop.set()
        if self._poller.is_alive():
            self._poller.join()
        self.pool.shutdown()
        self.state.close()

    def _watch(self) -> None:
        due = time.monotonic() + self.settings.look
        while not self._stop.wait(self.settings.poll):
            try:
                told = self.state.poll()
                self.keys.poll()
                self.metrics.set("oakum_state_up", 1)
                if self.trial is not None and (said := self.trial.watch(told)) is not None:
                    self.say(said)
                if told.get("items") != self._told:
                    self.retell()
            except OakumError:
                self.metrics.set("oakum_state_up", 0)
            except Exception as error:
                self.say(f"What was told of the items cannot be used: {type(error).__name__}: {error}")
            self.reload()
            if time.monotonic() >= due:
                began = time.monotonic()
                self.look()
                took = time.monotonic() - began
                due = began + took + max(self.settings.look, 10 * took)  # a large state is looked at less often

    def look(self) -> None:
        """Measure drift and the experiment, for /metrics and the page. What cannot be read is looked at the next time."""
        try:
            self.looked = look_at(self.now[0], self.state, self.trial, self.panel, self.watched)
        except OakumError:
            return
        except Exception as error:
            self.say(f"Drift cannot be measured: {type(error).__name__}: {error}")
            return
        for name, value in self.looked.gauges().items():
            self.metrics.set(name, value)

    def reload(self) -> None:
        """Let another model answer where the shelf names one. What cannot be loaded is said once; the old one goes on."""
        mark = self.shelf.mark()
        if mark is None or mark == self._mark:
            return
        self._mark = mark
        try:
            served = Served.load(self.shelf.current(), self.settings.index)
            with self._swap:  # not between the reading and the putting of another table
                self.now = (served, ItemTable(served, self._items()))
        except Exception as error:  # whatever is wrong with it, the watch goes on
            self.metrics.add("oakum_model_loads_total", outcome="refused")
            self.say(f"The new model is not used, the old one goes on answering: {error}")
            return
        self.metrics.add("oakum_model_loads_total", outcome="loaded")
        self._tell()
        try:
            self.panel.moved_to(served)
        except Exception as error:  # a figure is missing then, nothing else
            self.say(f"How far lists moved cannot be measured: {error}")
        self.say(f"Answering with {served.id}.")

    def retell(self) -> None:
        """Read anew what was told of the items."""
        with self._swap:
            told = self.state.poll().get("items")
            items = self.state.items()
            self.now = (self.now[0], ItemTable(self.now[0], items))
            if self.trial is not None:
                self.trial.retell(items)
            self._told = told

    def _items(self) -> dict[str, dict[str, Any]]:
        try:
            return self.state.items()
        except StateError:
            self._told = None  # looked at again as soon as the state is back
            return {}

    def _tell(self) -> None:
        served = self.now[0]
        self.metrics.set("oakum_model_info", 1, model=served.id, data=served.data_version)

    def say(self, text: str) -> None:
        """A line for the operator."""
        print(f"oakum: {text}", file=sys.stderr, flush=True)
