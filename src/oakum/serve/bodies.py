"""What requests and replies look like: the types that are checked, and that the OpenAPI description is made from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from oakum.data.times import UNITS
from oakum.errors import ParameterError

MOST_K = 1_000
MOST_HISTORY = 1_000
MOST_IDS = 10_000
MOST_EVENTS = 1_000
MOST_ITEMS = 1_000
LONGEST_ID = 256
_END = r"(?![\s\S])"  # Python's $ lets a line break follow, which the $ of JSON Schema does not
_PLAIN = rf"^[^\u0000-\u001f\u007f]+{_END}"  # no control characters: databases and logs do not take them
_FROM, _TO = datetime(1900, 1, 1, tzinfo=UTC).timestamp() * 1e6, datetime(2200, 1, 1, tzinfo=UTC).timestamp() * 1e6

Text = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID, pattern=_PLAIN)]
Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Id = Text | Number
K = Annotated[int, Meta(ge=1, le=MOST_K, description="Items wanted.")]
History = Annotated[list[Id], Meta(max_length=MOST_HISTORY, description="Item ids, oldest first.")]
Ids = Annotated[list[Id], Meta(max_length=MOST_IDS)]
Words = Annotated[str, Meta(min_length=1, max_length=2_000)]
Choice = Annotated[
    str,
    Meta(min_length=1, max_length=4_000, description="A choice by columns: price < 10 and category in ['a', 'b'].")
]  # fmt: skip
Moment = (
    Annotated[float, Meta(ge=-9.2e18, le=9.2e18, description="Seconds, milli-, micro- or nanoseconds since 1970.")]
    | datetime
)
Weight = Annotated[float, Meta(ge=-1e9, le=1e9)]
Column = Annotated[str, Meta(min_length=1, max_length=64, pattern=rf"^[^\u0000-\u001f\u007f`]+{_END}")]
Cell = (
    bool
    | Annotated[float, Meta(ge=-1e300, le=1e300)]
    | Annotated[str, Meta(max_length=10_000)]
    | Annotated[list[Annotated[str, Meta(max_length=1_000)]], Meta(max_length=1_000)]
    | None
)


class _Strict(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Unknown fields are refused: a typing mistake must not be a silent default."""


class Asker(_Strict, kw_only=True):
    """Who is asked for: a user, a history, typed words, or a mix."""

    user_id: Id | None = None
    history: History | None = None
    text: Words | None = None


class RecommendRequest(Asker, kw_only=True):
    """At least one of user_id, history and text. allow, deny and filter hold together. seed: for models that explore,
    the draw; without one they give their best guess."""

    k: K = 10
    allow: Ids | None = None
    deny: Ids | None = None
    filter: Choice | None = None
    exclude_seen: bool = True
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None


class SimilarRequest(_Strict, kw_only=True):
    """Items for somebody whose whole history is one item."""

    item_id: Id
    k: K = 10
    allow: Ids | None = None
    deny: Ids | None = None
    filter: Choice | None = None


class ScoreRequest(Asker, kw_only=True):
    """Scores of named items."""

    items: Annotated[list[Id], Meta(min_length=1, max_length=MOST_IDS)]


class ExplainRequest(Asker, kw_only=True):
    """Which events make an item score as it does."""

    item_id: Id


class PostedEvent(_Strict, kw_only=True):
    """One thing a user did. Without a timestamp: now. The same event_id counts once."""

    user_id: Id
    item_id: Id
    timestamp: Moment | None = None
    event_id: Annotated[str, Meta(min_length=1, max_length=128, pattern=_PLAIN)] | None = None
    type: Annotated[str, Meta(min_length=1, max_length=64, pattern=_PLAIN)] | None = None
    weight: Weight | None = None


class EventsRequest(_Strict, kw_only=True):
    """Events, all stored or none."""

    events: Annotated[list[PostedEvent], Meta(min_length=1, max_length=MOST_EVENTS)]


class ToldItem(_Strict, kw_only=True):
    """What there is to know of an item."""

    item_id: Id
    attributes: Annotated[dict[Column, Cell], Meta(max_length=100)]


class ItemsRequest(_Strict, kw_only=True):
    """Items, all stored or none; attributes replace what was told of the item before."""

    items: Annotated[list[ToldItem], Meta(min_length=1, max_length=MOST_ITEMS)]


class Page(_Strict, kw_only=True):
    """A page of a long list: what comes after the last seen, at most so many."""

    after: Annotated[int, Meta(ge=0, le=2**62)] = 0
    limit: Annotated[int, Meta(ge=1, le=100_000)] = 10_000


class Reply(Struct, kw_only=True):
    """What every reply says: which model, trained on which data, to which request."""

    model: str
    data_version: str
    request_id: str


class ScoredItem(Struct, kw_only=True):
    """One place of a list; score is null where popularity filled it or the model cannot say."""

    item_id: str
    score: float | None


class RecommendReply(Reply, kw_only=True, omit_defaults=True):
    """A list, best first. fallback: why popularity had a part in it. ignored: ids that the model does not know.
    matching: how many items the filters allow. degraded: what could not be looked at."""

    items: list[ScoredItem]
    fallback: str | None = None
    ignored: list[str] | None = None
    matching: int | None = None
    degraded: str | None = None


class ScoreReply(Reply, kw_only=True, omit_defaults=True):
    """Scores in the order asked."""

    scores: list[ScoredItem]
    ignored: list[str] | None = None
    degraded: str | None = None


class Worth(Struct, kw_only=True):
    """An event of the history and what it adds to the score."""

    item_id: str
    effect: float | None


class ExplainReply(Reply, kw_only=True, omit_defaults=True):
    """The score from the history alone, and what each of the latest events is worth, most first."""

    item_id: str
    score: float | None
    because: list[Worth]
    ignored: list[str] | None = None
    degraded: str | None = None


class EventsReply(Reply, kw_only=True):
    """What became of the events; they are on disk."""

    stored: int
    duplicates: int
    event_ids: list[str]


class ItemsReply(Reply, kw_only=True):
    """How many items were told of."""

    stored: int


class KnownItem(Struct, kw_only=True):
    """An item: trained_users is 0 where the model has not learned it, null where it does not know the id."""

    item_id: str
    trained_users: int | None
    attributes: dict[str, Any]


class ItemReply(Reply, kw_only=True):
    """What is known of one item."""

    item: KnownItem


class ItemListReply(Reply, kw_only=True, omit_defaults=True):
    """A page of items; next: the `after` of the next page."""

    items: list[KnownItem]
    total: int
    next: int | None = None


class StoredEvent(Struct, kw_only=True, omit_defaults=True):
    """An event as it is stored. timestamp: seconds since 1970; status: pending, accepted, held or taken back."""

    event_id: str
    user_id: str
    item_id: str
    timestamp: float
    status: str
    type: str | None = None
    weight: float | None = None
    batch: str | None = None


class TrainedEvent(Struct, kw_only=True, omit_defaults=True):
    """An event that the model was trained on."""

    item_id: str
    timestamp: float | None = None


class Answered(Struct, kw_only=True):
    """That an experiment has answered a user: the arm, and when first (seconds since 1970)."""

    experiment: str
    arm: str
    first: float


class UserReply(Reply, kw_only=True, omit_defaults=True):
    """All that is known of a user: stored events in the order they came (next: the `after` of the next page), and what
    the model was trained on, and the experiments that have answered them."""

    user_id: str
    events: list[StoredEvent]
    trained: list[TrainedEvent]
    experiments: list[Answered] | None = None
    next: int | None = None


class ForgetReply(Reply, kw_only=True):
    """What was removed; the sentence says what is left."""

    user_id: str
    removed: dict[str, int]
    statement: str


class Whose(_Strict, kw_only=True):
    """Whose statements: they name people by SHA-256 of the id, so only who knows an id finds its statements."""

    user_id: Text | None = None


class Statement(Struct, kw_only=True, omit_defaults=True):
    """What was done when people left. people: SHA-256 of their ids; record: the same as figures."""

    id: str
    made: str
    people: list[str]
    statement: str
    record: dict[str, Any] | None = None


class StatementsReply(Reply, kw_only=True):
    """Statements, newest first."""

    statements: list[Statement]


class Batch(Struct, kw_only=True):
    """A screened delivery of events."""

    id: str
    made: str
    events: int
    accounts: int
    held_events: int
    held_accounts: int
    bar: float
    status: str


class BatchesReply(Reply, kw_only=True):
    """All batches, and stored events by status."""

    batches: list[Batch]
    events: dict[str, int]


class BatchReply(Reply, kw_only=True):
    """What was done with a batch."""

    batch: Batch
    moved: int


class ModelReply(Reply, kw_only=True):
    """The model that answers."""

    system: str
    title: str
    users: int
    items: int
    events: int
    columns: dict[str, str]


class Health(Struct, kw_only=True, omit_defaults=True):
    """ok, or what is not."""

    status: str
    model: str | None = None


def text_of(id: str | int) -> str:
    """Ids are text."""
    return id if isinstance(id, str) else str(id)


def micros(value: float | datetime) -> int:
    """A moment as microseconds since 1970; the unit of a number is read off its size, as in logs."""
    if isinstance(value, datetime):
        value = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        found = value.timestamp() * 1e6
    else:
        scale = next((s for limit, _, s in UNITS if abs(value) < limit), 0)
        found = value * scale if scale else value / 1_000
    if not _FROM <= found <= _TO:
        raise ParameterError(f"A timestamp of {value} is outside the years 1900 to 2200.")
    return round(found)
