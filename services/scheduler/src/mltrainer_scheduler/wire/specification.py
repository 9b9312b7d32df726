"""Translates what a producer asks for."""

from datetime import UTC, datetime

from mltrainer.scheduler.v1 import events_pb2, resources_pb2
from mltrainer.types.v1 import types_pb2

from mltrainer_scheduler.domain.specification import (
    Budget,
    Evaluation,
    Resources,
    Search,
    SpotPolicy,
    Target,
    TargetKind,
    TrainingSpec,
)
from mltrainer_scheduler.wire.times import to_time, to_timestamp

_KIND_NUMBERS = {kind: types_pb2.TargetKind.Value(f"TARGET_KIND_{kind}") for kind in TargetKind}
_KINDS: dict[int, TargetKind] = {number: kind for kind, number in _KIND_NUMBERS.items()}
_SPOT_POLICY_NUMBERS = {
    policy: resources_pb2.SpotPolicy.Value(f"SPOT_POLICY_{policy}") for policy in SpotPolicy
}
_SPOT_POLICIES: dict[int, SpotPolicy] = {number: policy for policy, number in _SPOT_POLICY_NUMBERS.items()}
_NO_CALENDAR_HAS_IT = datetime.min.replace(tzinfo=UTC)


def to_target_kind(number: int) -> TargetKind:
    """Reads a kind of label; a value of a newer contract is unspecified."""
    return _KINDS.get(number, TargetKind.UNSPECIFIED)


def to_spec(message: events_pb2.TrainingRequested | resources_pb2.TrainingSpec) -> TrainingSpec:
    """Reads what was asked, wrong or not; parts and times that are unset or unreadable are None."""
    return TrainingSpec(
        study=message.study,
        target=_to_target(message.target) if message.HasField("target") else None,
        symbols=tuple(message.symbols),
        feature_views=tuple(message.feature_views),
        as_of=to_time(message.as_of) if message.HasField("as_of") else None,
        evaluation=_to_evaluation(message.evaluation) if message.HasField("evaluation") else None,
        search=_to_search(message.search) if message.HasField("search") else None,
        budget=_to_budget(message.budget) if message.HasField("budget") else None,
        resources=_to_resources(message.resources),
        queue=message.queue,
        priority=message.priority,
        owner=message.owner,
        labels=dict(message.labels),
        propose_alias=message.propose_alias,
        recompute=message.recompute,
    )


def from_spec(spec: TrainingSpec) -> resources_pb2.TrainingSpec:
    """Writes what was asked."""
    return resources_pb2.TrainingSpec(
        study=spec.study,
        target=_from_target(spec.target) if spec.target else None,
        symbols=spec.symbols,
        feature_views=spec.feature_views,
        as_of=to_timestamp(spec.as_of),
        evaluation=_from_evaluation(spec.evaluation) if spec.evaluation else None,
        search=_from_search(spec.search) if spec.search else None,
        budget=_from_budget(spec.budget) if spec.budget else None,
        resources=from_resources(spec.resources),
        queue=spec.queue,
        priority=spec.priority,
        owner=spec.owner,
        labels=spec.labels,
        propose_alias=spec.propose_alias,
        recompute=spec.recompute,
    )


def from_resources(resources: Resources, workers: int | None = None) -> resources_pb2.Resources:
    """Writes what an attempt holds; of a number of workers where it is a part of a gang."""
    return resources_pb2.Resources(
        cpus=resources.cpus,
        memory_bytes=resources.memory_bytes,
        gpus=resources.gpus,
        gpu_type=resources.gpu_type,
        gang_workers=resources.gang_workers if workers is None else workers,
        spot_policy=_SPOT_POLICY_NUMBERS[resources.spot_policy],
        checkpoint_interval_s=resources.checkpoint_interval_s,
    )


def _to_target(message: types_pb2.Target) -> Target:
    return Target(to_target_kind(message.kind), message.horizon_bars)


def _from_target(target: Target) -> types_pb2.Target:
    return types_pb2.Target(kind=_KIND_NUMBERS[target.kind], horizon_bars=target.horizon_bars)


def _to_evaluation(message: resources_pb2.Evaluation) -> Evaluation:
    has_first = message.HasField("first_test_time")
    return Evaluation(
        to_time(message.first_test_time) if has_first else None,
        message.refit_interval_bars,
        message.embargo_bars,
        message.combinatorial_groups,
        message.combinatorial_test_groups,
    )


def _from_evaluation(evaluation: Evaluation) -> resources_pb2.Evaluation:
    return resources_pb2.Evaluation(
        first_test_time=to_timestamp(evaluation.first_test_time),
        refit_interval_bars=evaluation.refit_interval_bars,
        embargo_bars=evaluation.embargo_bars,
        combinatorial_groups=evaluation.combinatorial_groups,
        combinatorial_test_groups=evaluation.combinatorial_test_groups,
    )


def _to_search(message: resources_pb2.Search) -> Search:
    return Search(tuple(message.models), message.max_trials, message.seed)


def _from_search(search: Search) -> resources_pb2.Search:
    return resources_pb2.Search(models=search.models, max_trials=search.max_trials, seed=search.seed)


def _to_budget(message: resources_pb2.Budget) -> Budget:
    deadline_time = None
    if message.HasField("deadline_time"):
        deadline_time = to_time(message.deadline_time) or _NO_CALENDAR_HAS_IT
    return Budget(message.cpu_seconds, message.cost_usd, deadline_time)


def _from_budget(budget: Budget) -> resources_pb2.Budget:
    return resources_pb2.Budget(
        cpu_seconds=budget.cpu_seconds,
        cost_usd=budget.cost_usd,
        deadline_time=to_timestamp(budget.deadline_time),
    )


def _to_resources(message: resources_pb2.Resources) -> Resources:
    return Resources(
        cpus=message.cpus,
        memory_bytes=message.memory_bytes,
        gpus=message.gpus,
        gpu_type=message.gpu_type,
        gang_workers=message.gang_workers,
        spot_policy=_SPOT_POLICIES.get(message.spot_policy, SpotPolicy.UNSPECIFIED),
        checkpoint_interval_s=message.checkpoint_interval_s,
    )
