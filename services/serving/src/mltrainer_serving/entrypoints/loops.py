"""Loops that follow the registry and write logged predictions."""

import asyncio
from dataclasses import dataclass

import structlog
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError

from mltrainer_serving.application.follow_registry import FollowRegistry
from mltrainer_serving.application.log_predictions import BufferedPredictionLog
from mltrainer_serving.application.ports import RegistryUnavailableError

_FIRST_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 2.0
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RegistryLoop:
    """Follows the registry for as long as the process lives, through every outage of it."""

    follower: FollowRegistry

    async def run(self) -> None:
        """Follows until cancelled."""
        backoff_s = _FIRST_BACKOFF_S
        while True:
            before = self.follower.revision
            try:
                await self.follower.follow()
            except RegistryUnavailableError as error:
                _log.debug("registry_unavailable", error=str(error))
            except DatabaseUnavailableError as error:
                _log.warning("deployment_not_saved", error=str(error))
            backoff_s = (
                _FIRST_BACKOFF_S if self.follower.revision > before else min(backoff_s * 2, _MAX_BACKOFF_S)
            )
            await asyncio.sleep(backoff_s)


@dataclass(frozen=True, slots=True)
class PredictionLogLoop:
    """Writes buffered predictions at an interval, and once more at the end."""

    log: BufferedPredictionLog
    interval_s: float

    async def run(self) -> None:
        """Writes until cancelled."""
        try:
            while True:
                await asyncio.sleep(self.interval_s)
                await self._flush()
        finally:
            await self._flush()

    async def _flush(self) -> None:
        try:
            await self.log.flush()
        except (DatabaseUnavailableError, DatabaseConflictError) as error:
            _log.warning("predictions_not_logged", error=str(error))
