"""The trial ledger of a study: every configuration that was ever evaluated for it, each once."""

from dataclasses import dataclass, replace
from datetime import datetime

from mltrainer_trainer.domain.errors import StudyTargetDiffersError


@dataclass(frozen=True, slots=True)
class StudyTarget:
    """The label that all trainings of a study predict; `kind` is the contract's number."""

    kind: int
    horizon_bars: int

    def __str__(self) -> str:
        """Writes it for people and metadata."""
        return f"kind {self.kind}, horizon {self.horizon_bars}"


@dataclass(frozen=True, slots=True)
class RecordedStudy:
    """A study as its ledger shows it."""

    name: str
    target: StudyTarget
    trial_count: int
    training_count: int
    create_time: datetime


@dataclass(frozen=True, slots=True)
class RecordedTrial:
    """One configuration that was evaluated.

    Attributes:
        metrics: The contract's encoding, carried as it is.
        outcome: Whether it is complete, or was pruned or failed; `detail` says why.
        monthly_losses: Months since January 1970 with the mean squared error of each.
    """

    study: str
    training: str
    attempt: int
    catalogue_id: str
    parameters_json: str
    configuration_digest: str
    objective: float
    cpu_seconds: float
    metrics: tuple[bytes, ...]
    create_time: datetime
    position: int = 0
    outcome: str = "COMPLETE"
    detail: str = ""
    monthly_losses: tuple[tuple[int, float], ...] = ()

    @property
    def name(self) -> str:
        """Format: `studies/{study}/trials/{trial}`."""
        return f"{self.study}/trials/{self.configuration_digest[:32]}"


def add_training(study: RecordedStudy, target: StudyTarget) -> RecordedStudy:
    """Counts a training that records its first trials.

    Raises:
        StudyTargetDiffersError: The study predicts another label.
    """
    if study.target != target:
        raise StudyTargetDiffersError(study.name, str(study.target), str(target))
    return replace(study, training_count=study.training_count + 1)
