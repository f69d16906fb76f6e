"""Claims: what a paper (or its sheet) says holds, measured here and reported as found."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from oakum.catalogue import Entry, entries, entry
from oakum.errors import DataError, OakumError
from oakum.files import whole


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured, whether the claim holds, and, where it does not (or is odd), why."""

    measured: str
    holds: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """Where the real data are, and the seed."""

    data_dir: Path | None
    seed: int = 0

    def folder(self, name: str) -> Path:
        """The folder of a data set; `DataError` where there is none."""
        if self.data_dir is None or not (self.data_dir / name).is_dir():
            raise DataError(f"This claim needs the data set '{name}': set OAKUM_DATA to a folder that holds it.")
        return self.data_dir / name


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim. expected: the paper's or the sheet's figure in words. slugs: the systems it is about (empty: all of
    the sheet). training: whether anything is trained on real data; seconds: about how long on one core. reference: whose
    figure is expected, for claims of quality on the same data and split as others report; the docs list them together."""

    id: str
    text: str
    expected: str
    measure: Callable[[Context], Outcome]
    slugs: tuple[str, ...] = ()
    training: bool = False
    seconds: float = 1.0
    reference: str = ""


def data_dir() -> Path | None:
    """The folder named by OAKUM_DATA, or shared/data beside the checkout."""
    named = os.environ.get("OAKUM_DATA")
    places = [Path(named)] if named else [p / "shared" / "data" for p in (Path.cwd().parent, Path.cwd())]
    return next((p for p in places if p.is_dir()), None)


def claims_of(sheet: str) -> tuple[Claim, ...]:
    """The claims of a sheet; none where it has no file yet."""
    name = f"oakum.claims.{sheet.replace('-', '_')}"
    try:
        found: tuple[Claim, ...] = importlib.import_module(name).CLAIMS
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return ()
    return found


def of_entry(e: Entry) -> list[Claim]:
    """The claims about one system."""
    return [c for c in claims_of(e.sheet or e.slug) if not c.slugs or e.slug in c.slugs]


def count(e: Entry) -> int:
    """How many claims a system has."""
    return len(of_entry(e))


def sheets() -> list[str]:
    """All sheets with claims, in catalogue order."""
    return [s for s in dict.fromkeys(e.sheet or e.slug for e in entries().values()) if claims_of(s)]


def run_claims(
    name: str, *, quick: bool = False, seed: int = 0, tell: Callable[[str], None] = lambda line: None
) -> list[dict[str, Any]]:
    """Measure the claims of a system or of a whole sheet. quick: only those that train nothing."""
    chosen: Sequence[Claim] = claims_of(name) if name in sheets() else of_entry(entry(name))
    context = Context(data_dir(), seed)
    out = []
    for claim in chosen:
        if quick and claim.training:
            continue
        tell(f"{name}: {claim.id} …")
        began = time.monotonic()
        try:
            found = claim.measure(context)
        except (OakumError, ImportError) as error:
            found = Outcome("not measured", False, str(error))
        out.append(
            {
                "id": claim.id, "text": claim.text, "expected": claim.expected, "measured": found.measured, "holds": bool(found.holds),
                "why": found.why, "seconds": round(time.monotonic() - began, 2),
            }
        )  # fmt: skip
    return out


def write_ledger(path: Path, sheet: str, results: Sequence[dict[str, Any]]) -> None:
    """Put results into the ledger, in place of older ones of the same claims; written aside and renamed."""
    from oakum import __version__

    rows = json.loads(path.read_text()) if path.exists() else []
    fresh = {r["id"] for r in results}
    rows = [r for r in rows if not (r["slug"] == sheet and r["id"] in fresh)]
    today = datetime.now(UTC).date().isoformat()
    for r in results:
        rows.append(
            {
                "slug": sheet, "id": r["id"], "claim": r["text"], "expected": r["expected"], "measured": r["measured"],
                "holds": r["holds"], "why": r["why"], "seconds": r["seconds"], "version": __version__, "date": today,
            }
        )  # fmt: skip
    rows.sort(key=lambda r: (r["slug"], r["id"]))
    with whole(path) as aside:
        aside.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
