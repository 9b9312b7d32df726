"""The services an attempt talks to: feature and the trainer itself."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp
from mltrainer.feature.v1 import resources_pb2 as feature
from mltrainer.feature.v1.feature_service_pb2 import CreateDatasetRequest, GetDatasetRequest
from mltrainer.trainer.v1 import trainer_service_pb2 as reports
from mltrainer.trainer.v1.resources_pb2 import Trial
from mltrainer.types.v1.types_pb2 import Target, TargetKind
from mltrainer_common.content_store import ContentNotFoundError, ContentStore, DigestMismatchError
from mltrainer_common.errors import RpcFailure
from mltrainer_models.training_key import ViewRead

from mltrainer_trainer.adapters.peer_calls import call_patiently
from mltrainer_trainer.adapters.processes import own_usage
from mltrainer_trainer.application.execute_attempt import Dataset, Lineage, Outcome
from mltrainer_trainer.application.report_attempt import Permission
from mltrainer_trainer.domain.attempt import AttemptIdentity, Failure
from mltrainer_trainer.domain.checkpoints import FinishedStep, SearchProgress
from mltrainer_trainer.domain.plan import AttemptFailedError, AttemptPlan
from mltrainer_trainer.domain.verdict import PriorTrial
from mltrainer_trainer.wire.events import from_search
from mltrainer_trainer.wire.outcome import to_lineage, to_result
from mltrainer_trainer.wire.reports import from_step, to_step
from mltrainer_trainer.wire.trials import to_prior_trial

if TYPE_CHECKING:  # exists in the type stubs only
    from mltrainer.feature.v1.feature_service_pb2_grpc import FeatureServiceAsyncStub
    from mltrainer.trainer.v1.trainer_service_pb2_grpc import (
        AttemptReportServiceAsyncStub,
        TrainerServiceAsyncStub,
    )

_FIRST_POLL_S = 0.05
_LONGEST_POLL_S = 1.0
_TRIALS_PER_CALL = 200


@dataclass(frozen=True, slots=True)
class RpcDatasetSource:
    """Asks `feature` for datasets and reads them from the content store."""

    stub: "FeatureServiceAsyncStub"
    store: ContentStore

    async def create(self, plan: AttemptPlan) -> Dataset:
        """Returns the dataset of a plan once it can be read."""
        request = CreateDatasetRequest(spec=_dataset_spec(plan))
        dataset = await call_patiently(partial(self.stub.CreateDataset, request))
        wait_s = _FIRST_POLL_S
        while dataset.state == feature.Dataset.STATE_CREATING:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_POLL_S)
            get = partial(self.stub.GetDataset, GetDatasetRequest(name=dataset.name))
            dataset = await call_patiently(get)
        if dataset.state != feature.Dataset.STATE_ACTIVE:
            message = dataset.error or f"{dataset.name} cannot be read"
            raise AttemptFailedError("DATASET_FAILED", message, retryable=True)
        return _to_dataset(dataset)

    async def read(self, dataset: Dataset) -> bytes:
        """Returns its verified bytes."""
        try:
            return await asyncio.to_thread(self.store.read_bytes, dataset.sha256)
        except (ContentNotFoundError, DigestMismatchError) as error:
            message = f"{dataset.name} is not in the artifact store: {error}"
            raise AttemptFailedError("DATASET_UNREADABLE", message, retryable=True) from error


def _dataset_spec(plan: AttemptPlan) -> feature.DatasetSpec:
    as_of = Timestamp()
    as_of.FromDatetime(plan.as_of_time)
    return feature.DatasetSpec(
        symbols=sorted(plan.symbols), feature_views=plan.feature_views, as_of=as_of, target=_target(plan)
    )


def _target(plan: AttemptPlan) -> Target:
    return Target(kind=TargetKind.Value(f"TARGET_KIND_{plan.target_kind}"), horizon_bars=plan.horizon_bars)


def _to_dataset(dataset: feature.Dataset) -> Dataset:
    views = tuple(
        ViewRead(view.feature_view, view.version, view.definition_digest, view.data_revision)
        for view in dataset.view_revisions
    )
    return Dataset(dataset.name, dataset.sha256, views, tuple(dataset.feature_names))


@dataclass(frozen=True, slots=True)
class RpcStudyLedger:
    """Reads the ledger of a study."""

    stub: "TrainerServiceAsyncStub"

    async def prior_trials(self, plan: AttemptPlan) -> tuple[PriorTrial, ...]:
        """Returns what other trainings of the study have tried, oldest first."""
        found: list[PriorTrial] = []
        request = reports.ListTrialsRequest(parent=plan.study, page_size=_TRIALS_PER_CALL)
        while True:
            answer = await call_patiently(partial(self.stub.ListTrials, request))
            found += [to_prior_trial(it) for it in answer.trials if it.training != plan.training]
            if not answer.next_page_token:
                return tuple(found)
            request.page_token = answer.next_page_token


@dataclass(frozen=True, slots=True)
class RpcAttemptReports:
    """Reports to the trainer that started the attempt."""

    stub: "AttemptReportServiceAsyncStub"

    async def record_trials(
        self, plan: AttemptPlan, trials: Sequence[bytes], steps: Sequence[FinishedStep] = ()
    ) -> int:
        """Returns how many trials the study has from now on."""
        count = 0
        for start in range(0, max(len(trials), len(steps)), _TRIALS_PER_CALL):
            part = slice(start, start + _TRIALS_PER_CALL)
            request = reports.RecordTrialsRequest(
                attempt=_speaker(plan.identity),
                study=plan.study,
                target=_target(plan),
                trials=[Trial.FromString(trial) for trial in trials[part]],
                steps=[from_step(step) for step in steps[part]],
            )
            answer = await call_patiently(partial(self.stub.RecordTrials, request))
            count = answer.study_trial_count
        return count

    async def finished_steps(self, plan: AttemptPlan) -> dict[str, FinishedStep]:
        """Returns by its key what earlier attempts have finished of this computation."""
        found: dict[str, FinishedStep] = {}
        token, is_first = "", True
        while token or is_first:
            request = reports.ListFinishedStepsRequest(
                attempt=_speaker(plan.identity), page_size=_TRIALS_PER_CALL, page_token=token
            )
            answer = await call_patiently(partial(self.stub.ListFinishedSteps, request))
            found |= {step.key: to_step(step) for step in answer.steps}
            token, is_first = answer.next_page_token, False
        return found

    async def succeed(
        self, lineage: Lineage, outcome: Outcome, study_trial_count: int, manifest: str
    ) -> None:
        """Reports the result."""
        request = reports.ReportSuccessRequest(
            attempt=_speaker(lineage.plan.identity),
            manifest_digest=manifest,
            result=to_result(outcome, study_trial_count),
            computation_key=lineage.plan.computation_key,
            lineage=to_lineage(lineage),
        )
        await call_patiently(partial(self.stub.ReportSuccess, request))

    async def fail(self, identity: AttemptIdentity, failure: Failure) -> None:
        """Reports why there is no result."""
        request = reports.ReportFailureRequest(
            attempt=_speaker(identity),
            reason=failure.reason,
            message=failure.message,
            retryable=failure.retryable,
        )
        await call_patiently(partial(self.stub.ReportFailure, request))

    async def advance(
        self, identity: AttemptIdentity, progress: float, stage: str, search: SearchProgress | None = None
    ) -> Permission:
        """Says how far the attempt is and returns whether it shall go on; silence means it shall."""
        cpu_seconds, memory_bytes = own_usage()
        request = reports.ReportProgressRequest(
            attempt=_speaker(identity),
            progress=progress,
            stage=stage,
            cpu_seconds=cpu_seconds,
            memory_bytes=memory_bytes,
            search=from_search(search),
        )
        try:
            answer = await self.stub.ReportProgress(request)
        except RpcFailure as failure:
            return Permission(proceed=failure.reason != "STALE_FENCING_TOKEN", lease_s=0.0)
        return Permission(proceed=bool(answer.proceed), lease_s=answer.lease_s)


def _speaker(identity: AttemptIdentity) -> reports.AttemptIdentity:
    return reports.AttemptIdentity(
        name=identity.name, allocation=identity.allocation, fencing_token=identity.fencing_token
    )
