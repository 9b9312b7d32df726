"""Writes charges and bills, each sum of which is exact.

The cost of a rate up to a moment is rounded once; that of a period is the difference of two such costs.
So adjacent periods, and the lines of a bill, add up to the millionth.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from mltrainer_cost_optimizer.domain.account import Billable
from mltrainer_cost_optimizer.domain.money import Rate, Resource, elapsed_us, unused_micros


@dataclass(frozen=True, slots=True)
class Period:
    """A span of time; the end is not part of it."""

    start_time: datetime
    end_time: datetime


@dataclass(frozen=True, slots=True)
class Charge:
    """One line of the ledger, in the words of FOCUS."""

    resource_id: str
    training: str
    study: str
    owner: str
    charge_period: Period
    sku_id: str
    resource: Resource
    consumed_quantity: float
    list_unit_price_micros: int
    billed_cost_micros: int
    list_cost_micros: int
    idle_cost_micros: int


@dataclass(frozen=True, slots=True)
class BillLine:
    """The charges of one training."""

    training: str
    study: str
    billed_micros: int
    idle_micros: int
    allocated_cpu_seconds: float
    used_cpu_seconds: float

    @property
    def idle_share(self) -> float:
        """Returns which part of the bill is idle."""
        return self.idle_micros / self.billed_micros if self.billed_micros else 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """Charges of a period by training, largest first."""

    period: Period
    lines: tuple[BillLine, ...]
    price_files: tuple[str, ...]

    @property
    def total_micros(self) -> int:
        """Returns the sum of all lines."""
        return sum(line.billed_micros for line in self.lines)

    @property
    def idle_micros(self) -> int:
        """Returns the idle part of all lines."""
        return sum(line.idle_micros for line in self.lines)


def write_charge(billable: Billable, rate: Rate, period: Period, now: datetime) -> Charge:
    """Returns the part of a rate's cost that falls into a period."""
    begin_us = billable.elapsed_us(period.start_time, now)
    end_us = max(begin_us, billable.elapsed_us(period.end_time, now))
    used, reserved = billable.use_of(rate, now)
    costs = (rate.billed_micros(begin_us), rate.billed_micros(end_us))
    idle = [unused_micros(cost, used, reserved) for cost in costs]
    held = billable.reservation
    return Charge(
        resource_id=billable.account.allocation,
        training=held.training,
        study=held.study,
        owner=held.owner,
        charge_period=Period(
            max(period.start_time, held.start_time), min(period.end_time, billable.end_time(now))
        ),
        sku_id=rate.sku_id,
        resource=rate.resource,
        consumed_quantity=rate.quantity(end_us - begin_us),
        list_unit_price_micros=rate.list_unit_price_micros,
        billed_cost_micros=costs[1] - costs[0],
        list_cost_micros=rate.list_micros(end_us) - rate.list_micros(begin_us),
        idle_cost_micros=idle[1] - idle[0],
    )


def whole_life(billable: Billable, now: datetime) -> Period:
    """Returns from when to when an allocation is billed."""
    return Period(billable.reservation.start_time, billable.end_time(now))


def write_bill(billables: Iterable[Billable], period: Period, now: datetime) -> Bill:
    """Sums the charges of a period by training."""
    by_training: dict[str, list[Billable]] = defaultdict(list)
    files: set[str] = set()
    for billable in billables:
        by_training[billable.reservation.training].append(billable)
        files.update(rate.price_file for rate in billable.reservation.rates)
    lines = [_line(group, period, now) for group in by_training.values()]
    ordered = sorted(lines, key=lambda line: (-line.billed_micros, line.training))
    return Bill(period, tuple(ordered), tuple(sorted(files)))


def _line(billables: list[Billable], period: Period, now: datetime) -> BillLine:
    charges = [
        write_charge(billable, rate, period, now)
        for billable in billables
        for rate in billable.reservation.rates
    ]
    return BillLine(
        training=billables[0].reservation.training,
        study=billables[0].reservation.study,
        billed_micros=sum(charge.billed_cost_micros for charge in charges),
        idle_micros=sum(charge.idle_cost_micros for charge in charges),
        allocated_cpu_seconds=sum(
            charge.consumed_quantity * 3_600 for charge in charges if charge.resource is Resource.CPU
        ),
        used_cpu_seconds=sum(_used_cpu_seconds(billable, period, now) for billable in billables),
    )


def _used_cpu_seconds(billable: Billable, period: Period, now: datetime) -> float:
    """Spreads the CPU time of an allocation evenly over its life; more than was reserved is told as it is."""
    life = whole_life(billable, now)
    inside_us = elapsed_us(max(period.start_time, life.start_time), min(period.end_time, life.end_time))
    life_us = elapsed_us(life.start_time, life.end_time)
    return billable.account.usage.cpu_us / 1e6 * (inside_us / life_us) if life_us else 0.0
