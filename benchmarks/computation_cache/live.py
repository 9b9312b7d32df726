"""Asks a live scheduler, through a real broker, for a training whose result is known."""

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer
from google.protobuf.message import Message
from mltrainer.feature.v1.events_pb2 import ViewRevised
from mltrainer.scheduler.v1 import events_pb2 as events
from mltrainer.trainer.v1 import events_pb2 as trainer
from mltrainer.types.v1.types_pb2 import TARGET_KIND_LOG_REALIZED_VARIANCE, VERDICT_EDGE
from mltrainer_messaging.topics import topic_of
from mltrainer_sdk import Client
from mltrainer_testkit.stack import publish_patiently, running_stack

_WAIT_S = 60.0
_KNOWN = {"MLTRAINER_SCHEDULER_AUDIT_FRACTION": "0"}


def _request(request_id: str) -> events.TrainingRequested:
    asked = events.TrainingRequested(
        request_id=request_id,
        study="studies/live",
        symbols=["AAPL", "MSFT"],
        feature_views=["bars"],
        owner="bench",
    )
    asked.target.kind, asked.target.horizon_bars = TARGET_KIND_LOG_REALIZED_VARIANCE, 5
    asked.as_of.FromDatetime(datetime(2022, 12, 28, 21, tzinfo=UTC))
    asked.evaluation.first_test_time.FromDatetime(datetime(2015, 1, 1, tzinfo=UTC))
    asked.search.models.append("ridge")
    asked.budget.cpu_seconds = 60.0
    return asked


@dataclass(frozen=True, slots=True)
class Measured:
    """One request or the mean of many, in milliseconds.

    Attributes:
        total: From the call that publishes the request to the event that names the result.
        published: Until the broker has the request.
        answered: Until the scheduler hands the answer to the broker, as its record says.
    """

    total: float
    published: float
    answered: float


@dataclass(frozen=True, slots=True)
class Known:
    """What requests took, and the scheduler's CPU time for one."""

    requests: list[Measured]
    cpu_ms: float


async def measure_cached(folder: Path, rounds: int) -> Known:
    """Asks again and again, one request after the other."""
    with running_stack(folder, ("scheduler",), _KNOWN) as stack:
        async with stack.client() as client:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=stack.record().kafka_bootstrap_servers, auto_offset_reset="earliest"
            )
            await consumer.start()
            try:
                pids = (it.pid for it in stack.processes())
                (scheduler,) = (pid for pid in pids if _is_scheduler(pid))
                return await _measure(client, consumer, rounds, scheduler)
            finally:
                await consumer.stop()


async def _measure(client: Client, consumer: AIOKafkaConsumer, rounds: int, pid: int) -> Known:
    await _announce(client)
    await publish_patiently(client, _request("first"), "first")
    placed = events.TrainingPlaced.FromString(await _next(consumer, events.TrainingPlaced))
    await publish_patiently(client, _success(placed), "end of first")
    await _next(consumer, events.TrainingCompleted)
    await publish_patiently(client, _request("warm-up"), "warm-up")
    consumer.subscribe([topic_of(events.TrainingDeduplicated).name])
    await asyncio.wait_for(consumer.getone(), _WAIT_S)
    begin_cpu_s = _cpu_seconds(pid)
    requests = [await _ask(client, consumer, f"again-{number}") for number in range(rounds)]
    return Known(requests, (_cpu_seconds(pid) - begin_cpu_s) * 1_000 / rounds)


async def _ask(client: Client, consumer: AIOKafkaConsumer, request_id: str) -> Measured:
    begin_s, begin_wall_s = time.perf_counter(), time.time()
    await client.publish(_request(request_id))
    published_s = time.perf_counter() - begin_s
    record = await asyncio.wait_for(consumer.getone(), _WAIT_S)
    total_s = time.perf_counter() - begin_s
    known = events.TrainingDeduplicated.FromString(record.value)
    assert (known.request_id, known.manifest_digest) == (request_id, "manifest")
    return Measured(total_s * 1_000, published_s * 1_000, record.timestamp - begin_wall_s * 1_000)


def _is_scheduler(pid: int) -> bool:
    return b"mltrainer_scheduler" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _cpu_seconds(pid: int) -> float:
    """Reads user and system time of all threads of a process."""
    numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


async def _next(consumer: AIOKafkaConsumer, kind: type[Message]) -> bytes:
    consumer.subscribe([topic_of(kind).name])
    record = await asyncio.wait_for(consumer.getone(), _WAIT_S)
    content: bytes = record.value
    return content


async def _announce(client: Client) -> None:
    release = trainer.TrainerReleased(
        trainer="trainers/default", code_digest="c", environment_digest="e", revision=1
    )
    kinds = [TARGET_KIND_LOG_REALIZED_VARIANCE]
    release.catalogue_entries.add(id="ridge", family="linear", digest="d", target_kinds=kinds)
    node = trainer.NodeReported(node="nodes/a", schedulable=True, revision=1)
    node.capacity.cpus, node.capacity.memory_bytes = 2.0, 8 << 30
    node.report_time.GetCurrentTime()
    view = ViewRevised(feature_view="bars", version=1, definition_digest="v", revision=1)
    for number, event in enumerate((release, view, node)):
        await publish_patiently(client, event, f"announcement-{number}")


def _success(placed: events.TrainingPlaced) -> trainer.AttemptSucceeded:
    ended = trainer.AttemptSucceeded(
        training=placed.training,
        attempt=placed.attempt,
        allocation=placed.allocation.name,
        fencing_token=placed.allocation.fencing_token,
        manifest_digest="manifest",
        computation_key=placed.computation_key,
    )
    ended.result.verdict, ended.result.canonical_digest, ended.result.cpu_seconds = VERDICT_EDGE, "m", 40.0
    return ended
