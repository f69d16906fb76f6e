"""An audit and a comparison on a terminal: coloured there, plain text in a pipe or a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

from oakum.audits.record import AuditReport
from oakum.report import words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

COLOURS = {"weak": "bold red", "notice": "yellow", "fine": "green", "not measured": "dim"}


def show(report: AuditReport, file: TextIO | None = None) -> None:
    """Print an audit: who was tested, the weakest plank, its cure and price, accuracy, all planks."""
    console = _console(file)
    protocol = report.protocol
    console.print(_text(report.title, "bold"))
    console.print(
        _text(
            f"{words.cell(report.data.get('events'))} events of {words.cell(report.data.get('users'))} "
            "people on "
            f"{words.cell(report.data.get('items'))} items; {words.cell(protocol.get('test_users'))} "
            "people tested, "
            f"rule {protocol.get('rule', 'not stated')}"
            + (f", cut {words.moment(protocol['cut'])}." if protocol.get("cut") is not None else ".")
        )
    )
    for line in protocol.get("left_out", ()):
        console.print(_text(f"Left out: {line}", "dim"))
    console.print()
    console.print(_text(words.verdict_line(report), "bold"))
    plank = words.plank_of(report)
    if plank is not None:
        cure, price = words.cure_words(plank)
        console.print(_text(f"Weakest plank: {plank.title}, {plank.subject}. {plank.sentence}", COLOURS[plank.verdict]))
        console.print(_text(f"Cure: {cure}"))
        console.print(_text(f"Price: {price}"))
    console.print()
    console.print(_accuracy(report, console))
    for x in report.lint:
        if x.get("severity") in ("error", "warning"):
            console.print(_text(f"{words.SEVERITIES[x['severity']]}: {x.get('sentence', '')}", "yellow"))
    console.print(_planks(report, console))


def show_comparison(found: dict[str, Any], file: TextIO | None = None) -> None:
    """Print what `compare` found between two audits."""
    console = _console(file)
    console.print(_text(f"{found['a']['title']} → {found['b']['title']}", "bold"))
    for line in found["notes"]:
        console.print(_text(line, "yellow"))
    console.print(_text(found["summary"], "bold"))
    table = _table(console, ["system", "metric", "first", "second", "second − first", "so"])
    for r in found["accuracy"]:
        gap = words.interval(_estimate(r["difference"]), 4, sign=True)
        _row(table, [r["title"], words.metric(r["metric"]), _value(r["a"]), _value(r["b"]), gap, r["says"]])
    console.print(table)
    table = _table(console, ["plank", "system", "first", "second", "loss", "so"])
    for r in found["findings"]:
        losses = f"{words.number(r['loss_a'], 2)} → {words.number(r['loss_b'], 2)}"
        cells = [
            r["title"],
            r["subject"],
            r["verdict_a"] or words.ABSENT,
            r["verdict_b"] or words.ABSENT,
            losses,
            r["change"],
        ]
        _row(table, cells, {5: {"worse": "bold red", "better": "green"}.get(r["change"], "")})
    console.print(table)
    moved = [r for r in found["cells"] if r["says"] != "not told apart"]
    if moved:
        table = _table(console, ["heat map", "row", "column", "first", "second", "second − first", "so"])
        for r in moved:
            gap = words.interval(_estimate(r["difference"]), 2, sign=True)
            _row(table, [r["map"], r["row"], r["column"], _value(r["a"], 2), _value(r["b"], 2), gap, r["says"]])
        console.print(table)
    for name, a, b in found["settings"]:
        console.print(_text(f"differs: {name}: {words.cell(a)} → {words.cell(b)}", "dim"))


def _accuracy(report: AuditReport, console: Console) -> Table:
    metrics = list(dict.fromkeys(m for s in report.systems for m in s.metrics))
    table = _table(console, ["system", *(words.metric(m) for m in metrics)])
    best = {m: words.leader_of(report, m) for m in metrics}
    for s in report.systems:
        cells = [s.title + (" (baseline)" if s.baseline else "")]
        cells += [words.interval(s.metrics.get(m)) + (" best" if best[m] == s.slug else "") for m in metrics]
        _row(table, cells)
    return table


def _planks(report: AuditReport, console: Console) -> Table:
    table = _table(console, ["verdict", "loss", "plank", "system", "in a sentence"])
    for f in report.findings:
        says = words.first_sentence((f.reason or f.sentence) if f.verdict == "not measured" else f.sentence)
        loss = f.loss if f.loss is not None else float("nan")
        _row(table, [f.verdict, words.number(loss, 2), f.title, f.subject, says], {0: COLOURS[f.verdict]})
    return table


def _console(file: TextIO | None) -> Console:
    from rich.console import Console

    out = file or sys.stdout
    terminal = bool(getattr(out, "isatty", lambda: False)())
    encoding = getattr(out, "encoding", None) or "utf-8"
    # A pipe has no width: wide enough for a row a line, and never an escape sequence.
    return Console(
        file=out if _can(encoding) else cast(TextIO, _Encodable(out, encoding)),
        width=None if terminal else 160,
        no_color=None if terminal else True,
        force_terminal=None if terminal else False,
        highlight=False,
        markup=False,
        emoji=False,
    )


def _can(encoding: str) -> bool:
    try:
        "−–→✓".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


class _Encodable:
    """A stream that takes any text and writes what its encoding can say."""

    def __init__(self, file: TextIO, encoding: str) -> None:
        self._file, self.encoding = file, encoding

    def write(self, text: str) -> int:
        for a, b in (("−", "-"), ("–", "-"), ("→", "->"), ("\N{NO-BREAK SPACE}", " ")):
            text = text.replace(a, b)
        return self._file.write(text.encode(self.encoding, "replace").decode(self.encoding))

    def flush(self) -> None:
        self._file.flush()

    def isatty(self) -> bool:
        return bool(self._file.isatty())


def _text(text: str, look: str = "") -> Text:
    from rich.text import Text

    return Text(words.clean(text), style=look)


def _table(console: Console, head: list[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    return table


def _row(table: Table, cells: list[str], looks: dict[int, str] | None = None) -> None:
    table.add_row(*(_text(c, (looks or {}).get(i, "")) for i, c in enumerate(cells)))


def _estimate(value: Any) -> Any:
    from oakum.metrics.estimate import Estimate

    if value is None:
        return None
    return Estimate(
        **{**value, **{k: float("nan") if value[k] is None else value[k] for k in ("value", "low", "high")}}
    )


def _value(value: Any, digits: int = 4) -> str:
    return words.interval(_estimate(value), digits)
