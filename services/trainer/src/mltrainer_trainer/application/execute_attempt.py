"""What the process of an attempt does: dataset, key, training, ledger, upload, report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mltrainer_models.computation_key import ComputationInputs, computation_key
from mltrainer_models.training_key import CatalogueModel, TrainingInputs, ViewRead, training_computation

from mltrainer_trainer.domain.checkpoints import SearchProgress
from mltrainer_trainer.domain.plan import AttemptFailedError, AttemptPlan
from mltrainer_trainer.domain.release import CodeIdentity


@dataclass(frozen=True, slots=True)
class Dataset:
    """An immutable snapshot that can be read."""

    name: str
    sha256: str
    views: tuple[ViewRead, ...]
    feature_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training arrives at; `result` and `trials` are the contract's messages, encoded already.

    The result lacks only how many trials its study has.
    """

    result: bytes
    trials: tuple[bytes, ...]
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a result comes from."""

    plan: AttemptPlan
    dataset: Dataset
    code: CodeIdentity


class DatasetSource(Protocol):
    """Asks for datasets and reads them."""

    async def create(self, plan: AttemptPlan) -> Dataset:
        """Returns the dataset of a plan once it can be read."""
        ...

    async def read(self, dataset: Dataset) -> bytes:
        """Returns its verified bytes."""
        ...


class TrainingExecutor(Protocol):
    """Searches, tests and judges models; takes minutes of CPU time and lets others go on meanwhile."""

    async def __call__(self, plan: AttemptPlan, dataset: Dataset, content: bytes) -> Outcome:
        """Executes a plan on its data."""
        ...


class ArtifactUpload(Protocol):
    """Hands the files of a model over."""

    async def __call__(self, plan: AttemptPlan, files: Mapping[str, bytes]) -> str:
        """Returns the digest of the manifest."""
        ...


class AttemptReports(Protocol):
    """Tells the trainer how the attempt goes."""

    async def record_trials(self, plan: AttemptPlan, trials: Sequence[bytes]) -> int:
        """Returns how many trials the study has from now on."""
        ...

    async def succeed(
        self, lineage: Lineage, outcome: Outcome, study_trial_count: int, manifest: str
    ) -> None:
        """Reports the result."""
        ...


class Stages(Protocol):
    """Takes note of where the attempt is."""

    def enter(self, stage: str, progress: float, search: SearchProgress | None = None) -> None:
        """Says that a stage begins, and how far the search is where that has changed."""
        ...


@dataclass(frozen=True, slots=True)
class ExecuteAttemptHandler:
    """Executes one attempt; its ports are patient: they try again for as long as the process may live."""

    datasets: DatasetSource
    execute: TrainingExecutor
    upload: ArtifactUpload
    reports: AttemptReports
    stages: Stages
    code: CodeIdentity
    select_models: "ModelSelection"

    async def __call__(self, plan: AttemptPlan) -> None:
        """Ends when the result is reported.

        Raises:
            AttemptFailedError: There is none, for a reason that another attempt may or may not share.
        """
        self.stages.enter("dataset", 0.0)
        dataset = await self.datasets.create(plan)
        self._check_key(plan, dataset)
        content = await self.datasets.read(dataset)
        outcome = await self.execute(plan, dataset, content)
        self.stages.enter("record", 0.92)
        study_trial_count = await self.reports.record_trials(plan, outcome.trials)
        self.stages.enter("upload", 0.95)
        manifest = await self.upload(plan, outcome.files)
        lineage = Lineage(plan, dataset, self.code)
        await self.reports.succeed(lineage, outcome, study_trial_count, manifest)

    def _check_key(self, plan: AttemptPlan, dataset: Dataset) -> None:
        models = self.select_models(plan)
        if not models:
            raise AttemptFailedError(
                "NO_MODEL_AVAILABLE",
                f"none of {', '.join(plan.models)} can be fitted to {plan.target_kind} here",
            )
        key = computation_key(key_inputs(plan, dataset, self.code, models))
        if key != plan.computation_key:
            # Data or code have moved on since the placement; the scheduler makes a new key.
            message = f"the computation has key {key}, not {plan.computation_key}"
            raise AttemptFailedError("KEY_MISMATCH", message, retryable=True)


class ModelSelection(Protocol):
    """Finds the models of a plan that can be fitted here."""

    def __call__(self, plan: AttemptPlan) -> tuple[CatalogueModel, ...]:
        """Returns them."""
        ...


def key_inputs(
    plan: AttemptPlan, dataset: Dataset, code: CodeIdentity, models: Sequence[CatalogueModel]
) -> ComputationInputs:
    """Collects what decides the result."""
    training = TrainingInputs(
        target_kind=plan.target_kind,
        horizon_bars=plan.horizon_bars,
        symbols=plan.symbols,
        as_of=plan.as_of_time,
        first_test_time=plan.first_test_time,
        refit_interval_bars=plan.refit_interval_bars,
        embargo_bars=plan.embargo_bars,
        max_trials=plan.max_trials,
        seed=plan.seed,
        cpu_seconds=plan.cpu_seconds,
        combinatorial_groups=plan.combinatorial_groups,
        combinatorial_test_groups=plan.combinatorial_test_groups,
    )
    return training_computation(
        training,
        code_digest=code.code_digest,
        environment_digest=code.environment_digest,
        models=models,
        views=dataset.views,
    )
