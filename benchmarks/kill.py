"""Kill a service again and again while events are posted, then count.

    python benchmarks/kill.py --events 10000 --kills 20 [--state postgresql://…] [--json]

Every event that was acknowledged must be there afterwards, none twice. Events whose acknowledgement was lost are posted
again under the same event_id, as a careful client does.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from oakum.client import Client, Posted, ServiceError


class Service:
    """`oakum serve` on one port, started and killed."""

    def __init__(self, model: Path, state: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [
            sys.executable, "-m", "oakum", "serve", str(model), "--state", state, "--port", str(self.port), "--json",
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it is ready."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise RuntimeError("the service did not start")

    def kill(self) -> None:
        """SIGKILL: no handler runs, no buffer is flushed."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate()


def trial(
    model: Path,
    state: str,
    *,
    events: int,
    kills: int,
    threads: int = 8,
    batch: int = 5,
    people: int = 40,
    seed: int = 0,
) -> dict[str, Any]:
    """Post `events` events from some threads while the service is killed `kills` times; what was counted."""
    service = Service(model, state)
    service.start()
    total = -(-events // batch)
    todo = list(range(total))
    lock = threading.Lock()
    acknowledged: set[str] = set()
    told = [0, 0, 0]  # stored, duplicates, posts without an answer

    def post() -> None:
        client = Client(service.url, retries=0, timeout=20.0)
        while True:
            with lock:
                if not todo:
                    return
                number = todo.pop()
            made = [
                Posted(f"p{(number * batch + i) % people}", f"i{i}", 1.7e9 + number, event_id=f"{number}.{i}")
                for i in range(batch)
            ]
            while True:
                try:
                    found = client.add_events(made)
                    break
                except ServiceError as error:
                    with lock:
                        told[2] += error.status == 0
                    time.sleep(0.05)
            with lock:
                acknowledged.update(e.event_id for e in made)
                told[0] += found.stored
                told[1] += found.duplicates

    workers = [threading.Thread(target=post) for _ in range(threads)]
    for worker in workers:
        worker.start()
    chance = random.Random(seed)
    done = 0
    for turn in range(kills):
        goal = total * batch * (turn + chance.random()) / (kills + 1)
        while len(acknowledged) < goal:
            time.sleep(0.001)
        service.kill()
        done += 1
        service.start()
    for worker in workers:
        worker.join()
    service.kill()
    service.start()
    client = Client(service.url)
    kept: list[str] = []
    for person in range(people):
        try:
            kept += [e["event_id"] for e in client.user(f"p{person}").events]
        except ServiceError as error:
            if error.status != 404:
                raise
    assert service.process is not None
    service.process.terminate()
    service.process.communicate()
    return {
        "events": total * batch,
        "kills": done,
        "acknowledged": len(acknowledged),
        "kept": len(kept),
        "lost": len(acknowledged - set(kept)),
        "twice": len(kept) - len(set(kept)),
        "posts_without_answer": told[2],
        "posted_again_and_known": told[1],
    }


def main() -> None:
    """Run and print; exit 1 where an event is lost or doubled."""
    from oakum import store
    from oakum.api import fit
    from oakum.data.simulate import Market, simulate

    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--events", type=int, default=10_000)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--state", help="postgresql://…; by default an SQLite file that is deleted afterwards")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = store.save(fit("item-knn", simulate(Market(users=150, items=100, events=4000))), Path(folder) / "m")
        found = trial(model, chosen.state or str(Path(folder) / "state"), events=chosen.events, kills=chosen.kills)
    print(json.dumps(found, indent=1) if chosen.json else "\n".join(f"{k}: {v:,}" for k, v in found.items()))
    sys.exit(1 if found["lost"] or found["twice"] else 0)


if __name__ == "__main__":
    main()
