"""Names and sentences of a hostile log in the report: they are shown as they are, and nothing runs."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from oakum.audits.record import AuditReport
from oakum.report import compare, write
from tests.browser import browser
from tests.report.sample import sample
from tests.report.test_report import Page

MARK = "window.__ran=(window.__ran||0)+1"
PAYLOADS = (
    f"<script>{MARK}</script>",
    f'"><img src=x onerror="{MARK}">',
    f"'><svg onload='{MARK}'>",
    "=cmd|' /C calc'!A0",
    f"javascript:{MARK}",
    f"</style></title></svg></details><script>{MARK}</script>",
    "{{ 7 * 7 }}{% raw %}",
    f"<a href='javascript:{MARK}' autofocus onfocus='{MARK}'>x</a>",
    "\u202egpj.exe\x1b[31m\x00",
    "$\\input{/etc/passwd}$ ]]> <!-- --> &lt;b&gt;",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'><base href='http://127.0.0.1:9/'>",
)


def poisoned(value: Any, text: str, kept: frozenset[str] = frozenset({"verdict", "kind", "severity"})) -> Any:
    """A value with every word and key in it replaced by the payload (keys numbered, judgements kept)."""
    if isinstance(value, str):
        return text
    if isinstance(value, dict):
        named = {
            "name",
            "events",
            "users",
            "items",
            "from",
            "to",
            "digest",
            "cut",
            "rule",
            "left_out",
            "candidates",
        }
        fixed = named | {
            "a",
            "b",
            "metric",
            "difference",
            "p",
            "p_corrected",
            "low",
            "high",
            "value",
            "x",
            "y",
            "n",
        }
        fixed |= {
            "code",
            "sentence",
            "count",
            "mode",
            "oakum",
            "audits",
            "systems",
            "test_users",
            "test_events",
            "how",
        }
        out = {}
        for i, (k, v) in enumerate(value.items()):
            key = k if k in fixed | kept else f"{text}{i}"
            out[key] = v if k in kept or (k == "metric") else poisoned(v, text, kept)
        return out
    if isinstance(value, list | tuple):
        return [poisoned(v, text, kept) for v in value]
    return value


def hostile(text: str) -> AuditReport:
    """The sample with a payload in every name, sentence, label and setting."""
    report = sample()
    words = lambda record, names: {n: text for n in names}
    findings = []
    for f in report.findings:
        plots = [
            dataclasses.replace(p, **words(p, ("title", "alt", "x_label", "y_label")), series=[
                {**s, "name": text, **({"x": [text] * len(s["x"])} if p.kind != "lines" else {})} for s in p.series
            ])
            for p in f.plots
        ]  # fmt: skip
        cures = [dataclasses.replace(c, slug=text, sentence=text) for c in f.cures]
        names = ("slug", "title", "subject", "sentence", "measure", "threat", "advice", "power", "reason")
        findings.append(
            dataclasses.replace(
                f,
                **words(f, names),
                plots=plots,
                cures=cures,
                evidence=poisoned(f.evidence, text),
                budget={text: text},
            )
        )
    systems = [
        dataclasses.replace(
            s,
            slug=f"{text}{i}",
            title=text,
            note=text,
            settings={text: {text: text}},
            metrics={text: s.metrics["ndcg@10"]},
        )
        for i, s in enumerate(report.systems)
    ]
    changes = {
        n: poisoned(getattr(report, n), text) for n in ("data", "protocol", "lint", "comparisons", "settings", "runs")
    }
    return sample(
        title=text, findings=findings, systems=systems, plank=f"{text} {text}", versions={text: text, "oakum": text},
        started=text, **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """For each payload the report and its comparison with itself."""
    out = {}
    for text in PAYLOADS:
        report, folder = hostile(text), tmp_path_factory.mktemp("hostile")
        out[text] = write(report, folder)[0], compare.write(report, report, folder)[0]
    return out


@pytest.mark.parametrize("text", PAYLOADS)
def test_markup_is_inert(pages: dict[str, tuple[Path, Path]], text: str) -> None:
    for html in pages[text]:
        content = html.read_text(encoding="utf-8")
        body = content[content.index("</style>") :]
        assert not re.search(r"<(script|img|base|meta|iframe)\b", body, re.IGNORECASE)
        for tag, attributes in Page(content).tags:
            assert not [k for k in attributes if k.startswith("on") or k == "style"], tag
            assert attributes.get("href", "#").startswith(("#", "data:image/svg", "report.json")), tag
        assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", body)
        assert "49" not in re.findall(r"<h1>(.*?)</h1>", body, re.DOTALL)[0]  # templates in names are not templates
    figures = pages[text][0].with_suffix(".json")
    assert json.loads(figures.read_text(encoding="utf-8"))["title"] == text  # kept for machines as it is


def test_nothing_runs_in_a_browser(pages: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as opened:
        # The trap works: the same payloads written without care do run.
        trap = tmp_path / "trap.html"
        trap.write_text(f"<!doctype html><p>{PAYLOADS[0]}{PAYLOADS[1]}")
        opened.open(trap)
        assert opened.run("window.__ran") >= 1
        for text, both in pages.items():
            for page in both:
                # Once as written, once without its policy: escaping alone must hold as well.
                bare = page.with_name(f"bare-{page.name}")
                content = page.read_text(encoding="utf-8")
                policy = r"<meta http-equiv=.Content-Security-Policy.[^>]*>"
                bare.write_text(re.sub(policy, "", content), encoding="utf-8")
                for path in (page, bare):
                    opened.open(path)
                    opened.run("document.querySelectorAll('details').forEach(d => d.open = true)")
                    opened.run("new Promise(r => setTimeout(r, 20))")
                    assert opened.run("window.__ran") is None, (path.name, text)
                    assert opened.requests() == [path.resolve().as_uri()], text
                    assert opened.complaints() == [], text
                    assert opened.run("document.scripts.length + document.images.length") == 0
