"""What starting costs: sizes of what is installed, and seconds of processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from benchmarks.startup import installed, seconds, sources


def test_a_package_is_weighed_with_what_it_requires() -> None:
    sizes = installed("jinja2")
    assert set(sizes) == {"jinja2", "markupsafe"}  # nothing that an extra alone asks for
    assert all(mb > 0 for mb in sizes.values())
    assert installed("no-such-package-anywhere") == {}


def test_a_package_that_runs_from_its_sources_is_weighed_without_compiled_loops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "weighed_package"
    (home / "__pycache__").mkdir(parents=True)
    (home / "__init__.py").write_bytes(b"#" * 2**20)
    (home / "__pycache__" / "code.pyc").write_bytes(b"0" * 2**19)
    (home / "__pycache__" / "loop.nbc").write_bytes(b"0" * 2**22)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert sources("weighed_package") == 1.5
    assert sources("no_such_package_anywhere") == 0


def test_a_cache_is_empty_unless_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("")
    count = "import os; print(len(os.listdir(os.environ['NUMBA_CACHE_DIR'])), file=open('{}', 'w'))"
    for cache, held in ((None, "0"), (tmp_path, "1")):
        command = [sys.executable, "-c", count.format(tmp_path.parent / "seen")]
        assert seconds(command, 1, cache) > 0
        assert (tmp_path.parent / "seen").read_text().strip() == held
