"""Translates queues."""

import math
from collections.abc import Iterable
from typing import Any

from mltrainer.scheduler.v1 import resources_pb2
from mltrainer_scheduling.quotas import UNLIMITED, Amounts, Queue

from mltrainer_scheduler.application.manage_queues import QueueUse
from mltrainer_scheduler.domain.errors import InvalidFieldError
from mltrainer_scheduler.domain.validation import RESOURCE_ID

_PREFIX = "queues/"
_PERMILLE = 1_000
_MOST = 1e12
_MOST_QUEUES = 1_000


def to_queues(messages: Iterable[resources_pb2.Queue]) -> list[Queue]:
    """Reads a tree of queues.

    Raises:
        InvalidFieldError: A name or an amount is none, or there are too many.
    """
    queues = [_to_queue(f"queues[{index}]", message) for index, message in enumerate(messages)]
    if len(queues) > _MOST_QUEUES:
        raise InvalidFieldError("queues", f"has {len(queues)} entries; at most {_MOST_QUEUES} are allowed")
    return queues


def to_revision(etag: str) -> int | None:
    """Reads an etag; None where any tree may be replaced.

    Raises:
        InvalidFieldError: It is none of ours.
    """
    if etag and not etag.isdecimal():
        raise InvalidFieldError("etag", "is no `etag` of an earlier answer")
    return int(etag) if etag else None


def from_queue(use: QueueUse) -> resources_pb2.Queue:
    """Writes a queue and what it holds."""
    queue = use.queue
    message = resources_pb2.Queue(
        name=_PREFIX + queue.name,
        parent=_PREFIX + queue.parent if queue.parent else "",
        weight=queue.weight,
        guaranteed=_from_amounts(queue.guaranteed),
        used=_from_amounts(use.used),
        queued_count=use.queued_count,
        placed_count=use.placed_count,
        share=use.share,
        past_share=use.past_share,
        listed=use.is_listed,
    )
    cpus, memory, gpus = queue.ceiling
    if cpus < UNLIMITED:
        message.ceiling.cpus = cpus / _PERMILLE
    if memory < UNLIMITED:
        message.ceiling.memory_bytes = memory
    if gpus < UNLIMITED:
        message.ceiling.gpus = gpus / _PERMILLE
    return message


def _to_queue(path: str, message: resources_pb2.Queue) -> Queue:
    parent = _to_name(f"{path}.parent", message.parent) if message.parent else ""
    ceiling = message.ceiling
    return Queue(
        _to_name(f"{path}.name", message.name),
        parent,
        message.weight or 1.0,
        _to_amounts(f"{path}.guaranteed", message.guaranteed),
        (
            _millis(f"{path}.ceiling.cpus", ceiling.cpus) if ceiling.HasField("cpus") else UNLIMITED,
            ceiling.memory_bytes if ceiling.HasField("memory_bytes") else UNLIMITED,
            _millis(f"{path}.ceiling.gpus", ceiling.gpus) if ceiling.HasField("gpus") else UNLIMITED,
        ),
    )


def _to_name(path: str, text: str) -> str:
    name = text.removeprefix(_PREFIX)
    if not text.startswith(_PREFIX) or not RESOURCE_ID.fullmatch(name):
        raise InvalidFieldError(path, f"{text!r} is not `queues/{{queue}}`")
    return name


def _to_amounts(path: str, message: Any) -> Amounts:
    return (
        _millis(f"{path}.cpus", message.cpus),
        message.memory_bytes,
        _millis(f"{path}.gpus", message.gpus),
    )


def _millis(path: str, amount: float) -> int:
    if not math.isfinite(amount) or abs(amount) > _MOST:
        raise InvalidFieldError(path, f"{amount} is no amount")
    return round(amount * _PERMILLE)


def _from_amounts(amounts: Amounts) -> resources_pb2.Amounts:
    cpus, memory, gpus = amounts
    return resources_pb2.Amounts(cpus=cpus / _PERMILLE, memory_bytes=memory, gpus=gpus / _PERMILLE)
