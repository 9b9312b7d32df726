"""Writes and reads what is finished of a training."""

import io
import json
import math
from dataclasses import asdict, replace

import numpy as np
from mltrainer.trainer.v1.resources_pb2 import MonthlyLoss as MonthlyLossMessage
from mltrainer.trainer.v1.resources_pb2 import Trial as TrialMessage
from mltrainer.types.v1.types_pb2 import Metric

from mltrainer_trainer.domain.checkpoints import FinishedStep
from mltrainer_trainer.domain.recall import Recalled
from mltrainer_trainer.domain.search import MonthlyLoss, Trial, TrialState
from mltrainer_trainer.domain.verdict import PriorTrial


def from_trial(trial: Trial) -> bytes:
    """Writes a trial for the ledger of its study."""
    message = TrialMessage(
        catalogue_id=trial.catalogue_id,
        parameters_json=json.dumps(dict(trial.parameters), sort_keys=True, separators=(",", ":")),
        metrics=[Metric(name=name, value=value) for name, value in sorted(trial.metrics.items())],
        objective=trial.objective,
        cpu_seconds=trial.cpu_seconds,
        configuration_digest=trial.configuration_digest,
        outcome=trial.state.value,
        detail=trial.detail,
        monthly_losses=[MonthlyLossMessage(month=it.month, loss=it.loss) for it in trial.monthly_losses],
    )
    return message.SerializeToString(deterministic=True)


def to_prior_trial(message: TrialMessage) -> PriorTrial:
    """Reads what the ledger of a study knows of a trial of another training."""
    sharpe = next((metric.value for metric in message.metrics if metric.name == "sharpe"), None)
    is_complete = message.outcome in {"", TrialState.COMPLETE.value}
    losses = tuple(MonthlyLoss(it.month, it.loss) for it in message.monthly_losses) if is_complete else ()
    return PriorTrial(sharpe, losses)


def to_trial_step(trial: Trial) -> FinishedStep:
    """Writes a whole trial, bit by bit, for an attempt that begins again."""
    content = json.dumps(asdict(trial), sort_keys=True, separators=(",", ":")).encode()
    return FinishedStep(trial.configuration_digest, content, cpu_seconds=trial.cpu_seconds)


def from_trial_step(step: FinishedStep) -> Trial:
    """Reads it."""
    trial = Trial(**json.loads(step.content))
    return replace(
        trial,
        state=TrialState(trial.state),
        monthly_losses=tuple(MonthlyLoss(**loss) for loss in trial.monthly_losses),  # type: ignore[arg-type]  # as JSON has it
    )


def to_fit_step(key: str, result: Recalled) -> FinishedStep:
    """Writes a result of a fit."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(result.content), allow_pickle=False)
    return FinishedStep(key, buffer.getvalue(), cpu_seconds=result.cpu_seconds)


def from_fit_step(step: FinishedStep) -> Recalled:
    """Reads it."""
    content = np.load(io.BytesIO(step.content), allow_pickle=False)
    return Recalled(content, step.cpu_seconds)


def is_better(trial: Trial, best_objective: float | None) -> bool:
    """Tells whether a trial has the smallest objective so far; one that failed has none."""
    if trial.state is not TrialState.COMPLETE or not math.isfinite(trial.objective):
        return False
    return best_objective is None or trial.objective < best_objective
