"""Requests a second and latencies of `oakum serve`, measured by a load tool that is not ours.

    python benchmarks/serve.py [MODEL] [--seconds 10] [--tool wrk] [--state postgresql://…]
    python benchmarks/serve.py --catalogue 1000000 [--index exact] [--index planned] [--write benchmarks/serve.json]

Without MODEL, ItemKNN and BPR-MF are fitted on a simulated market of 5,000 users and 10,000 items. With --catalogue, vectors of
width 64 over so many items are served: plain, and under filters that let 10 % and 1 % of them pass, by each kind of index.
The tool is wrk, which asks for another user each time, or oha or autocannon, which repeat one request; whichever is on the path.
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
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ASKED = 200  # people whose lists are compared with those of the exact search
USER = "u000003"  # what wrk replaces by another user each time
Cases = dict[str, tuple[str, dict[str, Any]]]
CASES: Cases = {
    "recommend, a trained user": ("/v1/recommend", {"user_id": USER, "k": 10}),
    "recommend, a history and a filter": (
        "/v1/recommend",
        {"history": ["i000003", "i000100", "i000200"], "k": 10, "filter": "price < 10"},
    ),
    "events, one a post": ("/v1/events", {"events": [{"user_id": "ann", "item_id": "i000003"}]}),
}

#: wrk's own language. Thread-local generators are seeded apart, and the summary is printed as JSON.
SCRIPT = """
local body = %s
local users = %d
local threads = 0
function setup(thread) thread:set("seed", threads); threads = threads + 1 end
function init(args) math.randomseed(seed) end
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
function request()
  local named = string.format("u%%06d", math.random(0, users - 1))
  return wrk.format(nil, nil, nil, (string.gsub(body, "%s", named)))
end
"""

#: What it prints at the end.
WRK_DONE = """
function done(summary, latency, requests)
  io.write(string.format('\\n{"rps": %f, "p50": %f, "p99": %f, "max": %f, "failed": %d}\\n',
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def wrk(script: str, url: str, connections: int, seconds: float, tool: str = "wrk") -> dict[str, float]:
    """One run of wrk with a script that ends as `WRK_DONE`."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = [tool, "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", file.name, url]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(told.strip().splitlines()[-1])
    return found


def post(url: str, body: Any) -> Any:
    """One JSON request."""
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=600) as answer:
        return json.loads(answer.read() or "null")


def write(path: Path, who: str, rows: list[dict[str, Any]]) -> None:
    """Put rows into a file, in place of older ones of the same server."""
    old = json.loads(path.read_text()) if path.exists() else []
    stamp = {"date": datetime.now(UTC).date().isoformat(), "load": round(os.getloadavg()[0], 1)}
    kept = [r for r in old if r["who"] != who]
    path.write_text(json.dumps([*kept, *({"who": who, **r, **stamp} for r in rows)], indent=1) + "\n")


def measure(tool: str, url: str, body: Any, connections: int, seconds: float, users: int = 1) -> dict[str, float]:
    """One run of the tool: requests a second, milliseconds at three quantiles, answers that were no 2xx."""
    payload = json.dumps(body)
    name = Path(tool).name
    if name == "wrk":
        return wrk(SCRIPT % (json.dumps(payload), users, USER) + WRK_DONE, url, connections, seconds, tool)
    if name == "oha":
        command = [
            tool, "--no-tui", "--output-format", "json", "-c", str(connections), "-z", f"{seconds:g}s", "-m", "POST",
            "-T", "application/json", "-d", payload, url,
        ]  # fmt: skip
        oha = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        at = oha["latencyPercentiles"]
        bad = sum(n for code, n in oha["statusCodeDistribution"].items() if not code.startswith("2"))
        return {
            "rps": oha["summary"]["requestsPerSec"], "p50": 1e3 * at["p50"], "p99": 1e3 * at["p99"],
            "max": 1e3 * oha["summary"]["slowest"], "failed": bad,
        }  # fmt: skip
    command = [
        tool, "--json", "-c", str(connections), "-d", f"{seconds:g}", "-m", "POST", "-H", "content-type: application/json",
        "-b", payload, url,
    ]  # fmt: skip
    cannon = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    of = cannon["latency"]
    return {
        "rps": cannon["requests"]["average"], "p50": of["p50"], "p99": of["p99"], "max": of["max"],
        "failed": cannon["non2xx"] + cannon["errors"],
    }  # fmt: skip


def run(
    tool: str,
    model: Path,
    cases: Cases,
    *,
    state: str,
    seconds: float,
    workers: int,
    users: int,
    index: str = "",
    connections: tuple[int, ...] = (1, 16, 64),
) -> list[dict[str, Any]]:
    """All cases over one service."""
    port = free_port()
    command = [sys.executable, "-m", "oakum", "serve", str(model), "--state", state, "--port", str(port), "--json"]
    command += ["--workers", str(workers), *(["--index", index] if index else [])]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    told = json.loads(service.stdout.readline())
    rows = []
    try:
        for name, (path, body) in cases.items():
            people = [f"u{n:06d}" for n in range(min(users, ASKED))]
            lists = (
                [post(told["url"] + path, {**body, "user_id": u}) for u in people]
                if body.get("user_id") == USER
                else []
            )
            measure(
                tool, told["url"] + path, body, 4, 2, users
            )  # what a first request prepares is no latency of the service
            for count in connections:
                found = measure(tool, told["url"] + path, body, count, seconds, users)
                system = told["model"].rsplit("-", 1)[0]
                rows.append(
                    {"model": system, "index": index, "case": name, "connections": count, **found, "lists": lists}
                )
                print(
                    f"{system:10} {index:8} {name:34} {count:3} connections  {found['rps']:7.0f} requests/s"
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
    options.add_argument("--tool", default=next(filter(None, map(shutil.which, ("wrk", "oha", "autocannon"))), None))
    options.add_argument("--state", help="by default an SQLite file that is deleted afterwards")
    options.add_argument("--catalogue", type=int, default=0, help="items of the catalogue to simulate")
    options.add_argument("--index", action="append", help="planned, exact, hnsw, ivf; repeat for several")
    options.add_argument("--write", type=Path, help="file of results to put the rows into")
    options.add_argument(
        "--keep", type=Path, help="folder in which a simulated catalogue's model is kept and found again"
    )
    chosen = options.parse_args()
    if chosen.tool is None:
        sys.exit("No load tool: put wrk, oha or autocannon on the path, or name one with --tool.")
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cases = CASES
        if chosen.catalogue:
            model, cases = catalogue(chosen.keep or folder, chosen.catalogue)
            served = [(model, index) for index in chosen.index or ["exact", "planned"]]
        else:
            models = [chosen.model] if chosen.model is not None else fitted(folder)
            served = [(model, index) for model in models for index in chosen.index or [""]]
        for number, (model, index) in enumerate(served):
            rows += run(
                chosen.tool, model, cases, state=chosen.state or str(folder / f"state{number}"), index=index,
                seconds=chosen.seconds, workers=chosen.workers, users=1 if chosen.model is not None else 5000,
            )  # fmt: skip
    for row in rows:
        row["recall"] = recall(row, [r for r in rows if r["index"] == "exact" and r["case"] == row["case"]])
    for row in rows:
        del row["lists"]
    if chosen.write is not None:
        for index in {r["index"] for r in rows}:
            write(chosen.write, f"Oakum {index}", [r for r in rows if r["index"] == index])
    print(json.dumps(rows, indent=1))


def recall(row: dict[str, Any], exact: list[dict[str, Any]]) -> float | None:
    """Share of the exact lists' items that the lists of a row hold; None where nothing can be compared."""
    if not exact or not row["lists"]:
        return None
    ids = lambda answer: {item["item_id"] for item in answer["items"]}
    pairs = [(ids(a), ids(b)) for a, b in zip(exact[0]["lists"], row["lists"], strict=True)]
    return sum(len(a & b) for a, b in pairs) / max(1, sum(len(a) for a, _ in pairs))


def fitted(folder: Path) -> list[Path]:
    """Two models over one market: one that is computed, one of vectors."""
    from oakum import store
    from oakum.api import fit
    from oakum.data.simulate import Market, simulate

    data = simulate(Market(users=5000, items=10000, events=300000), seed=1)
    made = {"knn": fit("item-knn", data), "bpr": fit("bpr-mf", data, epochs=1, embedding_dim=64)}
    return [store.save(model, folder / name) for name, model in made.items()]


def catalogue(folder: Path, items: int) -> tuple[Path, Cases]:
    """iALS vectors of width 64 over so many items, and the filters that let a tenth and a hundredth of them pass."""
    from oakum import store
    from oakum.api import fit
    from oakum.data.simulate import Market, simulate

    data = simulate(Market(users=50_000, items=items, events=4 * items, skew=0), seed=1)
    model = folder / f"ials-{items}"
    if not model.exists():
        store.save(fit("ials", data, embedding_dim=64, epochs=4, l2=1e-4), model)
    price = data.tables["items"]["price"]
    limits = {share: float(price.quantile(share) or 0.0) for share in (0.1, 0.01)}
    ask = {"user_id": USER, "k": 10}
    return model, {
        "plain": ("/v1/recommend", ask),
        **{
            f"{share:.0%} pass": ("/v1/recommend", {**ask, "filter": f"price < {at:g}"}) for share, at in limits.items()
        },
    }


if __name__ == "__main__":
    main()
