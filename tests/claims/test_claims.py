"""Claims run: those that train nothing everywhere, those of a few seconds where the real data are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from oakum.claims.base import Claim, Context, claims_of, sheets

LEDGER = Path(__file__).resolve().parents[2] / "docs" / "claims.json"
ALL = [(sheet, claim) for sheet in sheets() for claim in claims_of(sheet)]
QUICK = [(s, c) for s, c in ALL if not c.training]
SHORT = [(s, c) for s, c in ALL if c.training and c.seconds <= 3]


def name(value: object) -> str:
    return value.id.replace(" ", "-") if isinstance(value, Claim) else str(value)


@pytest.mark.parametrize(("sheet", "claim"), QUICK, ids=name)
def test_claims_without_training_hold(sheet: str, claim: Claim, request: pytest.FixtureRequest) -> None:
    outcome = claim.measure(Context(None))
    assert outcome.holds, f"{outcome.measured} {outcome.why}"


@pytest.mark.data
@pytest.mark.claim
@pytest.mark.parametrize(("sheet", "claim"), SHORT, ids=name)
def test_short_claims_end_as_the_ledger_says(sheet: str, claim: Claim, data_dir: Path) -> None:
    """A verdict that turns, either way, is a change that somebody has to look at."""
    outcome = claim.measure(Context(data_dir))
    rows = {(r["slug"], r["id"]): r for r in json.loads(LEDGER.read_text(encoding="utf-8"))}
    assert outcome.holds == rows[sheet, claim.id]["holds"], f"{outcome.measured} {outcome.why}"


def test_every_claim_has_a_name_of_its_own_and_an_expectation() -> None:
    ids = [(s, c.id) for s, c in ALL]
    assert len(set(ids)) == len(ids)
    assert all(c.expected and c.text for _, c in ALL)
