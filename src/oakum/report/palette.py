"""The colours of the report, once: the style sheet and the test of their contrast read the same table.

Every foreground reaches 4.5 : 1 on `paper` and on `card`; marks of plots (s0 ... s5) reach 3 : 1.
"""

from __future__ import annotations

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "paper": "#faf8f2",
    "card": "#ffffff",
    "ink": "#16222b",
    "muted": "#4b5963",
    "line": "#d8d3c5",
    "edge": "#7d7a70",
    "sea": "#0b566b",
    "wash": "#e6eef0",
    "weak": "#98290f",
    "notice": "#745000",
    "fine": "#1d5f43",
    "none": "#555f68",
    "s0": "#0b566b",
    "s1": "#b0431f",
    "s2": "#56712a",
    "s3": "#8a5a00",
    "s4": "#6a4a8c",
    "s5": "#4b5963",
}

DARK: Mapping[str, str] = {
    "paper": "#10181e",
    "card": "#17222a",
    "ink": "#eae7de",
    "muted": "#adb8bf",
    "line": "#33434e",
    "edge": "#7f8d96",
    "sea": "#83c8da",
    "wash": "#1c2d37",
    "weak": "#f59b82",
    "notice": "#e6bb66",
    "fine": "#8bcdaa",
    "none": "#adb8bf",
    "s0": "#83c8da",
    "s1": "#f59b82",
    "s2": "#b3cf7c",
    "s3": "#e6bb66",
    "s4": "#c6a9e8",
    "s5": "#adb8bf",
}

SERIES = ("s0", "s1", "s2", "s3", "s4", "s5")
TEXT = ("ink", "muted", "sea", "weak", "notice", "fine", "none")  # roles that carry words


def variables(palette: Mapping[str, str]) -> str:
    """The palette as CSS custom properties."""
    return "".join(f"--{name}:{value};" for name, value in palette.items())


def contrast(a: str, b: str) -> float:
    """The contrast ratio of two #rrggbb colours, 1 to 21 (WCAG 2.2, relative luminance)."""
    first, second = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (first + 0.05) / (second + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
