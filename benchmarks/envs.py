"""The virtual environments that peers run in: one each, made once under a cache folder, pinned."""

from __future__ import annotations

import compileall
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

TORCH = "torch==2.13.0"  # installed before a peer that needs it, so that all have the same build
PEERS: dict[str, tuple[str, ...]] = {
    "implicit": ("implicit==0.7.3", "pandas", "pyarrow"),
    "cornac": ("cornac==3.0.1", "pandas", "pyarrow"),
    "ir_tools": ("pytrec_eval-terrier==0.5.11", "ir-measures==0.4.3", "ranx==0.3.21"),
    "vectors": ("faiss-cpu==1.15.1", "hnswlib==0.8.0"),
    "scann": ("scann==1.4.2",),
    "lenskit": (TORCH, "lenskit==2025.8.1", "pandas", "pyarrow"),
    "rectools": (TORCH, "rectools[torch]==0.19.0", "pyarrow<20"),
    # RecBole 1.2.1 names parts that newer releases of these no longer have.
    "recbole": (
        TORCH, "recbole==1.2.1", "numpy==1.26.4", "pandas<3", "scipy<1.12", "setuptools<81", "pyarrow<20",
    ),
    "pyg": (TORCH, "torch-geometric==2.8.1", "scipy"),
}  # fmt: skip


def cache() -> Path:
    """Where environments, data and finished runs are kept: OAKUM_BENCH, or a folder of the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("OAKUM_BENCH") or Path(home) / "oakum" / "bench")


def python_of(peer: str) -> Path:
    """The interpreter of a peer; Oakum's own is the one that runs this."""
    return Path(sys.executable) if peer not in PEERS else cache() / "envs" / peer / "bin" / "python"


def ready(peer: str, tell: bool = True) -> str:
    """Make the environment of a peer where it is not there yet. Returns "" or why it cannot be had."""
    if peer not in PEERS:  # Oakum may run from its sources: made bytecode once, as pip makes what it installs
        found = importlib.util.find_spec(peer)
        for folder in (found and found.submodule_search_locations) or ():
            compileall.compile_dir(folder, quiet=2)
        return ""
    wanted = "\n".join(PEERS[peer])
    folder = cache() / "envs" / peer
    stamp = folder / f"ready-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    if stamp.exists():
        return ""
    if tell:
        print(f"Installing {peer} ({', '.join(PEERS[peer])})", file=sys.stderr, flush=True)
    pip = [str(python_of(peer)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    first = [TORCH] if TORCH in PEERS[peer] else []
    steps = [[sys.executable, "-m", "venv", "--clear", str(folder)], *([[*pip, *first]] if first else [])]
    steps.append([*pip, *PEERS[peer]])
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            return f"not installed: {lines[-1][:200] if lines else 'no reason was given'}"
    stamp.touch()
    return ""


if __name__ == "__main__":
    for name in sys.argv[1:] or PEERS:
        print(name, ready(name) or "ready", flush=True)
