"""Reads what experiment, monitor and cost-optimizer know, and lets chaos break something."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from importlib.resources import files
from typing import Any

from mltrainer.chaos.v1.chaos_service_pb2 import CreateChaosRunRequest, GetChaosRunRequest
from mltrainer.chaos.v1.resources_pb2 import ChaosRun
from mltrainer.cost_optimizer.v1.cost_optimizer_service_pb2 import GetBillRequest
from mltrainer.experiment.v1.experiment_service_pb2 import GetExperimentResultRequest
from mltrainer.monitor.v1.monitor_service_pb2 import (
    GetDriftReportRequest,
    ListModelScoresRequest,
    ListServiceLevelObjectivesRequest,
)
from mltrainer_common.ids import new_id
from mltrainer_sdk import FeatureVectors, RpcFailure

from mltrainer_cli.demo.live import EXPERIMENT, LiveTrading
from mltrainer_cli.demo.narrator import Step
from mltrainer_cli.demo.scene import VOLATILITY_STUDY, Scene
from mltrainer_cli.errors import CliError, ExitCode

_POLL_S = 0.2
_CHAOS_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT_S = 20.0
_MICROS = 1_000_000


async def wait_for_outcomes(trading: LiveTrading, days: int, step: Step) -> None:
    """Waits until so many days have outcomes."""
    while trading.judged_days < days:
        step.update(trading.judged_days / days, f"{trading.judged_days} of {days} days judged")
        await asyncio.sleep(_POLL_S)


async def experiment_facts(scene: Scene, trading: LiveTrading) -> dict[str, Any]:
    """Reads the result so far."""
    result = await scene.client.experiment.GetExperimentResult(
        GetExperimentResultRequest(name=f"experiments/{EXPERIMENT}")
    )
    return {
        "experiment": result.experiment,
        "variants": {
            item.variant: {"units": item.exposed_units, "outcomes": item.outcome_count, "mean": item.mean}
            for item in result.variants
        },
        "effect": result.effect,
        "effect_lower": result.effect_lower,
        "effect_upper": result.effect_upper,
        "p_value": result.p_value,
        "srm_p_value": result.srm_p_value,
        "conclusion": result.conclusion,
        "explanation": result.explanation,
        "days_judged": trading.judged_days,
        "failed_units": trading.failed_units,
    }


async def drift_facts(scene: Scene) -> dict[str, Any]:
    """Reads drift, and the score that delayed labels give."""
    model = f"models/{VOLATILITY_STUDY}"
    report = await scene.client.monitor.GetDriftReport(GetDriftReportRequest(model=model))
    scores = await scene.client.monitor.ListModelScores(ListModelScoresRequest(parent=model))
    drifted = [item.feature for item in report.features if item.drifted]
    return {
        "conclusion": report.conclusion,
        "reference_rows": report.reference_count,
        "window_rows": report.window_count,
        "drifted": drifted,
        "worst": _worst(report.features),
        "scores": [
            {
                "version": score.version,
                "predictions": score.prediction_count,
                "labelled": score.labelled_count,
                "r2": score.r2,
                "rmse": score.rmse,
            }
            for score in scores.model_scores
        ],
    }


def _worst(features: Any) -> str:
    if not features:
        return ""
    worst = max(features, key=lambda item: item.psi)
    return f"{worst.feature}: PSI {worst.psi:.2f}, KS {worst.ks_statistic:.2f}, p {worst.p_value:.2g}"


async def slo_facts(scene: Scene) -> list[dict[str, Any]]:
    """Reads the objectives with what is left of their budgets."""
    response = await scene.client.monitor.ListServiceLevelObjectives(ListServiceLevelObjectivesRequest())
    return [
        {
            "slo": slo.name,
            "objective": slo.objective,
            "good": slo.good_count,
            "total": slo.total_count,
            "budget_left": slo.budget_left,
            "burn_rate_5m": slo.burn_rate_5m,
        }
        for slo in response.service_level_objectives
    ]


async def bill_facts(scene: Scene) -> dict[str, Any]:
    """Reads the bill of everything that was trained."""
    bill = await scene.client.cost_optimizer.GetBill(GetBillRequest())
    return {
        "total_usd": bill.total_micros / _MICROS,
        "idle_usd": bill.idle_micros / _MICROS,
        "price_file": bill.price_file,
        "lines": [
            {
                "training": line.training,
                "study": line.study,
                "usd": line.billed_micros / _MICROS,
                "idle_share": line.idle_share,
                "cpu_s_allocated": line.allocated_cpu_seconds,
                "cpu_s_used": line.used_cpu_seconds,
            }
            for line in bill.lines
        ],
    }


@dataclass(slots=True)
class Calls:
    """What became of the calls made while a service was broken."""

    made: int = 0
    repeated: int = 0
    lost: int = 0


async def chaos_facts(scene: Scene, vectors: FeatureVectors, step: Step) -> dict[str, Any]:
    """Kills serving under a steady-state hypothesis while predictions go on, each repeated until answered."""
    calls = Calls()
    caller = asyncio.create_task(_keep_calling(scene, vectors, calls))
    try:
        run = await _break_serving(scene, step)
    finally:
        caller.cancel()
        with suppress(asyncio.CancelledError):
            await caller
    return {
        "title": run.title,
        "verdict": run.verdict,
        "recovery_s": round(run.recovery_s, 3),
        "lost": calls.lost,
        "calls": calls.made,
        "calls_repeated": calls.repeated,
        "faults": [
            {
                "fault": fault.fault,
                "target": fault.target,
                "time": fault.inject_time.ToDatetime(UTC).isoformat(),
            }
            for fault in run.faults
        ],
        "explanation": run.explanation,
    }


async def _break_serving(scene: Scene, step: Step) -> ChaosRun:
    experiment = (files("mltrainer_cli") / "data" / "kill-serving.json").read_text()
    run = await scene.client.chaos.CreateChaosRun(
        CreateChaosRunRequest(experiment_json=experiment, reason="demonstration", request_id=new_id())
    )
    async with asyncio.timeout(_CHAOS_TIMEOUT_S):
        while run.state in {ChaosRun.STATE_PENDING, ChaosRun.STATE_EXECUTING}:
            await asyncio.sleep(_POLL_S)
            step.update(0.5, f"{len(run.probes)} probes")
            run = await scene.client.chaos.GetChaosRun(GetChaosRunRequest(name=run.name))
    if run.state != ChaosRun.STATE_FINISHED:
        raise CliError(f"The chaos experiment did not finish: {run.explanation}.", ExitCode.FAILED)
    return run


async def _keep_calling(scene: Scene, vectors: FeatureVectors, calls: Calls) -> None:
    loop = asyncio.get_running_loop()
    while True:
        calls.made += 1
        until_s = loop.time() + _ANSWER_TIMEOUT_S
        while True:
            try:
                await scene.client.predict(VOLATILITY_STUDY, vectors.values[:1], symbols=vectors.symbols[:1])
                break
            except RpcFailure:
                calls.repeated += 1
                if loop.time() > until_s:
                    calls.lost += 1
                    break
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.01)
