"""Reads what the processes of attempts report."""

from datetime import datetime

from mltrainer.trainer.v1 import trainer_service_pb2 as contract
from mltrainer.trainer.v1.resources_pb2 import FinishedStep as FinishedStepMessage
from mltrainer.trainer.v1.resources_pb2 import SearchProgress as SearchMessage
from mltrainer.trainer.v1.resources_pb2 import Trial
from mltrainer.types.v1.types_pb2 import Target

from mltrainer_trainer.application.list_finished_steps import ListFinishedSteps
from mltrainer_trainer.application.record_trials import RecordTrials
from mltrainer_trainer.application.report_attempt import ReportFailure, ReportProgress, ReportSuccess
from mltrainer_trainer.domain.attempt import AttemptIdentity, Failure, Success
from mltrainer_trainer.domain.checkpoints import FinishedStep, SearchProgress
from mltrainer_trainer.domain.errors import InvalidFieldError
from mltrainer_trainer.domain.ledger import RecordedTrial, StudyTarget
from mltrainer_trainer.wire.pages import to_page_request


def to_report_progress(request: contract.ReportProgressRequest) -> ReportProgress:
    """Reads how far an attempt is."""
    return ReportProgress(
        _identity(request.attempt),
        request.progress,
        request.stage,
        request.cpu_seconds,
        request.memory_bytes,
        _search(request.search) if request.HasField("search") else None,
    )


def to_report_success(request: contract.ReportSuccessRequest) -> ReportSuccess:
    """Reads a result."""
    if not request.manifest_digest:
        raise InvalidFieldError("manifest_digest", "a success names the manifest it has uploaded")
    success = Success(
        manifest_digest=request.manifest_digest,
        computation_key=request.computation_key,
        result=request.result.SerializeToString(deterministic=True),
        lineage=request.lineage.SerializeToString(deterministic=True),
    )
    return ReportSuccess(_identity(request.attempt), success)


def to_report_failure(request: contract.ReportFailureRequest) -> ReportFailure:
    """Reads why an attempt cannot go on."""
    failure = Failure(request.reason or "UNEXPECTED_ERROR", request.message, request.retryable)
    return ReportFailure(_identity(request.attempt), failure)


def to_record_trials(request: contract.RecordTrialsRequest, now: datetime) -> RecordTrials:
    """Reads evaluated configurations."""
    if not request.study.startswith("studies/"):
        raise InvalidFieldError("study", "use studies/ and the id of the study")
    training, _, number = request.attempt.name.rpartition("/attempts/")
    trials = [_trial(trial, request.study, training, int(number or 0), now) for trial in request.trials]
    return RecordTrials(
        _identity(request.attempt),
        request.study,
        to_study_target(request.target),
        trials,
        [to_step(step) for step in request.steps],
    )


def to_list_finished_steps(request: contract.ListFinishedStepsRequest) -> ListFinishedSteps:
    """Reads who asks what is finished."""
    page = to_page_request(request.page_size, request.page_token)
    return ListFinishedSteps(_identity(request.attempt), page)


def from_step(step: FinishedStep) -> FinishedStepMessage:
    """Writes a finished step."""
    return FinishedStepMessage(
        key=step.key,
        content=step.content,
        content_sha256=step.content_sha256,
        cpu_seconds=step.cpu_seconds,
    )


def to_step(step: FinishedStepMessage) -> FinishedStep:
    """Reads a finished step."""
    if not step.key:
        raise InvalidFieldError("steps.key", "the key tells one step from another")
    return FinishedStep(step.key, step.content, step.content_sha256, step.cpu_seconds)


def _search(search: SearchMessage) -> SearchProgress:
    best = search.best_objective if search.HasField("best_objective") else None
    return SearchProgress(search.trials_done, search.trials_total, best)


def to_study_target(target: Target) -> StudyTarget:
    """Reads a label."""
    return StudyTarget(int(target.kind), target.horizon_bars)


def _identity(identity: contract.AttemptIdentity) -> AttemptIdentity:
    return AttemptIdentity(identity.name, identity.allocation, identity.fencing_token)


def _trial(trial: Trial, study: str, training: str, number: int, now: datetime) -> RecordedTrial:
    if not trial.configuration_digest:
        raise InvalidFieldError(
            "trials.configuration_digest", "the digest tells one configuration from another"
        )
    return RecordedTrial(
        study=study,
        training=training,
        attempt=number,
        catalogue_id=trial.catalogue_id,
        parameters_json=trial.parameters_json,
        configuration_digest=trial.configuration_digest,
        objective=trial.objective,
        cpu_seconds=trial.cpu_seconds,
        metrics=tuple(metric.SerializeToString(deterministic=True) for metric in trial.metrics),
        create_time=now,
        outcome=trial.outcome or "COMPLETE",
        detail=trial.detail,
        monthly_losses=tuple((one.month, one.loss) for one in trial.monthly_losses),
    )
