"""Takes what an attempt reports at its end, if it still holds its allocation."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from mltrainer_scheduler.application import accounting, computations
from mltrainer_scheduler.application.ports import Clock, UnitOfWork, UnitOfWorkFactory
from mltrainer_scheduler.domain import lifecycle
from mltrainer_scheduler.domain.cluster import demand_of
from mltrainer_scheduler.domain.events import SchedulerEvent
from mltrainer_scheduler.domain.prices import PriceList
from mltrainer_scheduler.domain.reuse import UNKNOWN_DIGESTS, ResultDigests, Worth
from mltrainer_scheduler.domain.training import Allocation, SchedulingPolicy, Training, TrainingState

CONSUMER = "conclude-attempt"
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class AttemptSuccess:
    """An attempt uploaded its result."""

    event_id: str
    training: str
    fencing_token: int
    manifest_digest: str
    computation_key: str
    verdict: str
    digests: ResultDigests = UNKNOWN_DIGESTS
    cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AttemptFailure:
    """An attempt ended without a result."""

    event_id: str
    training: str
    fencing_token: int
    reason: str
    message: str
    is_retryable: bool


def _ignore(_event: SchedulerEvent) -> None:
    """Watches nothing."""


class Conclusion(StrEnum):
    """What became of a report."""

    TAKEN = "TAKEN"
    REPEATED = "REPEATED"
    STALE = "STALE"


@dataclass(frozen=True, slots=True)
class ConcludeAttemptHandler:
    """Ends the attempt that holds the newest token; reports under any other are stale."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    policy: SchedulingPolicy
    prices: PriceList | None = None
    observe: Callable[[SchedulerEvent], None] = _ignore

    async def __call__(self, report: AttemptSuccess | AttemptFailure) -> Conclusion:
        """Takes one report."""
        async with self.unit_of_work() as uow:
            if not await uow.inbox.claim(report.event_id, CONSUMER):
                return Conclusion.REPEATED
            training = await uow.trainings.get(report.training)
            if training is None or not is_current(training, report.fencing_token):
                await uow.commit()
                return Conclusion.STALE
            allocations = await uow.cluster.held_by(training.name)
            reused: list[SchedulerEvent] = []
            if isinstance(report, AttemptSuccess):
                reused = await self._succeed(uow, training, allocations, report)
            else:
                await self._fail(uow, training, allocations, report)
            await uow.commit()
        for event in reused:
            self.observe(event)
        return Conclusion.TAKEN

    async def _succeed(
        self, uow: UnitOfWork, training: Training, allocations: list[Allocation], report: AttemptSuccess
    ) -> list[SchedulerEvent]:
        now = self.clock.now()
        change = lifecycle.complete(training, allocations, report.manifest_digest, report.verdict, now)
        await computations.store(uow, training, change)
        await accounting.charge(uow, [change], self.policy.half_life_s)
        # A result of another computation than the one that was placed is nobody else's result.
        if not report.manifest_digest or report.computation_key != training.computation_key:
            await computations.release(uow, training)
            return []
        if training.audit_of:
            return await computations.audit(uow, change.training, report.digests)
        worth = Worth(report.cpu_seconds, self._cost(training, allocations, now))
        return await computations.finish(uow, change.training, now, report.digests, worth)

    def _cost(self, training: Training, allocations: list[Allocation], now: datetime) -> float:
        if self.prices is None or training.begin_time is None:
            return 0.0
        demand, hours = demand_of("", training.spec.resources), (now - training.begin_time) / _HOUR
        return hours * sum(
            self.prices.usd_per_hour(demand.worker, item.share.workers, demand.gpu_type, spot=item.share.spot)
            or 0.0
            for item in allocations
        )

    async def _fail(
        self, uow: UnitOfWork, training: Training, allocations: list[Allocation], report: AttemptFailure
    ) -> None:
        now = self.clock.now()
        cause = lifecycle.Cause(report.reason, report.message)
        if report.is_retryable:
            change = lifecycle.retry(training, allocations, cause, self.policy, now)
        else:
            change = lifecycle.fail(training, allocations, cause, now)
        await computations.store(uow, training, change)
        await accounting.charge(uow, [change], self.policy.half_life_s)
        if change.training.state.is_final:
            await computations.release(uow, training)


def is_current(training: Training, fencing_token: int) -> bool:
    """Tells whether a token is that of the attempt in progress."""
    return training.state is TrainingState.PLACED and training.fencing_token == fencing_token
