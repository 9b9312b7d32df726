"""Turns counters that begin again with every process into calls since the last look."""

from collections.abc import Mapping
from dataclasses import dataclass

from mltrainer_monitor.domain.objectives import Counts, Indicator


@dataclass(frozen=True, slots=True)
class CounterReading:
    """What the counters of one process show."""

    process_start_s: float
    counts: Mapping[Indicator, Counts]


@dataclass(frozen=True, slots=True)
class ServiceReading:
    """One look at a service: a reading of each instance that answered."""

    service: str
    instances: Mapping[str, CounterReading]

    @property
    def probe(self) -> Counts:
        """The look itself counts as one call; it is good when any instance answered."""
        return Counts(good=1 if self.instances else 0, total=1)


def increase(
    previous: CounterReading | None, current: CounterReading, last_look_s: float | None
) -> dict[Indicator, Counts]:
    """Returns what was counted since the previous reading.

    A process seen for the first time that started after the last look began at zero; an older one begins
    to count now, for its past was not watched.
    """
    if previous is None:
        is_new = last_look_s is not None and current.process_start_s > last_look_s
        return dict(current.counts) if is_new else {}
    if previous.process_start_s != current.process_start_s:
        return dict(current.counts)
    return {
        indicator: _difference(previous.counts.get(indicator, Counts()), counts)
        for indicator, counts in current.counts.items()
    }


def _difference(before: Counts, after: Counts) -> Counts:
    if after.total < before.total:
        return after
    total = after.total - before.total
    return Counts(min(max(after.good - before.good, 0), total), total)
