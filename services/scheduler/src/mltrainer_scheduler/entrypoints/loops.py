"""Runs what nobody asks for: placing what waits, and taking back what fell silent."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import structlog
from mltrainer_common.clock import Monotonic
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError

from mltrainer_scheduler.application.lapse_leases import LapseLeasesHandler
from mltrainer_scheduler.application.place_trainings import PassResult, PlaceTrainingsHandler
from mltrainer_scheduler.entrypoints.instruments import SchedulerInstruments

_log = structlog.get_logger()
_PAUSE_S = 0.5
T = TypeVar("T")


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
class PlacementLoop:
    """Places what waits, on every event and at an interval."""

    place: PlaceTrainingsHandler
    wake: Wake
    instruments: SchedulerInstruments
    interval_s: float

    async def run(self) -> None:
        """Runs until cancelled; survives outages of the database."""
        while True:
            done = await _attempted(self.place, PassResult())
            self.instruments.placements.inc(len(done.placed))
            for training in done.placed:
                _log.info(
                    "training_placed",
                    training=training.name,
                    attempt=training.attempt_count,
                    fencing_token=training.fencing_token,
                )
            if not done.try_again:
                await self.wake.wait(self.interval_s)


@dataclass(frozen=True, slots=True)
class LeaseLoop:
    """Takes back allocations whose leases lapsed, unless it was the scheduler that fell silent."""

    lapse: LapseLeasesHandler
    wake: Wake
    instruments: SchedulerInstruments
    monotonic: Monotonic
    interval_s: float
    stall_s: float

    async def run(self) -> None:
        """Runs until cancelled; survives outages of the database."""
        last_s: float | None = None
        while True:
            # Nobody could renew while this process did not run, was suspended or had no database.
            if last_s is None or self.monotonic() - last_s > self.stall_s:
                extended = await _attempted(self.lapse.extend_all, None)
                if extended is None:
                    await asyncio.sleep(_PAUSE_S)
                    continue
                last_s = self.monotonic()
                _log.info("leases_extended", allocations=extended)
            lapsed = await _attempted(self.lapse, None)
            if lapsed is not None:
                last_s = self.monotonic()
            for training in lapsed or ():
                self.instruments.lapses.inc()
                _log.warning("lease_lapsed", training=training.name, state=training.state)
            if lapsed:
                self.wake.notify()
            await asyncio.sleep(self.interval_s)


async def _attempted(action: Callable[[], Awaitable[T]], otherwise: T) -> T:
    try:
        return await action()
    except DatabaseConflictError:
        return otherwise
    except DatabaseUnavailableError as error:
        _log.warning("loop_waits", error=str(error))
        await asyncio.sleep(_PAUSE_S)
        return otherwise
