"""report.json and its published schema: each holds what the other says."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jsonschema
import pytest

from oakum.report import schema
from tests.report.sample import sample


def test_figures_fit_the_published_schema() -> None:
    checker = jsonschema.Draft202012Validator
    checker.check_schema(schema())
    checker(schema()).validate(json.loads(json.dumps(sample().to_json(), allow_nan=False)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda v: v["findings"][0].update(verdict="awful"),
        lambda v: v["findings"][0].update(loss=1.2),
        lambda v: v["findings"][0].update(surprise=1),
        lambda v: v["systems"][0]["metrics"]["ndcg@10"].pop("low"),
        lambda v: v["findings"][0]["plots"][0].update(kind="pie"),
        lambda v: v["lint"][0].update(severity="catastrophe"),
        lambda v: v.update(schema_version=2),
        lambda v: v.pop("plank"),
    ],
)
def test_the_schema_refuses_what_is_wrong(spoil: Any) -> None:
    value = sample().to_json()
    spoil(value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(value)


def test_every_field_of_the_schema_is_described() -> None:
    bare = []

    def walk(node: Any, where: str) -> None:
        if isinstance(node, dict):
            for name, field in node.get("properties", {}).items():
                if len(field.get("description", "")) < 5:
                    bare.append(f"{where}.{name}")
            for key, value in node.items():
                walk(value, f"{where}.{key}")
        elif isinstance(node, list):
            for value in node:
                walk(value, where)

    walk(schema(), "")
    assert bare == []


def test_the_schema_has_exactly_the_fields_of_the_records() -> None:
    from oakum.audits.record import AuditReport, Cure, Finding, Plot, SystemResult
    from oakum.metrics.estimate import Estimate

    parts = schema()["$defs"]
    pairs = {"estimate": Estimate, "system": SystemResult, "finding": Finding, "cure": Cure, "plot": Plot}
    for name, record in pairs.items():
        assert set(parts[name]["properties"]) == {f.name for f in dataclasses.fields(record)}, name
    assert set(schema()["properties"]) == {f.name for f in dataclasses.fields(AuditReport)}
