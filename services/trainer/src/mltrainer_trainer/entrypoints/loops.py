"""Repeats what nobody asks for: supervision, renewals, reports, samples, pruning."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from mltrainer_common.database import DatabaseConflictError, DatabaseUnavailableError

from mltrainer_trainer.application.announce import AnnounceReleaseHandler, ReportNodesHandler
from mltrainer_trainer.application.ports import BackendUnavailableError, SchedulerUnavailableError
from mltrainer_trainer.application.prune_attempts import PruneAttemptsHandler
from mltrainer_trainer.application.renew_leases import RenewLeasesHandler
from mltrainer_trainer.application.sample_usage import SampleUsageHandler
from mltrainer_trainer.application.supervise_attempts import SuperviseAttemptsHandler
from mltrainer_trainer.domain.release import Release
from mltrainer_trainer.entrypoints.wakeup import Wakeup

_log = structlog.get_logger()
_PASSING = (DatabaseConflictError, DatabaseUnavailableError, BackendUnavailableError)
_PRUNE_INTERVAL_S = 300.0


async def _attempt_turn(name: str, turn: Callable[[], Awaitable[object]]) -> bool:
    """Takes a turn; what time may heal is logged and left to the next one."""
    try:
        await turn()
    except _PASSING as error:
        _log.warning("turn_failed", loop=name, error=str(error))
        return False
    return True


@dataclass(frozen=True, slots=True)
class SupervisionLoop:
    """Supervises attempts at every wake-up and at an interval."""

    supervise: SuperviseAttemptsHandler
    wakeup: Wakeup
    interval_s: float

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await _attempt_turn("supervision", self._turn)
            await self.wakeup.wait(self.interval_s)

    async def _turn(self) -> None:
        for attempt in await self.supervise():
            reason = attempt.failure.reason if attempt.failure else ""
            _log.info("attempt_supervised", attempt=attempt.name, state=attempt.state.value, reason=reason)


@dataclass(frozen=True, slots=True)
class RenewalLoop:
    """Renews leases at an interval; while the scheduler is away they go on lapsing."""

    renew: RenewLeasesHandler
    wakeup: Wakeup
    interval_s: float

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await _attempt_turn("renewal", self._turn)
            await asyncio.sleep(self.interval_s)

    async def _turn(self) -> None:
        try:
            renewals = await self.renew()
        except SchedulerUnavailableError as error:
            _log.warning("leases_not_renewed", error=str(error))
            return
        revoked = sorted(name for renewal in renewals for name in renewal.revoked)
        if revoked:
            _log.info("allocations_revoked", allocations=revoked)
        if renewals:
            self.wakeup.set()


@dataclass(frozen=True, slots=True)
class ReportLoop:
    """Announces the release once, then the nodes at an interval, with samples of what attempts use."""

    announce: AnnounceReleaseHandler
    release: Release
    report: ReportNodesHandler
    sample: SampleUsageHandler
    interval_s: float

    async def run(self) -> None:
        """Runs until cancelled."""
        announced = False
        while True:
            announced = announced or await _attempt_turn("release", lambda: self.announce(self.release))
            await _attempt_turn("node_reports", self.report)
            await _attempt_turn("usage_samples", self.sample)
            await asyncio.sleep(self.interval_s)


@dataclass(frozen=True, slots=True)
class RetrainingLoop:
    """Begins runs that are due and follows those that go on."""

    turn: Callable[[], Awaitable[None]]
    interval_s: float

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await _attempt_turn("retrainings", self.turn)
            await asyncio.sleep(self.interval_s)


@dataclass(frozen=True, slots=True)
class PruningLoop:
    """Removes what attempts have left that ended long ago."""

    prune: PruneAttemptsHandler

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await _attempt_turn("pruning", self.prune)
            await asyncio.sleep(_PRUNE_INTERVAL_S)
