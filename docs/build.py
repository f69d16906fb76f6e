"""Writes the generated pages of the documentation: a page a system, the table of systems, the ledger of claims.

Run by `make docs`; a test checks that what is committed is what this writes.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path

from oakum.catalogue import Entry, entries, load_class
from oakum.claims.base import of_entry
from oakum.parameters import fields

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # this file is also loaded from elsewhere
import speed  # noqa: E402

KINDS = {"model": "Models", "plugin": "Plug-ins", "attack": "Attacks", "defence": "Defences", "audit": "Audits"}


def cell(value: object) -> str:
    """Text that cannot break a table."""
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def table(head: list[str], rows: list[list[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell(c) for c in row) + " |" for row in rows]
    return "\n".join(lines)


def ledger() -> list[dict[str, object]]:
    """The recorded claims."""
    path = HERE / "claims.json"
    found: list[dict[str, object]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return found


def page(e: Entry, rows: list[dict[str, object]]) -> str:
    """The page of one system."""
    cls = load_class(e.slug)
    parts = [f"# {e.title}", f"`{e.slug}` · {e.kind} · {e.year}" + (f" · {e.paper}" if e.paper else ""), e.summary]
    parts.append(inspect.getdoc(cls) or "")
    facts = [("needs", ", ".join(e.needs)), ("code", f"`{e.code}`"), ("newcomers", e.folds_in)]
    facts += [("extends", ", ".join(e.extends)), ("extra", f"`oakum[{e.extra}]`" if e.extra else "")]
    parts.append(table(["", ""], [[k, v] for k, v in facts if v]))
    settings = fields(cls)
    if settings:
        parts.append("## Settings")
        rows_ = [[f"`{f.name}`", f.kind, f.range or "", f.default, f.doc] for f in settings]
        parts.append(table(["name", "type", "range", "default", "meaning"], rows_))
    if e.kind in ("model", "plugin") and hasattr(cls(), "plan"):
        plan = {k: v for k, v in cls().plan().to_json().items() if v is not None}
        parts.append("Training, unless you say otherwise: " + ", ".join(f"`{k}` {v}" for k, v in plan.items()) + ".")
    if e.deviations:
        parts.append("## Where it differs from the paper\n\n" + "\n".join(f"- {d}" for d in e.deviations))
    claims = of_entry(e)
    if claims:
        known = {(r["slug"], r["id"]): r for r in rows}
        body = []
        for c in claims:
            r = known.get((e.sheet or e.slug, c.id))
            verdict = "not run yet" if r is None else "holds" if r["holds"] else "does not hold"
            body.append(
                [c.text, c.expected, "" if r is None else r["measured"], verdict, "" if r is None else r["why"]]
            )
        parts.append("## Claims\n\n" + table(["claim", "expected", "measured", "verdict", "why"], body))
        parts.append(f"Run them yourself: `oakum claims {e.slug}`.")
    return "\n\n".join(p for p in parts if p) + "\n"


def claims_page(rows: list[dict[str, object]]) -> str:
    """The whole ledger."""
    holds = sum(bool(r["holds"]) for r in rows)
    parts = [
        "# Claims",
        f"{len(rows)} claims measured on real data, {holds} hold. A claim that does not hold stays here, with the cause as far "
        "as it was found. `make claims` runs all of them again.",
    ]
    for sheet in dict.fromkeys(str(r["slug"]) for r in rows):
        body = [
            [
                r["claim"],
                r["expected"],
                r["measured"],
                "holds" if r["holds"] else "**does not hold**",
                r["why"],
                r["date"],
            ]
            for r in rows
            if r["slug"] == sheet
        ]
        parts.append(f"## {sheet}\n\n" + table(["claim", "expected", "measured", "verdict", "why", "date"], body))
    return "\n\n".join(parts) + "\n"


def quality_page(rows: list[dict[str, object]]) -> str:
    """Oakum beside public figures on the same data and split: the claims that name whose figure they expect."""
    known = {(r["slug"], r["id"]): r for r in rows}
    body = []
    for e in (e for e in entries().values() if e.kind in ("model", "plugin")):
        for c in (c for c in of_entry(e) if c.reference and c.slugs[:1] in ((), (e.slug,))):
            r = known.get((e.sheet or e.slug, c.id))
            found = (
                ("", "not run yet") if r is None else (r["measured"], "holds" if r["holds"] else "**does not hold**")
            )
            body.append([f"[`{e.slug}`](systems/{e.slug}.md)", c.text, c.reference, c.expected, *found])
    return (
        "\n\n".join(
            [
                "# Quality beside public figures",
                "Every figure of ours was measured by `oakum claims`, on the same data and the same split as the figure beside it. "
                "Where a smaller form was run, the text says so. [The ledger](claims.md) has all other claims.",
                table(["system", "what was run", "whose figure", "expected", "measured", "verdict"], body),
            ]
        )
        + "\n"
    )


def defences_page(rows: list[dict[str, object]]) -> str:
    """Defences against attacks, beside nothing and beside noise of equal cost: the claims of the scorecard named "against-..."."""
    body = []
    for r in rows:
        if r["slug"] == "robustness-scorecard" and str(r["id"]).startswith("against-"):
            verdict = "holds" if r["holds"] else "**does not hold**"
            body.append([r["claim"], r["measured"], verdict, r["why"]])
    return (
        "\n\n".join(
            [
                "# Defences beside nothing and beside noise",
                "What a defence takes back has to be more than what chance takes back at the same cost. So each row holds three fits "
                "on the same poisoned log and seeds: undefended, with noise of equal cost (moves of the same lengths in random "
                "directions for VAT, the same weights dealt to random people for LoRec), and with the defence. T-HR@50 is the share of "
                "genuine people without the target whose top 50 holds it, with 95 % intervals over people; differences are paired. "
                "A row holds where the defence leaves less exposure than both others beyond the interval and costs no accuracy "
                "beyond its own. `oakum claims robustness-scorecard --write docs/claims.json` and `make docs` make this page again.",
                table(["what was run", "measured", "verdict", "why"], body),
            ]
        )
        + "\n"
    )


def index() -> str:
    """The table of systems."""
    parts = ["# Systems", "Generated from the catalogue; `oakum systems` prints the same."]
    for kind, title in KINDS.items():
        rows = [
            [f"[`{e.slug}`](systems/{e.slug}.md)", e.title, e.summary] for e in entries().values() if e.kind == kind
        ]
        parts.append(f"## {title}\n\n" + table(["slug", "title", "what it is"], [list(r) for r in rows]))
    return "\n\n".join(parts) + "\n"


def pages() -> dict[Path, str]:
    """Every generated file and its text."""
    rows = ledger()
    out = {HERE / "systems" / f"{slug}.md": page(e, rows) for slug, e in entries().items()}
    out[HERE / "systems.md"] = index()
    out[HERE / "claims.md"] = claims_page(rows)
    out[HERE / "quality.md"] = quality_page(rows)
    out[HERE / "defences.md"] = defences_page(rows)
    measured = HERE.parent / "benchmarks" / "results.json"
    if measured.exists():
        speeds = json.loads(measured.read_text(encoding="utf-8"))
        sizes, served, started, threads = (
            json.loads((measured.parent / name).read_text(encoding="utf-8"))
            for name in ("scale.json", "serve.json", "startup.json", "threads.json")
        )
        parts = [speed.page(speeds, table), speed.threaded(threads, table), speed.startup(started, table)]
        parts += [speed.size(sizes, table), speed.serving(served, table)]
        out[HERE / "speed.md"] = "\n".join(filter(None, parts))
        out[HERE / "images" / "speed.svg"] = speed.picture(speeds)
        readme = HERE.parent / "README.md"
        said = rf"\g<1>{speed.sentence(speeds, sizes)}\g<2>"
        out[readme] = re.sub(
            r"(<!-- speed -->\n).*?(\n<!-- /speed -->)", said, readme.read_text(encoding="utf-8"), flags=re.S
        )
    return out


def main() -> None:
    """Write what changed; delete pages of systems that are gone."""
    made = pages()
    (HERE / "systems").mkdir(exist_ok=True)
    for old in (HERE / "systems").glob("*.md"):
        if old not in made:
            old.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    print(f"Wrote {len(made)} pages.", file=sys.stderr)


if __name__ == "__main__":
    main()
