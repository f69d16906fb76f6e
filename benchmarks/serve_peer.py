"""The same questions to Chroma, a vector database with an HTTP service, by the same load tool.

    python benchmarks/serve_peer.py MODEL [--chroma PATH] [--seconds 10] [--queries 200] [--items N]

MODEL: what `serve.py --catalogue N --keep FOLDER` made. `--chroma` is the command of an environment of its own that has
chromadb. It gets the same item vectors (inner product, its default graph) with their prices; each request brings one person's
vector, which Oakum looks up by name. Recall is against the exact answer of 200 requests.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from serve import WRK_DONE, free_port, post, write, wrk

BATCH = 2000
API = "/api/v2/tenants/default_tenant/databases/default_database/collections"


def main() -> None:
    """Fill, ask, print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("model", type=Path)
    options.add_argument("--chroma", default=shutil.which("chroma"))
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--queries", type=int, default=200)
    options.add_argument("--write", type=Path, help="file of results to put the rows into")
    options.add_argument("--items", type=int, help="only so many of the model's items")
    chosen = options.parse_args()
    if chosen.chroma is None:
        sys.exit("No chroma: install chromadb in an environment of its own and name its command with --chroma.")
    from oakum import store

    fitted = store.load(chosen.model)
    queries = fitted.queries(np.arange(chosen.queries, dtype=np.int32))
    people, items = fitted.model.query_vectors(queries), fitted.model.item_vectors()
    people = people[np.isfinite(people).all(1)]  # who has no event has no vector
    # Of lengths about one, which changes no order: a distance of one minus a tiny product would have lost its digits.
    people, items = (x / np.nanmean(np.linalg.norm(x, axis=1)) for x in (people, items))
    known = np.flatnonzero(np.isfinite(items).all(1))[: chosen.items]
    if fitted.item_table is None:
        sys.exit("The model has no table of items, so there is no price to filter by.")
    price = fitted.item_table["price"].to_numpy()
    port = free_port()
    base = f"http://127.0.0.1:{port}{API}"
    with tempfile.TemporaryDirectory() as folder:
        service = subprocess.Popen(
            [chosen.chroma, "run", "--path", folder, "--port", str(port)], stdout=subprocess.DEVNULL
        )
        try:
            for _ in range(100):
                try:
                    made = post(base, {"name": "items", "configuration": {"hnsw": {"space": "ip"}}})
                    break
                except OSError:
                    time.sleep(0.2)
            else:
                sys.exit("Chroma did not answer within 20 s.")
            url = f"{base}/{made['id']}"
            began = time.perf_counter()
            for start in range(0, len(known), BATCH):
                rows = known[start : start + BATCH]
                post(f"{url}/add", {
                    "ids": [str(r) for r in rows], "embeddings": items[rows].tolist(),
                    "metadatas": [{"price": float(price[r])} for r in rows],
                })  # fmt: skip
            built = time.perf_counter() - began
            print(f"filled {len(known):,} vectors in {built:.0f} s", file=sys.stderr, flush=True)
            out = []
            for share in (1.0, 0.1, 0.01):
                limit = float(np.quantile(price, share))
                passing = known if share == 1 else known[price[known] < limit]
                where = {} if share == 1 else {"where": {"price": {"$lt": limit}}}
                bodies = [{"query_embeddings": [q.tolist()], "n_results": 10, "include": [], **where} for q in people]
                truth = [set(passing[np.argsort(-(items[passing] @ q))[:10]].tolist()) for q in people]
                found = [{int(i) for i in post(f"{url}/query", b)["ids"][0]} for b in bodies]
                recall = float(np.mean([len(a & b) / 10 for a, b in zip(truth, found, strict=True)]))
                for connections in (1, 16, 64):
                    row = wrk(
                        SCRIPT % ",\n".join(json.dumps(json.dumps(b)) for b in bodies) + WRK_DONE,
                        f"{url}/query",
                        connections,
                        chosen.seconds,
                    )
                    out.append(
                        {
                            "case": "plain" if share == 1 else f"{share:.0%} pass",
                            "connections": connections,
                            "recall": recall,
                            **row,
                        }
                    )
                    print(out[-1], file=sys.stderr, flush=True)
        finally:
            service.terminate()
            service.wait()
    if chosen.write is not None:
        write(chosen.write, "Chroma", out)
    print(json.dumps(out, indent=1))


#: One of many bodies a request.
SCRIPT = """
local bodies = {%s}
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
function request() return wrk.format(nil, nil, nil, bodies[math.random(#bodies)]) end
"""

if __name__ == "__main__":
    main()
