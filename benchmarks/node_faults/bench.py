"""Kills nodes with everything on them, and measures when their work runs elsewhere and what was lost.

    python benchmarks/node_faults/bench.py --kills 10 --output result.json

See README.md beside this file for what each row means.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from mltrainer.scheduler.v1 import scheduler_service_pb2 as scheduler
from mltrainer.scheduler.v1.resources_pb2 import Training
from mltrainer.trainer.v1.resources_pb2 import Attempt
from mltrainer.trainer.v1.trainer_service_pb2 import ListAttemptsRequest
from mltrainer_sdk import Client, RpcFailure
from mltrainer_testkit.postgres import postgres_server
from mltrainer_testkit.stack import (
    RunningStack,
    cheap_request,
    load_bars,
    publish_patiently,
    running_stack,
    wait_for_rows,
)

NODES = ("node-a", "node-b")
LEASE_S = 30.0
INTERVAL_S = 2.0
TRIALS_BETWEEN_KILLS = 4
_POLL_S = 0.02
_PATIENCE_S = 180.0
_BEGINS = re.compile(r'"finished_steps": (\d+)')
_OVER = (Training.STATE_COMPLETED, Training.STATE_FAILED, Training.STATE_CANCELLED)
_ENDED = (Attempt.STATE_SUCCEEDED, Attempt.STATE_FAILED, Attempt.STATE_CANCELLED)


@dataclass(frozen=True, slots=True)
class Kill:
    """What one killed node cost.

    Attributes:
        elsewhere_s: From the end of the lease to the start of the next attempt on another node.
        lost_s: Work since the last checkpoint, when the node died.
        trials_done: Trials recorded when the node died.
        resumed_steps: Finished steps that the next attempt received.
    """

    elsewhere_s: float
    lost_s: float
    trials_done: int
    resumed_steps: int


class Node:
    """A trainer with its attempts: what dies together when a machine dies."""

    def __init__(self, stack: RunningStack, name: str, number: int, database_url: str) -> None:
        self._stack, self.name, self._number, self._database_url = stack, name, number, database_url
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the trainer."""
        environment = {
            **os.environ,
            "MLTRAINER_DATA_DIRECTORY": str(self._stack.data.path),
            "MLTRAINER_KAFKA_BOOTSTRAP_SERVERS": self._stack.record().kafka_bootstrap_servers,
            "MLTRAINER_INSTANCE": str(self._number),
            "MLTRAINER_TRAINER_NODE": self.name,
            "MLTRAINER_TRAINER_CPUS": "1",
            "MLTRAINER_TRAINER_DATABASE_URL": self._database_url,
            # Another machine would not have the files of this one.
            "MLTRAINER_TRAINER_REUSE_ENABLED": "false",
            "MLTRAINER_TRAINER_RENEW_INTERVAL_S": "1",
        }
        log = (self._stack.data.path / f"{self.name}.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mltrainer_trainer"], env=environment, stdout=log, stderr=log
        )

    def kill(self) -> None:
        """Ends the trainer and the sessions of its attempts at once, as a power cut does."""
        if self._process is None:
            return
        attempts = [
            child.pid for child in psutil.Process(self._process.pid).children() if child.pid != os.getpid()
        ]
        for pid in (self._process.pid, *attempts):
            try:
                os.killpg(pid, signal.SIGKILL) if pid in attempts else os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        self._process = None


async def attempts_of(client: Client, training: str) -> list[Attempt]:
    """Returns the attempts of a training; none while nobody answers."""
    try:
        answer = await client.trainer.ListAttempts(ListAttemptsRequest(parent=training))
    except RpcFailure:
        return []
    return list(answer.attempts)


async def waited(condition: Any) -> Any:
    """Polls until something is true and returns it."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            if found := await condition():
                return found
            await asyncio.sleep(_POLL_S)


async def allocation_of(client: Client, name: str) -> Any:
    """Returns an allocation as the scheduler knows it."""
    answer = await client.scheduler.ListAllocations(scheduler.ListAllocationsRequest())
    return next((item for item in answer.allocations if item.name == name), None)


async def kill_once(
    client: Client, data: Path, nodes: dict[str, Node], training: str, number: int
) -> Kill | None:
    """Kills the node of the present attempt once it has done something; None where the training has ended."""
    least = number * TRIALS_BETWEEN_KILLS

    async def far_enough() -> Attempt | None:
        attempts = await attempts_of(client, training)
        last = attempts[-1] if attempts else None
        is_far = last is not None and last.search.trials_done >= least
        return last if last is not None and (is_far or last.state in _ENDED[:1]) else None

    attempt: Attempt = await waited(far_enough)
    if attempt.state in _ENDED:
        return None
    allocation = await allocation_of(client, attempt.allocation)
    victim = nodes[allocation.node.removeprefix("nodes/")]
    killed_time = datetime.now(UTC)
    victim.kill()
    seen = (await waited(lambda: attempts_of(client, training)))[-1]
    lease = (await allocation_of(client, attempt.allocation)).lease_expire_time.ToDatetime(tzinfo=UTC)
    count = len(await attempts_of(client, training))

    async def elsewhere() -> Attempt | None:
        attempts = await attempts_of(client, training)
        begun = attempts[-1] if len(attempts) > count else None
        return begun if begun is not None and begun.HasField("start_time") else None

    begun: Attempt = await waited(elsewhere)
    victim.start()
    given = await waited(partial(asyncio.to_thread, begun_with, data, begun.name))
    safe = seen.checkpoint_time if seen.HasField("checkpoint_time") else seen.start_time
    lost = killed_time - safe.ToDatetime(tzinfo=UTC)
    return Kill(
        elsewhere_s=(begun.start_time.ToDatetime(tzinfo=UTC) - lease).total_seconds(),
        lost_s=max(lost, timedelta(0)).total_seconds(),
        trials_done=seen.search.trials_done,
        resumed_steps=given[0],
    )


def begun_with(data: Path, attempt: str) -> tuple[int, ...]:
    """Reads from the output of an attempt how many finished steps it was given; empty before it says so."""
    training, _, number = attempt.removeprefix("trainings/").partition("/attempts/")
    for log in data.glob(f"trainer/attempts/{training}.{number}.*/output.log"):
        if found := _BEGINS.search(log.read_text(errors="replace")):
            return (int(found[1]),)
    return ()


async def measure(stack: RunningStack, database_url: str, kills: int) -> list[Kill]:
    """Follows trainings over killed nodes until enough nodes were killed."""
    nodes = {name: Node(stack, name, number, database_url) for number, name in enumerate(NODES)}
    found: list[Kill] = []
    async with AsyncExitStack() as cleanup:
        client = await cleanup.enter_async_context(stack.client())
        for node in nodes.values():
            cleanup.callback(node.kill)
            node.start()
        await load_bars(stack, client)
        await wait_for_rows(client, 1_000)
        training_number = 0
        while len(found) < kills:
            training_number += 1
            found += await follow(client, stack, nodes, training_number, kills - len(found))
    return found


async def follow(
    client: Client, stack: RunningStack, nodes: dict[str, Node], number: int, kills: int
) -> list[Kill]:
    """Asks for one training and kills its nodes, at most so often; it must end well, once."""
    asked = cheap_request(f"faults-{number}", number)
    del asked.search.models[:]
    asked.search.models.extend(["lightgbm"])
    asked.search.max_trials = 30
    asked.budget.cpu_seconds = 3_000
    asked.resources.checkpoint_interval_s = INTERVAL_S
    await publish_patiently(client, asked, asked.request_id)

    async def accepted() -> Any:
        try:
            lookup = scheduler.LookupTrainingRequest(request_id=asked.request_id)
            return await client.scheduler.LookupTraining(lookup)
        except RpcFailure:
            return None

    training = (await waited(accepted)).name
    found: list[Kill] = []
    for turn in range(1, min(kills, 5) + 1):
        kill = await kill_once(client, stack.data.path, nodes, training, turn)
        if kill is None:
            break
        found.append(kill)
        print(f"{training}: {kill}", flush=True)

    async def ended() -> Any:
        state = await accepted()
        return state if state is not None and state.state in _OVER else None

    assert (await waited(ended)).state == Training.STATE_COMPLETED, training
    attempts = await attempts_of(client, training)
    assert [it.state for it in attempts].count(Attempt.STATE_SUCCEEDED) == 1, attempts
    return found


def report(kills: list[Kill]) -> dict[str, float]:
    """Sums up."""
    elsewhere = sorted(kill.elsewhere_s for kill in kills)
    lost = sorted(kill.lost_s for kill in kills)
    return {
        "kills": len(kills),
        "elsewhere_p50_s": statistics.median(elsewhere),
        "elsewhere_max_s": elsewhere[-1],
        "lost_p50_s": statistics.median(lost),
        "lost_max_s": lost[-1],
        "trials_repeated": sum(max(0, kill.trials_done - kill.resumed_steps) for kill in kills),
    }


def main() -> int:
    """Prints the row; exits with 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with ExitStack() as cleanup:
        url = cleanup.enter_context(postgres_server(is_durable=True))
        data = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="node-faults-")))
        environment = {"MLTRAINER_SCHEDULER_LEASE_S": str(LEASE_S), "MLTRAINER_SCHEDULER_MAX_ATTEMPTS": "50"}
        stack = cleanup.enter_context(
            running_stack(data, services=("feature", "registry", "scheduler"), environment=environment)
        )
        kills = asyncio.run(measure(stack, url, arguments.kills))
    row = report(kills)
    if arguments.output:
        arguments.output.write_text(json.dumps({"row": row, "kills": [asdict(it) for it in kills]}, indent=1))
    for name, value in row.items():
        print(f"{name:20} {value:.2f}")
    return 0 if row["elsewhere_max_s"] <= 5.0 and row["lost_max_s"] <= INTERVAL_S else 1


if __name__ == "__main__":
    sys.exit(main())
