"""Prunes the change log now and then."""

import asyncio

import structlog
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError

from mltrainer_registry.application.prune_changes import PruneChangesHandler

_log = structlog.get_logger()


async def prune_again_and_again(prune: PruneChangesHandler, interval_s: float) -> None:
    """Prunes until cancelled; replicas may do so at the same time, an outage only delays it."""
    while True:
        await asyncio.sleep(interval_s)
        try:
            forgotten = await prune()
        except (DatabaseUnavailableError, DatabaseConflictError) as error:
            _log.warning("change_log_not_pruned", error=str(error))
            continue
        if forgotten:
            _log.info("change_log_pruned", entries=forgotten)
