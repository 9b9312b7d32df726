"""Reads online features and asks the champion, as a trading app would."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from mltrainer.serving.v1.serving_service_pb2 import Deployment, GetDeploymentRequest
from mltrainer_sdk import RpcFailure

from mltrainer_cli.demo.facts import PredictFacts
from mltrainer_cli.demo.narrator import Step
from mltrainer_cli.demo.scene import Scene
from mltrainer_cli.errors import CliError, ExitCode

_CALLERS = 4
_SERVED_TIMEOUT_S = 30.0
_POLL_S = 0.1


@dataclass(slots=True)
class Latencies:
    """What calls took, and how many failed."""

    answered_ms: list[float] = field(default_factory=list)
    failed: int = 0
    version: int = 0

    def facts(self) -> PredictFacts:
        """Sums up."""
        quantiles = statistics.quantiles(self.answered_ms, n=100)
        return PredictFacts(
            calls=len(self.answered_ms) + self.failed,
            failed=self.failed,
            p50_ms=quantiles[49],
            p99_ms=quantiles[98],
            version=self.version,
        )


async def wait_until_served(scene: Scene, model: str, version: str, alias: str = "champion") -> Deployment:
    """Waits until an alias answers with a version.

    Raises:
        CliError: It did not in time.
    """
    deadline_s = time.monotonic() + _SERVED_TIMEOUT_S
    error = ""
    while time.monotonic() < deadline_s:
        try:
            deployment = await scene.client.serving.GetDeployment(
                GetDeploymentRequest(name=f"deployments/{model}")
            )
        except RpcFailure as failure:
            error = failure.message
        else:
            served = {item.alias: item for item in deployment.aliases}
            if alias in served and served[alias].version == version:
                return deployment
            error = served[alias].error if alias in served else f"no alias {alias}"
        await asyncio.sleep(_POLL_S)
    raise CliError(f"{version} is not served as {alias}: {error}.", ExitCode.TIMED_OUT)


async def predict_repeatedly(
    scene: Scene, model: str, references: Sequence[str], calls: int, step: Step
) -> PredictFacts:
    """Sends single-row predictions from several callers and measures each from the caller's side."""
    symbols = scene.market.symbols
    vectors = await scene.client.get_features(symbols, references)
    latencies = Latencies()

    async def caller(first: int) -> None:
        for index in range(first, calls, _CALLERS):
            row = index % len(symbols)
            start_s = time.perf_counter()
            try:
                answer = await scene.client.predict(
                    model, vectors.values[row : row + 1], symbols=[symbols[row]], unit=f"demo/{symbols[row]}"
                )
            except RpcFailure:
                latencies.failed += 1
            else:
                latencies.answered_ms.append((time.perf_counter() - start_s) * 1e3)
                latencies.version = answer.version
            if index % 100 == 0:
                step.update(index / calls, f"{index} calls")

    async with asyncio.TaskGroup() as group:
        for first in range(_CALLERS):
            group.create_task(caller(first))
    return latencies.facts()
