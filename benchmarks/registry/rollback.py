"""Rolls an alias back under load, again and again, and measures how long serving answers as before.

    python benchmarks/registry/rollback.py --rollbacks 20

Real processes: Kafka, registry, serving. Exit code 1 when a call fails or a switch takes more than a second.
"""

import argparse
import asyncio
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import registry_requests
from inference.open_inference_pb2 import ModelInferRequest
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1 import resources_pb2 as resources
from mltrainer_models import LinearModel, ModelDescription, ModelTarget
from mltrainer_sdk import Client, RpcFailure
from mltrainer_sdk import predictions as prediction_requests
from mltrainer_testkit.stack import running_stack

MODEL, ALIAS = "rollback", "live"
CALLERS = 4
BOUND_S = 1.0
REST_S = 0.2
TIMEOUT_S = 60.0


@dataclass
class Load:
    """Predicts all the time, and remembers when which version answered."""

    client: Client
    request: ModelInferRequest
    answers: list[tuple[float, float, int]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    is_over: bool = False

    async def call_until_over(self) -> None:
        while not self.is_over:
            sent_s = time.perf_counter()
            try:
                answer = await self.client.inference.ModelInfer(self.request)
            except RpcFailure as failure:
                self.failures.append(str(failure))
            else:
                self.answers.append((sent_s, time.perf_counter(), int(answer.model_version)))

    async def wait_for(self, number: int) -> None:
        """Waits until each caller has been answered by a version."""
        async with asyncio.timeout(TIMEOUT_S):
            while [one[-1] for one in self.answers[-CALLERS:]] != [number] * CALLERS:  # noqa: ASYNC110 - a list tells nobody
                await asyncio.sleep(0.005)

    def last_sent_s(self, number: int, since_s: float) -> float:
        """Returns when the last call was sent that a version has answered since a time."""
        sent = (sent_s for sent_s, _, version in self.answers if version == number and sent_s >= since_s)
        return max(sent, default=since_s)


async def measure(options: argparse.Namespace, client: Client) -> dict[str, Any]:
    for number in (1, 2):
        await create(client, number)
    await move(client, 1, "")
    await move(client, 2, version_name(1))
    matrix = np.array([[1.0, 1.0]])
    load = Load(client, prediction_requests.to_request(MODEL, matrix, version=ALIAS))
    await until_served(load)
    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(load.call_until_over())
        try:
            waits_s = [await roll_back(client, load, 2 - n % 2) for n in range(options.rollbacks)]
        finally:
            load.is_over = True
    ordered = sorted(waits_s)
    return {
        "rollbacks": len(ordered),
        "switched_after_ms": {
            "minimum": round(ordered[0] * 1e3, 1),
            "median": round(statistics.median(ordered) * 1e3, 1),
            "maximum": round(ordered[-1] * 1e3, 1),
        },
        "calls": len(load.answers),
        "failed_calls": len(load.failures),
        "first_failure": load.failures[:1],
    }


async def roll_back(client: Client, load: Load, present: int) -> float:
    """Returns how long after the answer to a rollback calls were still sent to the version before."""
    request = api.RollBackAliasRequest(name=f"models/{MODEL}/aliases/{ALIAS}", reason="benchmark")
    moved = await client.registry.RollBackAlias(request)
    answered_s = time.perf_counter()
    assert moved.version == version_name(3 - present), moved
    await load.wait_for(3 - present)
    await asyncio.sleep(REST_S)
    return load.last_sent_s(present, answered_s) - answered_s


async def until_served(load: Load) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                answer = await load.client.inference.ModelInfer(load.request)
            except RpcFailure:
                await asyncio.sleep(0.05)
            else:
                if answer.model_version == "2":
                    return


async def create(client: Client, number: int) -> None:
    """Creates a version of a small linear model."""
    description = ModelDescription("ridge", ModelTarget("LOG_REALIZED_VARIANCE", 5), ("a", "b"))
    model = LinearModel(description, np.zeros(2), np.ones(2), np.array([1.0, 2.0]), float(number))
    training = f"trainings/rollback-{number}"
    uploaded = await client.registry.UploadArtifact(parts(training, model.to_artifact().files))
    request = registry_requests.version_request(MODEL, training, uploaded.manifest_digest)
    created = await client.registry.CreateModelVersion(request)
    assert created.name == version_name(number)


async def parts(training: str, files: Mapping[str, bytes]) -> AsyncIterator[api.UploadArtifactRequest]:
    listed = [
        resources.ArtifactFile(path=path, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        for path, content in files.items()
    ]
    header = api.UploadHeader(training=training, fencing_token=1, manifest=resources.Manifest(files=listed))
    yield api.UploadArtifactRequest(header=header)
    for index, content in enumerate(files.values()):
        yield api.UploadArtifactRequest(chunk=api.UploadChunk(file_index=index, data=content))


async def move(client: Client, number: int, expected: str) -> None:
    request = api.MoveAliasRequest(
        name=f"models/{MODEL}/aliases/{ALIAS}", version=version_name(number), expected_version=expected
    )
    await client.registry.MoveAlias(request)


def version_name(number: int) -> str:
    return f"models/{MODEL}/versions/{number}"


async def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    environment = {"MLTRAINER_TRACE_RATIO": "0.01"}
    with running_stack(folder, ("registry", "serving"), environment) as stack:
        async with stack.client() as client:
            return await measure(options, client)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollbacks", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mltrainer-rollback-") as folder:
        result = asyncio.run(run(options, Path(folder)))
    print(json.dumps(result, indent=1))
    if result["failed_calls"]:
        sys.stderr.write("a call has failed\n")
    return int(result["failed_calls"] or result["switched_after_ms"]["maximum"] > BOUND_S * 1e3)


if __name__ == "__main__":
    raise SystemExit(main())
