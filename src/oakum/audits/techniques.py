"""The techniques of a drill: what each is asked for, on which system, and what it was granted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from oakum.attacks.base import Budget, Goal, Threat
from oakum.attacks.proposed import Proposed, Settled
from oakum.audits.base import Subject, System, percent
from oakum.catalogue import entry, load_class
from oakum.errors import ParameterError
from oakum.needs import check
from oakum.parameters import fields


def looks(attack: str) -> bool:
    """Whether a technique looks at its victim."""
    return bool(load_class(attack, "attack")().looks)


def has_size(plugin: str) -> bool:
    """Whether a plug-in has a size `eps` that the validation part can choose."""
    return any(f.name == "eps" for f in fields(load_class(plugin)))


def key_of(attack: str, share: float, system: System | None = None) -> str:
    """The name of an attacked training set: one for all systems, one for each where the technique looks at its victim."""
    return f"{attack} {percent(share, 2)}" + (f" on {system.slug}" if system is not None and looks(attack) else "")


def proposed(subject: Subject, system: System, attack: str, goal: Goal, budget: Budget) -> Proposed:
    """A technique's change, to be worked out once in a worker. Those that never look are given no queries, and no victim.

    Raises `DataError` at once where the log lacks what the technique needs, `ParameterError` for one that does not work
    through the log.
    """
    technique = load_class(attack, "attack")()
    check(technique, subject.data)
    if Threat.CLIENTS in technique.threat:
        raise ParameterError(
            f"'{attack}' works through clients of a federation, not through the log: use `oakum attack`."
        )
    if not technique.looks:
        return Proposed(technique, goal, budget.replace(queries=0), subject.seed)
    return Proposed(technique, goal, budget, subject.seed, system.spec, system.plan, system.plugins)


def threat_of(subject: Subject, systems: Sequence[System], attacks: Iterable[str], share: float) -> str:
    """What the techniques were granted, and how often those that look at a victim did, as counted."""
    out = ["reads the training log; adds accounts; never sees the test part"]
    watched = [a for a in attacks if looks(a)]
    if not watched:
        return "reads the training log; adds accounts; never sees the model or the test part"
    for attack in watched:
        for system in systems:
            made = subject.changes.get(key_of(attack, share, system), ("", None))[1]
            seen = made.looks if isinstance(made, Settled) else {}
            words = ", ".join(f"{n} {name}" for name, n in seen.items() if name != "log") or "none counted"
            out.append(f"'{attack}' looked at {system.slug}: {words}")
    return "; ".join(out)


def beyond(attacks: Iterable[str]) -> str:
    """What an adversary could do who is better than those drilled."""
    if any(entry(a).extra for a in attacks):
        return " Techniques that optimise are among those drilled; a better informed adversary may do more."
    return " Heuristic techniques only: an optimising adversary does at least as well."
