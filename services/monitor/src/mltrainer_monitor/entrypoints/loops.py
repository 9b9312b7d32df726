"""Loops that look at services, judge objectives, evaluate drift and forget."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog
from mltrainer_common.clock import Clock
from mltrainer_common.database import Database, DatabaseConflictError, DatabaseUnavailableError
from mltrainer_messaging.inbox import DEFAULT_RETENTION, prune_inbox

from mltrainer_monitor.application.evaluate_drift import EvaluateDriftHandler
from mltrainer_monitor.application.observe_services import CountCallsHandler, JudgeObjectivesHandler
from mltrainer_monitor.application.ports import ReferenceUnavailableError, UnitOfWorkFactory

# Longer than the longest burn window, so that these always read fine samples.
_FINE = timedelta(hours=7)
_KEPT = timedelta(days=31)
_log = structlog.get_logger()


async def every(interval_s: float, step: Callable[[], Awaitable[None]], name: str) -> None:
    """Repeats a step until cancelled, through outages of the database."""
    while True:
        try:
            await step()
        except (DatabaseUnavailableError, DatabaseConflictError) as error:
            _log.warning("step_postponed", step=name, error=str(error))
        await asyncio.sleep(interval_s)


@dataclass(frozen=True, slots=True)
class ObserveLoop:
    """Counts calls."""

    count: CountCallsHandler
    interval_s: float

    async def run(self) -> None:
        """Looks at all services until cancelled; what does not answer is logged when that begins."""
        away: set[str] = set()

        async def step() -> None:
            nonlocal away
            looks = await self.count()
            now_away = {look.service for look in looks if not look.instances}
            for service in sorted(now_away - away):
                _log.warning("service_not_scraped", service=service)
            away = now_away

        await every(self.interval_s, step, "count_calls")


@dataclass(frozen=True, slots=True)
class JudgeLoop:
    """Judges objectives."""

    judge: JudgeObjectivesHandler
    interval_s: float

    async def run(self) -> None:
        """Judges until cancelled."""

        async def step() -> None:
            for burn in await self.judge():
                _log.warning(
                    "budget_burned",
                    slo=burn.slo,
                    burn_rate=round(burn.burn_rate, 2),
                    window_s=burn.window_s,
                    budget_left=round(burn.budget_left, 4),
                )

        await every(self.interval_s, step, "judge_objectives")


@dataclass(frozen=True, slots=True)
class DriftLoop:
    """Evaluates models with new predictions."""

    evaluate: EvaluateDriftHandler
    interval_s: float

    async def run(self) -> None:
        """Evaluates until cancelled; a reference that cannot be read is logged when that begins."""
        waiting: set[str] = set()

        async def step() -> None:
            for name in await self.evaluate.changed():
                try:
                    onset = await self.evaluate(name)
                except ReferenceUnavailableError as error:
                    if name not in waiting:
                        _log.warning("reference_unavailable", model=name, error=str(error))
                    waiting.add(name)
                    continue
                waiting.discard(name)
                if onset:
                    _log.warning("drift_detected", model=name, features=list(onset.features))

        await every(self.interval_s, step, "evaluate_drift")


@dataclass(frozen=True, slots=True)
class RetentionLoop:
    """Compacts samples and forgets what is old."""

    unit_of_work: UnitOfWorkFactory
    database: Database
    clock: Clock
    interval_s: float
    history_rows: int

    async def run(self) -> None:
        """Forgets until cancelled."""

        async def step() -> None:
            now = self.clock.now()
            async with self.unit_of_work() as uow:
                await uow.objectives.compact((now - _FINE).timestamp(), (now - _KEPT).timestamp())
                await uow.models.trim(self.history_rows)
                await uow.commit()
            await prune_inbox(self.database, now - DEFAULT_RETENTION)

        await every(self.interval_s, step, "forget")
