"""Translates events."""

from google.protobuf.message import Message
from mltrainer.chaos.v1 import events_pb2 as events
from mltrainer_common.ids import is_resource_id

from mltrainer_chaos.application.request_run import RequestRun
from mltrainer_chaos.domain.errors import InvalidFieldError
from mltrainer_chaos.domain.run import PREFIX, RunFinished
from mltrainer_chaos.wire.resources import to_timestamp

PUBLISHED = (events.RunFinished,)


def to_request(event: events.RunRequested) -> RequestRun:
    """Decodes a request.

    Raises:
        InvalidFieldError: Its run has no name under which it could be found again.
    """
    if not event.run.startswith(PREFIX) or not is_resource_id(event.run.removeprefix(PREFIX)):
        raise InvalidFieldError("run", f"{event.run!r} is not of the form chaosRuns/{{chaos_run}}")
    return RequestRun(event.experiment_json, event.actor, event.reason, name=event.run)


def to_message(event: RunFinished) -> Message:
    """Encodes the end of a run."""
    run = event.run
    assert run.outcome is not None
    return events.RunFinished(
        run=run.name,
        verdict=run.outcome.verdict,
        recovery_s=run.outcome.recovery_s or 0.0,
        end_time=to_timestamp(run.end_time),
        revision=run.revision,
    )
