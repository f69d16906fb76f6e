"""Plots as inline SVG: words stay words, colours come from the page's style sheet, no style, no script.

matplotlib draws in marker colours (`#a100..`); afterwards each is replaced by a class, so that one drawing is
right for the light, the dark and the printed page.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from oakum.audits.record import Plot
from oakum.metrics.estimate import Estimate
from oakum.report.palette import SERIES
from oakum.report.words import cell, clean, number

ROLES = ("ink", "muted", "line", "edge", "paper", "weak", *SERIES)
PAINT = {role: f"#a100{i:02x}" for i, role in enumerate(ROLES)}
WIDTH = 360  # units of the view box: about a phone's width, so that words are readable there
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ((), (5, 2), (2, 2), (6, 2, 2, 2), (8, 3), (1, 1.5))
SVG = "http://www.w3.org/2000/svg"
KEPT = re.compile(r"^(fill|stroke|opacity|font-size|font-weight|text-anchor|clip|dominant)")


def draw(plot: Plot, prefix: str) -> str:
    """One plot as an `<svg role="img">`. prefix: makes its ids unique in the page."""
    painters: dict[str, Callable[[Any, Plot], None]] = {
        "bars": _bars,
        "lines": _lines,
        "heat": _heat,
        "points": _points,
    }
    rows = sum(len(s.get("y", ())) for s in plot.series)
    heights = {
        "bars": 70 + 26 * max(rows, 1),
        "lines": 250 + 18 * len(plot.series),
        "heat": 96 + (36 if any("low" in s for s in plot.series) else 26) * len(plot.series),
        "points": 330 + 18 * len(plot.series),
    }
    return _svg(lambda axes: painters[plot.kind](axes, plot), heights[plot.kind], plot.alt or plot.title, prefix)


def intervals(rows: Sequence[tuple[str, Estimate]], label: str, prefix: str) -> str:
    """Estimates below one another, each a point with its interval: clean, under attack, with each cure."""

    def paint(axes: Any) -> None:
        for i, (name, e) in enumerate(rows):
            colour = PAINT["s1"] if name in ("under attack", "disturbed") else PAINT["s0"] if i == 0 else PAINT["s2"]
            marker = "D" if name in ("under attack", "disturbed") else "o" if i == 0 else "s"
            if math.isfinite(e.low) and math.isfinite(e.high):
                axes.plot([e.low, e.high], [i, i], color=colour, linewidth=2.2, solid_capstyle="butt")
                for end in (e.low, e.high):
                    axes.plot([end, end], [i - 0.14, i + 0.14], color=colour, linewidth=1.4)
            axes.plot([e.value], [i], marker=marker, color=colour, markersize=7, linestyle="none")
        axes.set_yticks(range(len(rows)), [_short(n, 20) for n, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.margins(x=0.08)
        axes.grid(axis="x", color=PAINT["line"], linewidth=0.8)

    return _svg(paint, 52 + 32 * len(rows), label, prefix)


def table_of(plot: Plot) -> tuple[list[str], list[list[str]]]:
    """The figures of a plot as a header and rows: the same content for those who do not see it."""
    if plot.kind == "heat":
        columns = list(plot.series[0].get("x", ())) if plot.series else []
        return ["", *(cell(c) for c in columns)], [
            [str(s.get("name", "")), *(_heat_cell(s, j) for j in range(len(s.get("y", ()))))] for s in plot.series
        ]
    if plot.kind == "points":
        found = ((s, i, x, y) for s in plot.series for i, (x, y) in enumerate(zip(s["x"], s["y"], strict=False)))
        return ["name", "group", "across", "up"], [
            [str((s.get("names") or [""] * (i + 1))[i]), str(s.get("name", "")), cell(x), cell(y)]
            for s, i, x, y in found
        ]
    rows = []
    bounds = any("low" in s for s in plot.series)
    for s in plot.series:
        low, high = s.get("low", itertools.repeat(None)), s.get("high", itertools.repeat(None))
        for x, y, a, b in zip(s.get("x", ()), s.get("y", ()), low, high, strict=False):
            rows.append([str(s.get("name", "")), cell(x), cell(y), *([cell(a), cell(b)] if bounds else [])])
    return [
        "series",
        plot.x_label or "at",
        plot.y_label or "value",
        *(["low", "high"] if bounds else []),
    ], rows


def _heat_cell(series: Mapping[str, Any], j: int) -> str:
    """'1.23 [1.10, 1.36]', the value alone, or 'n/a'."""
    value, (low, high) = _value(series["y"][j]), _bounds(series, j)
    if not math.isfinite(value):
        return "n/a"
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return cell(value)
    return f"{number(value, 2)} [{number(low, 2)}, {number(high, 2)}]"


def _bars(axes: Any, plot: Plot) -> None:
    at, names = 0, []
    for i, s in enumerate(plot.series):
        colour = PAINT[SERIES[i % len(SERIES)]]
        for j, (x, y) in enumerate(zip(s.get("x", ()), s.get("y", ()), strict=False)):
            axes.barh(at, _value(y), height=0.62, color=colour, alpha=0.55, edgecolor=colour, linewidth=1)
            low, high = _bounds(s, j)
            if low is not None and high is not None:
                axes.plot([low, high], [at, at], color=PAINT["ink"], linewidth=1.6)
            names.append(_short(f"{x} ({s.get('name')})" if len(plot.series) > 1 else str(x), 20))
            at += 1
    axes.set_yticks(range(at), names)
    axes.set_ylim(at - 0.4, -0.6)
    axes.grid(axis="x", color=PAINT["line"], linewidth=0.8)
    axes.set_xlabel(_line(plot.y_label))


def _lines(axes: Any, plot: Plot) -> None:
    for i, s in enumerate(plot.series):
        colour = PAINT[SERIES[i % len(SERIES)]]
        x, y = [_value(v) for v in s.get("x", ())], [_value(v) for v in s.get("y", ())]
        look = {
            "marker": MARKERS[i % len(MARKERS)],
            "markersize": 5,
            "linewidth": 1.6,
            "dashes": DASHES[i % len(DASHES)],
        }
        axes.plot(x, y, color=colour, label=_short(str(s.get("name", "")), 40), **look)
        for j, at in enumerate(x):
            low, high = _bounds(s, j)
            if low is not None and high is not None:
                axes.plot([at, at], [low, high], color=colour, linewidth=1.4)
    if plot.log_x:
        _logarithmic(axes)
    axes.set_xlabel(_line(plot.x_label))
    axes.set_ylabel(_line(plot.y_label))
    axes.margins(x=0.06, y=0.08)
    axes.grid(color=PAINT["line"], linewidth=0.8)
    _legend(axes, plot)


def _logarithmic(axes: Any) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5 of each decade; the usual powers would be formulas."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _legend(axes: Any, plot: Plot) -> None:
    if plot.series:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            frameon=False,
            fontsize=11.5,
            labelcolor=PAINT["ink"],
            handlelength=3,
            borderaxespad=0.2,
            labelspacing=0.25,
        )


def _points(axes: Any, plot: Plot) -> None:
    for i, s in enumerate(plot.series):
        colour = PAINT[SERIES[i % len(SERIES)]]
        x, y = [_value(v) for v in s.get("x", ())], [_value(v) for v in s.get("y", ())]
        look = {"marker": MARKERS[i % len(MARKERS)], "markersize": 3.2, "linestyle": "none", "alpha": 0.7}
        axes.plot(x, y, color=colour, label=_short(str(s.get("name", "")), 40), **look)
        for a, b, label in zip(x, y, s.get("labels") or (), strict=False):
            if label:
                axes.annotate(_short(str(label), 16), (a, b), (3, 3), textcoords="offset points", fontsize=10)
    axes.set_xlabel(_line(plot.x_label))
    axes.set_ylabel(_line(plot.y_label))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.08)
    _legend(axes, plot)


def _heat(axes: Any, plot: Plot) -> None:
    from matplotlib.patches import Rectangle

    grid = [[_value(v) for v in s.get("y", ())] for s in plot.series]
    known = [v for row in grid for v in row if math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if plot.series and "scale" in plot.series[0]:  # maps that are read beside each other share their colours
        low, high = plot.series[0]["scale"]
    # Three digits of the largest, and the same number of decimals for all.
    digits = 2 - math.floor(math.log10(max(abs(low), abs(high)))) if max(abs(low), abs(high)) > 0 else 0
    digits = min(6, max(0, digits))
    columns = [str(c) for c in plot.series[0].get("x", ())] if plot.series else []
    size = 12 if len(columns) <= 4 else 10.5
    for i, row in enumerate(grid):
        for j, v in enumerate(row):
            depth = 0.06 + 0.4 * (v - low) / (high - low or 1) if math.isfinite(v) else 0.0
            axes.add_patch(Rectangle((j - 0.48, i - 0.46), 0.96, 0.92, facecolor=PAINT["s0"], alpha=depth, linewidth=0))
            half = _half(plot.series[i], j)
            text = number(v, digits) if math.isfinite(v) else "n/a"
            at = i if half is None else i - 0.14
            axes.text(j, at, text, ha="center", va="center", fontsize=size, color=PAINT["ink"])
            if half is not None:
                words = f"±{number(half, digits)}"
                axes.text(j, i + 0.24, words, ha="center", va="center", fontsize=size - 2.5, color=PAINT["muted"])
    axes.set_xlim(-0.5, max(len(columns), 1) - 0.5)
    axes.set_ylim(max(len(grid), 1) - 0.5, -0.5)
    many = sum(len(_short(c, 12)) for c in columns) > 32  # side by side they would touch
    turned: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if many else {}
    axes.set_xticks(range(len(columns)), [_short(c, 12) for c in columns], **turned)
    axes.set_yticks(range(len(grid)), [_short(str(s.get("name", "")), 20) for s in plot.series])
    axes.set_xlabel(_line(plot.x_label))
    axes.set_ylabel(_line(plot.y_label))


def _half(series: Mapping[str, Any], j: int) -> float | None:
    """Half of a cell's interval; None where it has none."""
    low, high = _bounds(series, j)
    known = low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
    return (high - low) / 2 if known and low is not None and high is not None else None


def _svg(paint: Callable[[Any], None], height: float, label: str, prefix: str) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "oakum",
        "font.size": 12.5,
        "axes.unicode_minus": True,
    }
    # A name in a script that the measuring font lacks is measured roughly and shown by the browser's own font.
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        warnings.filterwarnings("ignore", message=".*[Tt]ight.* layout not applied.*")
        warnings.filterwarnings("ignore", message="constrained_layout not applied.*")
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_facecolor("none")
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(PAINT["edge"])
        axes.tick_params(colors=PAINT["edge"], labelcolor=PAINT["ink"], labelsize=12, length=3)
        axes.set_axisbelow(True)
        paint(axes)
        for text in figure.findobj(Text):
            text.set_parse_math(False)  # a name may hold a dollar sign
            if text in (axes.xaxis.label, axes.yaxis.label):
                text.set_color(PAINT["muted"])
        out = io.StringIO()
        figure.savefig(
            out,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return _tidied(out.getvalue(), label, prefix)


def _tidied(text: str, label: str, prefix: str) -> str:
    """Styles to attributes and classes, ids unique or dropped, metadata and inner style sheets removed."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(text)
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for node in root.iter():
        name = node.attrib.pop("id", "")
        if name in used:
            node.set("id", f"{prefix}-{name}")
        for key, value in list(node.attrib.items()):
            if value.startswith("#") and key.endswith("href"):
                del node.attrib[key]
                node.set("href", f"#{prefix}-{value[1:]}")
            elif "url(#" in value:
                node.set(key, value.replace("url(#", f"url(#{prefix}-"))
        _unstyled(node)
    box = root.get("viewBox", "0 0 1 1")
    root.attrib.clear()
    root.attrib.update(
        {"viewBox": box, "role": "img", "aria-label": clean(label), "class": "plot", "focusable": "false"}
    )
    return ElementTree.tostring(root, encoding="unicode").replace("xmlns:xlink=", "data-was=")


def _unstyled(node: ElementTree.Element) -> None:
    style = node.attrib.pop("style", "")
    classes = []
    for part in style.split(";"):
        key, _, value = (p.strip() for p in part.partition(":"))
        if key == "font":
            if size := re.search(r"([\d.]+)px", value):
                node.set("font-size", size[1])
        elif key and KEPT.match(key):
            node.set(key, value)
    for key in ("fill", "stroke"):
        for role, colour in PAINT.items():
            if node.get(key) == colour:
                del node.attrib[key]
                classes.append(f"{key[0]}-{role}")
    if classes:
        node.set("class", " ".join(classes))


def _value(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _bounds(series: Mapping[str, Any], j: int) -> tuple[float | None, float | None]:
    low, high = (series.get(k) or () for k in ("low", "high"))
    if j >= len(low) or j >= len(high) or low[j] is None or high[j] is None:
        return None, None
    return float(low[j]), float(high[j])


def _line(text: str) -> str:
    return clean(text).replace("\n", " ")


def _short(text: str, limit: int) -> str:
    text = _line(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
