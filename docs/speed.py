"""The page of speed, made of what `make bench` measured: a table, and a picture of the ratios."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

Row = Mapping[str, Any]
Table = Callable[[list[str], list[list[object]]], str]
FASTER, SLOWER = "#0072B2", "#D55E00"  # told apart by all kinds of colour vision, and by the side they lie on

HOW = """Every task runs in turns, Oakum and a peer, each in a process and an environment of its own, with the same data and on
one thread. What counts is **CPU seconds**, user and system, of the piece of work alone: data that a library takes are made
ready before the clock starts, except where loading is the task. Short tasks are the median of three. The ratio is Oakum by
the quickest peer, **whatever its quality**: below 1 Oakum is quicker. Quality is one evaluator's over the lists that both
sides left, seen items removed. The last column says how much of what the machine could do at best Oakum reaches, by the
additions, products and rows that the task asks for (an approximate search leaves some of them out and may pass the
limit of the exact one); the machine was measured in the same run. `make bench` does it again;
`oakum bench load`, `fit`, `rank`, `answer` and `evaluate` measure Oakum on your own log in the same units."""


def page(rows: Sequence[Row], table: Table) -> str:
    """Markdown."""
    best = [r for r in rows if r["best"]]
    machine = next((r["machine"] for r in rows if r.get("machine")), {})
    quicker = sum(r["ratio"] < 1 for r in best)
    slower = [r["title"] for r in best if r["ratio"] >= 1]
    parts = ["# Speed beside other libraries", " ".join(HOW.split("\n"))]
    parts.append(
        f"Of {len(best)} tasks Oakum is the quickest in {quicker}. "
        + (f"It is not in: {'; '.join(slower)}." if slower else "")
    )
    parts.append("![CPU seconds of Oakum by those of the quickest peer, one bar a task](images/speed.svg)")
    head = [
        "task",
        "Oakum",
        "quickest peer",
        "its",
        "ratio",
        "quality: ours, its",
        "memory MB: ours, its",
        "of the limit",
    ]
    parts.append(table(head, [line(r) for r in best]))
    if machine:
        parts.append(
            f"A CPU second of this machine: {machine['flop']:.0f} GFLOP of a large product, {machine['bytes']:.0f} GB copied, "
            f"{1000 * machine['rows']:.0f} M rows of 64 floats read at random ({1000 * machine['rows_cached']:.0f} M from a table of "
            f"18 MB, {1000 * machine['rows_near']:.0f} M from 2.5 MB), {1000 * machine['sums']:.0f} M scattered sums. Load while it ran: "
            f"{min(r['load'] for r in rows):.1f} to {max(r['load'] for r in rows):.1f}. {rows[0]['date']}."
        )
    parts.append("## All peers")
    parts.append(table([*head[:2], "peer", *head[3:7], "note"], [[*line(r)[:-1], r["note"]] for r in rows]))
    return "\n\n".join(parts) + "\n"


def sentence(rows: Sequence[Row], sizes: Sequence[Row]) -> str:
    """What the README says of all this."""
    best = [r for r in rows if r["best"]]
    libraries = {r["peer"].split()[0] for r in rows}
    most = math.ceil(max(r["peak_mb"] for r in sizes if r["size"] == 1.0) / 100) / 10
    return (
        f"In {sum(r['ratio'] < 1 for r in best)} of {len(best)} tasks it is quicker than the quickest of {len(libraries)} other libraries, "
        "with the quality of both\nbeside it ([docs/speed.md](docs/speed.md)); a million people, 200 thousand items and 50 million events "
        f"take under {most:.1f} GB at every\nstage."
    )


def size(rows: Sequence[Row], table: Table) -> str:
    """The section on size: every stage at the full one, and how its cost grew from an eighth of it."""
    whole, part = ({r["stage"]: r for r in rows if r["size"] == s} for s in (1.0, 0.125))
    if not whole:
        return ""
    cost = lambda r: r.get("all_cpu_s", r["cpu_s"])
    body = []
    for stage, r in whole.items():
        low = part.get(stage)
        steps = "" if low is None else f"{math.log(cost(r) / cost(low)) / math.log(r['events'] / low['events']):.2f}"
        asked = "" if "asked" not in r else f"from {r['asked']:,} of {r['of']:,} people"
        body.append([stage, f"{cost(r):,.1f} s", f"{r['peak_mb']:,}", steps, asked])
    return (
        "## Size\n\nA drawn log of a million people, 200,000 items and 50 million events, one thread, each stage a process of its own: "
        "`python benchmarks/scale.py`. The exponent is of the cost against the events, from an eighth of the size on: 1 is "
        "linear.\n\n![CPU seconds of each stage against the number of events](images/scale.svg)\n\n"
        + table(["stage", "CPU seconds", "peak memory MB", "exponent", "computed"], body)
        + "\n"
    )


def serving(rows: Sequence[Row], table: Table) -> str:
    """The section on serving: requests a second and latencies of a large catalogue, beside another server's."""
    if not rows:
        return ""
    body: list[list[object]] = [
        [
            r["who"], r["case"], r["connections"], f"{r['rps']:,.0f}" if r["rps"] >= 10 else f"{r['rps']:.1f}",
            *(f"{r[q]:,.1f} ms" if r["p50"] else "beyond the run" for q in ("p50", "p99")),
            "" if r.get("recall") is None else f"{r['recall']:.3f}",
        ]
        for r in rows
    ]  # fmt: skip
    loads = [r["load"] for r in rows]
    return (
        "## Serving a million items\n\nVectors of width 64 over HTTP, ten items a request, measured by wrk on the same machine: "
        "`python benchmarks/serve.py --catalogue 1000000 --index exact --index planned`, and `benchmarks/serve_peer.py` for Chroma, which "
        "holds the same vectors in its graph. Oakum looks a person up, leaves out what they had and names the items; Chroma is handed "
        "the person's vector. Oakum's index takes the ways that it measured to find 95 %. A filter is on the price and lets a tenth or a hundredth of the items pass. Recall is of the exact ten. "
        f"Load of the machine before each run: {min(loads):.1f} to {max(loads):.1f}; {rows[0]['date']}.\n\n"
        + table(["server", "filter", "connections", "requests/s", "half within", "99 % within", "recall@10"], body)
        + "\n"
    )


def threaded(rows: Sequence[Row], table: Table) -> str:
    """The section on several threads: wall seconds, each task beside the peer that is the first to end."""
    if not rows:
        return ""
    tasks = {r["task"]: [p for p in rows if p["task"] == r["task"] and p["ratio"] is not None] for r in rows}
    best = [min(peers, key=lambda p: p["peer_wall_s"]) for peers in tasks.values() if peers]
    body: list[list[object]] = [
        [
            r["title"], f"{r['ours_wall_s']:.3g} s", f"{r['peer']} {r['form']}".strip(), f"{r['peer_wall_s']:.3g} s",
            f"{r['ours_wall_s'] / r['peer_wall_s']:.2f}", f"{r['ours_s']:.3g} s, {r['peer_s']:.3g} s",
        ]
        for r in best
    ]  # fmt: skip
    return (
        f"## On {rows[0]['threads']} threads\n\nThe same on {rows[0]['threads']} threads, by the clock on the wall: `python -m benchmarks --threads "
        f"{rows[0]['threads']} --out benchmarks/threads.json`. Processors that share cores do less than as many cores, so no "
        "ratio to one thread is to be read off.\n\n"
        + table(["task", "Oakum, wall", "first peer to end", "its", "ratio", "CPU seconds: ours, its"], body)
        + "\n"
    )


def startup(found: Row, table: Table) -> str:
    """The section on starting: processes from their beginning to their end, and what is installed."""
    if not found:
        return ""
    body: list[list[object]] = [
        [r["name"], f"{r['cpu_s']:.2f} s", "" if r["first_s"] is None else f"{r['first_s']:.1f} s"]
        for r in found["starts"]
    ]
    sizes = found["installed_mb"]
    large = [f"{name} {mb:.0f}" for name, mb in sizes.items() if mb >= 10]
    return (
        "## Starting\n\nCPU seconds of whole processes, Python's own start included: `python benchmarks/startup.py`. The lists are of a log of "
        "600 rows that is read, fitted and asked. The first time ever on a machine, loops are compiled; from then on every process finds "
        "them compiled.\n\n"
        + table(["process", "CPU seconds", "the first time ever"], body)
        + f"\n\nInstalled without extras: {sum(sizes.values()):.0f} MB, of which {', '.join(large)}. "
        f"Load while it ran: {found['load']:.1f}.\n"
    )


def share(value: float | None) -> str:
    """Of the limit, in per cent; two digits are enough."""
    return "" if value is None else f"{100 * value:.0f} %" if value >= 0.1 else f"{100 * value:.2g} %"


def line(r: Row) -> list[object]:
    """One row of either table."""
    title = r["title"] + ("" if r["data"] == "real" else f" ({r['data']} data)")
    if r["ratio"] is None:
        ours = f"{r['ours_s']:.3g} s" if r.get("ours_s") else ""
        return [title, ours, r["peer"], "", "not measured", "", "", ""]
    judged = "" if r["ours_quality"] is None else f"{r['quality']} {r['ours_quality']:.4f}, {r['peer_quality']:.4f}"
    ratio = f"{r['ratio']:.2f}" if r["ratio"] < 1 else f"**{r['ratio']:.2f}**"
    return [
        title, f"{r['ours_s']:.3g} s", f"{r['peer']} {r['form']}".strip(), f"{r['peer_s']:.3g} s", ratio, judged,
        f"{r['ours_rss_mb']:,}, {r['peer_rss_mb']:,}", share(r["of_limit"]),
    ]  # fmt: skip


def picture(rows: Sequence[Row]) -> str:
    """An SVG of the ratios on a logarithmic scale: bars to the left are quicker than the quickest peer."""
    best = [r for r in rows if r["best"]]
    step, left, wide, top = 19, 310, 420, 34
    low = min([-1.0, *(math.floor(math.log10(max(r["ratio"], 1e-4))) for r in best)])
    high = max([1.0, *(math.ceil(math.log10(max(r["ratio"], 1e-4))) for r in best)])
    at = lambda ratio: left + wide * (math.log10(max(ratio, 1e-4)) - low) / (high - low)
    height = top + step * len(best) + 12
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + wide + 60} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="100%" fill="#ffffff"/><text x="{left}" y="12" fill="#333333">CPU seconds, Oakum by the '
        "quickest peer: left of 1 Oakum is quicker</text>",
    ]
    for power in range(int(low), int(high) + 1):
        x = at(10.0**power)
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 6}" y2="{height - 10}" stroke="#cccccc"/>')
        out.append(f'<text x="{x:.1f}" y="{top - 9}" text-anchor="middle" fill="#555555">{10.0**power:g}</text>')
    for n, r in enumerate(best):
        y, x, one = top + step * n, at(r["ratio"]), at(1)
        colour = FASTER if r["ratio"] < 1 else SLOWER
        side, anchor, ink = (x - 4, "end", "#333333") if r["ratio"] < 1 else (x + 4, "start", "#333333")
        if side < left + 40:  # no room before the title: into the bar
            side, anchor, ink = x + 4, "start", "#ffffff"
        out.append(
            f'<text x="{left - 8}" y="{y + 10}" text-anchor="end" fill="#333333">{escape(r["title"])[:58]}</text>'
            f'<rect x="{min(x, one):.1f}" y="{y}" width="{max(abs(x - one), 1):.1f}" height="{step - 6}" fill="{colour}"/>'
            f'<text x="{side:.1f}" y="{y + 10}" text-anchor="{anchor}" fill="{ink}">{r["ratio"]:.2g}</text>'
        )
    x = at(1)
    out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 6}" y2="{height - 10}" stroke="#333333"/></svg>')
    return "\n".join(out) + "\n"
