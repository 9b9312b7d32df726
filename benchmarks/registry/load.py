"""Generates load in a process of its own: reads one job per line, answers with one line of results.

    python benchmarks/registry/load.py < jobs.jsonl

Both peers get bytes that were made before the clock starts; the callers of a job share one loop, and neither
peer's client library takes part beyond gRPC itself: what is measured is the server.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import Any

import grpc
import peer_requests
import registry_requests

TIMEOUT_S = 30.0
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
SAMPLED_EVERY = 100
Call = Callable[[bytes], Awaitable[int]]
"""Sends a request and returns the number of the version it is about, 0 where it has none."""


@dataclass(frozen=True)
class Job:
    """What to do: `seconds` of calls, or `each` calls of every caller where that is set."""

    peer: str
    operation: str
    address: str
    callers: int
    seconds: float = 0.0
    each: int = 0
    token: str = ""
    models: tuple[str, ...] = ()
    manifest_digest: str = ""
    training_prefix: str = ""


@dataclass
class Results:
    """What the callers saw; `numbers` are those of created versions."""

    waits_us: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def run(job: Job) -> Results:
    results = Results()
    requests = make_requests(job)
    until_s = time.perf_counter() + job.seconds if job.seconds else float("inf")
    connect = peer_caller if job.peer == "mlflow" else registry_caller
    calls = await connect(job)
    await asyncio.gather(*(work(call, requests, job, until_s, results) for call in calls))
    return results


async def work(call: Call, requests: Iterator[bytes], job: Job, until_s: float, results: Results) -> None:
    for _ in range(job.each) if job.each else count():
        request = next(requests)
        started_s = time.perf_counter()
        if started_s >= until_s:
            return
        try:
            number = await call(request)
        except (grpc.RpcError, OSError, asyncio.IncompleteReadError, RuntimeError) as error:
            results.errors.append(str(error)[:300])
            continue
        results.waits_us.append(round((time.perf_counter() - started_s) * 1e6))
        if number:
            results.numbers.append(number)


def make_requests(job: Job) -> Iterator[bytes]:
    """Yields requests; lookups go round the models, versions are made one by one."""
    source = peer_requests if job.peer == "mlflow" else registry_requests
    if job.operation == "alias":
        return cycle([source.get_alias(model) for model in job.models])
    models = cycle(job.models)
    if source is peer_requests:
        return (peer_requests.create_version(next(models)) for _ in count())
    return (
        registry_requests.create_version(
            next(models), f"trainings/{job.training_prefix}{n}", job.manifest_digest
        )
        for n in count()
    )


async def registry_caller(job: Job) -> list[Call]:
    channel = grpc.aio.insecure_channel(job.address, options=(("grpc.use_local_subchannel_pool", 1),))
    await channel.channel_ready()
    method = registry_requests.METHODS[job.operation]
    call = channel.unary_unary(method)
    metadata = [
        (("authorization", f"Bearer {job.token}"), ("traceparent", f"{TRACE}{'00' if n else '01'}"))
        for n in range(SAMPLED_EVERY)
    ]
    sent = cycle(metadata)
    is_create = job.operation == "create"

    async def send(request: bytes) -> int:
        answer = await call(request, metadata=next(sent), timeout=TIMEOUT_S)
        return registry_requests.number(answer) if is_create else 0

    return [send] * job.callers


async def peer_caller(job: Job) -> list[Call]:
    connections = [peer_requests.Connection(job.address) for _ in range(job.callers)]
    is_create = job.operation == "create"

    def caller(connection: peer_requests.Connection) -> Call:
        async def send(request: bytes) -> int:
            answer = await connection.send(request)
            return peer_requests.number(answer) if is_create else 0

        return send

    return [caller(connection) for connection in connections]


def answer(line: str) -> dict[str, Any]:
    job = Job(**json.loads(line))
    cpu_s, started_s = time.process_time(), time.perf_counter()
    results = asyncio.run(run(job))
    return {
        "waits_us": results.waits_us,
        "numbers": results.numbers,
        "errors": results.errors,
        "cpu_s": time.process_time() - cpu_s,
        "elapsed_s": time.perf_counter() - started_s,
    }


def main() -> None:
    # A collection of the generator's own garbage would be counted as a wait for the server.
    gc.disable()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(line)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
