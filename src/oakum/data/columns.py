"""Which column is what: guessed by name, then by place and type; every guess is stated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from oakum.data.issues import refuse
from oakum.errors import nearest


def _words(*lines: str) -> tuple[str, ...]:
    return tuple(word for line in lines for word in line.split())


NAMES = {
    "user": _words(
        "user_id user userid uid user_name username customer_id customer customerid client_id client visitor_id",
        "visitorid visitor account_id account member_id member person_id person reviewer_id reviewerid reviewer",
        "profile_id listener listener_id buyer_id player_id session_id session sessionid query_id report_id u",
    ),
    "item": _words(
        "item_id item itemid iid product_id product productid movie_id movieid movie artist_id artistid artist",
        "track_id trackid track song_id songid song book_id bookid book isbn parent_asin asin business_id business",
        "venue_id venue venueid poi_id poi article_id articleid article news_id newsid video_id videoid game_id",
        "gameid app_id content_id document_id doc_id sku goods_id listing_id hotel_id recipe_id photo_id post_id",
        "bundle_id technique_id i",
    ),
    "value": _words(
        "rating ratings score stars value plays play_count playcount listen_count count weight overall preference",
        "grade relevance label quantity use_count clicks click hours feedback",
    ),
    "time": _words(
        "timestamp time ts unix_timestamp unix_time unixreviewtime datetime event_time eventtime created_at date",
        "event_date review_time reviewtime review_date at when",
    ),
}
# A column of one of these names says of every row whether something happened: such a log may lack users or items.
LABELS = frozenset(_words("label click clicks clicked is_click conversion converted is_attributed"))
ORDER = ("position", "order", "step", "rank_in_sequence", "sequence_number")
_OTHER = _words("split part fold day domain behaviour behavior collection label set")
_NEVER_IDS = frozenset([*NAMES["value"], *NAMES["time"], *ORDER, *_OTHER])
ROLES = ("user", "item", "value", "time")


@dataclass
class Roles:
    """Column of each role found, of the order within a history, and sentences on what was guessed. A log of labelled
    rows (clicks on impressions) may have no user or no item."""

    user: str | None
    item: str | None
    value: str | None = None
    time: str | None = None
    position: str | None = None
    notes: list[str] = field(default_factory=list)

    def used(self) -> list[str]:
        """The columns that have a role."""
        return [c for c in (self.user, self.item, self.value, self.time, self.position) if c is not None]

    @property
    def labelled(self) -> bool:
        """Whether this is a log of labelled rows, whose context columns are what is learned from."""
        return self.user is None or self.item is None or (self.value is not None and plain(self.value) in LABELS)


def plain(name: str) -> str:
    """A column name in lower case with underscores, without the type of an atomic file (`user_id:token`)."""
    name = name.split(":")[0].strip().strip('"')
    if name != name.upper():
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[\s\-.]+", "_", name).lower()


def guess(
    schema: Mapping[str, pl.DataType],
    given: Mapping[str, str | None],
    where: str,
    *,
    known: Mapping[str, str] | None = None,
    named: bool = True,
    by_place: bool = True,
    sample: pl.DataFrame | None = None,
) -> Roles:
    """The roles of the columns.

    given: names that the user said ("" leaves a role empty); known: names that the format itself says. named:
    False for a file without a header, whose columns are then taken by place; a table with names is guessed by
    place only where it is narrow and `by_place` allows it. Raises `DataError` where user or item has none,
    unless it was given as "" or a column named as a label (click, label ...) says that rows are what is learned.

    """
    columns = list(schema)
    if not columns:
        refuse(where, "no columns", "Expected a user, an item and perhaps a value and a time.")
    out: dict[str, str] = {}
    notes: list[str] = []
    for role in ROLES:
        name = given.get(role)
        if name:
            if name not in schema:
                asked = f"no column '{name}', which was given as the {role}"
                refuse(where, asked, f"{nearest(name, columns).strip()} Columns: {_listed(columns)}.".strip())
            if name in out.values():
                refuse(where, f"column '{name}' was given two roles", "Name one column for each role.")
            out[role] = name
    empty = {role for role in ROLES if given.get(role) == ""}
    for role, name in (known or {}).items():
        if role not in empty and name not in out.values():
            out.setdefault(role, name)
    by_plain: dict[str, str] = {}
    for column in columns:
        by_plain.setdefault(plain(column), column)
        by_plain.setdefault(plain(column).replace("_", ""), column)
    if named:
        for role in ROLES:
            if role in out or role in empty:
                continue
            found = next((by_plain[n] for n in NAMES[role] if n in by_plain and by_plain[n] not in out.values()), None)
            if found is not None and not schema[found].is_nested():
                out[role] = found
                notes.append(f"Took column '{found}' as the {role}.")
    _by_place(schema, out, empty, notes, named, by_place, sample)
    rows_alone = "value" in out and plain(out["value"]) in LABELS and len(columns) > len(out)
    for role in ("user", "item"):
        if role not in out and not rows_alone and role not in empty:
            refuse(
                where,
                f"no column for the {role} among {_listed(columns)}",
                f"Expected a name such as {', '.join(NAMES[role][:3])}: rename one, or say which it is with "
                f"{role}=NAME.",
            )
        if role not in out:
            notes.append(
                f"No column for the {role}: rows are read as labelled rows, for models that predict single rows"
                + ("." if role in empty else f"; say {role}=NAME where there is one.")
            )
    position = None
    if "time" not in out and "time" not in empty and named:
        position = next((by_plain[n] for n in ORDER if n in by_plain and by_plain[n] not in out.values()), None)
        if position is not None and not schema[position].is_integer():
            position = None
    return Roles(out.get("user"), out.get("item"), out.get("value"), out.get("time"), position, notes)


def _by_place(
    schema: Mapping[str, pl.DataType],
    out: dict[str, str],
    empty: set[str],
    notes: list[str],
    named: bool,
    by_place: bool,
    sample: pl.DataFrame | None,
) -> None:
    """Fill what names did not say: ids from the left where the table is narrow, then a value and a time by
    type.
    """
    free = [c for c, kind in schema.items() if c not in out.values() and not kind.is_nested()]
    narrow = not named or (by_place and len(schema) <= 4)
    for role in ("user", "item"):
        if role not in out and role not in empty and narrow:
            ids = [c for c in free if _is_id(schema[c]) and plain(c) not in _NEVER_IDS]
            if ids:
                out[role] = ids[0]
                free.remove(ids[0])
                notes.append(f"Took column '{ids[0]}' as the {role} by its place{' (no header)' if not named else ''}.")
    for column in list(free):
        if "time" in out or "time" in empty:
            break
        if schema[column].is_temporal() and schema[column] != pl.Duration and schema[column] != pl.Time:
            out["time"] = column
            free.remove(column)
            notes.append(f"Took column '{column}' as the time, for its type.")
    if named or sample is None:
        return
    for column in free:
        if "time" not in out and "time" not in empty and _looks_like_time(sample[column]):
            out["time"] = column
            notes.append(f"Took column '{column}' as the time, for its size.")
        elif "value" not in out and "value" not in empty and schema[column].is_numeric():
            out["value"] = column
            notes.append(f"Took column '{column}' as the value by its place.")


def _is_id(kind: pl.DataType) -> bool:
    return kind.is_integer() or kind == pl.String or kind == pl.Categorical or kind == pl.Enum


def _looks_like_time(column: pl.Series) -> bool:
    column = column.drop_nulls()
    if not len(column):
        return False
    if column.dtype.is_numeric():
        return bool((column.cast(pl.Float64) >= 1e8).all())
    return column.dtype == pl.String and bool(column.str.contains(r"^\d{4}[-/]\d{1,2}[-/]\d{1,2}").all())


def _listed(columns: list[str]) -> str:
    shown = ", ".join(repr(c)[:40] for c in columns[:12])
    return f"{shown} and {len(columns) - 12} more" if len(columns) > 12 else shown
