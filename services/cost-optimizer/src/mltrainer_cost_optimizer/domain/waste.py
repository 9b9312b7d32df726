"""Finds money spent on nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from mltrainer_cost_optimizer.domain.account import Account, Billable, QuietSince
from mltrainer_cost_optimizer.domain.money import Resource, elapsed_us

_LOST = frozenset({"LEASE_LAPSED", "FAILED", "NODE_LOST"})


class WasteKind(StrEnum):
    """Why money was wasted."""

    IDLE_ALLOCATION = "IDLE_ALLOCATION"
    LOST_ATTEMPT = "LOST_ATTEMPT"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When an allocation counts as idle.

    Attributes:
        used_share: At most this part of the reserved CPU (and GPU) time is used.
        open_us: For so long, while it is held.
        closed_us: It was held for at least so long, judged by its closing sample.
        closing_gap_us: A sample closes an allocation if it was taken at most so long before the end.
    """

    used_share: float = 0.01
    open_us: int = 600_000_000
    closed_us: int = 60_000_000
    closing_gap_us: int = 15_000_000


@dataclass(frozen=True, slots=True)
class WasteFinding:
    """Waste of one kind at one allocation; found once."""

    kind: WasteKind
    resource: str
    cost_micros: int
    explanation: str
    create_time: datetime

    @property
    def finding_id(self) -> str:
        """Returns the id that the same waste has whoever finds it."""
        return f"{self.resource.removeprefix('allocations/')}-{self.kind.lower().replace('_', '-')}"


def follow_quiet(account: Account, thresholds: Thresholds) -> Account:
    """Moves the beginning of the quiet spell to the latest sample where the CPU was used since."""
    billable, sample_time = Billable.of(account), account.usage.sample_time
    if billable is None or sample_time is None or _is_quiet(billable, sample_time, thresholds):
        return account
    return replace(account, quiet_since=QuietSince(sample_time, account.usage.cpu_us))


def find_waste(
    account: Account, known: Sequence[WasteFinding], thresholds: Thresholds, now: datetime
) -> list[WasteFinding]:
    """Returns what is new; all findings of an allocation together never cost more than it does."""
    billable = Billable.of(account)
    if billable is None:
        return []
    kinds = {finding.kind for finding in known}
    if account.ending and account.ending.reason in _LOST:
        if WasteKind.LOST_ATTEMPT in kinds:
            return []
        return _lost(billable, account.ending.reason, known, now)
    return [] if WasteKind.IDLE_ALLOCATION in kinds else _idle(billable, thresholds, now)


def _lost(
    billable: Billable, reason: str, known: Sequence[WasteFinding], now: datetime
) -> list[WasteFinding]:
    held_us = billable.elapsed_us(now, now)
    found_before = sum(finding.cost_micros for finding in known)
    cost = _billed_micros(billable, 0, held_us) - found_before
    if cost <= 0:
        return []
    explanation = f"{_name(billable)} ended with {reason} after {held_us / 1e6:.1f} s and its work is lost"
    return [WasteFinding(WasteKind.LOST_ATTEMPT, _name(billable), cost, explanation, now)]


def _idle(billable: Billable, thresholds: Thresholds, now: datetime) -> list[WasteFinding]:
    span = _quiet_span(billable, thresholds, now)
    if span is None:
        return []
    begin_us, end_us = span
    cost = _billed_micros(billable, begin_us, end_us)
    explanation = (
        f"{_name(billable)} held {billable.reserved_millis(Resource.CPU) / 1_000:g} CPUs for "
        f"{(end_us - begin_us) / 1e6:.0f} s and used at most {thresholds.used_share:.2%} of their time"
    )
    return [WasteFinding(WasteKind.IDLE_ALLOCATION, _name(billable), cost, explanation, now)] if cost else []


def _quiet_span(billable: Billable, thresholds: Thresholds, now: datetime) -> tuple[int, int] | None:
    sample_time = billable.account.usage.sample_time
    if sample_time is None:
        return None
    ending, start = billable.account.ending, billable.reservation.start_time
    if ending is not None:
        held_us = billable.elapsed_us(now, now)
        is_closing = elapsed_us(sample_time, ending.end_time) <= thresholds.closing_gap_us
        is_idle = held_us >= thresholds.closed_us and _used_little(billable, start, 0, held_us, thresholds)
        return (0, held_us) if is_closing and is_idle else None
    begin, _ = _spell(billable)
    end_us = billable.elapsed_us(sample_time, now)
    is_long = elapsed_us(begin, sample_time) >= thresholds.open_us
    quiet = is_long and _is_quiet(billable, sample_time, thresholds)
    return (billable.elapsed_us(begin, now), end_us) if quiet else None


def _spell(billable: Billable) -> tuple[datetime, int]:
    since = billable.account.quiet_since
    return (since.time, since.cpu_us) if since else (billable.reservation.start_time, 0)


def _is_quiet(billable: Billable, until: datetime, thresholds: Thresholds) -> bool:
    begin, cpu_us = _spell(billable)
    return _used_little(billable, begin, cpu_us, elapsed_us(begin, until), thresholds)


def _used_little(
    billable: Billable, begin: datetime, cpu_us_before: int, span_us: int, thresholds: Thresholds
) -> bool:
    """Judges the CPU since a moment, and the GPU since the start: its spells are not followed."""
    usage, share = billable.account.usage, thresholds.used_share
    until_begin_us = elapsed_us(billable.reservation.start_time, begin)
    cpu_us = billable.reserved_millis(Resource.CPU) * span_us / 1_000
    gpu_us = billable.reserved_millis(Resource.GPU) * (until_begin_us + span_us) / 1_000
    return usage.cpu_us - cpu_us_before <= share * cpu_us and usage.gpu_us <= share * gpu_us


def _billed_micros(billable: Billable, begin_us: int, end_us: int) -> int:
    rates = billable.reservation.rates
    return sum(rate.billed_micros(end_us) - rate.billed_micros(begin_us) for rate in rates)


def _name(billable: Billable) -> str:
    return billable.account.allocation
