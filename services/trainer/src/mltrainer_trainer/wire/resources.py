"""Writes attempts, studies and trials."""

from mltrainer.trainer.v1.resources_pb2 import Attempt as AttemptMessage
from mltrainer.trainer.v1.resources_pb2 import AttemptResult, MonthlyLoss
from mltrainer.trainer.v1.resources_pb2 import Study as StudyMessage
from mltrainer.trainer.v1.resources_pb2 import Trial as TrialMessage
from mltrainer.types.v1.types_pb2 import Metric, Target

from mltrainer_trainer.domain.attempt import Attempt
from mltrainer_trainer.domain.ledger import RecordedStudy, RecordedTrial
from mltrainer_trainer.wire.events import from_search, timestamp


def to_attempt_message(attempt: Attempt) -> AttemptMessage:
    """Writes an attempt."""
    failure, success = attempt.failure, attempt.success
    return AttemptMessage(
        name=attempt.name,
        allocation=attempt.placement.allocation,
        fencing_token=attempt.placement.fencing_token,
        state=AttemptMessage.State.Value(f"STATE_{attempt.state.value}"),
        progress=attempt.progress,
        stage=attempt.stage,
        reason=failure.reason if failure else "",
        message=failure.message if failure else "",
        start_time=timestamp(attempt.start_time),
        end_time=timestamp(attempt.end_time),
        result=AttemptResult.FromString(success.result) if success else None,
        search=from_search(attempt.search),
        checkpoint_time=timestamp(attempt.checkpoint_time),
    )


def to_study_message(study: RecordedStudy) -> StudyMessage:
    """Writes a study."""
    target = Target(horizon_bars=study.target.horizon_bars)
    target.kind = study.target.kind  # type: ignore[assignment]  # open enum: a later kind passes through
    return StudyMessage(
        name=study.name,
        target=target,
        trial_count=study.trial_count,
        training_count=study.training_count,
        create_time=timestamp(study.create_time),
    )


def to_trial_message(trial: RecordedTrial) -> TrialMessage:
    """Writes a trial."""
    return TrialMessage(
        name=trial.name,
        training=trial.training,
        attempt=trial.attempt,
        catalogue_id=trial.catalogue_id,
        parameters_json=trial.parameters_json,
        metrics=[Metric.FromString(metric) for metric in trial.metrics],
        objective=trial.objective,
        cpu_seconds=trial.cpu_seconds,
        create_time=timestamp(trial.create_time),
        configuration_digest=trial.configuration_digest,
        outcome=trial.outcome,
        detail=trial.detail,
        monthly_losses=[MonthlyLoss(month=month, loss=loss) for month, loss in trial.monthly_losses],
    )
