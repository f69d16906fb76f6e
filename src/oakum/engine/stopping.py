"""Ctrl-C during training: the loop stops where its state is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Stopping:
    """While it is entered, the first interrupt asks the loop to stop (`asked`) and a second one stops it at once.

    An interrupt that arrives in the middle of a step would leave weights of which some have moved, and a state that cannot
    be resumed exactly. It takes over only the interpreter's own handler and only in the main thread; elsewhere an interrupt
    is raised as ever, and what was kept last stands.
    """

    def __init__(self) -> None:
        self.asked = False
        self._mine = False

    def __enter__(self) -> Stopping:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._ask)
            self._mine = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._mine = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class Stop(Exception):
    """The loop has stopped between two steps, as asked."""
