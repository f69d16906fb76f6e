"""The pages for people, served by the process that answers the programs: no build step, no outside network, and all of it
works without script."""

from __future__ import annotations

from starlette.routing import Route

from oakum.serve.service import Service
from oakum.serve.web import admin, figures, search, signing
from oakum.serve.web.shell import Answering, Asset, assets


def pages(service: Service) -> list[Route]:
    """The routes of the pages."""
    found = [*search.PAGES, *figures.PAGES, *admin.PAGES, *signing.PAGES]
    paths: dict[str, dict[str, object]] = {}
    for page in found:
        paths.setdefault(page.path, {})[page.method] = page
    routes = [Route(path, Answering(service, by_method)) for path, by_method in paths.items()]  # type: ignore[arg-type]
    return [*routes, *(Route(f"/web/{name}", Asset(name)) for name in assets())]
