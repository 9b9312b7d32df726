"""Writes and reads the order of an attempt."""

from datetime import UTC

from mltrainer.scheduler.v1.resources_pb2 import TrainingSpec
from mltrainer.trainer.v1.resources_pb2 import AttemptOrder
from mltrainer.types.v1.types_pb2 import TargetKind

from mltrainer_trainer.application.ports import Launch
from mltrainer_trainer.domain.attempt import AttemptIdentity
from mltrainer_trainer.domain.plan import AttemptPlan
from mltrainer_trainer.wire.events import timestamp


def encode_order(launch: Launch) -> bytes:
    """Writes what the process of an attempt is given."""
    placement = launch.placement
    return AttemptOrder(
        training=placement.training,
        attempt=placement.number,
        allocation=placement.allocation,
        fencing_token=placement.fencing_token,
        spec=TrainingSpec.FromString(placement.spec),
        computation_key=placement.computation_key,
        as_of=timestamp(placement.as_of_time),
        traceparent=placement.traceparent,
        study_trial_count=launch.study_trial_count,
        lease_s=launch.lease_s,
    ).SerializeToString(deterministic=True)


def decode_order(content: bytes) -> AttemptPlan:
    """Reads it in the process."""
    order = AttemptOrder.FromString(content)
    spec, evaluation = order.spec, order.spec.evaluation
    deadline = spec.budget.deadline_time
    return AttemptPlan(
        identity=AttemptIdentity(
            f"{order.training}/attempts/{order.attempt}", order.allocation, order.fencing_token
        ),
        training=order.training,
        number=order.attempt,
        study=spec.study,
        computation_key=order.computation_key,
        target_kind=TargetKind.Name(spec.target.kind).removeprefix("TARGET_KIND_"),
        horizon_bars=spec.target.horizon_bars,
        symbols=tuple(spec.symbols),
        feature_views=tuple(spec.feature_views),
        as_of_time=order.as_of.ToDatetime(tzinfo=UTC),
        first_test_time=evaluation.first_test_time.ToDatetime(tzinfo=UTC),
        refit_interval_bars=evaluation.refit_interval_bars,
        embargo_bars=evaluation.embargo_bars,
        combinatorial_groups=evaluation.combinatorial_groups,
        combinatorial_test_groups=evaluation.combinatorial_test_groups,
        models=tuple(spec.search.models),
        max_trials=spec.search.max_trials,
        seed=spec.search.seed,
        cpu_seconds=spec.budget.cpu_seconds,
        deadline_time=deadline.ToDatetime(tzinfo=UTC) if spec.budget.HasField("deadline_time") else None,
        study_trial_count=order.study_trial_count,
        traceparent=order.traceparent,
        lease_s=order.lease_s,
        recompute=spec.recompute,
        memory_bytes=spec.resources.memory_bytes,
        cpus=spec.resources.cpus or 1.0,
        checkpoint_interval_s=spec.resources.checkpoint_interval_s,
    )
