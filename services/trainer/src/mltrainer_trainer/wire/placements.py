"""Reads the scheduler's decisions."""

import re
from datetime import UTC

from mltrainer.scheduler.v1.events_pb2 import TrainingPlaced, TrainingPreempted
from mltrainer.scheduler.v1.resources_pb2 import SPOT_POLICY_NEVER

from mltrainer_trainer.application.accept_placement import AcceptPlacement
from mltrainer_trainer.application.preempt_attempt import PreemptAttempt
from mltrainer_trainer.domain.attempt import AttemptLimits, NodeShare, Placement
from mltrainer_trainer.domain.errors import InvalidFieldError

# The name becomes part of a path.
_TRAINING = re.compile(r"trainings/[a-z0-9][a-z0-9\-_]{0,127}")


def to_accept_placement(message: TrainingPlaced, event_id: str, traceparent: str | None) -> AcceptPlacement:
    """Reads a placement.

    Raises:
        InvalidFieldError: A field without which nothing can be executed is malformed.
    """
    if _TRAINING.fullmatch(message.training) is None:
        raise InvalidFieldError("training", "use trainings/ and lower-case letters, digits, '-' or '_'")
    if message.attempt < 1 or message.allocation.fencing_token < 1:
        raise InvalidFieldError("allocation.fencing_token", "attempts and tokens count from 1")
    spec, resources = message.spec, message.spec.resources
    placement = Placement(
        training=message.training,
        number=message.attempt,
        allocation=message.allocation.name,
        fencing_token=message.allocation.fencing_token,
        node=message.allocation.node,
        study=spec.study,
        computation_key=message.computation_key,
        as_of_time=message.as_of_closed_bar.ToDatetime(tzinfo=UTC),
        lease_expire_time=message.allocation.lease_expire_time.ToDatetime(tzinfo=UTC),
        spec=spec.SerializeToString(deterministic=True),
        limits=AttemptLimits(
            cpus=resources.cpus or 1.0,
            cpu_seconds=spec.budget.cpu_seconds,
            memory_bytes=resources.memory_bytes,
            gpus=resources.gpus,
            gpu_type=resources.gpu_type,
            workers=max(1, resources.gang_workers),
            allows_spot=resources.spot_policy != SPOT_POLICY_NEVER,
        ),
        traceparent=traceparent or "",
        queue=spec.queue or "default",
        shares=tuple(NodeShare(share.node, share.workers) for share in message.shares),
    )
    return AcceptPlacement(event_id, placement)


def to_preempt_attempt(message: TrainingPreempted, event_id: str) -> PreemptAttempt:
    """Reads that an allocation was taken back."""
    return PreemptAttempt(event_id, message.allocation, message.reason or "PREEMPTED")
