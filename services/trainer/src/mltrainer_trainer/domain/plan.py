"""What one attempt is to execute, and how it may end short of a result."""

from dataclasses import dataclass
from datetime import datetime

from mltrainer_trainer.domain.attempt import AttemptIdentity
from mltrainer_trainer.domain.errors import TrainerError


@dataclass(frozen=True, slots=True)
class AttemptPlan:
    """An order, read by the process of the attempt.

    Attributes:
        target_kind: Name such as `LOG_REALIZED_VARIANCE`.
        as_of_time: Knowledge time, floored to a closed bar.
        deadline_time: Latest end; None where there is none.
        study_trial_count: Trials that other trainings of the study have recorded.
        recompute: Whether nothing is recalled that other trainings have computed.
        lease_s: How long it may execute from its start before it has heard from the trainer.
        memory_bytes: What it may hold; 0 means unlimited.
        cpus: Cores that it may use.
        combinatorial_groups: Groups of dates for combinatorial folds; none where 0.
        combinatorial_test_groups: How many of them each fold tests.
        checkpoint_interval_s: How much work it may lose; 0 where only finished trials are kept.
    """

    identity: AttemptIdentity
    training: str
    number: int
    study: str
    computation_key: str
    target_kind: str
    horizon_bars: int
    symbols: tuple[str, ...]
    feature_views: tuple[str, ...]
    as_of_time: datetime
    first_test_time: datetime
    refit_interval_bars: int
    embargo_bars: int
    models: tuple[str, ...]
    max_trials: int
    seed: int
    cpu_seconds: float
    deadline_time: datetime | None
    study_trial_count: int
    traceparent: str
    lease_s: float
    memory_bytes: int = 0
    cpus: float = 1.0
    checkpoint_interval_s: float = 0.0
    recompute: bool = False
    combinatorial_groups: int = 0
    combinatorial_test_groups: int = 0


class AttemptFailedError(TrainerError):
    """An attempt ends without a result, for a reason that is reported as it is."""

    def __init__(self, reason: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retryable = retryable
