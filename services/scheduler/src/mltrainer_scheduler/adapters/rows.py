"""Translates between domain values and rows."""

from collections.abc import Sequence
from math import inf, nan
from typing import Any

from mltrainer.scheduler.v1 import resources_pb2

from mltrainer_scheduler.domain.cluster import Capacity, Demand, NodeReport, demand_of
from mltrainer_scheduler.domain.facts import HeldShare, TrainingFact
from mltrainer_scheduler.domain.specification import FieldViolation
from mltrainer_scheduler.domain.training import Allocation, Share, Training, TrainingState
from mltrainer_scheduler.wire.specification import from_spec, to_spec


def training_row(training: Training) -> dict[str, Any]:
    """Writes a whole training."""
    spec = training.spec
    # What was refused may hold amounts that no column can.
    is_valid = training.state is not TrainingState.REJECTED
    demand = demand_of("", spec.resources) if is_valid else Demand("", Capacity())
    return changing_columns(training) | {
        "name": training.name,
        "request_id": storable(training.request_id) or None,
        "study": storable(spec.study),
        "propose_alias": storable(spec.propose_alias),
        "spec": from_spec(spec).SerializeToString(),
        "queue": storable(spec.queue),
        "priority": spec.priority,
        "cpu_millis": demand.worker.cpu_millis,
        "memory_bytes": demand.worker.memory_bytes,
        "gpu_millis": demand.worker.gpu_millis,
        "gpu_type": demand.gpu_type,
        "gang_workers": demand.workers,
        "allows_spot": demand.allows_spot,
        "deadline_time": spec.budget.deadline_time if spec.budget else None,
        "create_time": training.create_time,
        "traceparent": training.traceparent,
        "checkpoint_interval_s": spec.resources.checkpoint_interval_s if is_valid else 0.0,
    }


def changing_columns(training: Training) -> dict[str, Any]:
    """Writes what a step may change."""
    return {
        "state": training.state,
        "ready_time": training.ready_time,
        "end_time": training.end_time,
        "computation_key": training.computation_key,
        "duplicate_of": training.duplicate_of,
        "attempt_count": training.attempt_count,
        "fencing_token": training.fencing_token,
        "reason": storable(training.reason),
        "message": storable(training.message),
        "violations": [[item.field, item.description] for item in training.violations],
        "manifest_digest": training.manifest_digest,
        "verdict": training.verdict,
        "revision": training.revision,
        "attained_s": training.attained_s,
        "preemption_count": training.preemption_count,
        "wait_begin_time": training.wait_begin_time,
        "begin_time": training.begin_time,
        "knowledge": training.knowledge,
        "audit_of": training.audit_of,
    }


def to_training(row: Any) -> Training:
    """Reads a training."""
    return Training(
        name=row.name,
        request_id=row.request_id or "",
        spec=to_spec(resources_pb2.TrainingSpec.FromString(row.spec)),
        state=TrainingState(row.state),
        create_time=row.create_time,
        ready_time=row.ready_time,
        computation_key=row.computation_key,
        duplicate_of=row.duplicate_of,
        attempt_count=row.attempt_count,
        fencing_token=row.fencing_token,
        reason=row.reason,
        message=row.message,
        violations=tuple(FieldViolation(field, description) for field, description in row.violations),
        manifest_digest=row.manifest_digest,
        verdict=row.verdict,
        end_time=row.end_time,
        revision=row.revision,
        traceparent=row.traceparent,
        wait_begin_time=row.wait_begin_time,
        begin_time=row.begin_time,
        attained_s=row.attained_s,
        preemption_count=row.preemption_count,
        knowledge=row.knowledge,
        audit_of=row.audit_of,
    )


def to_fact(row: Any, shares: Sequence[HeldShare], checkpoint_s: float = nan) -> TrainingFact:
    """Reads what planning needs of a training."""
    worker = Capacity(row.cpu_millis, row.memory_bytes, row.gpu_millis)
    waits_since = row.wait_begin_time or row.create_time
    return TrainingFact(
        name=row.name,
        demand=Demand(row.name, worker, row.gang_workers, row.gpu_type, row.allows_spot),
        is_queued=row.state == TrainingState.QUEUED,
        queue=row.queue,
        priority=row.priority,
        group=row.study,
        create_s=row.create_time.timestamp(),
        ready_s=row.ready_time.timestamp(),
        wait_begin_s=waits_since.timestamp(),
        begin_s=row.begin_time.timestamp() if row.begin_time else nan,
        deadline_s=row.deadline_time.timestamp() if row.deadline_time else inf,
        attained_s=row.attained_s,
        checkpoint_interval_s=row.checkpoint_interval_s,
        checkpoint_s=checkpoint_s,
        preemption_count=row.preemption_count,
        has_key=bool(row.computation_key),
        knowledge=row.knowledge,
        reason=row.reason,
        shares=tuple(shares) if row.state == TrainingState.PLACED else (),
    )


def allocation_row(allocation: Allocation) -> dict[str, Any]:
    """Writes an allocation."""
    return {
        "name": allocation.name,
        "training": allocation.training,
        "attempt": allocation.attempt,
        "node": allocation.share.node,
        "workers": allocation.share.workers,
        "spot": allocation.share.spot,
        "fencing_token": allocation.fencing_token,
        "lease_expire_time": allocation.lease_expire_time,
        "start_time": allocation.start_time,
        "end_time": allocation.end_time,
        "end_reason": allocation.end_reason,
        "stage": storable(allocation.stage),
        "progress": allocation.progress,
        "progress_revision": allocation.progress_revision,
        "checkpoint_time": allocation.checkpoint_time,
        "checkpoint_heard_time": allocation.checkpoint_heard_time,
        "device": allocation.share.device,
    }


def to_allocation(row: Any) -> Allocation:
    """Reads an allocation."""
    return Allocation(
        name=row.name,
        training=row.training,
        attempt=row.attempt,
        share=Share(row.node, row.workers, row.spot, row.device),
        fencing_token=row.fencing_token,
        lease_expire_time=row.lease_expire_time,
        start_time=row.start_time,
        end_time=row.end_time,
        end_reason=row.end_reason,
        stage=row.stage,
        progress=row.progress,
        progress_revision=row.progress_revision,
        checkpoint_time=row.checkpoint_time,
        checkpoint_heard_time=row.checkpoint_heard_time,
    )


def node_row(node: NodeReport) -> dict[str, Any]:
    """Writes what a node said."""
    return {
        "name": storable(node.name),
        "cpu_millis": node.total.cpu_millis,
        "memory_bytes": node.total.memory_bytes,
        "gpu_millis": node.total.gpu_millis,
        "gpu_type": storable(node.gpu_type),
        "schedulable": node.schedulable,
        "spot": node.spot,
        "zone": storable(node.zone),
        "revision": node.revision,
        "seen_time": node.seen_time,
    }


def to_node(row: Any) -> NodeReport:
    """Reads what a node said."""
    return NodeReport(
        name=row.name,
        total=Capacity(row.cpu_millis, row.memory_bytes, row.gpu_millis),
        gpu_type=row.gpu_type,
        schedulable=row.schedulable,
        spot=row.spot,
        zone=row.zone,
        revision=row.revision,
        seen_time=row.seen_time,
    )


def storable(text: str) -> str:
    """Replaces the one character that PostgreSQL cannot store."""
    return text.replace("\x00", "\ufffd")
