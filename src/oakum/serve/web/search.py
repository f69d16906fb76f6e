"""Find an item or a person, see the list and why, try a history."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import numpy as np
import polars as pl
from starlette.responses import RedirectResponse, Response

from oakum.serve import answers
from oakum.serve.answers import Answer, Person, Wish
from oakum.serve.problems import Problem
from oakum.serve.web.shell import TITLES, Page, Visit

FOUND = 20
LONGEST = 50  # items of a history that is tried
LISTED = 12


async def home(visit: Visit) -> dict[str, Any]:
    fitted = visit.served.fitted
    return {
        "system": _title(fitted.spec.slug),
        "users": len(fitted.users),
        "items": len(fitted.items),
        "events": len(fitted.histories.items),
        "popular": _rows(visit, [(visit.served.item_ids[c], None) for c in visit.served.popular[:6].tolist()]),
        "look": visit.service.looked,
    }


def _title(slug: str) -> str:
    from oakum.catalogue import entry

    return entry(slug).title


async def find(visit: Visit) -> dict[str, Any] | Response:
    words = visit.get("q").strip()
    if not words:
        return RedirectResponse("/", 303)
    items, users, more = await visit.service.work(_matching, visit, words)
    if len(items) == 1 and not users and not more:
        return RedirectResponse(f"/item?{urlencode({'id': items[0]})}", 303)
    if len(users) == 1 and not items and not more:
        return RedirectResponse(f"/user?{urlencode({'id': users[0]})}", 303)
    return {"q": words, "items": _rows(visit, [(i, None) for i in items]), "users": users, "more": more}


def _matching(visit: Visit, words: str) -> tuple[list[str], list[str], bool]:
    """Items and people whose id (or title) has the words in it, the closest first; whether there are more. People are
    listed for those who may read them; anybody who may ask finds a person by the whole id."""
    frame = visit.table.frame
    low = words.lower()
    wanted = pl.lit(False)
    for name in ("item_id", *(t for t in TITLES if t in frame.columns and frame[t].dtype == pl.String)):
        wanted = wanted | pl.col(name).str.to_lowercase().str.contains(low, literal=True)
    ids = frame.filter(wanted)["item_id"].to_list()
    near = lambda id: (id.lower() != low, not id.lower().startswith(low), len(id), id)
    items = sorted(ids, key=near)
    users: list[str] = []
    if visit.session.may("write"):
        users = sorted((u for u in visit.served.users if low in u.lower()), key=near)
    elif words in visit.served.users:
        users = [words]
    if words not in users and visit.service.state.recent(words, 1):
        users.insert(0, words)
    users = [u for u in users if not visit.service.state.is_forgotten(u) or u == words]
    return items[:FOUND], users[:FOUND], len(items) > FOUND or len(users) > FOUND


async def person(visit: Visit) -> dict[str, Any]:
    user = visit.get("id")
    if not user:
        raise Problem("bad-request", "Name a person: /user?id=…")
    served, table = visit.service.arm(user)

    def do() -> tuple[Answer, str | None, list[dict[str, str]]]:
        who, degraded = visit.service.person(served, user)
        return answers.recommend(served, table, who, Wish(k=LISTED)), degraded, _past(visit, who)

    found, degraded, past = await visit.service.work(do)
    trial = visit.service.trial
    return {
        "user": user,
        "found": found,
        "rows": _rows(visit, found.items),
        "degraded": degraded,
        "past": past if visit.session.may("write") else None,
        "model": served.id,
        "forgotten": visit.service.state.is_forgotten(user),
        "arm": None
        if trial is None or trial.ended or visit.service.state.is_forgotten(user)
        else ("candidate" if trial.takes(user) else "current"),
        "experiment": "" if trial is None else trial.experiment.name,
        "top": _top(found),
    }


def _past(visit: Visit, who: Person) -> list[dict[str, str]]:
    """The latest items of a person, newest first, and where we know them from."""
    out = [(e.item_id, e.status) for e in reversed(who.events)]
    code = visit.served.users.get(str(who.user_id))
    if code is not None and not who.forgotten:
        h = visit.served.fitted.histories.take(np.array([code]))
        out += [(visit.served.item_ids[c], "trained on") for c in reversed(h.items.tolist())]
    return [{"id": i, "title": visit.title(i), "status": s} for i, s in out[:LONGEST]]


async def item(visit: Visit) -> dict[str, Any]:
    id = visit.get("id")
    code = visit.served.items.get(id)
    if code is None:
        raise Problem("not-found", f"The item {id!r} is not known to the model.")
    wish, alone = Wish(k=LISTED), Person(history=[id])
    found = await visit.service.work(answers.recommend, visit.served, visit.table, alone, wish)
    return {
        "id": id,
        "title": visit.title(id),
        "facts": [(k, v) for k, v in visit.table.row(code).items()],
        "people": int(visit.served.fitted.item_counts[code]),
        "found": found,
        "rows": _rows(visit, found.items),
        "top": _top(found),
    }


async def attempt(visit: Visit) -> dict[str, Any]:
    history = [i for i in visit.all("h") if i in visit.served.items][:LONGEST]
    words = visit.get("q").strip()
    matches: list[str] = []
    if words:
        matches = (await visit.service.work(_matching, visit, words))[0]
    found = None
    if history:
        wish = Wish(k=LISTED)
        found = await visit.service.work(
            answers.recommend, visit.served, visit.table, Person(history=history), wish
        )  # fmt: skip
    address = lambda ids: "/try" + (f"?{urlencode([('h', i) for i in ids])}" if ids else "")
    popular: list[tuple[str, float | None]] = [
        (visit.served.item_ids[c], None) for c in visit.served.popular[:LISTED].tolist()
    ]
    rows = _rows(visit, popular if found is None else found.items)
    return {
        "q": words,
        "history": [
            {"id": i, "title": visit.title(i), "without": address(history[:n] + history[n + 1 :])}
            for n, i in enumerate(history)
        ],
        "found": found,
        "rows": [{**r, "add": address([*history, r["id"]])} for r in rows],
        "matches": [{**r, "add": address([*history, r["id"]])} for r in _rows(visit, [(i, None) for i in matches])],
        "top": 0.0 if found is None else _top(found),
        "asked": urlencode([("h", i) for i in history]),
    }


async def why(visit: Visit) -> dict[str, Any]:
    id, user, history = visit.get("item"), visit.get("user"), visit.all("h")[:LONGEST]
    served, _ = visit.service.arm(user or None)
    if id not in served.items:
        raise Problem("not-found", f"The item {id!r} is not known to the model.")
    if not user and not history:
        raise Problem("bad-request", "Say for whom: a user, or a history.")

    def do() -> tuple[Any, str | None]:
        who, degraded = visit.service.person(served, user or None, history=history or None)
        return answers.explain(served, who, id), degraded

    (score, worth, _), degraded = await visit.service.work(do)
    most = max((abs(w) for _, w in worth if w is not None), default=0.0)
    return {
        "id": id, "title": visit.title(id), "user": user, "score": score, "degraded": degraded, "model": served.id,
        "worth": [{"id": i, "title": visit.title(i), "effect": w, "share": abs(w) / most if w and most else 0.0} for i, w in worth],
        "back": f"/user?{urlencode({'id': user})}" if user else f"/try?{urlencode([('h', i) for i in history])}",
    }  # fmt: skip


def _rows(visit: Visit, items: list[tuple[str, float | None]]) -> list[dict[str, Any]]:
    return [{"id": i, "title": visit.title(i), "score": s} for i, s in items]


def _top(found: Answer) -> float:
    """The highest positive score, for the bars beside the list."""
    return max((s for _, s in found.items if s is not None), default=0.0)


PAGES = [
    Page(path="/", does=home, template="home.html.jinja"),
    Page(path="/find", does=find, template="find.html.jinja"),
    Page(path="/user", does=person, template="person.html.jinja"),
    Page(path="/item", does=item, template="item.html.jinja"),
    Page(path="/try", does=attempt, template="try.html.jinja"),
    Page(path="/why", does=why, template="why.html.jinja"),
]
