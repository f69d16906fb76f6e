"""The list of systems: data that the command line, the docs and the report read without importing any of them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from oakum.errors import MissingExtra, ParameterError, nearest


@dataclass(frozen=True, slots=True)
class Entry:
    """One system. kind: model | plugin | attack | defence | audit. needs: what the data must have
    (interactions, times, text, relations, ...). code: "module:Class". extends: slugs it may import.
    name: what the field calls it, where the class is spelt otherwise. extra: the optional dependency it needs, or ""."""

    slug: str
    title: str
    year: int
    kind: str
    task: tuple[str, ...]
    needs: tuple[str, ...]
    code: str
    summary: str
    paper: str = ""
    sheet: str = ""
    extends: tuple[str, ...] = ()
    extra: str = ""
    folds_in: str = ""
    deviations: tuple[str, ...] = ()
    reference: tuple[Mapping[str, Any], ...] = ()
    contract: Mapping[str, Any] | None = None
    name: str = ""

    @property
    def called(self) -> str:
        """Its name in a table or a sentence."""
        return self.name or self.code.partition(":")[2]

    @property
    def claims(self) -> str:
        """The module that holds the claims of this entry's sheet."""
        return f"oakum.claims.{(self.sheet or self.slug).replace('-', '_')}"


#: Values that a plan holds, by slug: parts of training, no systems, so they have no entry of their own.
PARTS = {
    "federated": "oakum.engine.federation:Federated",
    "triples": "oakum.engine.triples:Triples",
    **{
        slug: f"oakum.sampling.samplers:{name}"
        for slug, name in (
            ("uniform", "Uniform"),
            ("shared", "Shared"),
            ("popular", "Popular"),
            ("in-batch", "InBatch"),
            ("in-domain", "InDomain"),
            ("on-offer", "OnOffer"),
            ("mixed", "Mixed"),
            ("hard", "Hard"),
        )
    },
}


@cache
def entries() -> Mapping[str, Entry]:
    """All systems by slug, in the order of the file."""
    import tomllib
    from importlib import resources

    text = resources.files("oakum").joinpath("catalogue.toml").read_text(encoding="utf-8")
    out = {}
    for slug, table in tomllib.loads(text).items():
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
        out[slug] = Entry(slug=slug, **values)
    return out


def entry(slug: str, kind: str | None = None) -> Entry:
    """One system by slug; a wrong name suggests the nearest."""
    known = {s: e for s, e in entries().items() if kind is None or e.kind == kind}
    if slug not in known:
        raise ParameterError(f"There is no {kind or 'system'} called '{slug}'.{nearest(slug, known)}")
    return known[slug]


def load_class(slug: str, kind: str | None = None) -> Any:
    """The class of a system, or of a part of a plan where no kind is asked for; imported now."""
    if kind is None and slug in PARTS:
        module, _, name = PARTS[slug].partition(":")
        return getattr(importlib.import_module(module), name)
    found = entry(slug, kind)
    module, _, name = found.code.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if found.extra and error.name and not error.name.startswith("oakum"):
            raise MissingExtra(f"The system '{slug}'", found.extra) from None
        raise


def find(words: str) -> list[Entry]:
    """Systems whose slug, title, summary, kind, task or paper holds every word, best match first."""
    wanted = words.lower().split()

    def score(e: Entry) -> int:
        strong = f"{e.slug} {e.title} {e.paper}".lower()
        weak = f"{e.summary} {e.kind} {' '.join(e.task)} {' '.join(e.needs)} {e.code} {e.year}".lower()
        if not all(w in strong or w in weak for w in wanted):
            return 0
        return sum(3 if w in strong else 1 for w in wanted)

    return sorted((e for e in entries().values() if score(e)), key=lambda e: -score(e))
