"""What a producer asks for, as it was sent; `validation` says what is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

DEFAULT_QUEUE = "default"
DEFAULT_TEST_GROUPS = 2
_DEFAULT_MEMORY_BYTES = 1 << 30
_DEFAULT_REFIT_INTERVAL_BARS = 252


class TargetKind(StrEnum):
    """Kinds of labels; the values are those of the contract without their prefix."""

    UNSPECIFIED = "UNSPECIFIED"
    LOG_REALIZED_VARIANCE = "LOG_REALIZED_VARIANCE"
    EXCESS_RETURN = "EXCESS_RETURN"
    DIRECTION = "DIRECTION"
    FORWARD_RANK = "FORWARD_RANK"
    PORTFOLIO_RETURN = "PORTFOLIO_RETURN"
    VARIANCE_REGIME = "VARIANCE_REGIME"
    TAIL_EVENT = "TAIL_EVENT"


class SpotPolicy(StrEnum):
    """How a training may use interruptible capacity."""

    UNSPECIFIED = "UNSPECIFIED"
    NEVER = "NEVER"
    ALLOWED = "ALLOWED"


@dataclass(frozen=True, slots=True)
class Target:
    """A label and how far ahead it lies."""

    kind: TargetKind
    horizon_bars: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How the walk-forward evaluation cuts time; 0 bars mean the default, 0 groups no combinatorial folds."""

    first_test_time: datetime | None
    refit_interval_bars: int = 0
    embargo_bars: int = 0
    combinatorial_groups: int = 0
    combinatorial_test_groups: int = 0


@dataclass(frozen=True, slots=True)
class Search:
    """Which models may be tried; 0 trials mean one for each that is selected."""

    models: tuple[str, ...]
    max_trials: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a training may use up; 0 means no limit of that kind."""

    cpu_seconds: float = 0.0
    cost_usd: float = 0.0
    deadline_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """What each worker of an attempt holds; 0 means the default."""

    cpus: float = 0.0
    memory_bytes: int = 0
    gpus: float = 0.0
    gpu_type: str = ""
    gang_workers: int = 0
    spot_policy: SpotPolicy = SpotPolicy.UNSPECIFIED
    checkpoint_interval_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """What was asked. A part the producer left out is None."""

    study: str
    target: Target | None
    symbols: tuple[str, ...]
    feature_views: tuple[str, ...]
    as_of: datetime | None
    evaluation: Evaluation | None
    search: Search | None
    budget: Budget | None
    resources: Resources = field(default_factory=Resources)
    queue: str = ""
    priority: int = 0
    owner: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    propose_alias: str = ""
    recompute: bool = False


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that is wrong, by path, and why."""

    field: str
    description: str


def with_defaults(spec: TrainingSpec) -> TrainingSpec:
    """Fills in what a valid specification left to the scheduler.

    How many trials are meant where none are set depends on the models that are selected: the attempt knows.
    """
    assert spec.target is not None
    assert spec.evaluation is not None
    evaluation, resources = spec.evaluation, spec.resources
    return replace(
        spec,
        queue=spec.queue or DEFAULT_QUEUE,
        evaluation=replace(
            evaluation,
            refit_interval_bars=evaluation.refit_interval_bars or _DEFAULT_REFIT_INTERVAL_BARS,
            embargo_bars=evaluation.embargo_bars or spec.target.horizon_bars,
            combinatorial_test_groups=(
                evaluation.combinatorial_test_groups or DEFAULT_TEST_GROUPS
                if evaluation.combinatorial_groups
                else 0
            ),
        ),
        resources=replace(
            resources,
            cpus=resources.cpus or 1.0,
            memory_bytes=resources.memory_bytes or _DEFAULT_MEMORY_BYTES,
            gang_workers=resources.gang_workers or 1,
        ),
    )
