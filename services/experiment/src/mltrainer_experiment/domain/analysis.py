"""Turns what was counted into what can be said."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from itertools import takewhile

from mltrainer_experiment.domain.evidence import Look, looks, no_look, sample_ratio_p_value
from mltrainer_experiment.domain.experiment import Experiment, expected_shares

SMALLEST_MINIMUM_DAYS = 20
"""The promise about false decisions was tested from this many days on."""
GUARDRAIL_DAYS = 10
"""The roll back of a harmful challenger need not wait for the first ordinary look."""
_BROKEN_SPLIT_P_VALUE = 0.001


class Conclusion(StrEnum):
    """What the evidence says."""

    UNDECIDED = "UNDECIDED"
    CHALLENGER_BETTER = "CHALLENGER_BETTER"
    CONTROL_BETTER = "CONTROL_BETTER"
    SAMPLE_RATIO_MISMATCH = "SAMPLE_RATIO_MISMATCH"
    NOT_ENOUGH_DATA = "NOT_ENOUGH_DATA"

    @property
    def is_final(self) -> bool:
        """Tells whether it ends the experiment."""
        return self in {Conclusion.CHALLENGER_BETTER, Conclusion.CONTROL_BETTER}


@dataclass(frozen=True, slots=True)
class DayTally:
    """The joined outcomes of one arm on one market day."""

    day: date
    variant: str
    count: int
    total: float
    total_squares: float


@dataclass(frozen=True, slots=True)
class Observations:
    """Everything that was counted: exposed units by arm, and outcomes by day and arm."""

    exposed_units: Mapping[str, int]
    tallies: Sequence[DayTally]


@dataclass(frozen=True, slots=True)
class VariantSummary:
    """What is known of one arm."""

    variant: str
    exposed_units: int
    outcome_count: int
    mean: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Result:
    """What an experiment knows; `effect` is the mean of daily differences, challenger minus control."""

    experiment_id: str
    variants: tuple[VariantSummary, ...]
    days: int
    effect: float
    lower: float
    upper: float
    p_value: float
    srm_p_value: float
    conclusion: Conclusion
    explanation: str
    compute_time: datetime


def analyse(
    experiment: Experiment, observed: Observations, minimum_days: int, compute_time: datetime
) -> Result:
    """Judges an experiment as of its first look that decides, or else of its latest."""
    summaries = tuple(_summary(arm.variant, observed) for arm in experiment.definition.variants)
    shares = expected_shares(experiment)
    srm_p_value = sample_ratio_p_value([one.exposed_units for one in summaries], list(shares.values()))
    differences = daily_differences(experiment, observed.tallies)
    look, conclusion = _judge(experiment, differences, minimum_days)
    if srm_p_value < _BROKEN_SPLIT_P_VALUE:
        conclusion = Conclusion.SAMPLE_RATIO_MISMATCH
    result = Result(
        experiment.experiment_id,
        summaries,
        look.days,
        look.effect,
        look.lower,
        look.upper,
        look.p_value,
        srm_p_value,
        conclusion,
        "",
        compute_time,
    )
    return replace(result, explanation=_explanation(experiment, result, minimum_days))


def daily_differences(experiment: Experiment, tallies: Sequence[DayTally]) -> list[float]:
    """Returns challenger mean minus control mean of every closed day on which both have outcomes.

    The newest day is left open: its outcomes may still be arriving.
    """
    by_day: dict[date, dict[str, DayTally]] = defaultdict(dict)
    for tally in tallies:
        by_day[tally.day][tally.variant] = tally
    days = sorted(by_day)
    pairs = (
        (by_day[day].get(experiment.challenger.variant), by_day[day].get(experiment.control.variant))
        for day in takewhile(lambda day: day < days[-1], days)
    )
    return [one.total / one.count - other.total / other.count for one, other in pairs if one and other]


def _judge(
    experiment: Experiment, differences: Sequence[float], minimum_days: int
) -> tuple[Look, Conclusion]:
    definition = experiment.definition
    if definition.max_loss and (breach := _breach(experiment, differences[:minimum_days])):
        return breach, Conclusion.CONTROL_BETTER
    mean = math.fsum(differences) / len(differences) if differences else 0.0
    latest = no_look(mean, len(differences))
    for look in looks(differences, definition.alpha, minimum_days):
        latest = look
        if look.upper < 0.0:
            return look, Conclusion.CHALLENGER_BETTER
        if look.lower > 0.0:
            return look, Conclusion.CONTROL_BETTER
    enough = len(differences) >= minimum_days
    return latest, Conclusion.UNDECIDED if enough else Conclusion.NOT_ENOUGH_DATA


def _breach(experiment: Experiment, differences: Sequence[float]) -> Look | None:
    definition = experiment.definition
    early = looks(differences, definition.alpha, GUARDRAIL_DAYS)
    return next((look for look in early if look.lower > definition.max_loss), None)


def _summary(variant: str, observed: Observations) -> VariantSummary:
    own = [tally for tally in observed.tallies if tally.variant == variant]
    count = sum(tally.count for tally in own)
    exposed = observed.exposed_units.get(variant, 0)
    if count == 0:
        return VariantSummary(variant, exposed, 0, 0.0, 0.0)
    mean = math.fsum(tally.total for tally in own) / count
    squares = math.fsum(tally.total_squares for tally in own)
    variance = max(squares / count - mean * mean, 0.0) * count / (count - 1) if count > 1 else 0.0
    return VariantSummary(variant, exposed, count, mean, math.sqrt(variance / count))


def _explanation(experiment: Experiment, result: Result, minimum_days: int) -> str:
    control, challenger = experiment.control.variant, experiment.challenger.variant
    metric = experiment.definition.metric
    interval = f"between {result.lower:.4g} and {result.upper:.4g}, p = {result.p_value:.2g}"
    match result.conclusion:
        case Conclusion.SAMPLE_RATIO_MISMATCH:
            counts = " to ".join(str(one.exposed_units) for one in result.variants)
            return (
                f"The split itself is broken: {counts} exposed units would be seen with "
                f"probability {result.srm_p_value:.2g}, so nothing can be said about {metric}."
            )
        case Conclusion.NOT_ENOUGH_DATA:
            return (
                f"{result.days} of the {minimum_days} closed days that a first look needs "
                f"have outcomes of both {control} and {challenger}."
            )
        case Conclusion.UNDECIDED:
            return (
                f"After {result.days} days the difference in {metric}, {challenger} minus {control}, "
                f"is {result.effect:.4g}, {interval}: no arm is shown to be better."
            )
        case Conclusion.CHALLENGER_BETTER | Conclusion.CONTROL_BETTER:
            better, worse = challenger, control
            if result.conclusion is Conclusion.CONTROL_BETTER:
                better, worse = control, challenger
            return (
                f"After {result.days} days {better} has the smaller {metric} than {worse}: the difference, "
                f"{challenger} minus {control}, is {result.effect:.4g}, {interval}."
            )
