"""Writes trainings, allocations, nodes and explanations as their contracts."""

from collections.abc import Iterable, Sequence

from mltrainer.scheduler.v1 import resources_pb2, scheduler_service_pb2
from mltrainer.types.v1 import types_pb2

from mltrainer_scheduler.application.browse import NodeUse
from mltrainer_scheduler.application.explain_training import Explanation
from mltrainer_scheduler.application.preview_training import Preview
from mltrainer_scheduler.domain.cluster import Capacity
from mltrainer_scheduler.domain.errors import InvalidFieldError
from mltrainer_scheduler.domain.specification import FieldViolation
from mltrainer_scheduler.domain.training import Allocation, Share, Training, TrainingState
from mltrainer_scheduler.wire.specification import from_resources, from_spec
from mltrainer_scheduler.wire.times import to_timestamp

_STATES = {state: resources_pb2.Training.State.Value(f"STATE_{state}") for state in TrainingState}
_STATES_BY_NUMBER: dict[int, TrainingState] = {number: state for state, number in _STATES.items()}


def to_states(numbers: Iterable[int]) -> set[TrainingState]:
    """Reads states.

    Raises:
        InvalidFieldError: No training is ever in one of them.
    """
    states = {number: _STATES_BY_NUMBER.get(number) for number in numbers}
    unknown = sorted(number for number, state in states.items() if state is None)
    if unknown:
        raise InvalidFieldError("states", f"no training is ever in state {unknown[0]}")
    return {state for state in states.values() if state is not None}


def from_training(training: Training) -> resources_pb2.Training:
    """Writes a training."""
    return resources_pb2.Training(
        name=training.name,
        request_id=training.request_id,
        spec=from_spec(training.spec),
        state=_STATES[training.state],
        computation_key=training.computation_key,
        duplicate_of=training.duplicate_of,
        attempt_count=training.attempt_count,
        reason=training.reason,
        message=training.message,
        violations=from_violations(training),
        create_time=to_timestamp(training.create_time),
        end_time=to_timestamp(training.end_time),
        revision=training.revision,
        manifest_digest=training.manifest_digest,
        etag=str(training.revision),
        preemption_count=training.preemption_count,
        audit_of=training.audit_of,
    )


def from_violations(training: Training) -> list[types_pb2.FieldViolation]:
    """Writes what is wrong with a refused request."""
    return _violations(training.violations)


def _violations(violations: Iterable[FieldViolation]) -> list[types_pb2.FieldViolation]:
    return [types_pb2.FieldViolation(field=item.field, description=item.description) for item in violations]


def from_allocation(allocation: Allocation, training: Training) -> resources_pb2.Allocation:
    """Writes an allocation with the workers that its node holds."""
    return resources_pb2.Allocation(
        name=allocation.name,
        training=allocation.training,
        attempt=allocation.attempt,
        node=allocation.share.node,
        fencing_token=allocation.fencing_token,
        lease_expire_time=to_timestamp(allocation.lease_expire_time),
        resources=from_resources(training.spec.resources, allocation.share.workers),
        start_time=to_timestamp(allocation.start_time),
        end_time=to_timestamp(allocation.end_time),
        end_reason=allocation.end_reason,
    )


def from_node(use: NodeUse) -> resources_pb2.Node:
    """Writes a node with what is free on it."""
    report = use.report
    free = report.total.less(use.used)
    return resources_pb2.Node(
        name=report.name,
        capacity=_from_capacity(report.total, report.gpu_type),
        free=_from_capacity(free, report.gpu_type),
        report_time=to_timestamp(report.seen_time),
        schedulable=report.schedulable,
        spot=report.spot,
        zone=report.zone,
        allocation_count=use.allocation_count,
    )


def from_explanation(explanation: Explanation) -> scheduler_service_pb2.TrainingExplanation:
    """Writes why a training is where it is."""
    return scheduler_service_pb2.TrainingExplanation(
        training=explanation.training,
        reason=explanation.reason,
        message=explanation.message,
        blocking_trainings=explanation.blocking,
        queue_position=explanation.queue_position,
        earliest_start_time=to_timestamp(explanation.earliest_start_time),
        latest_start_time=to_timestamp(explanation.latest_start_time),
    )


def from_preview(preview: Preview) -> scheduler_service_pb2.TrainingPreview:
    """Writes what would become of a request."""
    return scheduler_service_pb2.TrainingPreview(
        violations=_violations(preview.violations),
        reason=preview.reason,
        message=preview.message,
        shares=from_shares(preview.shares),
        blocking_trainings=preview.blocking,
        earliest_start_time=to_timestamp(preview.earliest_start_time),
        latest_start_time=to_timestamp(preview.latest_start_time),
        earliest_end_time=to_timestamp(preview.earliest_end_time),
        latest_end_time=to_timestamp(preview.latest_end_time),
        price_usd_per_hour=preview.price_usd_per_hour,
        expected_cost_usd=preview.expected_cost_usd,
        duplicate_of=preview.duplicate_of,
        sample_count=preview.sample_count,
    )


def from_shares(shares: Sequence[Share]) -> list[resources_pb2.NodeShare]:
    """Writes where the workers of a gang go."""
    return [
        resources_pb2.NodeShare(node=share.node, workers=share.workers, spot=share.spot) for share in shares
    ]


def _from_capacity(capacity: Capacity, gpu_type: str) -> resources_pb2.NodeCapacity:
    return resources_pb2.NodeCapacity(
        cpus=capacity.cpu_millis / 1_000,
        memory_bytes=capacity.memory_bytes,
        gpus=capacity.gpu_millis / 1_000,
        gpu_type=gpu_type,
    )
