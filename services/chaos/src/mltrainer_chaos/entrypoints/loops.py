"""Executes runs and undoes faults whose lease has ended."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import structlog
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError

from mltrainer_chaos.application.execute_run import ExecuteRunHandler

_log = structlog.get_logger()
_PAUSE_S = 0.5


class Wake:
    """Has a loop look again at once."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Says that there may be something to do."""
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """Returns at the next notification, or after the time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        self._event.clear()


@dataclass(frozen=True, slots=True)
class RunLoop:
    """Starts what waits; ends first what an earlier process has left behind."""

    execute: ExecuteRunHandler
    wake: Wake
    interval_s: float

    async def run(self) -> None:
        """Runs until cancelled; survives outages of the database."""
        begun: set[str] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    for run in await self.execute.end_interrupted("chaos ended in the middle of this run"):
                        _log.warning("chaos_run_interrupted", run=run.name)
                    for name in await self.execute.waiting():
                        if name not in begun:
                            begun.add(name)
                            group.create_task(self._execute(name, begun))
                except (DatabaseUnavailableError, DatabaseConflictError) as error:
                    _log.warning("loop_waits", error=str(error))
                    await asyncio.sleep(_PAUSE_S)
                await self.wake.wait(self.interval_s)

    async def _execute(self, name: str, begun: set[str]) -> None:
        try:
            run = await self.execute(name)
        except Exception:  # noqa: BLE001 - the loop outlives whatever one run does
            # Its faults are undone and the run is ended by the next look of the loop.
            _log.exception("chaos_run_broke", run=name)
        else:
            if run is not None and run.outcome is not None:
                _log.info(
                    "chaos_run_finished",
                    run=name,
                    verdict=run.outcome.verdict,
                    recovery_s=run.outcome.recovery_s,
                    explanation=run.outcome.explanation,
                )
        finally:
            begun.discard(name)


@dataclass(frozen=True, slots=True)
class Reaper:
    """Undoes faults that outlast their lease."""

    execute: ExecuteRunHandler
    interval_s: float

    async def run(self) -> None:
        """Runs until cancelled; survives outages of the database."""
        while True:
            try:
                if count := await self.execute.undo_lapsed():
                    _log.warning("lapsed_faults_undone", faults=count)
            except (DatabaseUnavailableError, DatabaseConflictError) as error:
                _log.warning("loop_waits", error=str(error))
            await asyncio.sleep(self.interval_s)
