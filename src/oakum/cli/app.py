"""The tree of commands. Each is imported only when it is called, so that help is immediate."""

from __future__ import annotations

import importlib
from typing import Any

import click
import typer
import typer.core
import typer.main

COMMANDS = {
    "audit": "Train, measure, attack and mend on your log; write a report.",
    "fit": "Train a system and save it.",
    "evaluate": "Measure a saved model on held-out events.",
    "recommend": "Recommend from a saved model.",
    "attack": "Attack a system on a log and measure what it wins.",
    "defend": "Train a system with a defence in place.",
    "split": "Cut a log into train, validation and test files.",
    "tune": "Search hyper-parameters on the validation part.",
    "compare": "Compare two audits.",
    "report": "Write the page of an audit's report.json again.",
    "data": "Check, describe, convert or fetch a log.",
    "systems": "List the systems of the catalogue.",
    "find": "Find systems by words or paper.",
    "show": "Show a system: paper, settings, claims.",
    "claims": "Run the claims of a system's paper on real data.",
    "doctor": "Versions, threads, devices and limits.",
}


class Lazy(typer.core.TyperGroup):
    """A group whose commands live in files that are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order above: what a newcomer needs first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> Any:
        """The command; for the list of commands only its name and help."""
        if name not in COMMANDS:
            return None
        if ctx.resilient_parsing or getattr(ctx, "_listing", False):
            return click.Command(name, help=COMMANDS[name], short_help=COMMANDS[name])
        module = importlib.import_module(f"oakum.cli.{name}")
        if hasattr(module, "group"):
            return typer.main.get_group(module.group)
        one = typer.Typer(add_completion=False, rich_markup_mode=None)
        one.command(name=name, help=module.run.__doc__)(module.run)
        return typer.main.get_command(one)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names and one line each, nothing imported."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Plain help: it must be there at once."""
        click.Command.format_help(self, ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options, then commands."""
        click.Command.format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """A wrong name suggests the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from oakum.errors import ParameterError, nearest

            raise ParameterError(f"There is no command '{args[0]}'.{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Lazy,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Oakum trains recommenders on your own log, measures them honestly, attacks them, mends them, and shows the price.",
)


@app.callback()
def _root() -> None:
    """Oakum trains recommenders on your own log, measures them honestly, attacks them, mends them, and shows the price."""
