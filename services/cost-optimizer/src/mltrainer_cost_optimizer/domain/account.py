"""Keeps what is known about one allocation, whatever the order in which it became known."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from mltrainer_cost_optimizer.domain.money import Rate, Resource, elapsed_us


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was reserved, for whom, from when on and at which prices."""

    training: str
    study: str
    owner: str
    start_time: datetime
    rates: tuple[Rate, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """When an allocation ended, and why."""

    end_time: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Usage:
    """The largest values ever sampled.

    Attributes:
        cpu_us: CPU time since the start of the attempt, in microseconds.
        gpu_us: Busy GPU time since then, in microseconds.
        memory_bytes: Peak of resident memory.
        sample_time: Latest sample; None before the first.
    """

    cpu_us: int = 0
    gpu_us: int = 0
    memory_bytes: int = 0
    sample_time: datetime | None = None

    def merge(self, other: "Usage") -> "Usage":
        """Keeps the larger of each: cumulative counters only grow, so order and repetition do not matter."""
        times = [time for time in (self.sample_time, other.sample_time) if time is not None]
        return Usage(
            max(self.cpu_us, other.cpu_us),
            max(self.gpu_us, other.gpu_us),
            max(self.memory_bytes, other.memory_bytes),
            max(times, default=None),
        )


@dataclass(frozen=True, slots=True)
class QuietSince:
    """Where the present spell of little CPU use began."""

    time: datetime
    cpu_us: int


@dataclass(frozen=True, slots=True)
class Account:
    """One allocation. It is billed once its start is known; its first start and first end are final."""

    allocation: str
    reservation: Reservation | None = None
    ending: Ending | None = None
    usage: Usage = field(default_factory=Usage)
    quiet_since: QuietSince | None = None

    def started(self, reservation: Reservation) -> "Account":
        """Learns the start."""
        return self if self.reservation else replace(self, reservation=reservation)

    def ended(self, ending: Ending) -> "Account":
        """Learns the end, perhaps before the start."""
        return self if self.ending else replace(self, ending=ending)

    def sampled(self, usage: Usage) -> "Account":
        """Learns what its attempt uses, perhaps before the start or after the end."""
        return replace(self, usage=self.usage.merge(usage))


@dataclass(frozen=True, slots=True)
class Billable:
    """An account whose start is known."""

    account: Account
    reservation: Reservation

    @classmethod
    def of(cls, account: Account) -> "Billable | None":
        """Returns the billable account; None while its start is unknown."""
        return cls(account, account.reservation) if account.reservation else None

    def end_time(self, now: datetime) -> datetime:
        """Returns until when it is billed: its end, or now; never before its start."""
        end = self.account.ending.end_time if self.account.ending else now
        return max(self.reservation.start_time, end)

    def elapsed_us(self, at: datetime, now: datetime) -> int:
        """Returns how long it had been held at a moment."""
        return elapsed_us(self.reservation.start_time, min(at, self.end_time(now)))

    def measured_us(self, now: datetime) -> int:
        """Returns the time that usage is compared with: up to the end, or while open to the latest sample."""
        if self.account.ending:
            return self.elapsed_us(now, now)
        sample_time = self.account.usage.sample_time
        return self.elapsed_us(sample_time, now) if sample_time else 0

    def use_of(self, rate: Rate, now: datetime) -> tuple[int, int]:
        """Returns how much of a rate's resource was used and how much was reserved, in one unit.

        Memory counts by its peak: less would not have been enough.
        """
        usage, measured_us = self.account.usage, self.measured_us(now)
        match rate.resource:
            case Resource.CPU:
                return usage.cpu_us * 1_000, rate.amount * measured_us
            case Resource.GPU:
                return usage.gpu_us * 1_000, rate.amount * measured_us
            case Resource.MEMORY:
                return usage.memory_bytes, rate.amount if measured_us else 0

    def reserved_millis(self, resource: Resource) -> int:
        """Returns how many thousandths of a core or GPU are held."""
        return sum(rate.amount for rate in self.reservation.rates if rate.resource is resource)
