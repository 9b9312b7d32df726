"""Counts the calls of all services and judges their objectives."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from mltrainer_common.clock import Clock

from mltrainer_monitor.application.ports import SeriesKey, ServiceScraper, UnitOfWorkFactory
from mltrainer_monitor.domain.counters import CounterReading, ServiceReading, increase
from mltrainer_monitor.domain.objectives import (
    BURN_WINDOWS,
    BudgetBurn,
    Counts,
    Indicator,
    Objective,
    ObjectiveState,
    judge,
)


@dataclass(frozen=True, slots=True)
class CountCallsHandler:
    """Looks at every service and adds what was counted since the last look, in one transaction with it."""

    unit_of_work: UnitOfWorkFactory
    scraper: ServiceScraper
    clock: Clock

    async def __call__(self) -> list[ServiceReading]:
        """Looks once."""
        looks = await self.scraper.look()
        now_s = self.clock.now().timestamp()
        async with self.unit_of_work() as uow:
            previous = await uow.objectives.readings()
            counts = _count(looks, previous, await uow.objectives.last_look())
            await uow.objectives.add_counts(now_s, counts)
            readings = {
                (look.service, instance): reading
                for look in looks
                for instance, reading in look.instances.items()
            }
            await uow.objectives.save_look(now_s, readings)
            await uow.commit()
        return looks


def _count(
    looks: Sequence[ServiceReading],
    previous: Mapping[tuple[str, str], CounterReading],
    last_look_s: float | None,
) -> dict[SeriesKey, Counts]:
    counts: dict[SeriesKey, Counts] = defaultdict(Counts)
    for look in looks:
        counts[look.service, Indicator.AVAILABILITY] += look.probe
        for instance, reading in look.instances.items():
            before = previous.get((look.service, instance))
            for indicator, more in increase(before, reading, last_look_s).items():
                counts[look.service, indicator] += more
    return counts


@dataclass(frozen=True, slots=True)
class JudgeObjectivesHandler:
    """Finds budgets that begin to burn too fast."""

    unit_of_work: UnitOfWorkFactory
    objectives: Sequence[Objective]
    clock: Clock

    async def __call__(self) -> list[BudgetBurn]:
        """Judges all objectives once."""
        now_s = self.clock.now().timestamp()
        burns: list[BudgetBurn] = []
        async with self.unit_of_work() as uow:
            sums = await uow.objectives.sums(now_s, BURN_WINDOWS)
            states = await uow.objectives.states()
            for objective in self.objectives:
                before = states.get(objective.name, ObjectiveState())
                counts = sums.get((objective.service, objective.indicator), {})
                after, burn = judge(objective, before, counts, Counts())
                if burn:
                    whole = timedelta(seconds=objective.window_s)
                    key = (objective.service, objective.indicator)
                    month = (await uow.objectives.sums(now_s, [whole])).get(key, {})
                    after, burn = judge(objective, before, counts, month.get(whole, Counts()))
                if burn:
                    uow.outbox.add(burn)
                    burns.append(burn)
                if after != before:
                    await uow.objectives.save_state(objective.name, after)
            await uow.commit()
        return burns
