"""Translates events: reports about allocations into facts, findings into their event."""

import math

from google.protobuf.message import Message
from mltrainer.cost_optimizer.v1 import events_pb2 as events
from mltrainer.scheduler.v1.events_pb2 import AllocationEnded, AllocationStarted
from mltrainer.scheduler.v1.resources_pb2 import Resources
from mltrainer.trainer.v1.events_pb2 import UsageSampled

from mltrainer_cost_optimizer.application.ports import WasteFound
from mltrainer_cost_optimizer.application.record_events import Report, Started
from mltrainer_cost_optimizer.domain.account import Ending, Usage
from mltrainer_cost_optimizer.domain.errors import InvalidFieldError
from mltrainer_cost_optimizer.domain.prices import Reserved
from mltrainer_cost_optimizer.wire.times import required_time

PUBLISHED = (events.WasteFound,)
_LARGEST = 2**62


def to_start(event_id: str, event: AllocationStarted) -> Report:
    """Decodes the start of an allocation.

    Raises:
        InvalidFieldError: It cannot be billed.
    """
    started = Started(
        training=event.training,
        study=event.study,
        owner=event.owner,
        is_spot=event.spot,
        start_time=required_time(event.allocation, "start_time"),
        reserved=_reserved(event.allocation.resources),
    )
    return Report(event_id, _allocation(event.allocation.name), started)


def to_end(event_id: str, event: AllocationEnded) -> Report:
    """Decodes the end of an allocation.

    Raises:
        InvalidFieldError: It names no allocation or no time.
    """
    ending = Ending(required_time(event.allocation, "end_time"), event.allocation.end_reason)
    return Report(event_id, _allocation(event.allocation.name), ending)


def to_usage(event_id: str, event: UsageSampled) -> Report:
    """Decodes a sample.

    Raises:
        InvalidFieldError: A counter is no possible amount.
    """
    usage = Usage(
        cpu_us=_whole("cpu_seconds", event.cpu_seconds, 1e6),
        gpu_us=_whole("gpu_seconds", event.gpu_seconds, 1e6),
        memory_bytes=_whole("memory_bytes", event.memory_bytes, 1),
        sample_time=required_time(event, "sample_time"),
    )
    return Report(event_id, _allocation(event.allocation), usage)


def to_message(found: WasteFound) -> Message:
    """Encodes a finding."""
    return events.WasteFound(
        resource=found.finding.resource,
        kind=found.finding.kind,
        cost_micros=found.finding.cost_micros,
        explanation=found.finding.explanation,
        revision=found.ledger_revision,
    )


def _reserved(resources: Resources) -> Reserved:
    workers = max(1, resources.gang_workers)
    return Reserved(
        cpu_millis=_whole("resources.cpus", resources.cpus * workers, 1e3),
        memory_bytes=_whole("resources.memory_bytes", resources.memory_bytes * workers, 1),
        gpu_millis=_whole("resources.gpus", resources.gpus * workers, 1e3),
        gpu_type=resources.gpu_type,
    )


def _whole(field: str, value: float, scale: float) -> int:
    scaled = value * scale
    if not math.isfinite(scaled) or not 0 <= scaled < _LARGEST:
        raise InvalidFieldError(field, f"is {value}, which is no possible amount")
    return round(scaled)


def _allocation(name: str) -> str:
    if not name.startswith("allocations/"):
        raise InvalidFieldError("allocation", f"is {name!r}, not the name of an allocation")
    return name
