"""What a federation is, as values without torch: who takes part, who combines, who is hostile. `federated` runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from oakum.engine.plan import Step
from oakum.parameters import Parameters, Range

if TYPE_CHECKING:
    import torch

    from oakum.engine.federated import Federation
    from oakum.engine.run import Run
    from oakum.engine.uploads import Replies, Seen, Upload, Uploads


class Aggregator(Parameters):
    """How a server makes one change of the shared weights out of what clients upload.

    linear: the result is the weighted sum, so sums are enough and no upload is looked at by itself. personal: every
    participant keeps a copy of the shared weights and is answered for itself.
    """

    linear: ClassVar[bool] = False
    personal: ClassVar[bool] = False

    def memory(self, clients: int) -> dict[str, torch.Tensor]:
        """What the server keeps from round to round, by name; saved with the state of the run."""
        return {}

    def combine(self, uploads: Uploads, memory: dict[str, torch.Tensor]) -> Replies:
        """The round's gradient of the shared weights, and, where `personal`, one for every upload."""
        raise TypeError(f"{type(self).__name__} does not say how it combines.")

    def notes(self, memory: dict[str, torch.Tensor]) -> list[str]:
        """What the record of the run should say of the participants, in sentences."""
        return []


class Tactic(Parameters):
    """What hostile clients upload. They see what the server sends (`Seen`) and nothing else.

    seizes: they are participants that exist (the last ones), with their data; else they come on top, without data.
    people: rows that their copy of the model has for people of their own making.
    """

    seizes: ClassVar[bool] = False

    @property
    def people(self) -> int:
        """How many made-up people a hostile client needs rows for."""
        return 1

    def upload(self, seen: Seen) -> Upload:
        """Gradients of shared weights by name: a tensor of its shape, or (rows int64 [m], values [m, ..]) of a table."""
        raise TypeError(f"{type(self).__name__} does not say what it uploads.")


class Hostile(Parameters):
    """Hostile clients in a federation. The simulator counts them and their rounds; a tactic cannot exceed either."""

    clients: Annotated[int, Range(1), "hostile clients"] = 1
    rounds: Annotated[int, Range(0), "rounds in which any of them answers, at most"] = 0
    begin: Annotated[int, Range(0), "first epoch in which they answer"] = 0
    tactic: Annotated[Tactic, "what they upload"]
    targets: Annotated[tuple[int, ...], "codes of the items that they push"] = ()
    promote: Annotated[bool, "push up, or down"] = True


class Federated(Step):
    """Every client trains on its own events and uploads gradients of the shared weights; its private rows stay with it.

    A round asks `clients` participants, in an order drawn anew every epoch; an epoch asks everybody once. What is uploaded
    is the sum of the gradients of the local steps (its gradient, where that is one step); server and clients then move by
    the rule of the plan, so that one local step of all clients under the mean is the central step. Participants are the
    people with events, or groups of them (silos). Clients not asked in a round stay as they were, to the last bit.
    """

    slug = "federated"
    clients: Annotated[int, Range(0), "participants in a round; 0 asks all"] = 0
    weigh: Annotated[
        Literal["rows", "clients", "sum"],
        "a client's weight in a round: its share of the rows, the same for all, or 1 (gradients are added up)",
    ] = "rows"
    local_epochs: Annotated[int, Range(1, 1000), "passes of a client over its own events before it uploads"] = 1
    local_batch: Annotated[int, Range(0), "rows in a local step; 0 takes all that the client has"] = 0
    answers: Annotated[float, Range(above=0, high=1), "share of the participants that can be reached in an epoch"] = 1.0
    groups: Annotated[int, Range(0), "participants that people are dealt to; 0 makes everybody one"] = 0
    skew: Annotated[float, Range(0, 10), "participant g of the groups gets people in proportion to (g + 1) ** skew"] = 0
    aggregate: Annotated[Aggregator | None, "the server's rule; none adds up by weight"] = None
    hostile: Annotated[Hostile | None, "hostile clients; none are"] = None

    def begin(self, run: Run) -> Federation:
        """The federation over the data of a run."""
        from oakum.engine.federated import Federation

        return Federation(self, run)


def federated(step: Any) -> Federated:
    """The step of a plan as a federation: itself where it is one, all people with the mean where there is none."""
    return step if isinstance(step, Federated) else Federated()
