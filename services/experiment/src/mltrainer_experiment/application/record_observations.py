"""Counts what serving, SDKs and trading apps report: exposures and outcomes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mltrainer_experiment.application.ports import UnitOfWork, UnitOfWorkFactory
from mltrainer_experiment.domain.experiment import Experiment, ExperimentState, Exposure, Outcome


class Reception(StrEnum):
    """What became of a report."""

    COUNTED = "COUNTED"
    SEEN_BEFORE = "SEEN_BEFORE"
    UNKNOWN_EXPERIMENT = "UNKNOWN_EXPERIMENT"
    UNKNOWN_VARIANT = "UNKNOWN_VARIANT"
    OTHER_METRIC = "OTHER_METRIC"
    NOT_STARTED = "NOT_STARTED"


@dataclass(frozen=True, slots=True)
class ReportedExposure:
    """An exposure and the event that reports it."""

    event_id: str
    exposure: Exposure


@dataclass(frozen=True, slots=True)
class ReportedOutcome:
    """An outcome and the event that reports it."""

    event_id: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class RecordExposuresHandler:
    """Counts exposures that others have logged."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, reports: Sequence[ReportedExposure]) -> Counter[Reception]:
        """Returns what became of them; the first exposure of a unit is the one that counts."""
        async with self.unit_of_work() as uow:
            fresh = await uow.inbox.claim_all([report.event_id for report in reports])
            known = await _experiments(uow, {report.exposure.experiment_id for report in reports})
            received = [(_receive_exposure(report, fresh, known), report.exposure) for report in reports]
            counted = [exposure for reception, exposure in received if reception is Reception.COUNTED]
            await uow.observations.add_exposures(counted)
            await uow.commit()
        return Counter(reception for reception, _ in received)


@dataclass(frozen=True, slots=True)
class RecordOutcomesHandler:
    """Counts outcomes; one that arrives before the exposure of its unit is kept and joined later."""

    unit_of_work: UnitOfWorkFactory

    async def __call__(self, reports: Sequence[ReportedOutcome]) -> Counter[Reception]:
        """Returns what became of them; each outcome id counts once."""
        async with self.unit_of_work() as uow:
            fresh = await uow.inbox.claim_all([report.event_id for report in reports])
            known = await _experiments(uow, {report.outcome.experiment_id for report in reports})
            received = [(_receive_outcome(report, fresh, known), report.outcome) for report in reports]
            counted = [outcome for reception, outcome in received if reception is Reception.COUNTED]
            await uow.observations.add_outcomes(counted)
            await uow.commit()
        return Counter(reception for reception, _ in received)


async def _experiments(uow: UnitOfWork, experiment_ids: set[str]) -> dict[str, Experiment]:
    found = [await uow.experiments.get(experiment_id) for experiment_id in sorted(experiment_ids)]
    return {experiment.experiment_id: experiment for experiment in found if experiment is not None}


def _receive_exposure(report: ReportedExposure, fresh: set[str], known: dict[str, Experiment]) -> Reception:
    experiment = known.get(report.exposure.experiment_id)
    if report.event_id not in fresh:
        return Reception.SEEN_BEFORE
    if experiment is None:
        return Reception.UNKNOWN_EXPERIMENT
    if experiment.variant(report.exposure.variant) is None:
        return Reception.UNKNOWN_VARIANT
    return Reception.NOT_STARTED if experiment.state is ExperimentState.DRAFT else Reception.COUNTED


def _receive_outcome(report: ReportedOutcome, fresh: set[str], known: dict[str, Experiment]) -> Reception:
    experiment = known.get(report.outcome.experiment_id)
    if report.event_id not in fresh:
        return Reception.SEEN_BEFORE
    if experiment is None:
        return Reception.UNKNOWN_EXPERIMENT
    if report.outcome.metric != experiment.definition.metric:
        return Reception.OTHER_METRIC
    return Reception.NOT_STARTED if experiment.state is ExperimentState.DRAFT else Reception.COUNTED
