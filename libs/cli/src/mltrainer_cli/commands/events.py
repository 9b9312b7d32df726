"""`mltrainer events`: read the stream, list dead letters, play them again."""

import asyncio
import json
import os
import re
import sys
from contextlib import aclosing, suppress
from typing import Annotated, Any

import typer

from mltrainer_cli.console import print_json, print_line, print_rows
from mltrainer_cli.data_directory import DataDirectory
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.event_stream import (
    StoredDeadLetter,
    describe,
    event_types,
    read_dead_letters,
    read_records,
)
from mltrainer_cli.options import DataOption, Output, OutputOption
from mltrainer_cli.stack import KAFKA_VARIABLE
from mltrainer_cli.stack_control import require_running

app = typer.Typer(no_args_is_help=True)

_COLUMNS = ("time", "cause", "consumer", "attempts", "event_id", "address", "detail")
TopicOption = Annotated[str | None, typer.Option("--topic", help="Only of this topic.")]
CauseOption = Annotated[str | None, typer.Option("--cause", help="Only with this cause.")]


@app.command()
def tail(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    topic: Annotated[str, typer.Option(help="Regular expression that the topic contains.")] = "",
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Not only new ones.")] = False,
    follow: Annotated[bool, typer.Option(help="Wait for more, until Ctrl-C.")] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
) -> None:
    """Print events as they arrive: a line for each, or with `--output json` a JSON document a line."""
    try:
        re.compile(topic)
    except re.error as error:
        raise CliError(f"--topic {topic!r} is no regular expression: {error}.", ExitCode.USAGE) from None
    pattern = rf"^mltrainer\..*{topic}"
    with suppress(KeyboardInterrupt):
        asyncio.run(
            _tail(_servers(data), pattern, output, from_beginning=from_beginning, follow=follow, limit=limit)
        )


@app.command("dead-letters")
def dead_letters(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    topic: TopicOption = None,
    cause: CauseOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Only the latest so many.")] = 50,
) -> None:
    """List the events that could not be handled, and why."""
    stored = asyncio.run(read_dead_letters(_servers(data), topic=topic, cause=cause))
    print_rows([_row(one) for one in stored[-limit:]], _COLUMNS, output)


@app.command()
def replay(
    data: DataOption,
    output: OutputOption = Output.TABLE,
    *,
    address: Annotated[
        list[str] | None, typer.Option("--address", help="As `events dead-letters` shows it; repeatable.")
    ] = None,
    topic: TopicOption = None,
    cause: CauseOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters there are.")] = False,
) -> None:
    """Publish dead letters again as they first were; services drop those they have handled since."""
    if not (address or topic or cause or everything):
        raise CliError("Say which dead letters: --address, --topic, --cause or --all.", ExitCode.USAGE)
    played = asyncio.run(_replay(_servers(data), topic, cause, set(address or ())))
    if output is Output.JSON:
        print_json({"replayed": played})
        return
    print_line(f"Played {len(played)} events again.")


async def _tail(
    servers: str, pattern: str, output: Output, *, from_beginning: bool, follow: bool, limit: int | None
) -> None:
    types = event_types()
    records = read_records(servers, pattern, from_beginning=from_beginning, follow=follow)
    printed = 0
    async with aclosing(records) as stream:  # type: ignore[type-var]  # an async generator has aclose
        async for record in stream:
            _print_event(describe(record, types), output)
            printed += 1
            if printed == limit:
                return


async def _replay(servers: str, topic: str | None, cause: str | None, addresses: set[str]) -> list[str]:
    from mltrainer_messaging.kafka import KafkaPublisher

    stored = await read_dead_letters(servers, topic=topic, cause=cause)
    chosen = [one for one in stored if not addresses or one.address in addresses]
    if unknown := addresses - {one.address for one in chosen}:
        raise CliError(f"There is no dead letter {min(unknown)}.", ExitCode.NOT_FOUND)
    publisher = KafkaPublisher(servers, "mltrainer-cli")
    try:
        await publisher.publish([one.letter.original() for one in chosen])
    finally:
        await publisher.close()
    return [one.address for one in chosen]


def _servers(data: DataDirectory) -> str:
    return os.environ.get(KAFKA_VARIABLE) or require_running(data).kafka_bootstrap_servers


def _print_event(event: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        line = json.dumps(event, default=str)
    else:
        what = event.get("event", event.get("fault"))
        line = f"{event['time']}  {event['topic']}  {event['key']}  {json.dumps(what, default=str)}"
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _row(stored: StoredDeadLetter) -> dict[str, Any]:
    letter = stored.letter
    return {
        "time": letter.time.isoformat(timespec="seconds"),
        "topic": letter.record.topic,
        "cause": letter.cause,
        "detail": letter.detail,
        "consumer": letter.consumer,
        "handler": letter.handler,
        "attempts": letter.attempts,
        "event_id": letter.event_id,
        "traceparent": letter.traceparent,
        "address": stored.address,
    }
