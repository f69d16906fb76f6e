"""`forget`: people leave a model, and what that left is measured and written down."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from oakum.data import Dataset
from oakum.engine.fit import fit_again
from oakum.engine.fitted import Fitted
from oakum.engine.progress import Progress
from oakum.errors import DataError
from oakum.forgetting.membership import Membership, membership
from oakum.seeds import generator


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """What was done, for the record. people: SHA-256 of the ids, since a statement must not keep what was forgotten;
    events: rows taken out; stored: events taken out of a service's state, None where none was given; method: how the weights were made anew; before, after: digests of the training data."""

    date: str
    system: str
    people: tuple[str, ...]
    events: int
    method: str
    before: str
    after: str
    test: Membership | None
    stored: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @property
    def statement(self) -> str:
        """The dated statement, in Markdown."""
        lines = [
            f"# Statement of deletion, {self.date}",
            f"{len(self.people)} {'person was' if len(self.people) == 1 else 'people were'} taken out of a model of the system "
            f"'{self.system}' (SHA-256 of the ids: {', '.join(self.people)}).",
            f"- Rows: {self.events:,} events were deleted from the training log that the model keeps, and the ids from its "
            "list of users.",
            f"- Weights: {self.method}.",
            f"- Training data: {self.before[:16]} before, {self.after[:16]} after.",
            *([] if self.stored is None else [f"- Service: {self.stored:,} stored events were deleted."]),
            f"- What is left: {'not measured' if self.test is None else self.test.sentence}",
            "Copies outside of the model's folder (back-ups, exports, the log it was read from) are not covered.",
        ]
        return "\n\n".join(lines[:2]) + "\n\n" + "\n".join(lines[2:-1]) + "\n\n" + lines[-1] + "\n"


def digest_of(user: object) -> str:
    """How a statement names a person."""
    return hashlib.sha256(str(user).encode()).hexdigest()


def forget(
    fitted: Fitted,
    users: Sequence[Any],
    *,
    log: Dataset | None = None,
    test: bool = True,
    controls: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Fitted, Forgotten]:
    """A model that was trained without these users, and what can be said of it.

    The same system is trained afresh, with the same plan and seed, on the log without them, so no weight has seen them;
    closed forms and learned systems alike. log: what the model was trained on, where it does not keep all of it (features
    of users, relations). test: measure what is left, at the price of a second training (a reference without them and
    without half of the `controls`, who show what the test can see). Raises `DataError` for an id that the model does not
    know and where nobody would be left. Cost: one training, two with the test.
    """
    data = fitted.log() if log is None else log
    codes = data.users.encode(list(users))
    if (codes < 0).any():
        raise DataError(f"The model knows no user {users[int(np.flatnonzero(codes < 0)[0])]!r}; nothing was changed.")
    codes = np.unique(codes)
    left = data.without_users(codes)
    if not len(left):
        raise DataError("Without these users the log has no event left; delete the model instead.")
    made = fit_again(fitted, left, progress=progress)
    found = None
    if test:
        stay = left.users.encode(data.users.ids)
        people = np.flatnonzero((stay >= 0) & (data.user_counts > 1))
        drawn = generator(seed, "controls").permutation(people)[: 2 * controls]
        decoys, known = drawn[: len(drawn) // 2], drawn[len(drawn) // 2 :]
        reference = fit_again(fitted, left.without_users(stay[decoys]), progress=progress)
        h = data.histories
        found = membership(made, reference, h.take(codes), h.take(decoys), h.take(known), seed=seed)
    said = Forgotten(
        date=datetime.now(UTC).date().isoformat(),
        system=fitted.spec.slug,
        people=tuple(digest_of(u) for u in data.users.ids.gather(codes).to_list()),
        events=len(data) - len(left),
        method="trained afresh on what is left, with the same settings and seed",
        before=fitted.record.data,
        after=made.record.data,
        test=found,
    )
    return made, said
