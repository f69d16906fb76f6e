"""`oakum serve`: a saved model behind HTTP, with durable feedback. Needs the extra 'serve'."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from oakum.errors import MissingExtra

if TYPE_CHECKING:
    from oakum.serve.settings import Settings


def serve(
    model: str | Path, state: str | Path, settings: Settings, *, ready: Callable[[str, str], None] | None = None
) -> None:
    """Answer requests until the process is told to stop (SIGINT or SIGTERM), then finish what runs.

    model: a saved model, possibly with refreshed ones in it. state: a folder or a `postgresql://` address. ready is told
    the address and the model id once connections are taken. Raises `OakumError` in words where it cannot start.
    """
    try:
        import httptools  # noqa: F401
        import msgspec  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtra("Serving", "serve") from None
    from oakum.serve.run import run

    run(model, state, settings, ready)
