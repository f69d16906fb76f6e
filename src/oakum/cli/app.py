"""The tree of commands. Each lives in a file that is imported only when it is called, so that help is immediate."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from oakum.errors import ParameterError, nearest

COMMANDS = {
    "audit": "Train, measure, attack and mend on your log; write a report.",
    "fit": "Train a system and save it.",
    "evaluate": "Measure a saved model on held-out events.",
    "recommend": "Recommend from a saved model.",
    "release": "Let a model answer in place of another, if nothing speaks against it.",
    "forget": "Take people out of a model, measure what is left, and write a statement.",
    "export": "Write the vectors of a saved model for other programs.",
    "attack": "Attack a system on a log and measure what it wins.",
    "defend": "Train a system with a defence in place.",
    "quarantine": "Hold new events that look arranged; take any batch back.",
    "serve": "Answer requests over HTTP from a saved model.",
    "experiment": "Show where an experiment between two models stands.",
    "refresh": "Fold a service's new events into its model.",
    "keys": "List, make and revoke the keys of a service.",
    "split": "Cut a log into train, validation and test files.",
    "tune": "Search hyper-parameters on the validation part.",
    "compare": "Compare two audits.",
    "report": "Write the page of an audit's report.json again.",
    "data": "Check, describe, convert or fetch a log.",
    "systems": "List the systems of the catalogue.",
    "find": "Find systems by words or paper.",
    "show": "Show a system: paper, settings, claims.",
    "claims": "Run the claims of a system's paper on real data.",
    "bench": "Run a benchmark on your own data.",
    "doctor": "Versions, threads, devices and limits.",
}


ABOUT = (
    "Oakum trains recommenders on your own log, measures them honestly, attacks them, mends them, and shows the price."
)


def help_text() -> str:
    """What `oakum --help` prints."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name.ljust(width)}  {text}" for name, text in COMMANDS.items())
    return f"Usage: oakum COMMAND [ARGS]…\n\n{ABOUT}\n\nCommands:\n{rows}\n\n`oakum COMMAND --help` explains one; `oakum audit` is the place to start."


def dispatch(arguments: Sequence[str]) -> None:
    """Run one command line."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(help_text())
        return
    if arguments[0] in ("--version", "-V"):
        from oakum import __version__

        print(__version__)
        return
    name = arguments[0]
    if name not in COMMANDS:
        raise ParameterError(f"There is no command '{name}'.{nearest(name, COMMANDS)}")
    import typer

    module = importlib.import_module(f"oakum.cli.{name}")
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    if hasattr(module, "group"):
        app.add_typer(module.group, name=name)
    else:
        app.command(name=name)(module.run)
    app(list(arguments), prog_name="oakum")
