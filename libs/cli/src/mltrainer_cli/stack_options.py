"""Reads what `mltrainer up` was told about the stack."""

from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.stack import StackOptions, chosen_services


def parse_options(services: str | None, replicas: list[str], kafka_port: int | None) -> StackOptions:
    """Returns the options, refusing what cannot be run.

    Raises:
        CliError: an unknown service or a number of replicas that is none.
    """
    chosen = None if services is None else tuple(one.strip() for one in services.split(",") if one.strip())
    options = StackOptions(services=chosen, replicas=dict(map(_replica, replicas)), kafka_port=kafka_port)
    running = chosen_services(options)
    for slug in options.replicas:
        if slug not in running:
            raise CliError(f"--replicas names {slug!r}, which is not a service to run.", ExitCode.USAGE)
    return options


def _replica(text: str) -> tuple[str, int]:
    slug, _, number = text.partition("=")
    if not number.isdigit() or int(number) < 1:
        raise CliError(f"--replicas {text!r} is not SERVICE=N with N at least 1.", ExitCode.USAGE)
    return slug, int(number)
