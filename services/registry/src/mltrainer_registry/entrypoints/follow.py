"""Follows what other instances have changed."""

import asyncio

import structlog
from mltrainer_common.database import DatabaseUnavailableError

from mltrainer_registry.application.follow_changes import ChangeFollower
from mltrainer_registry.domain.changes import Progress

_log = structlog.get_logger()


async def follow(follower: ChangeFollower, poll_s: float) -> None:
    """Looks at the change log again and again; an outage of the database leaves what is held in place."""
    is_reachable = True
    while True:
        try:
            await follower.poll()
            is_reachable = True
        except DatabaseUnavailableError as error:
            if is_reachable:
                _log.warning("change_log_unreachable", error=str(error))
            is_reachable = False
        await asyncio.sleep(poll_s)


async def follow_to(follower: ChangeFollower, progress: Progress) -> None:
    """Applies what this process has just committed, so that it reads its own writes."""
    try:
        await follower.follow(progress)
    except DatabaseUnavailableError as error:
        # The commit stands: its caller must not hear that it failed.
        _log.warning("change_log_unreachable", error=str(error))
