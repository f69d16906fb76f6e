"""Numbers, dates and judgements in words: the page, the terminal and comparisons say the same."""

from __future__ import annotations

import math
import re
import statistics
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from oakum.audits.record import AuditReport, Cure, Finding
from oakum.metrics.estimate import Estimate

ORDER = {"weak": 0, "notice": 1, "fine": 2, "not measured": 3}
MARKS = {"weak": "✕", "notice": "△", "fine": "✓", "not measured": "–"}
SEVERITIES = {"error": "weak", "warning": "notice", "info": "fine"}
ABSENT = "–"


def clean(text: str) -> str:
    """Text that shows what it is: control characters, escape sequences and direction overrides become '�'."""
    if text.isascii() and text.isprintable():
        return text
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return "".join(c if c == "\n" or unicodedata.category(c) not in hidden else "�" for c in text)


def number(value: float | None, digits: int = 4, *, sign: bool = False) -> str:
    """A number with a true minus and thousands; '–' where there is none."""
    if value is None or not math.isfinite(value):
        return ABSENT
    text = f"{value:+,.{digits}f}" if sign else f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:  # no "−0.000"
        text = text.lstrip("+-")
    return text.replace("-", "−")


def digits_of(estimates: Sequence[Estimate | None]) -> int:
    """Decimals that show two digits of the typical half interval: no more is known, less is of no use."""
    halves = [(e.high - e.low) / 2 for e in estimates if e is not None]
    halves = [h for h in halves if math.isfinite(h) and h > 0]
    if not halves:
        return 4
    return int(min(5, max(1, 1 - math.floor(math.log10(statistics.median(halves))))))


def interval(e: Estimate | None, digits: int | None = None, *, percent: bool = False, sign: bool = False) -> str:
    """'0.123 [0.120, 0.126]', or the value alone with words where no interval can be given."""
    if e is None or not math.isfinite(e.value):
        return ABSENT
    value, low, high = (100 * v if percent else v for v in (e.value, e.low, e.high))
    digits = digits if digits is not None else 1 if percent else digits_of([e])
    unit = " %" if percent else ""
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{number(value, digits, sign=sign)}{unit} (no interval)"
    bounds = f"[{number(low, digits, sign=sign)}, {number(high, digits, sign=sign)}]"
    return f"{number(value, digits, sign=sign)}{unit} {bounds}"


def cell(value: Any) -> str:
    """Any JSON value as the text of a table cell."""
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if isinstance(value, float):
        return f"{value:,.4g}".replace("-", "−") if "e" not in f"{value:.4g}" else f"{value:.3g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {cell(v)}" for k, v in value.items()) or ABSENT
    if isinstance(value, list | tuple):
        return ", ".join(cell(v) for v in value) or ABSENT
    return str(value)


def moment(microseconds: Any) -> str:
    """A time since 1970 as a date, UTC."""
    if not isinstance(microseconds, int | float) or isinstance(microseconds, bool):
        return cell(microseconds)
    try:
        return datetime.fromtimestamp(microseconds / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, OSError, ValueError):
        return f"{microseconds / 1e6:g} s"


def duration(seconds: float) -> str:
    """'0.4 s', '42 s', '3 min 5 s', '1 h 12 min'."""
    if not math.isfinite(seconds):
        return ABSENT
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends a sentence."""
    return re.split(r"(?<=[.!?])\s+(?=[A-Z0-9'\"(])", text, maxsplit=1)[0]


def started(text: str) -> str:
    """An ISO moment as people write it; other text as it is."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return text


def metric(name: str) -> str:
    """'hit_rate@10' → 'Hit rate@10', 'ndcg@10' → 'NDCG@10'."""
    stem, at, k = name.partition("@")
    known = {"ndcg": "NDCG", "mrr": "MRR", "map": "MAP", "auc": "AUC"}
    return known.get(stem, sentence(stem.replace("_", " "))) + at + k


def sentence(text: str) -> str:
    """With a capital first letter."""
    return text[:1].upper() + text[1:]


def counted(n: int, one: str, many: str, none: str = "none") -> str:
    """'none are', 'one is', 'seven are', '12 are'."""
    names = (none, "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return f"{names[n] if n < len(names) else n} {one if n == 1 else many}"


def plank_of(report: AuditReport) -> Finding | None:
    """The finding that the report names as its weakest: 'slug subject', or the slug alone."""
    for f in report.findings:
        if report.plank and report.plank in (f"{f.slug} {f.subject}", f.slug):
            return f
    return None


def best_cure(finding: Finding) -> Cure | None:
    """The cure that brings the measure furthest back towards clean, beyond the intervals; None if none does."""
    if finding.attacked is None or finding.clean is None:
        return None
    attacked, harm = finding.attacked, finding.attacked.value - finding.clean.value
    won = []
    for cure in finding.cures:
        if cure.after is None or cure.after.overlaps(attacked):
            continue
        back = (attacked.value - cure.after.value) * (1 if harm > 0 else -1)
        if back > 0:
            won.append((back, cure))
    return max(won, key=lambda pair: pair[0])[1] if won else None


def cure_words(finding: Finding) -> tuple[str, str]:
    """The cure of a finding and its price, a sentence each."""
    cure = best_cure(finding)
    if cure is not None:
        what = sentence(cure.sentence.rstrip("."))
        if cure.price is None:
            return f"{cure.slug}: {what}.", "Its price was not measured in this run."
        moved = interval(cure.price, percent=True, sign=True)
        none = cure.price.low <= 0 <= cure.price.high
        tail = "; the interval holds zero, so no loss was shown" if none else ""
        return f"{cure.slug}: {what}.", f"Accuracy on clean data changes by {moved}{tail}."
    first = finding.advice or "None was tried for this plank."
    if finding.cures:
        return (
            first,
            "None of the cures tried brought it back beyond doubt; their prices stand in its section.",
        )
    return first, "Not measured, since no cure was tried."


def verdict_line(report: AuditReport) -> str:
    """All findings in one sentence."""
    count = {v: sum(f.verdict == v for f in report.findings) for v in ORDER}
    if not report.findings:
        return "Nothing was judged in this run."
    parts = [
        f"{counted(count['weak'], 'is', 'are')} weak",
        f"{counted(count['notice'], 'deserves', 'deserve')} a look",
        f"{counted(count['fine'], 'is', 'are')} fine",
    ]
    if count["not measured"]:
        parts.append(f"{counted(count['not measured'], 'was', 'were')} not measured")
    total = len(report.findings)
    return f"Of {total} {'plank' if total == 1 else 'planks'}, " + ", ".join(parts[:-1]) + f" and {parts[-1]}."


def holds(comparison: Mapping[str, Any], level: float = 0.05) -> int:
    """+1 or −1 where a paired difference a − b has a sign beyond doubt: the interval leaves out zero and the
    corrected p is below the level; 0 otherwise."""
    gap = comparison.get("difference") or {}
    low, high = gap.get("low"), gap.get("high")
    p = comparison.get("p_corrected", comparison.get("p"))
    if low is None or high is None or p is None or not p < level:
        return 0
    return 1 if low > 0 else -1 if high < 0 else 0


def leader_of(report: AuditReport, metric: str) -> str | None:
    """The system that is best on a metric beyond doubt: its paired difference to every other system holds."""
    known = {s.slug: s.metrics[metric].value for s in report.systems if metric in s.metrics}
    if len(known) < 2:
        return None
    first = max(known, key=lambda s: known[s])
    beaten = {c["b"] for c in report.comparisons if c.get("a") == first and c.get("metric") == metric and holds(c) > 0}
    beaten |= {c["a"] for c in report.comparisons if c.get("b") == first and c.get("metric") == metric and holds(c) < 0}
    return first if beaten >= set(known) - {first} else None
