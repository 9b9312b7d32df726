"""Enters into the ledger what scheduler and trainer report, and finds waste as soon as it shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mltrainer_cost_optimizer.application.ports import Clock, UnitOfWork, UnitOfWorkFactory, WasteFound
from mltrainer_cost_optimizer.domain.account import Account, Ending, Reservation, Usage
from mltrainer_cost_optimizer.domain.prices import PriceList, Reserved
from mltrainer_cost_optimizer.domain.waste import Thresholds, WasteFinding, find_waste, follow_quiet


@dataclass(frozen=True, slots=True)
class Started:
    """An allocation began."""

    training: str
    study: str
    owner: str
    is_spot: bool
    start_time: datetime
    reserved: Reserved


@dataclass(frozen=True, slots=True)
class Report:
    """What one event tells about one allocation."""

    event_id: str
    allocation: str
    fact: Started | Ending | Usage


@dataclass(frozen=True, slots=True)
class Booked:
    """What a batch of reports has changed."""

    reports: int
    seen_before: int
    findings: tuple[WasteFinding, ...]


@dataclass(frozen=True, slots=True)
class RecordEventsHandler:
    """Books starts, ends and samples, in any order and each once.

    Starts are priced here, with the prices of this moment, for good.
    """

    unit_of_work: UnitOfWorkFactory
    prices: PriceList
    thresholds: Thresholds
    clock: Clock

    async def __call__(self, reports: Sequence[Report]) -> Booked:
        """Books the reports in one transaction."""
        async with self.unit_of_work() as uow:
            fresh = await uow.inbox.claim_all([report.event_id for report in reports])
            new = [report for report in reports if report.event_id in fresh]
            findings = await self._book(uow, new) if new else ()
            await uow.commit()
        return Booked(len(new), len(reports) - len(new), findings)

    async def _book(self, uow: UnitOfWork, reports: Sequence[Report]) -> tuple[WasteFinding, ...]:
        revision = await uow.ledger.advance()
        names = {report.allocation for report in reports}
        accounts = dict(await uow.ledger.load(names))
        known = list(await uow.ledger.findings(names))
        found: list[WasteFinding] = []
        for report in reports:
            account = self._learn(accounts.get(report.allocation) or Account(report.allocation), report)
            own = [finding for finding in (*known, *found) if finding.resource == report.allocation]
            found += find_waste(account, own, self.thresholds, self.clock.now())
            accounts[report.allocation] = follow_quiet(account, self.thresholds)
        await uow.ledger.save(accounts.values())
        await uow.ledger.add_findings(found)
        for finding in found:
            uow.outbox.add(WasteFound(finding, revision))
        return tuple(found)

    def _learn(self, account: Account, report: Report) -> Account:
        match report.fact:
            case Started() as start:
                return account.started(self._priced(start))
            case Ending() as ending:
                return account.ended(ending)
            case Usage() as usage:
                return account.sampled(usage)

    def _priced(self, start: Started) -> Reservation:
        rates = self.prices.rates(start.reserved, is_spot=start.is_spot)
        return Reservation(start.training, start.study, start.owner, start.start_time, rates)
