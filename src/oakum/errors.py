"""What can go wrong, as one tree; every message is a sentence that says what was found and the cure.

OakumError
├── DataError          the log or a table cannot be used: names file, row, column, what was found, the cure
├── ParameterError     a hyper-parameter, option or name is unknown or out of range
├── ProtocolError      an evaluation that would mislead (a leak, an empty test part)
├── ModelFileError     a saved model is foreign, damaged or of another schema version
├── MissingExtra       an optional dependency is needed: names the command that installs it
├── Denied             an attack looked at what its threat model does not grant
├── BudgetExceeded     an attack spent more than its budget
└── Interrupted        stopped on request; says the one line that resumes
"""

from __future__ import annotations

from collections.abc import Iterable


class OakumError(Exception):
    """The base of all errors that Oakum raises on purpose."""


class DataError(OakumError):
    """The log or a table cannot be used as it is."""


class ParameterError(OakumError, ValueError):
    """A hyper-parameter, an option or a name is unknown or out of range."""


class ProtocolError(OakumError):
    """The evaluation asked for would mislead."""


class ModelFileError(OakumError):
    """A saved model is foreign, damaged or of another schema version."""


class MissingExtra(OakumError, ImportError):
    """An optional dependency is needed and is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': pip install 'oakum[{extra}]'.")


class Denied(OakumError):
    """An attack looked at what its threat model does not grant."""


class BudgetExceeded(OakumError):
    """An attack spent more than its budget."""


class Interrupted(OakumError):
    """Stopped on request in a resumable state; the message is the line that resumes."""


def nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean X?' for the closest known name, or the list of known names."""
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known: {', '.join(names)}." if len(names) <= 40 else ""
