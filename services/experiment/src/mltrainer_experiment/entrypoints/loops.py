"""Loops that decide experiments and follow what other instances change."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError

from mltrainer_experiment.application.judge_experiment import DecideExperimentsHandler

_log = structlog.get_logger()


async def decide(handler: DecideExperimentsHandler) -> None:
    """Ends what can be ended, once."""
    for experiment in await handler():
        _log.info("experiment_decided", experiment=experiment.name, winner=experiment.decision)


async def repeat(task: Callable[[], Awaitable[None]], interval_s: float) -> None:
    """Runs a task again and again; an outage of the database is waited for."""
    while True:
        await asyncio.sleep(interval_s)
        try:
            await task()
        except (DatabaseUnavailableError, DatabaseConflictError) as error:
            _log.warning("database_not_ready", error=str(error))
