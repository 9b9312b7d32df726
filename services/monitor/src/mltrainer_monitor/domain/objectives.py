"""Objectives, their error budgets and the speed at which these burn (ADR 0036)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum


class Indicator(StrEnum):
    """What is counted."""

    AVAILABILITY = "availability"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class Objective:
    """A promise about one service."""

    service: str
    indicator: Indicator
    objective: float
    window_s: float
    threshold_ms: float = 0.0

    @property
    def name(self) -> str:
        """The resource name."""
        return f"slos/{self.service}-{self.indicator}"


@dataclass(frozen=True, slots=True)
class Counts:
    """Good calls of all calls."""

    good: int = 0
    total: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Adds two counts."""
        return Counts(self.good + other.good, self.total + other.total)


@dataclass(frozen=True, slots=True)
class BurnRule:
    """Alarms when both windows burn at least so fast; the short one ends the alarm soon after the cause."""

    long_window: timedelta
    short_window: timedelta
    burn_rate: float


# Google's SRE workbook: 2 % of a 30-day budget within an hour, 5 % within six.
BURN_RULES = (
    BurnRule(timedelta(hours=1), timedelta(minutes=5), 14.4),
    BurnRule(timedelta(hours=6), timedelta(minutes=30), 6.0),
)
BURN_WINDOWS = tuple(window for rule in BURN_RULES for window in (rule.short_window, rule.long_window))
MINIMUM_BAD = 2
_RELEASE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class ObjectiveState:
    """Whether an objective's budget burns too fast, and how often it began to."""

    is_burning: bool = False
    revision: int = 0


@dataclass(frozen=True, slots=True)
class BudgetBurn:
    """A budget began to burn too fast."""

    slo: str
    service: str
    burn_rate: float
    window_s: float
    budget_left: float
    revision: int


def burn_rate(counts: Counts, objective: float) -> float:
    """Returns the speed: 1 uses the budget up exactly in its window."""
    return (counts.total - counts.good) / counts.total / (1 - objective) if counts.total else 0.0


def budget_left(counts: Counts, objective: float) -> float:
    """Returns what is left of the budget that the calls of the window earned: 1 untouched, below 0 broken."""
    return 1.0 - burn_rate(counts, objective)


def judge(
    objective: Objective, state: ObjectiveState, counts: Mapping[timedelta, Counts], whole: Counts
) -> tuple[ObjectiveState, BudgetBurn | None]:
    """Decides whether the budget burns too fast; an alarm ends below half of the speed that began it."""

    def speed(window: timedelta) -> float:
        return burn_rate(counts.get(window, Counts()), objective.objective)

    if state.is_burning:
        release = all(speed(rule.short_window) < _RELEASE_SHARE * rule.burn_rate for rule in BURN_RULES)
        return (replace(state, is_burning=False) if release else state), None
    for rule in BURN_RULES:
        long = counts.get(rule.long_window, Counts())
        is_fast = min(speed(rule.short_window), speed(rule.long_window)) >= rule.burn_rate
        if is_fast and long.total - long.good >= MINIMUM_BAD:
            begun = ObjectiveState(is_burning=True, revision=state.revision + 1)
            burn = BudgetBurn(
                objective.name,
                objective.service,
                speed(rule.long_window),
                rule.long_window.total_seconds(),
                budget_left(whole, objective.objective),
                begun.revision,
            )
            return begun, burn
    return state, None
