"""`oakum show`."""

from __future__ import annotations

from typing import Annotated

import typer

from oakum.cli.common import show, table


def run(
    slug: Annotated[str, typer.Argument(help="A system.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a system: paper, purpose, settings, differences."""
    import inspect

    from oakum.catalogue import entry, load_class
    from oakum.parameters import fields

    e = entry(slug)
    cls = load_class(slug)
    settings = [
        {"name": f.name, "type": f.kind, "range": str(f.range or ""), "default": f.default, "meaning": f.doc}
        for f in fields(cls)
    ]
    plan = cls().plan().to_json() if hasattr(cls(), "plan") else {}
    value = {
        "slug": e.slug, "title": e.title, "year": e.year, "kind": e.kind, "task": list(e.task), "needs": list(e.needs), "code": e.code,
        "paper": e.paper, "summary": e.summary, "newcomers": e.folds_in, "deviations": list(e.deviations), "settings": settings,
        "plan": plan,
    }  # fmt: skip
    lines = [f"{e.title} ({e.year})", e.paper, "", inspect.getdoc(cls) or e.summary, ""]
    if e.folds_in:
        lines.append(f"Newcomers: {e.folds_in}")
    lines += [f"Differs: {d}" for d in e.deviations]
    lines += [
        "",
        *table(
            [{k: str(v) for k, v in s.items()} for s in settings],
            ["name", "type", "range", "default", "meaning"],
        ),
    ]
    if plan:
        lines += ["", "Training: " + ", ".join(f"{k} = {v}" for k, v in plan.items() if v is not None)]
    show(value, as_json, lines)
