"""The summary on a terminal, in a pipe, and on a terminal that knows little."""

from __future__ import annotations

import dataclasses
import io

from oakum.report.compare import compare
from oakum.report.terminal import show, show_comparison
from tests.report.sample import sample


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_plain_text() -> None:
    out = io.StringIO()
    show(sample(), out)
    text = out.getvalue()
    assert "\x1b" not in text
    for said in (
        "Of 10 planks",
        "Weakest plank: Fake accounts, bpr-mf",
        "Price: Accuracy on clean data",
        "0.1042 [0.1001, 0.1083] best",
    ):
        assert said in text
    assert sum(line.startswith(("weak ", "notice ", "fine ", "not measured ")) for line in text.splitlines()) == 10


def test_a_terminal_gets_colours(monkeypatch: object) -> None:
    import pytest

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NO_COLOR", raising=False)
        patch.setenv("TERM", "xterm-256color")
        out = Terminal()
        show(sample(), out)
    assert "\x1b[" in out.getvalue()


def test_names_cannot_drive_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J[bold red]x[/bold red][link=file:///etc/passwd]y[/link]"
    finding = dataclasses.replace(sample().findings[0], title=evil, subject=evil, sentence=evil)
    out = io.StringIO()
    report = sample(findings=[finding], title=evil, plank=f"{finding.slug} {evil}")
    show(report, out)
    show_comparison(compare(report, report), out)
    text = out.getvalue()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold red]x[/bold red]" in text  # markup is shown, not obeyed


def test_an_ascii_stream_gets_ascii() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    show(sample(), out)
    out.flush()
    assert b"changes by -2.9 % [-3.5, -2.3]" in raw.getvalue()


def test_a_comparison_in_a_pipe() -> None:
    out = io.StringIO()
    show_comparison(compare(sample(), sample(settings={**sample().settings, "mode": "full"})), out)
    assert "differs: settings.mode: quick → full" in out.getvalue()
    assert "No planks got worse" in out.getvalue()
