"""The generated pages are what the catalogue and the ledger say; the hand-written ones only name what exists."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from oakum.catalogue import entries
from oakum.claims.base import claims_of
from oakum.cli.app import COMMANDS

ROOT = Path(__file__).resolve().parents[1]


def builder() -> Any:
    spec = importlib.util.spec_from_file_location("build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current() -> None:
    made = builder().pages()
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: run `make docs`"
    assert {p.stem for p in (ROOT / "docs" / "systems").glob("*.md")} == set(entries())


def test_the_ledger_has_the_promised_form() -> None:
    rows = json.loads((ROOT / "docs" / "claims.json").read_text())
    known = {e.sheet or s for s, e in entries().items()}
    for row in rows:
        assert {"slug", "id", "claim", "expected", "measured", "holds", "why", "seconds", "version", "date"} == set(row)
        assert row["slug"] in known
        assert row["id"] in {c.id for c in claims_of(row["slug"])}, f"{row['slug']} {row['id']} is no claim any more"
        assert row["holds"] or row["why"], f"{row['slug']} {row['id']} does not hold and does not say why"


def test_commands_in_the_pages_exist() -> None:
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for name in re.findall(r"^\$ oakum (\w+)", path.read_text(encoding="utf-8"), flags=re.M):
            assert name in COMMANDS, f"{path.name}: oakum {name}"


def test_pages_speak_of_the_project_alone() -> None:
    for path in ROOT.rglob("*"):
        if path.suffix in (".md", ".py", ".toml", ".yml") and not {".venv", "site"} & set(path.relative_to(ROOT).parts):
            text = path.read_text(encoding="utf-8")
            assert "/wo" + "rk/" not in text, path
