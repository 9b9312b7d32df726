"""An experiment, its life and its split."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from mltrainer_assignment import BUCKET_COUNT, AssignmentPlan
from mltrainer_assignment import Variant as PlanVariant

from mltrainer_experiment.domain.errors import ExperimentNotDraftError


class ExperimentState(StrEnum):
    """Where an experiment is in its life."""

    DRAFT = "DRAFT"
    ACTIVE = "ACTIVE"
    DECIDED = "DECIDED"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class Variant:
    """One arm: the alias that answers for it and its share of the exposed units."""

    variant: str
    alias: str
    weight: float


@dataclass(frozen=True, slots=True)
class Definition:
    """What a user decides about an experiment; the first of two arms is the control."""

    model: str
    variants: tuple[Variant, ...]
    metric: str
    traffic: float = 1.0
    alpha: float = 0.05
    max_loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Experiment:
    """An A/B experiment on a model."""

    experiment_id: str
    definition: Definition
    salt: str
    request_id: str = ""
    state: ExperimentState = ExperimentState.DRAFT
    start_time: datetime | None = None
    end_time: datetime | None = None
    decision: str = ""
    revision: int = 1

    @property
    def name(self) -> str:
        """Returns the resource name."""
        return experiment_name(self.experiment_id)

    @property
    def control(self) -> Variant:
        """Returns the arm that a challenger is compared with."""
        return self.definition.variants[0]

    @property
    def challenger(self) -> Variant:
        """Returns the arm that may win."""
        return self.definition.variants[1]

    @property
    def is_ended(self) -> bool:
        """Tells whether it was decided or stopped."""
        return self.state in {ExperimentState.DECIDED, ExperimentState.STOPPED}

    def variant(self, variant: str) -> Variant | None:
        """Returns an arm by its id."""
        return next((arm for arm in self.definition.variants if arm.variant == variant), None)

    def start(self, now: datetime) -> "Experiment":
        """Begins to assign.

        Raises:
            ExperimentNotDraftError: It was started or stopped before.
        """
        if self.state is not ExperimentState.DRAFT:
            raise ExperimentNotDraftError(self.name, self.state)
        return replace(self, state=ExperimentState.ACTIVE, start_time=now, revision=self.revision + 1)

    def stop(self, now: datetime) -> "Experiment":
        """Ends without a winner; one that has ended stays as it is."""
        return self if self.is_ended else self._end(ExperimentState.STOPPED, "", now)

    def decide(self, winner: str, now: datetime) -> "Experiment":
        """Ends an active experiment with a winner; any other stays as it is."""
        is_active = self.state is ExperimentState.ACTIVE
        return self._end(ExperimentState.DECIDED, winner, now) if is_active else self

    def _end(self, state: ExperimentState, winner: str, now: datetime) -> "Experiment":
        return replace(self, state=state, decision=winner, end_time=now, revision=self.revision + 1)


@dataclass(frozen=True, slots=True)
class Arm:
    """The arm of a unit; a unit that is not exposed gets the control."""

    variant: str
    alias: str
    exposed: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Split:
    """Answers the arms of one experiment at one revision."""

    experiment: Experiment
    plan: AssignmentPlan

    @classmethod
    def of(cls, experiment: Experiment) -> "Split":
        """Prepares the split."""
        return cls(experiment, assignment_plan(experiment))

    def arm(self, unit: str) -> Arm:
        """Returns the arm of a unit: always the same while the experiment is active, else the control."""
        experiment = self.experiment
        assigned = self.plan.assign(unit).variant if experiment.state is ExperimentState.ACTIVE else None
        found = experiment.variant(assigned) if assigned else None
        chosen = found or experiment.control
        return Arm(chosen.variant, chosen.alias, found is not None, experiment.revision)


def assignment_plan(experiment: Experiment) -> AssignmentPlan:
    """Turns shares into the whole numbers that every language divides alike."""
    shares = expected_shares(experiment)
    variants = tuple(PlanVariant(name, max(1, round(share * BUCKET_COUNT))) for name, share in shares.items())
    traffic = round(experiment.definition.traffic * BUCKET_COUNT)
    return AssignmentPlan(experiment.salt, variants, traffic)


def expected_shares(experiment: Experiment) -> dict[str, float]:
    """Returns the share of each arm among the exposed units."""
    variants = experiment.definition.variants
    total = sum(arm.weight for arm in variants)
    return {arm.variant: arm.weight / total for arm in variants}


def experiment_name(experiment_id: str) -> str:
    """Writes the name of an experiment."""
    return f"experiments/{experiment_id}"


@dataclass(frozen=True, slots=True)
class Exposure:
    """A unit met an arm."""

    experiment_id: str
    unit: str
    variant: str
    expose_time: datetime
    source: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """A measured value of a unit; `event_time` is that of the prediction it is about."""

    outcome_id: str
    experiment_id: str
    unit: str
    metric: str
    value: float
    event_time: datetime
