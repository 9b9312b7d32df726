"""Reads and writes retrainings and their runs."""

import math
import re
from datetime import datetime

from mltrainer.scheduler.v1.events_pb2 import (
    TrainingCompleted,
    TrainingDeduplicated,
    TrainingFailed,
    TrainingRejected,
    TrainingRequested,
)
from mltrainer.scheduler.v1.resources_pb2 import TrainingSpec
from mltrainer.trainer.v1 import retraining_service_pb2 as contract

from mltrainer_trainer.application.retrain import TrainingEnd
from mltrainer_trainer.domain.cron import parse_schedule
from mltrainer_trainer.domain.errors import InvalidFieldError
from mltrainer_trainer.domain.retraining import Retraining, Run, TrainingWanted
from mltrainer_trainer.wire.events import timestamp

_ID = re.compile(r"[a-z0-9][a-z0-9\-]{0,47}")
_ALIAS = re.compile(r"[a-z][a-z0-9\-_]{0,62}")
_DAY_S = 86_400.0
_TEST_DAYS = 730
TrainingEnded = TrainingCompleted | TrainingDeduplicated | TrainingFailed | TrainingRejected


def to_retraining(message: contract.Retraining, name: str, now: datetime) -> Retraining:
    """Reads what was asked for, with its defaults.

    Raises:
        InvalidFieldError: A field is malformed.
    """
    if _ID.fullmatch(name.removeprefix("retrainings/")) is None or not name.startswith("retrainings/"):
        raise InvalidFieldError("retraining_id", "use lower-case letters, digits and '-', at most 48")
    zone = message.time_zone or "America/New_York"
    if message.schedule:
        parse_schedule(message.schedule, zone)
    elif not message.on_drift:
        raise InvalidFieldError("schedule", "is required where drift begins no run")
    if not message.spec.study.startswith("studies/"):
        raise InvalidFieldError("spec.study", "is required: studies/{study}")
    found = Retraining(
        name=name,
        spec=message.spec.SerializeToString(deterministic=True),
        model=message.model or f"models/{message.spec.study.removeprefix('studies/')}",
        schedule=" ".join(message.schedule.split()),
        time_zone=zone,
        calendar=message.calendar or "XNYS",
        on_drift=message.on_drift,
        test_days=message.test_days or _TEST_DAYS,
        champion=_alias("champion", message.champion or "champion"),
        challenger=_alias("challenger", message.challenger or "challenger"),
        traffic=message.traffic,
        metric=message.metric or "squared_error",
        cooldown_s=message.cooldown_s or _DAY_S,
        is_paused=message.paused,
        create_time=now,
    )
    _check_amounts(found)
    return found


def _check_amounts(found: Retraining) -> None:
    if found.test_days < 1:
        raise InvalidFieldError("test_days", "must be above 0")
    if not 0.0 <= found.traffic <= 1.0:
        raise InvalidFieldError("traffic", "use 0 to 1")
    if not math.isfinite(found.cooldown_s) or found.cooldown_s < 0.0:
        raise InvalidFieldError("cooldown_s", "must not be negative")
    if found.champion == found.challenger:
        raise InvalidFieldError("challenger", "must differ from the champion")


def _alias(field: str, text: str) -> str:
    if _ALIAS.fullmatch(text) is None:
        raise InvalidFieldError(field, "use the name of an alias")
    return text


def from_retraining(item: Retraining) -> contract.Retraining:
    """Writes a retraining."""
    return contract.Retraining(
        name=item.name,
        schedule=item.schedule,
        time_zone=item.time_zone,
        calendar=item.calendar,
        on_drift=item.on_drift,
        model=item.model,
        spec=TrainingSpec.FromString(item.spec),
        test_days=item.test_days,
        champion=item.champion,
        challenger=item.challenger,
        traffic=item.traffic,
        metric=item.metric,
        cooldown_s=item.cooldown_s,
        paused=item.is_paused,
        next_run_time=timestamp(item.next_run_time),
        create_time=timestamp(item.create_time),
        etag=str(item.revision),
    )


def from_run(run: Run) -> contract.RetrainingRun:
    """Writes a run."""
    return contract.RetrainingRun(
        name=run.name,
        cause=contract.RetrainingRun.Cause.Value(f"CAUSE_{run.cause}"),
        state=contract.RetrainingRun.State.Value(f"STATE_{run.state}"),
        due_time=timestamp(run.due_time),
        as_of=timestamp(run.due_time) if run.request_id else None,
        request_id=run.request_id,
        training=run.training,
        version=run.version,
        experiment=run.experiment,
        message=run.message,
        update_time=timestamp(run.update_time),
    )


def to_request(wanted: TrainingWanted) -> TrainingRequested:
    """Writes what a run asks for."""
    item, run = wanted.retraining, wanted.run
    spec = TrainingSpec.FromString(item.spec)
    asked = TrainingRequested.FromString(b"")
    for field, value in spec.ListFields():
        target = getattr(asked, field.name)
        if field.is_repeated and not field.message_type:
            target.extend(value)
        elif field.is_repeated:
            target.update(value)
        elif field.message_type:
            target.CopyFrom(value)
        else:
            setattr(asked, field.name, value)
    asked.request_id, asked.propose_alias = run.request_id, item.challenger
    asked.as_of.FromDatetime(run.due_time)
    asked.evaluation.first_test_time.FromDatetime(wanted.first_test_time)
    asked.owner = asked.owner or item.name
    asked.labels["retraining"] = item.name
    return asked


def to_training_end(event: TrainingEnded, event_id: str) -> TrainingEnd:
    """Reads how a training ended."""
    match event:
        case TrainingDeduplicated():
            return TrainingEnd(event_id, event.request_id, event.duplicate_of)
        case TrainingCompleted():
            return TrainingEnd(event_id, event.request_id, event.training)
        case TrainingFailed():
            return TrainingEnd(
                event_id, event.request_id, event.training, event.message or event.reason or "it failed"
            )
    wrong = ", ".join(violation.field for violation in event.violations)
    return TrainingEnd(event_id, event.request_id, event.training, f"refused for its {wrong or event.reason}")
