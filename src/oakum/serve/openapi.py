"""The OpenAPI 3.1 description, made from the endpoints and the types they check."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from oakum import __version__
from oakum.serve.bodies import LONGEST_ID
from oakum.serve.endpoints import Endpoint
from oakum.serve.problems import MEDIA, TITLES, ProblemDetails

REF = "#/components/schemas/{name}"


def describe(endpoints: Sequence[Endpoint], *, keys: bool) -> dict[str, Any]:
    """The whole description. keys: whether requests need one."""
    types = [t for e in endpoints for t in (e.body, e.reply) if t not in (None, str)] + [ProblemDetails]
    unique = list(dict.fromkeys(types))
    found, components = msgspec.json.schema_components(unique, ref_template=REF)
    schemas = dict(zip(unique, found, strict=True))
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.shown, {})[endpoint.method.lower()] = _operation(endpoint, schemas, components, keys)
    out: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Oakum",
            "version": __version__,
            "description": "Recommendations from a saved model, and the feedback that keeps it fresh.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }
    if keys:
        out["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return out


def _operation(endpoint: Endpoint, schemas: Any, components: Any, keys: bool) -> dict[str, Any]:
    name = re.sub(r"\W+", "_", f"{endpoint.method.lower()} {endpoint.shown}").strip("_")
    media = "text/plain" if endpoint.reply is str else "application/json"
    schema = {"type": "string"} if endpoint.reply is str else schemas[endpoint.reply]
    problem = {"description": "Refused, in words", "content": {MEDIA: {"schema": schemas[ProblemDetails]}}}
    out: dict[str, Any] = {
        "operationId": name,
        "summary": endpoint.about,
        "responses": {
            str(endpoint.status): {"description": "The answer", "content": {media: {"schema": schema}}},
            **{str(status): problem for status in sorted({s for s, _ in TITLES.values()})},
        },
    }
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_ID},
        }
        for name in re.findall(r"\{(\w+)\}", endpoint.shown)
    ]
    if endpoint.body is not None and endpoint.method == "GET":
        fields = components[endpoint.body.__name__]["properties"]
        parameters += [{"name": n, "in": "query", "required": False, "schema": s} for n, s in fields.items()]
    elif endpoint.body is not None:
        out["requestBody"] = {"required": True, "content": {"application/json": {"schema": schemas[endpoint.body]}}}
    if parameters:
        out["parameters"] = parameters
    if keys and endpoint.role:
        out["security"] = [{"key": []}]
        out["description"] = f"Needs the role '{endpoint.role}'."
    return out
