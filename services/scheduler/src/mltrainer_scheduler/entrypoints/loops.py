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
from mltrainer_scheduler.application.lead import LeadHandler
from mltrainer_scheduler.application.place_trainings import PassResult, PlaceTrainingsHandler
from mltrainer_scheduler.application.watch_spot import WatchSpotHandler
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


class Leadership:
    """Says whether this process leads; loops of a process that does not lead wait."""

    def __init__(self) -> None:
        self._leads = asyncio.Event()

    @property
    def leads(self) -> bool:
        """Tells whether this process leads now."""
        return self._leads.is_set()

    def set(self, *, leads: bool) -> None:
        """Takes note of who leads."""
        if leads:
            self._leads.set()
        else:
            self._leads.clear()

    async def wait(self) -> None:
        """Returns when this process leads."""
        await self._leads.wait()


@dataclass(frozen=True, slots=True)
class LeaderLoop:
    """Keeps the lead, or waits for it."""

    lead: LeadHandler
    leadership: Leadership
    interval_s: float

    async def run(self) -> None:
        """Runs until cancelled; a process that cannot reach the database does not lead."""
        while True:
            leads = await _attempted(self.lead, None)
            if leads is not None:
                if leads != self.leadership.leads:
                    _log.info("leadership_changed", leads=leads)
                self.leadership.set(leads=leads)
            await asyncio.sleep(self.interval_s)


@dataclass(frozen=True, slots=True)
class PlacementLoop:
    """Places what waits, on every event and at an interval."""

    place: PlaceTrainingsHandler
    leadership: Leadership
    wake: Wake
    instruments: SchedulerInstruments
    interval_s: float

    async def run(self) -> None:
        """Runs until cancelled; survives outages of the database."""
        while True:
            await self.leadership.wait()
            done = await _attempted(self.place, PassResult())
            self.instruments.placements.inc(len(done.placed))
            self.instruments.preemptions.inc(len(done.stopped))
            if done.placed:
                _log.info("trainings_placed", count=len(done.placed), first=done.placed[0].name)
            for training in done.stopped:
                _log.info("training_preempted", training=training.name, reason=training.reason)
            if not done.try_again:
                await self.wake.wait(self.interval_s)


@dataclass(frozen=True, slots=True)
class SpotLoop:
    """Watches spot machines while this process leads."""

    watch: WatchSpotHandler
    leadership: Leadership
    interval_s: float

    async def run(self) -> None:
        """Runs until cancelled; survives outages of the database."""
        while True:
            await self.leadership.wait()
            changed = await _attempted(self.watch, 0)
            if changed:
                _log.info("spot_availability_changed", pools=changed)
            await asyncio.sleep(self.interval_s)


@dataclass(frozen=True, slots=True)
class LeaseLoop:
    """Takes back allocations whose leases lapsed, unless it was the scheduler that fell silent."""

    lapse: LapseLeasesHandler
    leadership: Leadership
    wake: Wake
    instruments: SchedulerInstruments
    monotonic: Monotonic
    interval_s: float
    stall_s: float

    async def run(self) -> None:
        """Runs until cancelled; survives outages of the database."""
        last: tuple[float, float] | None = None
        while True:
            if not self.leadership.leads:
                last = None
                await self.leadership.wait()
            # Nobody could renew while this process did not run, was suspended or had no database, and after
            # a jump of the clock no lease ends when it should.
            if last is None or self._has_stalled(last):
                extended = await _attempted(self.lapse.extend_all, None)
                if extended is None:
                    await asyncio.sleep(_PAUSE_S)
                    continue
                last = self._now()
                _log.info("leases_extended", allocations=extended)
            lapsed = await _attempted(self.lapse, None)
            if lapsed is not None:
                last = self._now()
            for training in lapsed or ():
                self.instruments.lapses.inc()
                _log.warning("lease_lapsed", training=training.name, state=training.state)
            if lapsed:
                self.wake.notify()
            await asyncio.sleep(self.interval_s)

    def _now(self) -> tuple[float, float]:
        return self.monotonic(), self.lapse.clock.now().timestamp()

    def _has_stalled(self, last: tuple[float, float]) -> bool:
        passed_s, wall_s = (now - before for now, before in zip(self._now(), last, strict=True))
        return passed_s > self.stall_s or abs(wall_s - passed_s) > self.stall_s


async def _attempted(action: Callable[[], Awaitable[T]], otherwise: T) -> T:
    try:
        return await action()
    except DatabaseConflictError:
        return otherwise
    except DatabaseUnavailableError as error:
        _log.warning("loop_waits", error=str(error))
        await asyncio.sleep(_PAUSE_S)
        return otherwise
