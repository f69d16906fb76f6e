"""What is told of items."""

from __future__ import annotations

from typing import Any

from oakum.serve.bodies import (
    ItemListReply,
    ItemReply,
    ItemsReply,
    ItemsRequest,
    KnownItem,
    Page,
    text_of,
)
from oakum.serve.endpoints import Call, Endpoint
from oakum.serve.problems import Problem


def _known(call: Call, id: str, told: dict[str, Any] | None = None) -> KnownItem:
    code = call.served.items.get(id)
    if code is None:
        return KnownItem(item_id=id, trained_users=None, attributes=told or {})
    count = int(call.served.fitted.item_counts[code])
    return KnownItem(item_id=id, trained_users=count, attributes=call.table.row(code))


async def show(call: Call, _: Any) -> ItemReply:
    id = call.path["item_id"]

    def do() -> KnownItem:
        if id in call.served.items:
            return _known(call, id)
        told = call.service.state.items_named([id])
        if id not in told:
            raise Problem("not-found", f"Nothing is known of the item {id!r}.")
        return _known(call, id, told[id])

    return ItemReply(item=await call.service.work(do), **call.said)


async def listed(call: Call, page: Page) -> ItemListReply:
    ids = call.served.item_ids
    limit = min(page.limit, 1_000)
    chosen = ids[page.after : page.after + limit]
    rows = await call.service.work(lambda: [_known(call, i) for i in chosen])
    more = page.after + limit < len(ids)
    return ItemListReply(items=rows, total=len(ids), next=page.after + limit if more else None, **call.said)


async def add(call: Call, ask: ItemsRequest) -> ItemsReply:
    told = {text_of(i.item_id): i.attributes for i in ask.items}
    call.table.check(told)
    await call.service.durable(call.service.state.put_items(told))
    await call.service.work(call.service.retell)  # filters see the new values from the next request on
    return ItemsReply(stored=len(told), **call.said)


ENDPOINTS = [
    Endpoint(
        method="GET", path="/v1/items", does=listed, body=Page, reply=ItemListReply,
        about="The items of the model, a page of at most 1,000 at a time.",
    ),
    Endpoint(
        method="POST", path="/v1/items", does=add, body=ItemsRequest, reply=ItemsReply, role="write",
        about="Tell attributes of items, which filters choose by.",
    ),
    Endpoint(
        method="GET", path="/v1/items/{item_id:path}", does=show, reply=ItemReply,
        about="What is known of an item.",
    ),
]  # fmt: skip
