"""What the use cases of cost-optimizer need from the outside."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mltrainer_cost_optimizer.domain.account import Account, Billable
from mltrainer_cost_optimizer.domain.bill import Period
from mltrainer_cost_optimizer.domain.money import Rate
from mltrainer_cost_optimizer.domain.waste import WasteFinding


class Clock(Protocol):
    """Tells an aware UTC time."""

    def now(self) -> datetime:
        """Returns the current time."""
        ...


@dataclass(frozen=True, slots=True)
class WasteFound:
    """Money was spent on nothing."""

    finding: WasteFinding
    ledger_revision: int


class Inbox(Protocol):
    """Lets an event take effect once."""

    async def claim_all(self, event_ids: Sequence[str]) -> set[str]:
        """Returns which ids are new, and remembers all of them."""
        ...


class Outbox(Protocol):
    """Publishes events after the commit."""

    def add(self, event: WasteFound) -> str:
        """Adds an event and returns its id."""
        ...


class Ledger(Protocol):
    """Keeps accounts, their rates and what was found about them; durable when committed."""

    async def advance(self) -> int:
        """Returns the next revision; writers take turns from here on, so call it before anything is read."""
        ...

    async def load(self, allocations: Collection[str]) -> Mapping[str, Account]:
        """Returns the accounts that exist."""
        ...

    async def save(self, accounts: Iterable[Account]) -> None:
        """Adds or replaces accounts; rates once written stay as they are."""
        ...

    async def findings(self, allocations: Collection[str]) -> Sequence[WasteFinding]:
        """Returns what was found about allocations."""
        ...

    async def add_findings(self, findings: Sequence[WasteFinding]) -> None:
        """Adds findings."""
        ...


class UnitOfWork(Protocol):
    """One write transaction."""

    @property
    def inbox(self) -> Inbox: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def ledger(self) -> Ledger: ...

    async def commit(self) -> None:
        """Commits; leaving without it rolls back."""
        ...


class UnitOfWorkFactory(Protocol):
    """Opens units of work."""

    def __call__(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Opens a unit of work."""
        ...


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: the time and name of its last entry."""

    time: datetime
    name: str


class LedgerReader(Protocol):
    """Answers questions outside any write transaction."""

    async def billables(self, period: Period, study: str) -> Sequence[Billable]:
        """Returns the allocations held within a period, of one study or of all."""
        ...

    async def rates(self, after: Position | None, limit: int) -> Sequence[tuple[str, Billable, Rate]]:
        """Lists charge ids with what they are made of, latest start first."""
        ...

    async def waste(self, after: Position | None, limit: int) -> Sequence[WasteFinding]:
        """Lists findings, newest first."""
        ...
