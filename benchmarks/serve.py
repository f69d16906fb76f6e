"""Requests a second and latencies of `oakum serve`, measured by a load tool that is not ours.

    python benchmarks/serve.py [MODEL] [--seconds 10] [--tool autocannon] [--state postgresql://…]

Without MODEL, ItemKNN and BPR-MF are fitted on a simulated market of 5,000 users and 10,000 items. The tool is oha or
autocannon, whichever is on the path (`npx autocannon` installs the latter).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CASES = {
    "recommend, a trained user": ("/v1/recommend", {"user_id": "u000003", "k": 10}),
    "recommend, a history and a filter": (
        "/v1/recommend",
        {"history": ["i000003", "i000100", "i000200"], "k": 10, "filter": "price < 10"},
    ),
    "events, one a post": ("/v1/events", {"events": [{"user_id": "ann", "item_id": "i000003"}]}),
}


def measure(tool: str, url: str, body: Any, connections: int, seconds: float) -> dict[str, float]:
    """One run of the tool: requests a second, milliseconds at three quantiles, answers that were no 2xx."""
    payload = json.dumps(body)
    if Path(tool).name == "oha":
        command = [
            tool, "--no-tui", "--output-format", "json", "-c", str(connections), "-z", f"{seconds:g}s", "-m", "POST",
            "-T", "application/json", "-d", payload, url,
        ]  # fmt: skip
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        at = found["latencyPercentiles"]
        bad = sum(n for code, n in found["statusCodeDistribution"].items() if not code.startswith("2"))
        return {
            "rps": found["summary"]["requestsPerSec"], "p50": 1e3 * at["p50"], "p99": 1e3 * at["p99"],
            "max": 1e3 * found["summary"]["slowest"], "failed": bad,
        }  # fmt: skip
    command = [
        tool, "--json", "-c", str(connections), "-d", f"{seconds:g}", "-m", "POST", "-H", "content-type: application/json",
        "-b", payload, url,
    ]  # fmt: skip
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    of = found["latency"]
    return {
        "rps": found["requests"]["average"], "p50": of["p50"], "p99": of["p99"], "max": of["max"],
        "failed": found["non2xx"] + found["errors"],
    }  # fmt: skip


def run(tool: str, model: Path, state: str, seconds: float, workers: int) -> list[dict[str, Any]]:
    """All cases over one service."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "oakum", "serve", str(model), "--state", state, "--port", str(port), "--json"]
    service = subprocess.Popen([*command, "--workers", str(workers)], stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    told = json.loads(service.stdout.readline())
    rows = []
    try:
        for name, (path, body) in CASES.items():
            for connections in (1, 16, 64):
                found = measure(tool, told["url"] + path, body, connections, seconds)
                rows.append({"model": told["model"], "case": name, "connections": connections, **found})
                print(
                    f"{told['model'].rsplit('-', 1)[0]:10} {name:34} {connections:3} connections  {found['rps']:7.0f} requests/s"
                    f"  p50 {found['p50']:6.1f} ms  p99 {found['p99']:6.1f} ms  max {found['max']:6.0f} ms"
                    f"  {found['failed']:.0f} failed", file=sys.stderr,
                )  # fmt: skip
    finally:
        service.terminate()
        service.communicate()
    return rows


def main() -> None:
    """Run and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("model", nargs="?", type=Path)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1))
    options.add_argument("--tool", default=shutil.which("oha") or shutil.which("autocannon"))
    options.add_argument("--state", help="by default an SQLite file that is deleted afterwards")
    chosen = options.parse_args()
    if chosen.tool is None:
        sys.exit("No load tool: put oha or autocannon on the path, or name one with --tool.")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        models = [chosen.model] if chosen.model is not None else fitted(Path(folder))
        for number, model in enumerate(models):
            state = chosen.state or str(Path(folder) / f"state{number}")
            rows += run(chosen.tool, model, state, chosen.seconds, chosen.workers)
    print(json.dumps(rows, indent=1))


def fitted(folder: Path) -> list[Path]:
    """Two models over one market: one that is computed, one of vectors."""
    from oakum import store
    from oakum.api import fit
    from oakum.data.simulate import Market, simulate

    data = simulate(Market(users=5000, items=10000, events=300000), seed=1)
    made = {"knn": fit("item-knn", data), "bpr": fit("bpr-mf", data, epochs=1, embedding_dim=64)}
    return [store.save(model, folder / name) for name, model in made.items()]


if __name__ == "__main__":
    main()
