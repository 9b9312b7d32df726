"""Groups of commands, each in a module of its own that is imported when one of its commands is used."""

import importlib
import importlib.util
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

GROUPS = {
    "demo": "Show the whole platform at work on bundled market data.",
    "train": "Ask for trainings and follow them.",
    "retrain": "Have a calendar or drift ask for trainings.",
    "models": "Look at models, move their aliases, trace their lineage.",
    "features": "Define, read and backfill features.",
    "datasets": "See what trainings learn from and drop what nobody needs.",
    "experiments": "Split traffic between versions and decide.",
    "deployments": "See what is served and shift traffic.",
    "slo": "Watch objectives and error budgets.",
    "costs": "Read the bill, find waste, apply what saves.",
    "chaos": "Break things on purpose and see whether they hold.",
    "events": "Read the event stream and play back dead letters.",
    "schedule": "Simulate scheduling policies on recorded workloads.",
}
_PACKAGE = "mltrainer_cli.commands"


class LazyGroup(TyperGroup):
    """Lists the groups that are installed without importing them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names the commands of this module first, then the groups."""
        own = super().list_commands(ctx)
        return [*own, *(name for name in GROUPS if name not in own and is_installed(name))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Returns the command, or for a group not yet used its name and help."""
        own = super().get_command(ctx, cmd_name)
        if own is None and cmd_name in GROUPS and is_installed(cmd_name):
            return TyperCommand(cmd_name, callback=None, help=GROUPS[cmd_name])
        return own

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Imports the group whose command is about to run."""
        name = args[0]
        if name not in self.commands and name in GROUPS and is_installed(name):
            self.commands[name] = load(name)
        return super().resolve_command(ctx, args)


def is_installed(group: str) -> bool:
    """Tells whether the module of a group exists."""
    return importlib.util.find_spec(f"{_PACKAGE}.{group}") is not None


def load(group: str) -> Any:
    """Imports a group; its module offers `app`, a `typer.Typer`, with one command or several."""
    module = importlib.import_module(f"{_PACKAGE}.{group}")
    app = cast("typer.Typer", module.app)
    app.info.help = GROUPS[group]
    command = typer.main.get_command(app)
    command.name = group
    return command
