"""Writes what a training has arrived at."""

import json
from collections.abc import Mapping

from mltrainer.trainer.v1.resources_pb2 import (
    AttemptResult,
    CombinatorialPath,
    CombinatorialResult,
    FoldMetrics,
    LeaderboardRow,
    ModelSignature,
    Reuse,
    SignatureField,
)
from mltrainer.trainer.v1.resources_pb2 import Lineage as LineageMessage
from mltrainer.types.v1.types_pb2 import Metric
from mltrainer.types.v1.types_pb2 import Verdict as VerdictMessage
from mltrainer_models import MODEL_FILE
from mltrainer_models.description import decode_description

from mltrainer_trainer.application.execute_attempt import Lineage, Outcome
from mltrainer_trainer.domain.catalogue import Parameters
from mltrainer_trainer.domain.metrics import OutOfSample
from mltrainer_trainer.domain.paths import PathScores
from mltrainer_trainer.domain.recall import ReuseMeter
from mltrainer_trainer.domain.testing import FoldScore, LeaderboardEntry
from mltrainer_trainer.domain.training import TrainingOutcome
from mltrainer_trainer.wire.events import timestamp
from mltrainer_trainer.wire.times import from_microseconds
from mltrainer_trainer.wire.trials import from_trial

_NUMBER, _OUTPUT = "float64", "prediction"


def to_outcome(outcome: TrainingOutcome, cpu_seconds: float, reuse: ReuseMeter | None = None) -> Outcome:
    """Encodes result and trials."""
    result = AttemptResult(
        catalogue_id=outcome.chosen.catalogue_id,
        parameters_json=_json(outcome.chosen.parameters),
        metrics=_chosen_metrics(outcome),
        leaderboard=[_row(entry, outcome.out_of_sample[entry.catalogue_id]) for entry in outcome.leaderboard]
        + [
            LeaderboardRow(catalogue_id=it.catalogue_id, skipped_reason=f"{it.reason}: {it.detail}")
            for it in outcome.skipped
        ],
        verdict=VerdictMessage.Value(f"VERDICT_{outcome.verdict.kind.value}"),
        verdict_reason=outcome.verdict.explain(),
        cpu_seconds=cpu_seconds,
        row_count=outcome.row_count,
        canonical_digest=outcome.artifact.canonical_digest,
        signature=_signature(outcome),
        reuse=_reuse(reuse) if reuse else None,
        combinatorial=_combinatorial(outcome.combinatorial) if outcome.combinatorial else None,
        loss_kind=outcome.verdict.loss_kind,
    )
    trials = tuple(from_trial(trial) for trial in outcome.trials)
    return Outcome(result.SerializeToString(deterministic=True), trials, outcome.artifact.files)


def to_result(outcome: Outcome, study_trial_count: int) -> AttemptResult:
    """Completes a result."""
    result = AttemptResult.FromString(outcome.result)
    result.study_trial_count = study_trial_count
    return result


def to_lineage(lineage: Lineage) -> LineageMessage:
    """Writes where a result comes from."""
    plan, dataset, code = lineage.plan, lineage.dataset, lineage.code
    return LineageMessage(
        training=plan.training,
        attempt=plan.number,
        dataset=dataset.name,
        dataset_sha256=dataset.sha256,
        feature_view_versions=[f"{view.feature_view}@{view.version}" for view in dataset.views],
        code_digest=code.code_digest,
        environment_digest=code.environment_digest,
        as_of=timestamp(plan.as_of_time),
        study=plan.study,
        computation_key=plan.computation_key,
    )


def _reuse(meter: ReuseMeter) -> Reuse:
    return Reuse(
        computed_fits=meter.computed,
        recalled_fits=meter.recalled,
        audited_fits=meter.audited,
        mismatched_fits=meter.mismatched,
        saved_cpu_seconds=meter.saved_cpu_seconds,
    )


def _combinatorial(scores: PathScores) -> CombinatorialResult:
    return CombinatorialResult(
        groups=scores.plan.groups,
        test_groups=scores.plan.test_groups,
        folds=scores.folds,
        paths=[CombinatorialPath(metrics=_metrics(path)) for path in scores.paths],
        skipped_reason=scores.skipped_reason,
    )


def _chosen_metrics(outcome: TrainingOutcome) -> list[Metric]:
    chosen = next((entry for entry in outcome.leaderboard if entry.is_chosen), None)
    return _metrics(chosen.metrics, chosen.standard_errors) if chosen else []


def _signature(outcome: TrainingOutcome) -> ModelSignature:
    description, _, _ = decode_description(outcome.artifact.files[MODEL_FILE])
    return ModelSignature(
        inputs=[SignatureField(name=name, data_type=_NUMBER) for name in description.feature_names],
        outputs=[SignatureField(name=_OUTPUT, data_type=_NUMBER)],
    )


def _row(entry: LeaderboardEntry, tested: OutOfSample) -> LeaderboardRow:
    return LeaderboardRow(
        catalogue_id=entry.catalogue_id,
        metrics=_metrics(entry.metrics, entry.standard_errors),
        folds=[_fold(fold) for fold in entry.folds],
        chosen=entry.is_chosen,
        loss=float(tested.losses.mean()),
        baseline=entry.is_baseline,
    )


def _fold(fold: FoldScore) -> FoldMetrics:
    return FoldMetrics(
        first_test_time=timestamp(from_microseconds(fold.first_test_time)),
        last_test_time=timestamp(from_microseconds(fold.last_test_time)),
        metrics=_metrics(fold.metrics),
        row_count=fold.row_count,
    )


def _metrics(values: Mapping[str, float], errors: Mapping[str, float] | None = None) -> list[Metric]:
    known = errors or {}
    return [
        Metric(name=name, value=value, standard_error=known.get(name))
        for name, value in sorted(values.items())
    ]


def _json(parameters: Parameters) -> str:
    return json.dumps(dict(parameters), sort_keys=True, separators=(",", ":"))
