"""Translates events: reports into observations, the end of an experiment into its event."""

from google.protobuf.message import Message
from mltrainer.experiment.v1 import events_pb2 as events

from mltrainer_experiment.application.ports import ExperimentEnded
from mltrainer_experiment.application.record_observations import ReportedExposure, ReportedOutcome
from mltrainer_experiment.domain.errors import InvalidFieldError
from mltrainer_experiment.domain.experiment import Exposure, Outcome
from mltrainer_experiment.domain.validation import check_text, check_value, parse_experiment
from mltrainer_experiment.wire.times import from_timestamp

PUBLISHED = (events.ExperimentDecided,)


def to_exposure(event_id: str, event: events.ExposureLogged) -> ReportedExposure:
    """Decodes an exposure.

    Raises:
        InvalidFieldError: It cannot be counted.
    """
    if not event.HasField("expose_time"):
        raise InvalidFieldError("expose_time", "is missing")
    exposure = Exposure(
        experiment_id=parse_experiment(event.experiment, "experiment"),
        unit=check_text(event.unit, "unit"),
        variant=event.variant,
        expose_time=from_timestamp(event.expose_time),
        source=event.source,
    )
    return ReportedExposure(event_id, exposure)


def to_outcome(event_id: str, event: events.OutcomeReported) -> ReportedOutcome | None:
    """Decodes an outcome; None for one outside experiments.

    Raises:
        InvalidFieldError: It cannot be counted.
    """
    if not event.experiment:
        return None
    if not event.HasField("event_time"):
        raise InvalidFieldError("event_time", "is missing: the outcome belongs to no market day")
    outcome = Outcome(
        outcome_id=check_text(event.outcome_id or event_id, "outcome_id"),
        experiment_id=parse_experiment(event.experiment, "experiment"),
        unit=check_text(event.unit, "unit"),
        metric=event.metric,
        value=check_value(event.value, "value"),
        event_time=from_timestamp(event.event_time),
    )
    return ReportedOutcome(event_id, outcome)


def to_message(ended: ExperimentEnded) -> Message:
    """Encodes the end of an experiment."""
    return events.ExperimentDecided(
        experiment=ended.experiment.name,
        winner=ended.experiment.decision,
        conclusion=ended.result.conclusion,
        explanation=ended.result.explanation,
        revision=ended.experiment.revision,
    )
