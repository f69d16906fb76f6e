"""One search for all attacks on words: edit a few tokens, keep what scores higher, count every look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from oakum.errors import OakumError, ParameterError
from oakum.parameters import Parameters, Range

T = TypeVar("T")


class Effort(Parameters):
    """How long a search goes on."""

    steps: Annotated[int, Range(0), "rounds of new candidates"] = 12
    evaluations: Annotated[int, Range(0), "sequences scored in all; 0 sets no limit"] = 0
    beam: Annotated[int, Range(1), "sequences kept after a group of edits"] = 1
    patience: Annotated[int, Range(0), "rounds without a gain before it stops; 0 goes on"] = 0


class Edit(NamedTuple):
    """One edit: `token` replaces what is at `position`, is inserted before it, or (delete) is not used."""

    position: int
    token: object = None
    kind: Literal["replace", "insert", "delete"] = "replace"

    def on(self, tokens: tuple[T, ...]) -> tuple[T, ...]:
        """The edited tokens."""
        p = self.position
        if not 0 <= p < len(tokens) + (self.kind == "insert"):
            raise ParameterError(f"An edit is at position {p} of a text of {len(tokens)} tokens.")
        here: tuple[T, ...] = () if self.kind == "delete" else (self.token,)  # type: ignore[assignment]
        return tokens[:p] + here + tokens[p + (self.kind != "insert") :]


@dataclass(frozen=True, eq=False)
class Trace:
    """values: the best objective before the search and after each round, never falling; evaluations: sequences scored."""

    values: tuple[float, ...]
    evaluations: int
    refused: int = field(default=0)

    @property
    def gain(self) -> float:
        """What the search won."""
        return self.values[-1] - self.values[0]


def token_search(
    objective: Callable[[Sequence[tuple[T, ...]]], NDArray[np.float64]],
    start: Sequence[T],
    candidates: Callable[[tuple[T, ...]], Iterable[Sequence[Edit]]],
    budget: Effort,
    keep: Callable[[tuple[T, ...]], tuple[T, ...] | None] = lambda tokens: tokens,
) -> tuple[tuple[T, ...], Trace]:
    """The best sequence met, and how it was found.

    objective: sequences -> one finite value each, higher is better. candidates: the best sequence -> groups of edits,
    gone through in order; of each group the best edit, or none, is taken on every sequence of the beam. keep: what may
    stand (re-tokenisation, similarity): the sequence as it would be read, or None to refuse. "No edit" is always among
    the choices, so the value never falls. Time: evaluations · one look; memory: one group.
    """
    seen: dict[tuple[T, ...], float] = {}
    asked = refused = 0

    def value(many: Sequence[tuple[T, ...]]) -> None:
        nonlocal asked
        fresh = [t for t in dict.fromkeys(many) if t not in seen]
        if budget.evaluations:
            fresh = fresh[: max(0, budget.evaluations - asked)]
        if not fresh:
            return
        found = np.asarray(objective(fresh), np.float64)
        if found.shape != (len(fresh),) or not np.isfinite(found).all():
            raise OakumError(
                f"The objective of a token search gave {found.shape} for {len(fresh)} texts, or no number."
            )
        asked += len(fresh)
        seen.update(zip(fresh, found.tolist(), strict=True))

    first = tuple(start)
    value([first])
    if first not in seen:
        raise ParameterError("A token search needs at least one evaluation.")
    beam, values, idle = [first], [seen[first]], 0
    for _ in range(budget.steps):
        for group in candidates(beam[0]):
            if budget.evaluations and asked >= budget.evaluations:
                break
            options = []
            for here in beam:
                for edit in group:
                    allowed = keep(edit.on(here))
                    refused += allowed is None
                    if allowed is not None and allowed != here:
                        options.append(allowed)
            value(options)
            pool = dict.fromkeys([*beam, *(o for o in options if o in seen)])
            beam = sorted(pool, key=lambda t: -seen[t])[: budget.beam]
        idle = idle + 1 if seen[beam[0]] <= values[-1] else 0
        values.append(seen[beam[0]])
        if (budget.evaluations and asked >= budget.evaluations) or (budget.patience and idle >= budget.patience):
            break
    return beam[0], Trace(tuple(values), asked, refused)
