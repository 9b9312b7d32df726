"""Says what would become of a request, without asking."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from mltrainer_scheduling.spot_assessment import AvailabilityHistory, SpotJob, SpotPrices, assess

from mltrainer_scheduler.application.planner import Planner
from mltrainer_scheduler.application.ports import Clock, UnitOfWorkFactory, View
from mltrainer_scheduler.domain.catalogue import Selection, Unknown, Unready, select
from mltrainer_scheduler.domain.cluster import AWAITING_PLACEMENT, Demand, demand_of
from mltrainer_scheduler.domain.decisions import Decisions
from mltrainer_scheduler.domain.facts import TrainingFact
from mltrainer_scheduler.domain.forecast import Interval, duration_of, start_of, total
from mltrainer_scheduler.domain.keys import BarCalendar, key_of
from mltrainer_scheduler.domain.prices import PriceList
from mltrainer_scheduler.domain.reasons import sentence
from mltrainer_scheduler.domain.specification import FieldViolation, TrainingSpec, with_defaults
from mltrainer_scheduler.domain.spot_history import Pool, scarcest, told
from mltrainer_scheduler.domain.training import ComputationId, Share, Terms
from mltrainer_scheduler.domain.validation import validate

_PREVIEWED = "trainings/preview"
_VALID_REQUEST = "preview"


@dataclass(frozen=True, slots=True)
class Preview:
    """What would become of a request; times and money are None where nothing can be said."""

    reason: str = ""
    message: str = ""
    violations: tuple[FieldViolation, ...] = ()
    shares: tuple[Share, ...] = ()
    blocking: tuple[str, ...] = ()
    duplicate_of: str = ""
    earliest_start_time: datetime | None = None
    latest_start_time: datetime | None = None
    earliest_end_time: datetime | None = None
    latest_end_time: datetime | None = None
    price_usd_per_hour: float | None = None
    expected_cost_usd: float | None = None
    sample_count: int = 0


@dataclass(frozen=True, slots=True)
class PreviewTrainingHandler:
    """Plans with one training more, and forgets it."""

    unit_of_work: UnitOfWorkFactory
    clock: Clock
    market_clock: Clock
    planner: Planner
    calendar: BarCalendar
    prices: PriceList | None

    async def __call__(self, spec: TrainingSpec) -> Preview:
        """Previews one request."""
        now = self.clock.now()
        violations = validate(_VALID_REQUEST, spec, self.market_clock.now(), now)
        if violations:
            return Preview("INVALID_REQUEST", "the request cannot be carried out", violations)
        spec = with_defaults(spec)
        async with self.unit_of_work.view() as view:
            settled = await self._settled(view, spec)
            if settled is not None:
                return settled
            await self.planner.follow(view.planning, now)
        return await self._placed(spec, now)

    async def _settled(self, view: View, spec: TrainingSpec) -> Preview | None:
        selected = select(spec, await view.knowledge.load(), views_are_complete=True)
        match selected:
            case Unknown(violations=violations):
                return Preview("INVALID_REQUEST", "the request cannot be carried out", violations)
            case Unready(reason=reason):
                return Preview(reason, "it would wait for the announcement that says what it computes")
            case Selection():
                key = key_of(spec, selected, self.calendar)
            case _:
                assert_never(selected)
        found = await view.computations.get(ComputationId(spec.study, spec.propose_alias, key))
        if found is None:
            return None
        if found.is_finished:
            return Preview(
                "DEDUPLICATED", f"it would take the result of {found.leader}", duplicate_of=found.leader
            )
        return Preview("JOINED", f"it would wait for the result of {found.leader}", duplicate_of=found.leader)

    async def _placed(self, spec: TrainingSpec, now: datetime) -> Preview:
        demand = demand_of(_PREVIEWED, spec.resources)
        fact = TrainingFact(
            _PREVIEWED,
            demand,
            queue=spec.queue,
            priority=spec.priority,
            group=spec.study,
            create_s=now.timestamp(),
            ready_s=now.timestamp(),
            wait_begin_s=now.timestamp(),
            checkpoint_interval_s=spec.resources.checkpoint_interval_s,
        )
        decisions, ahead = await self.planner.imagine(fact, now)
        length, samples = duration_of(self.planner.state.history, spec.study)
        begun = next((item for item in decisions.begins if item.training == _PREVIEWED), None)
        if begun is not None:
            price = self._price(demand, begun.shares)
            message = "it would start at once"
            if price is None:
                message += "; its price is unknown: no price is known for what it would hold"
            at_once = Preview(AWAITING_PLACEMENT, message, shares=begun.shares)
            preview = _timed(at_once, now, _Estimate(Interval(0.0, 0.0), length, samples, price))
            return await self._with_risk(preview, spec, demand, length, now)
        waiting = _waiting(fact, decisions)
        starts = None
        if decisions.snapshot is not None and not _waits_for_ever(decisions):
            starts = start_of(decisions.snapshot, ahead, total(demand.worker.amounts, demand.workers))
        return _timed(waiting, now, _Estimate(starts, length, samples))

    async def _with_risk(
        self, preview: Preview, spec: TrainingSpec, demand: Demand, length: Interval | None, now: datetime
    ) -> Preview:
        """Adds what interruptions are expected to cost, and whether the deadline holds, on spot machines."""
        deadline = spec.budget.deadline_time if spec.budget else None
        if deadline is None or length is None or not all(share.spot for share in preview.shares):
            return preview
        prices = SpotPrices(
            self._price(demand, preview.shares, is_spot=False),
            self._price(demand, preview.shares, is_spot=True),
        )
        if not prices.on_demand_usd_per_hour or not prices.spot_usd_per_hour:
            return preview
        work_s = max((length.early_s + length.late_s) / 2.0, 1.0)
        job = SpotJob(work_s, (deadline - now).total_seconds(), Terms().restore_s)
        history = await self._seen_of_spot(preview.shares)
        found = await asyncio.to_thread(assess, job, prices, history)
        risk = f"with interruptions {found.miss_risk:.0%} of forecasts miss its deadline ({told(history)})"
        return replace(preview, message=f"{preview.message}; {risk}", expected_cost_usd=found.expected_usd)

    async def _seen_of_spot(self, shares: tuple[Share, ...]) -> AvailabilityHistory:
        nodes = [self.planner.state.nodes[share.node] for share in shares]
        pools = {Pool(node.zone, node.gpu_type) for node in nodes}
        async with self.unit_of_work.view() as view:
            return scarcest(await view.planning.spot_runs(pools), pools)

    def _price(
        self, demand: Demand, shares: tuple[Share, ...], *, is_spot: bool | None = None
    ) -> float | None:
        if self.prices is None:
            return None
        total_usd = 0.0
        for share in shares:
            gpu_type = self.planner.state.nodes[share.node].gpu_type
            spot = share.spot if is_spot is None else is_spot
            usd = self.prices.usd_per_hour(demand.worker, share.workers, gpu_type, spot=spot)
            if usd is None:
                return None
            total_usd += usd
        return total_usd


def _waiting(fact: TrainingFact, decisions: Decisions) -> Preview:
    wait = decisions.waits.get(_PREVIEWED)
    if wait is None:
        return Preview(AWAITING_PLACEMENT, "it would be placed within a second")
    return Preview(wait.reason, sentence(wait, fact.demand, fact.queue), blocking=wait.blockers)


def _waits_for_ever(decisions: Decisions) -> bool:
    wait = decisions.waits.get(_PREVIEWED)
    return wait is not None and wait.is_lasting


@dataclass(frozen=True, slots=True)
class _Estimate:
    """When it starts, how long it takes and from how many samples that is known, and what it costs."""

    starts: Interval | None
    length: Interval | None
    samples: int
    price: float | None = None


def _timed(preview: Preview, now: datetime, estimate: _Estimate) -> Preview:
    starts, length, price = estimate.starts, estimate.length, estimate.price
    changed = replace(preview, price_usd_per_hour=price, sample_count=estimate.samples)
    if starts is not None:
        changed = replace(
            changed,
            earliest_start_time=now + timedelta(seconds=starts.early_s),
            latest_start_time=now + timedelta(seconds=starts.late_s),
        )
    if starts is not None and length is not None:
        changed = replace(
            changed,
            earliest_end_time=now + timedelta(seconds=starts.early_s + length.early_s),
            latest_end_time=now + timedelta(seconds=starts.late_s + length.late_s),
        )
    if price is not None and length is not None:
        hours = (length.early_s + length.late_s) / 2.0 / 3_600.0
        changed = replace(changed, expected_cost_usd=price * hours)
    return changed
