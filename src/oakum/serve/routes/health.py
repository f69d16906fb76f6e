"""Whether the service lives, whether it can work, what it counts, and what answers."""

from __future__ import annotations

from typing import Any

from oakum.serve.bodies import Health, ModelReply
from oakum.serve.endpoints import Call, Endpoint


async def alive(call: Call, _: Any) -> Health:
    return Health(status="ok")


async def ready(call: Call, _: Any) -> Health:
    await call.service.work(call.service.state.read, "SELECT 1")
    return Health(status="ok", model=call.served.id)


async def metrics(call: Call, _: Any) -> str:
    return call.service.metrics.text()


async def model(call: Call, _: Any) -> ModelReply:
    from oakum.catalogue import entry

    fitted = call.served.fitted
    return ModelReply(
        system=fitted.spec.slug,
        title=entry(fitted.spec.slug).title,
        users=len(fitted.users),
        items=len(fitted.items),
        events=len(fitted.histories.items),
        columns={c.name: str(c.dtype) for c in call.table.frame},
        **call.said,
    )


ENDPOINTS = [
    Endpoint(method="GET", path="/healthz", does=alive, reply=Health, role="", about="The process answers."),
    Endpoint(
        method="GET", path="/readyz", does=ready, reply=Health, role="",
        about="A model is loaded and the state can be reached.",
    ),
    Endpoint(method="GET", path="/metrics", does=metrics, reply=str, about="Numbers in the format of Prometheus."),
    Endpoint(method="GET", path="/v1/model", does=model, reply=ModelReply, about="The model that answers."),
]  # fmt: skip
