"""Answers what was spent, on what, and what of it was wasted."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mltrainer_cost_optimizer.application.ports import Clock, LedgerReader, Position
from mltrainer_cost_optimizer.domain.bill import Bill, Charge, Period, whole_life, write_bill, write_charge
from mltrainer_cost_optimizer.domain.errors import InvalidFieldError
from mltrainer_cost_optimizer.domain.waste import WasteFinding

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class GetBillHandler:
    """Sums the charges of a period; allocations that are still held are billed up to now."""

    reader: LedgerReader
    clock: Clock

    async def __call__(self, start: datetime | None, end: datetime | None, study: str) -> Bill:
        """Returns the bill of a period, which begins at the beginning and ends now where not said.

        Raises:
            InvalidFieldError: The period ends before it begins.
        """
        now = self.clock.now()
        period = Period(start or _BEGINNING, min(end or now, now))
        if end is not None and end < period.start_time:
            raise InvalidFieldError("end_time", "is before start_time")
        billables = await self.reader.billables(period, study)
        return await asyncio.to_thread(write_bill, billables, period, now)


@dataclass(frozen=True, slots=True)
class NamedCharge:
    """A charge under its id."""

    charge_id: str
    charge: Charge


@dataclass(frozen=True, slots=True)
class ListChargesHandler:
    """Lists whole charges, latest start first."""

    reader: LedgerReader
    clock: Clock

    async def __call__(self, after: Position | None, limit: int) -> Sequence[NamedCharge]:
        """Returns up to a number of charges after a position."""
        now = self.clock.now()
        return [
            NamedCharge(charge_id, write_charge(billable, rate, whole_life(billable, now), now))
            for charge_id, billable, rate in await self.reader.rates(after, limit)
        ]


@dataclass(frozen=True, slots=True)
class ListWasteHandler:
    """Lists findings, newest first."""

    reader: LedgerReader

    async def __call__(self, after: Position | None, limit: int) -> Sequence[WasteFinding]:
        """Returns up to a number of findings after a position."""
        return await self.reader.waste(after, limit)
