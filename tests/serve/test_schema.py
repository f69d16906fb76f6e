"""The description against the service: requests made from it, valid and not, by a tool that is not ours. None may end in
a failure, and every answer must be one that the description names."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from oakum.client import Client
from tests.serve.live import living

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "negative_data_rejection", "unsupported_method",
)  # fmt: skip


def test_no_generated_request_ends_in_a_failure(saved: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("schemathesis") is None:
        pytest.skip("schemathesis is not installed; the extra 'dev' has it")
    # Large bodies: the tool does not count 413 as a refusal of what is wrong in them.
    with living(saved, tmp_path / "s", body=1 << 25) as (url, service):
        found = subprocess.run(
            [
                sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run",
                f"{url}/openapi.json", "--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing",
                "--max-examples", "8", "--seed", "1", "--workers", "2", "--no-color",
            ],
            capture_output=True, text=True, cwd=tmp_path, check=False, timeout=300,
        )  # fmt: skip
        assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
        assert Client(url).recommend("somebody").items
        text = service.metrics.text()
    assert 'status="500"' not in text
    assert 'route="POST /v1/recommend",status="200"' in text
    assert 'route="POST /v1/events",status="200"' in text
