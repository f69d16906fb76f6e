"""What an attack would change, worked out when it is asked for and then kept: an optimised attack costs as much as a fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from oakum.attacks.base import Attack, Goal, Proposal, afterwards, propose
from oakum.attacks.changes import AddItems, AddProfiles, Budget, Change, EditEvents, EditText, Nothing
from oakum.data import Dataset, Ragged
from oakum.files import whole
from oakum.parameters import Spec

_EDITS = ("remove", "replace", "items", "before", "added")
_WORKED: dict[str, Settled] = {}  # what this process has worked out, by identity of the request and of the data


@dataclass(frozen=True, eq=False)
class Settled:
    """A change with what was counted when it was made. name: the identity of the request that it answers."""

    change: Change
    spent: Budget
    looks: Mapping[str, int]
    name: str

    def apply(self, target: Any) -> Any:
        """As the change."""
        return self.change.apply(target)

    def cost(self) -> Budget:
        """As counted by the framework."""
        return self.spent

    def digest(self) -> str:
        """That of the request, so that what hangs on it has the same name before and after."""
        return self.name


@dataclass(frozen=True, eq=False)
class Proposed:
    """A technique, what it wants and what it may spend, in place of what it would change.

    Its digest is known before anything is computed. victim, plan, plugins: the system that techniques which look at one are
    shown, and may see trained again; None for those that read the log alone.
    """

    attack: Attack
    goal: Goal
    budget: Budget
    seed: int = 0
    victim: Spec | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[Spec, ...] = ()

    def digest(self) -> str:
        """SHA-256 of the request."""
        what = {
            "attack": self.attack.to_json(),
            "goal": [self.goal.kind, list(self.goal.targets)],
            "budget": self.budget.to_json(),
            "seed": self.seed,
            "victim": None if self.victim is None else self.victim.to_json(),
            "plan": dict(self.plan),
            "plugins": [p.to_json() for p in self.plugins],
        }
        return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()

    def cost(self) -> Budget:
        """At most the budget."""
        return self.budget

    def name(self, data: Dataset) -> str:
        """The identity of the answer: request, data and versions."""
        from oakum.engine.record import versions

        text = json.dumps([self.digest(), data.digest, versions()], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def propose(self, data: Dataset) -> Proposal:
        """Run the technique, as `attacks.base.propose`; a victim is fitted first where it looks at one."""
        if self.victim is None or not self.attack.looks:
            return propose(self.attack, data, self.goal, self.budget, seed=self.seed)
        from oakum.engine.fit import fit, spec_is_learned

        def trained(log: Dataset) -> Any:
            assert self.victim is not None
            plan = {**self.plan, "checkpoint": None} if spec_is_learned(self.victim) else None
            return fit(self.victim, log, plan=plan, plugins=self.plugins, seed=self.seed)

        victim = trained(data)
        again = afterwards(victim, data, trained)
        return propose(self.attack, data, self.goal, self.budget, seed=self.seed, victim=victim, retrain=again)

    def settle(self, data: Dataset, folder: Path | None = None) -> Settled:
        """The change: from this process's memory, from `folder`, or worked out now and kept in both."""
        name = self.name(data)
        if name not in _WORKED:
            found = _read(folder, name, self.digest())
            if found is None:
                made = self.propose(data)
                found = Settled(made.change, made.cost, made.looks, self.digest())
                _write(folder, name, found)
            _WORKED[name] = found
        return _WORKED[name]

    def apply(self, target: Any) -> Any:
        """A changed copy; the technique runs at most once a process."""
        return self.settle(target).apply(target)


def _write(folder: Path | None, name: str, settled: Settled) -> None:
    arrays: dict[str, Any] = {}
    change = settled.change
    if isinstance(change, AddProfiles):
        rows = change.profiles
        arrays = {"offsets": rows.offsets, "items": rows.items, "times": rows.times, "values": rows.values}
        arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items() if v is not None}
    elif isinstance(change, EditEvents):
        arrays = {n: np.ascontiguousarray(getattr(change, n)) for n in _EDITS}
    words: dict[str, Any] = {"texts": list(change.texts)} if isinstance(change, AddItems | EditText) else {}
    if isinstance(change, EditText):
        words["codes"] = list(change.codes)
    if folder is None or type(change) not in (AddItems, AddProfiles, EditEvents, EditText, Nothing):
        return  # other kinds are worked out again when an audit goes on
    from safetensors.numpy import save_file

    about = {"spent": settled.spent.to_json(), "looks": dict(settled.looks), "kind": type(change).__name__, **words}
    about["knowledge"] = getattr(change, "knowledge", "")
    with whole(folder / f"{name}.change.safetensors") as aside:
        save_file({**arrays, "kept": np.zeros(1, np.int8)}, str(aside), metadata={"about": json.dumps(about)})


def _read(folder: Path | None, name: str, digest: str) -> Settled | None:
    if folder is None or not (path := folder / f"{name}.change.safetensors").exists():
        return None
    from safetensors import safe_open

    with safe_open(str(path), framework="np") as file:
        about = json.loads((file.metadata() or {})["about"])
        arrays = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    change: Change = Nothing()
    if about["kind"] == "AddProfiles":
        rows = Ragged(arrays["offsets"], arrays["items"], arrays.get("times"), arrays.get("values"))
        change = AddProfiles(rows, about["knowledge"])
    elif about["kind"] == "EditEvents":
        if not set(_EDITS) <= arrays.keys():
            return None  # kept by a version that kept removals only
        change = EditEvents(*(arrays[n] for n in _EDITS))
    elif about["kind"] == "AddItems":
        change = AddItems(tuple(about["texts"]))
    elif about["kind"] == "EditText":
        change = EditText(tuple(about["codes"]), tuple(about["texts"]))
    return Settled(change, Budget.from_json(about["spent"]), about["looks"], digest)
