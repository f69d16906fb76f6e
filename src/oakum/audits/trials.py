"""Fits as independent trials: run in worker processes, kept on disk, never run twice.

Every trial is single-threaded in a process of its own kind, so its figures are the same at any number of workers.
A finished trial is one safetensors file named after the digest of all that it depends on; an interrupted audit that
is started again finds them and goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.attacks.base import Attack
from oakum.attacks.proposed import Proposed, Settled
from oakum.catalogue import entries
from oakum.data import Dataset, Filter, Ids, Queries
from oakum.engine.closed import Pictured
from oakum.engine.progress import Progress, Silent
from oakum.errors import DataError, Interrupted, OakumError, ParameterError
from oakum.parameters import Parameters, Spec

K = 50  # length of the lists that trials keep; every audit reads a prefix of them


class Probe(Parameters):
    """A further question to a fit, asked in the worker that made it, while the model is still at hand."""

    def ask(self, bench: Bench, trial: Trial, fitted: Any) -> Mapping[str, NDArray[Any]]:
        """What came back, by name."""
        raise TypeError(f"{type(self).__name__} does not say what it asks.")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One fit and what is asked of it.

    spec, plan, plugins: what is trained. data: key of the training set among those the audit registered. users:
    codes whose lists are kept. newcomers: of them, those asked once more as if unknown. seed: of the fit. probe: what
    else is asked of it. refusable: whether "this does not go together" is an answer (`Result.refused`), not a failure.
    """

    spec: Spec
    plan: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[Spec, ...] = ()
    defence: Spec | None = None
    data: str = "clean"
    seed: int = 0
    tune: bool = False  # fit on the split and stop on its validation part: what chooses the number of epochs
    probe: Probe | None = None
    refusable: bool = False

    def to_json(self) -> dict[str, Any]:
        """All that the result depends on, apart from the data."""
        return {
            "spec": self.spec.to_json(),
            "plan": {k: v.to_json() if isinstance(v, Parameters) else v for k, v in self.plan.items()},
            "plugins": [p.to_json() for p in self.plugins],
            "defence": None if self.defence is None else self.defence.to_json(),
            "data": self.data,
            "seed": self.seed,
            "tune": self.tune,
            **({} if self.probe is None else {"probe": [type(self.probe).__name__, self.probe.to_json()]}),
            **({"refusable": True} if self.refusable else {}),
        }


@dataclass(frozen=True, eq=False)
class Result:
    """What a trial leaves: lists int32 [users, K], scores float32 [users, K], the same asked as newcomers
    [newcomers, K], record (seconds, history, stopped), and what its probe brought back, by name."""

    lists: Ids
    scores: NDArray[np.float32]
    newcomer_lists: Ids
    record: Mapping[str, Any]
    found: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def refused(self) -> str:
        """Why there is nothing, where system, defence and question do not go together; "" where there is."""
        return str(self.record.get("refused", ""))


@dataclass(frozen=True, eq=False)
class Bench:
    """What all trials of an audit share: training sets by key, the users whose lists are kept, those asked as
    newcomers, the split (for tuning trials)."""

    datasets: Mapping[str, Dataset]
    users: Ids
    newcomers: Ids
    split: Any = None
    changes: Mapping[str, Any] = field(default_factory=dict)  # key -> (base key, Change): applied in the worker

    @property
    def allow(self) -> Ids | None:
        """The items that are ranked; None for all."""
        found: Ids | None = None if self.split is None else self.split.candidates
        return found

    def dataset(self, key: str) -> Dataset:
        """The training set of a key, changes applied."""
        if key in self.changes:
            base, change = self.changes[key]
            changed: Dataset = change.apply(self.dataset(base))
            return changed
        return self.datasets[key]

    def digest(self, key: str) -> str:
        """The identity of a training set."""
        if key in self.changes:
            base, change = self.changes[key]
            return f"{self.digest(base)}+{change.digest()}"
        return self.datasets[key].digest

    def asked(self) -> str:
        """The identity of the questions."""
        sha = hashlib.sha256(np.ascontiguousarray(self.users).data)
        sha.update(np.ascontiguousarray(self.newcomers).data)
        if self.allow is not None:
            sha.update(np.ascontiguousarray(self.allow).data)
        return sha.hexdigest()


def run_trial(bench: Bench, trial: Trial, progress: Progress | None = None) -> Result:
    """Fit and ask, in this process."""
    if not trial.refusable:
        return _run(bench, trial, progress)
    try:
        return _run(bench, trial, progress)
    except Interrupted:
        raise
    except (OakumError, ImportError) as error:
        empty = np.empty((0, K), np.int32)
        lasting = isinstance(error, ParameterError | DataError)  # what is not installed today may be tomorrow
        record = {"refused": str(error), "lasting": lasting, "history": []}
        return Result(empty, empty.astype(np.float32), empty, record)


def _run(bench: Bench, trial: Trial, progress: Progress | None) -> Result:
    from oakum.engine.fit import fit, spec_is_learned

    began = time.monotonic()
    data: Any = bench.split if trial.tune else bench.dataset(trial.data)
    plugins, wrap, values = trial.plugins, None, dict(trial.plan)
    notes: dict[str, Any] = {}
    if trial.defence is not None:
        defence: Any = trial.defence
        data, marks = defence.clean(data)
        if len(marks.flagged):
            notes["flagged"] = [int(u) for u in marks.flagged]
        plugins = (*plugins, *defence.plugins())
        values |= defence.trains(values)
        wrap = defence
    plan = {**values, "checkpoint": None} if spec_is_learned(trial.spec) else None
    fitted = fit(trial.spec, data, plan=plan, plugins=plugins, seed=trial.seed, progress=progress or Silent())
    scorer = fitted.scorer if wrap is None else wrap.wrap(fitted, data)
    record = {**fitted.record.to_json(), **notes, "fit_seconds": fitted.record.seconds}
    if trial.tune:
        empty = np.empty((0, K), np.int32)
        return Result(empty, empty.astype(np.float32), empty, record)
    if isinstance(fitted.model, Pictured) and trial.data == "clean" and trial.defence is None:
        record["pictures"] = fitted.model.pictures(data, seed=trial.seed)
    # The questions are always asked with the clean histories: a defence may drop events, a person keeps theirs.
    clean = bench.datasets["clean"]
    lists, scores = _ask(scorer, clean, bench.users, bench.allow, newcomer=False)
    newcomer_lists, _ = _ask(scorer, clean, bench.newcomers, bench.allow, newcomer=True)
    found: Mapping[str, NDArray[Any]] = {}
    if trial.probe is not None:
        found = trial.probe.ask(bench, trial, fitted if wrap is None else fitted.guarded(wrap, scorer))
    record["seconds"] = round(time.monotonic() - began, 3)
    return Result(lists, scores, newcomer_lists, record, found)


def _ask(
    scorer: Any, data: Dataset, users: Ids, allow: Ids | None, *, newcomer: bool
) -> tuple[Ids, NDArray[np.float32]]:
    from oakum.recommending import rank

    histories = data.histories.take(users)
    names = np.where(newcomer | (histories.lengths == 0), -1, users).astype(np.int32)
    ranking = rank(scorer, Queries(names, histories), K, where=Filter(allow, None, histories))
    return ranking.items, ranking.scores


_BENCH: list[Bench] = []  # one a worker process, sent once


def _start(bench: Bench) -> None:
    _BENCH[:] = [bench]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose audit was killed has nobody to work for: it ends too, in the middle of what it does."""
    parent = parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _work(trial: Trial) -> Result:
    return run_trial(_BENCH[0], trial)


def name_of(bench: Bench, trial: Trial) -> str:
    """The digest that names a finished trial."""
    from oakum.engine.record import versions

    data = "tune" + bench.digest("clean") if trial.tune else bench.digest(trial.data)
    what = [trial.to_json(), data, bench.asked(), versions()]
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:32]


def run_trials(
    bench: Bench, trials: Sequence[Trial], *, folder: Path | None, workers: int, progress: Progress
) -> dict[int, Result]:
    """All trials, by position; finished ones are read from `folder`. Order and workers never change a figure."""
    out: dict[int, Result] = {}
    waiting: dict[str, list[int]] = {}
    names = [name_of(bench, t) for t in trials]
    for i, name in enumerate(names):
        found = _read(folder, name)
        if found is not None:
            out[i] = found
        else:
            waiting.setdefault(name, []).append(i)
    jobs = {name: trials[at[0]] for name, at in waiting.items()}
    for done, (name, result) in enumerate(_in_workers(bench, _work, jobs, workers), 1):
        _write(folder, name, result)
        for i in waiting[name]:
            out[i] = result
        progress.update(done / len(waiting), f"{done} of {len(waiting)} fits")
    return out


def settle(bench: Bench, *, folder: Path | None, workers: int, progress: Progress) -> dict[str, tuple[str, Any]]:
    """The changes of a bench with every technique's proposal worked out: each once, in a worker of its own where it is
    costly, whatever the number of systems and defences that meet it; kept in `folder` beside the fits."""
    out = dict(bench.changes)
    waiting = {key: change for key, (_, change) in out.items() if isinstance(change, Proposed)}
    cheap = {k for k, p in waiting.items() if not p.attack.looks and not _costly(p.attack)}
    for key in cheap:
        out[key] = (out[key][0], waiting[key].settle(bench.dataset(out[key][0]), folder))
    jobs = {k: (bench.changes[k][0], p, folder) for k, p in waiting.items() if k not in cheap}
    for done, (key, settled) in enumerate(_in_workers(bench, _propose, jobs, workers), 1):
        out[key] = (out[key][0], settled)
        progress.update(done / len(jobs), f"{done} of {len(jobs)} attacks worked out")
    return out


def _costly(attack: Attack) -> bool:
    """Whether a technique trains something: then it needs what training needs."""
    known = entries().get(attack.slug)
    return known is not None and bool(known.extra)


def _propose(job: tuple[str, Proposed, Path | None]) -> Settled:
    base, proposed, folder = job
    return proposed.settle(_BENCH[0].dataset(base), folder)


def _in_workers(
    bench: Bench, work: Callable[[Any], Any], jobs: Mapping[str, Any], workers: int
) -> Iterator[tuple[str, Any]]:
    """(name, outcome) of every job as it ends; single-threaded processes that hold the bench."""
    if not jobs:
        return
    threads = {v: "1" for v in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    before = {k: os.environ.get(k) for k in threads}
    os.environ.update(threads)
    pool = ProcessPoolExecutor(
        max_workers=max(1, min(workers, len(jobs))),
        mp_context=get_context("spawn"),
        initializer=_start,
        initargs=(bench,),
    )
    try:
        running: dict[Future[Any], str] = {pool.submit(work, job): name for name, job in jobs.items()}
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield running.pop(future), future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})


def _write(folder: Path | None, name: str, result: Result) -> None:
    if folder is None or not result.record.get("lasting", True):
        return
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    from oakum.files import whole

    arrays = {"lists": result.lists, "scores": result.scores, "newcomer_lists": result.newcomer_lists}
    arrays |= {f"found.{k}": v for k, v in result.found.items()}
    arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    try:
        with whole(folder / f"{name}.safetensors") as aside:
            save_file(arrays, str(aside), metadata={"record": json.dumps(result.record, default=str)})
    except (OSError, SafetensorError) as error:
        raise OakumError(
            f"A finished fit could not be kept in {folder}: {error}. Free some space and run again."
        ) from None


def _read(folder: Path | None, name: str) -> Result | None:
    if folder is None or not (path := folder / f"{name}.safetensors").exists():
        return None
    from safetensors import safe_open

    with safe_open(str(path), framework="np") as file:
        record = json.loads((file.metadata() or {}).get("record", "{}"))
        names = [k for k in file.keys() if k.startswith("found.")]  # noqa: SIM118
        found = {k.removeprefix("found."): file.get_tensor(k) for k in names}
        lists = [file.get_tensor(k) for k in ("lists", "scores", "newcomer_lists")]
        return Result(lists[0], lists[1], lists[2], record, found)
