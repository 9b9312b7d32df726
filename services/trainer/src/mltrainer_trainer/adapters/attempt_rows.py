"""Turns attempts into rows and back."""

from collections.abc import Mapping
from typing import Any

from mltrainer_trainer.domain.attempt import (
    Attempt,
    AttemptLimits,
    AttemptState,
    Failure,
    NodeShare,
    Placement,
    Success,
    Usage,
)
from mltrainer_trainer.domain.checkpoints import SearchProgress


def placement_row(placement: Placement) -> dict[str, Any]:
    """Returns the columns that never change."""
    return {
        "name": placement.attempt,
        "training": placement.training,
        "number": placement.number,
        "allocation": placement.allocation,
        "fencing_token": placement.fencing_token,
        "node": placement.node,
        "study": placement.study,
        "computation_key": placement.computation_key,
        "as_of_time": placement.as_of_time,
        "lease_expire_time": placement.lease_expire_time,
        "spec": placement.spec,
        "cpus": placement.limits.cpus,
        "cpu_seconds_limit": placement.limits.cpu_seconds,
        "memory_bytes_limit": placement.limits.memory_bytes,
        "gpus": placement.limits.gpus,
        "gpu_type": placement.limits.gpu_type,
        "workers": placement.limits.workers,
        "allows_spot": placement.limits.allows_spot,
        "queue": placement.queue,
        "shares": [[share.node, share.workers] for share in placement.shares],
        "traceparent": placement.traceparent,
        "discarded": False,
    }


def progress_row(attempt: Attempt) -> dict[str, Any]:
    """Returns the columns that the state machine changes."""
    failure, success, usage, search = attempt.failure, attempt.success, attempt.usage, attempt.search
    return {
        "state": attempt.state.value,
        "revision": attempt.revision,
        "progress": attempt.progress,
        "stage": attempt.stage,
        "execution_id": attempt.execution_id,
        "process_gone": attempt.execution_gone,
        "accept_time": attempt.accept_time,
        "start_time": attempt.start_time,
        "end_time": attempt.end_time,
        "failure_reason": failure.reason if failure else None,
        "failure_message": failure.message if failure else None,
        "failure_retryable": failure.retryable if failure else None,
        "manifest_digest": success.manifest_digest if success else None,
        "reported_key": success.computation_key if success else None,
        "result": success.result if success else None,
        "lineage": success.lineage if success else None,
        "used_cpu_seconds": usage.cpu_seconds if usage else None,
        "used_memory_bytes": usage.memory_bytes if usage else None,
        "sample_time": usage.sample_time if usage else None,
        "trials_done": search.trials_done if search else None,
        "trials_total": search.trials_total if search else None,
        "best_objective": search.best_objective if search else None,
        "checkpoint_time": attempt.checkpoint_time,
    }


def to_attempt(row: Mapping[str, Any]) -> Attempt:
    """Reads an attempt from its row."""
    return Attempt(
        placement=_placement(row),
        accept_time=row["accept_time"],
        state=AttemptState(row["state"]),
        revision=row["revision"],
        progress=row["progress"],
        stage=row["stage"],
        execution_id=row["execution_id"],
        execution_gone=row["process_gone"],
        start_time=row["start_time"],
        end_time=row["end_time"],
        failure=_failure(row),
        success=_success(row),
        usage=_usage(row),
        search=_search(row),
        checkpoint_time=row["checkpoint_time"],
    )


def _placement(row: Mapping[str, Any]) -> Placement:
    return Placement(
        training=row["training"],
        number=row["number"],
        allocation=row["allocation"],
        fencing_token=row["fencing_token"],
        node=row["node"],
        study=row["study"],
        computation_key=row["computation_key"],
        as_of_time=row["as_of_time"],
        lease_expire_time=row["lease_expire_time"],
        spec=row["spec"],
        limits=_limits(row),
        traceparent=row["traceparent"],
        queue=row["queue"],
        shares=tuple(NodeShare(node, workers) for node, workers in row["shares"]),
    )


def _limits(row: Mapping[str, Any]) -> AttemptLimits:
    return AttemptLimits(
        cpus=row["cpus"],
        cpu_seconds=row["cpu_seconds_limit"],
        memory_bytes=row["memory_bytes_limit"],
        gpus=row["gpus"],
        gpu_type=row["gpu_type"],
        workers=row["workers"],
        allows_spot=row["allows_spot"],
    )


def _failure(row: Mapping[str, Any]) -> Failure | None:
    if row["failure_reason"] is None:
        return None
    return Failure(row["failure_reason"], row["failure_message"], row["failure_retryable"])


def _success(row: Mapping[str, Any]) -> Success | None:
    if row["manifest_digest"] is None:
        return None
    return Success(row["manifest_digest"], row["reported_key"], row["result"], row["lineage"])


def _usage(row: Mapping[str, Any]) -> Usage | None:
    if row["sample_time"] is None:
        return None
    return Usage(row["used_cpu_seconds"], row["used_memory_bytes"], row["sample_time"])


def _search(row: Mapping[str, Any]) -> SearchProgress | None:
    if row["trials_done"] is None:
        return None
    return SearchProgress(row["trials_done"], row["trials_total"], row["best_objective"])
