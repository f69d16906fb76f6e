"""`oakum serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from oakum.cli.common import say


def run(
    model: Annotated[Path, typer.Argument(help="Folder of a saved model.")],
    host: Annotated[str, typer.Option(help="Address to listen at; loopback unless you say otherwise.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
    state: Annotated[str, typer.Option(help="Folder, or postgresql://user@host/database.")] = "oakum-state",
    keys: Annotated[Optional[bool], typer.Option(help="Need a key; by default yes, except on loopback.")] = None,  # noqa: UP045
    rate: Annotated[Optional[float], typer.Option(help="Requests a second and key; 0 for any number.")] = None,  # noqa: UP045
    max_body: Annotated[int, typer.Option(help="Largest body in bytes.")] = 1 << 20,
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 10.0,
    workers: Annotated[int, typer.Option(help="Threads that score.")] = min(4, os.cpu_count() or 1),
    index: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Search item vectors by an index: planned, exact, hnsw or ivf; by default all are scored."),
    ] = None,
    candidate: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Another saved model, which answers some of the people: an experiment."),
    ] = None,
    share: Annotated[float, typer.Option(help="Share of the people whom the candidate answers.")] = 0.1,
    experiment: Annotated[str, typer.Option(help="Name of the experiment; another name draws people anew.")] = "",
    window: Annotated[float, typer.Option(help="Days after a first answer in which events count.")] = 7.0,
    measure: Annotated[str, typer.Option(help="Outcome of a person: acted, events or weight.")] = "acted",
    event: Annotated[str, typer.Option(help="Type of the events that count; by default every type.")] = "",
    audit: Annotated[Optional[Path], typer.Option(help="Folder of an audit to show on the page.")] = None,  # noqa: UP045
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as JSON once ready.")] = False,
) -> None:
    """Answer recommendation requests over HTTP, take in events durably, swap models without dropping a request.

    Reachable from this machine only, without keys, unless --host says otherwise; then every request needs a key that
    `oakum keys --add NAME` makes. Events are acknowledged when they are on disk.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # one core a request: set before the libraries that read it are loaded
    import json

    from oakum.errors import ParameterError
    from oakum.release import Experiment
    from oakum.serve import serve
    from oakum.serve.settings import Settings

    for low, value, option in (
        (1, workers, "workers"),
        (1024, max_body, "max-body"),
        (0.1, timeout, "timeout"),
        (0, rate or 0, "rate"),
    ):
        if value < low:
            raise ParameterError(f"--{option} must be at least {low}. Got {value}.")
    if audit is not None:
        from oakum.report import read

        read(audit)  # said now rather than to whoever opens the page
    if candidate is None and experiment:
        raise ParameterError("An --experiment needs a --candidate: the folder of the model that answers some people.")
    plan = Experiment.make(name=experiment or "experiment", share=share, window=window, measure=measure, event=event)
    settings = Settings(
        host=host, port=port, keys=keys, rate=rate, body=max_body, seconds=timeout, workers=workers, index=index,
        candidate=None if candidate is None else str(candidate), experiment=plan, audit=None if audit is None else str(audit),
    )  # fmt: skip

    def ready(url: str, id: str) -> None:
        if as_json:
            print(
                json.dumps({"url": url, "model": id, "state": state.split("@")[-1], "keys": settings.needs_keys}),
                flush=True,
            )
        else:
            asked = "a key is needed" if settings.needs_keys else "no key needed"
            say(f"Answering with {id} at {url} ({asked}; {url}/openapi.json describes it). Stop with Ctrl-C.")

    serve(model, state, settings, ready=ready)
