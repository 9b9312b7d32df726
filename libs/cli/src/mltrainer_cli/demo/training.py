"""Asks for trainings and reads what became of them."""

from collections.abc import Sequence
from typing import Any

from mltrainer.registry.v1 import registry_service_pb2 as registry
from mltrainer.scheduler.v1.events_pb2 import TrainingRequested
from mltrainer.scheduler.v1.resources_pb2 import Training
from mltrainer.trainer.v1.resources_pb2 import Attempt, AttemptResult
from mltrainer.trainer.v1.trainer_service_pb2 import ListAttemptsRequest, ListCatalogueEntriesRequest
from mltrainer.types.v1.types_pb2 import TargetKind, Verdict
from mltrainer_common.ids import new_id

from mltrainer_cli.demo import scene as stage
from mltrainer_cli.demo.facts import LeaderboardRow, ReturnsFacts, VersionFacts, VolatilityFacts
from mltrainer_cli.demo.narrator import Step
from mltrainer_cli.demo.scene import Scene
from mltrainer_cli.errors import CliError, ExitCode

_TIMEOUT_S = 150.0


def request(
    scene: Scene,
    study: str,
    kind: TargetKind.ValueType,
    models: Sequence[str],
    *,
    propose_alias: str = "",
) -> TrainingRequested:
    """Describes a training of the whole universe as of the start of the replay."""
    asked = TrainingRequested(
        request_id=f"demo-{new_id()}",
        study=f"studies/{study}",
        symbols=scene.market.symbols,
        feature_views=stage.VIEWS,
        owner=stage.OWNER,
        propose_alias=propose_alias,
    )
    asked.target.kind = kind
    asked.target.horizon_bars = stage.HORIZON_BARS
    asked.as_of.FromDatetime(stage.AS_OF)
    asked.evaluation.first_test_time.FromDatetime(stage.midnight(stage.FIRST_TEST_DAY))
    asked.evaluation.refit_interval_bars = 252
    asked.search.models.extend(models)
    asked.search.max_trials = len(models)
    asked.search.seed = 7
    asked.budget.cpu_seconds = 600
    asked.resources.cpus = 1
    return asked


async def train(scene: Scene, asked: TrainingRequested, step: Step) -> tuple[Training, Attempt]:
    """Publishes a request, follows it to its end and returns the winning attempt.

    Raises:
        CliError: The training did not complete.
    """
    request_id = await scene.client.request_training(asked)
    training = await follow(scene, request_id, step)
    attempts = await scene.client.trainer.ListAttempts(ListAttemptsRequest(parent=training.name))
    winner = next(attempt for attempt in attempts.attempts if attempt.state == Attempt.STATE_SUCCEEDED)
    return training, winner


async def follow(scene: Scene, request_id: str, step: Step) -> Training:
    """Waits for the end of a training, showing its stages."""

    def show(training: Training) -> None:
        step.update(0.1, Training.State.Name(training.state).removeprefix("STATE_").lower())

    training = await scene.client.wait_for_training(request_id, _TIMEOUT_S, show)
    if training.state not in {Training.STATE_COMPLETED, Training.STATE_DEDUPLICATED}:
        details = "; ".join(f"{item.field}: {item.description}" for item in training.violations)
        reason = f"{training.reason} {training.message} {details}".strip()
        raise CliError(f"The training {training.name} did not complete: {reason}.", ExitCode.FAILED)
    return training


async def challenger_model(scene: Scene) -> str:
    """Chooses LightGBM where it loads, else the gradient boosting that needs no system library."""
    catalogue = await scene.client.trainer.ListCatalogueEntries(ListCatalogueEntriesRequest(page_size=1000))
    usable = {entry.id for entry in catalogue.catalogue_entries if not entry.unavailable_reason}
    return "lightgbm" if "lightgbm" in usable else "hist-gradient-boosting"


def volatility_facts(result: AttemptResult) -> VolatilityFacts:
    """Reads the leaderboard."""
    board = leaderboard(result)
    metrics = _metrics(result.metrics)
    return VolatilityFacts(
        model=result.catalogue_id,
        r2=metrics["r2"],
        qlike=metrics["qlike"],
        har_r2=_row(board, "har").r2,
        persistence_r2=_row(board, "persistence").r2,
        verdict=verdict_name(result.verdict),
        reason=result.verdict_reason,
        leaderboard=board,
        trials=result.study_trial_count,
        cpu_seconds=result.cpu_seconds,
    )


def returns_facts(result: AttemptResult) -> ReturnsFacts:
    """Reads the verdict."""
    return ReturnsFacts(
        verdict=verdict_name(result.verdict),
        reason=result.verdict_reason,
        model=result.catalogue_id,
        trials=result.study_trial_count,
    )


def leaderboard(result: AttemptResult) -> list[LeaderboardRow]:
    """Returns every evaluated model, best first."""
    return [
        LeaderboardRow(
            model=row.catalogue_id,
            r2=_metrics(row.metrics).get("r2", float("nan")),
            qlike=_metrics(row.metrics).get("qlike", float("nan")),
            fold_r2=[_metrics(fold.metrics).get("r2", float("nan")) for fold in row.folds],
            chosen=row.chosen,
        )
        for row in result.leaderboard
        if not row.skipped_reason
    ]


def verdict_name(verdict: Any) -> str:
    """Spells a verdict for people: `edge`, `no edge`, `not enough data`."""
    return Verdict.Name(verdict).removeprefix("VERDICT_").lower().replace("_", " ")


def _row(board: list[LeaderboardRow], model: str) -> LeaderboardRow:
    return next(row for row in board if row.model == model)


def _metrics(metrics: Any) -> dict[str, float]:
    return {metric.name: metric.value for metric in metrics}


async def version_facts(scene: Scene, model: str, training: str) -> VersionFacts:
    """Reads the version that a training made, with its lineage and its gate."""
    versions = await scene.client.registry.ListModelVersions(
        registry.ListModelVersionsRequest(parent=f"models/{model}")
    )
    version = next(item for item in versions.model_versions if item.training == training)
    gates = await scene.client.registry.ListGateEvaluations(
        registry.ListGateEvaluationsRequest(parent=version.name)
    )
    lineage = version.lineage
    return VersionFacts(
        name=version.name,
        number=version.number,
        digest=version.manifest.digest,
        lineage={
            "training": lineage.training,
            "attempt": lineage.attempt,
            "study": lineage.study,
            "dataset": lineage.dataset,
            "dataset_sha256": lineage.dataset_sha256,
            "feature_view_versions": list(lineage.feature_view_versions),
            "code_digest": lineage.code_digest,
            "environment_digest": lineage.environment_digest,
            "computation_key": lineage.computation_key,
        },
        gate=[
            {"condition": item.condition, "passed": item.passed, "detail": item.detail}
            for gate in gates.gate_evaluations[:1]
            for item in gate.conditions
        ],
    )
