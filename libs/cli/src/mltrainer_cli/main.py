"""The `mltrainer` command."""

import sys
from typing import Annotated

import typer

from mltrainer_cli.command_groups import LazyGroup
from mltrainer_cli.console import print_error
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.options import DataOption, Output, OutputOption

_INTERRUPTED = 130
_EXIT_CODES = """
Exit codes: 0 done, 1 failed unexpectedly, 2 wrong usage, 3 not running, 4 machine or directory not ready,
5 not found, 6 refused by a service, 7 timed out, 8 done with a negative finding.
"""

app = typer.Typer(
    name="mltrainer",
    cls=LazyGroup,
    help="Train, version, test, serve and watch the models of a trading desk.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def up(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay until Ctrl-C.")] = False,
    services: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    replicas: Annotated[
        list[str] | None, typer.Option("--replicas", metavar="SERVICE=N", help="More instances of it.")
    ] = None,
    kafka_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the broker.")] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds to wait until all answer.")
    ] = 120.0,
) -> None:
    """Start the stack and return when every process answers."""
    from mltrainer_cli.stack_commands import run_up
    from mltrainer_cli.stack_options import parse_options

    options = parse_options(services, replicas or [], kafka_port)
    run_up(data, options, output, foreground=foreground, timeout_s=timeout_s)


@app.command()
def down(data: DataOption, output: OutputOption = Output.TABLE) -> None:
    """End every process of the stack; its data stays."""
    from mltrainer_cli.stack_commands import run_down

    run_down(data, output)


@app.command()
def status(data: DataOption, output: OutputOption = Output.TABLE) -> None:
    """Show what runs, where, and since when."""
    from mltrainer_cli.stack_commands import run_status

    run_status(data, output)


@app.command()
def doctor(data: DataOption, output: OutputOption = Output.TABLE) -> None:
    """Check this machine and say what to do about what is missing."""
    from mltrainer_cli.doctor import run_doctor

    run_doctor(data, output)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command and exits with its code; expected errors are one sentence without a traceback."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Runs the command and returns its exit code."""
    try:
        return int(app(arguments, standalone_mode=False) or ExitCode.OK)
    except CliError as error:
        print_error(error.message)
        return error.code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return ExitCode.OK
    except Exception as error:
        from mltrainer_cli.failures import explain

        explained = explain(error)
        if explained is None:
            raise
        print_error(explained.message)
        return explained.code


if __name__ == "__main__":
    main()
