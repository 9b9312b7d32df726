"""Kills services, broker and attempts with -9 while trainings are asked for; then checks the history."""

import asyncio
import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mltrainer.scheduler.v1.events_pb2 import TrainingRequested
from mltrainer.scheduler.v1.resources_pb2 import Training
from mltrainer_cli.stack import SERVICES
from mltrainer_common.ids import new_id
from mltrainer_sdk import TERMINAL_STATES, Client, RpcFailure
from mltrainer_testkit.history import Finding, History, check
from mltrainer_testkit.history_reader import list_trainings, read_history
from mltrainer_testkit.killer import Killer
from mltrainer_testkit.stack import (
    RunningStack,
    cheap_request,
    load_bars,
    publish_patiently,
    running_stack,
    wait_for_rows,
)

ALIAS = "candidate"
LEASE_S = 12
TRAININGS = int(os.environ.get("MLTRAINER_CHAOS_TRAININGS", "12"))
_SETTLE_S = 60.0
_QUIET_S = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked for, and how roughly.

    Attributes:
        send_pause_s: Between two requests.
        kill_pause_s: Mean time between two kills.
        kill_longer_s: How long killing goes on after the last request, at most.
        finish_s: How long everything may take to end after the last kill.
    """

    trainings: int
    seed: int
    send_pause_s: float
    kill_pause_s: float
    kill_longer_s: float
    finish_s: float

    @classmethod
    def from_environment(cls) -> "Plan":
        seed = int(os.environ.get("MLTRAINER_CHAOS_SEED", str(secrets.randbelow(1_000_000))))
        return cls(
            TRAININGS,
            seed,
            send_pause_s=1.0,
            kill_pause_s=float(os.environ.get("MLTRAINER_CHAOS_PAUSE_S", "2.0" if TRAININGS < 50 else "4.0")),
            kill_longer_s=8.0 + 2.0 * max(0, TRAININGS - 12),
            finish_s=120.0 + 8.0 * TRAININGS,
        )


@dataclass(slots=True)
class Producer:
    """Sends requests through whatever happens; some twice, as a producer does that saw no answer."""

    client: Client
    random: random.Random
    sent: list[str] = field(default_factory=list)

    async def send(self, request: TrainingRequested) -> None:
        self.sent.append(request.request_id)
        for _ in range(2 if self.random.random() < 0.2 else 1):
            await publish_patiently(self.client, request, new_id())


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - seed, kills and outcomes are what the long form is read for


@pytest.mark.integration
@pytest.mark.chaos
@pytest.mark.timeout(420 + 18 * TRAININGS)
async def test_nothing_is_lost_or_done_twice_while_everything_is_killed(tmp_path: Path) -> None:
    plan = Plan.from_environment()
    _say(f"\nMLTRAINER_CHAOS_SEED={plan.seed} MLTRAINER_CHAOS_TRAININGS={plan.trainings}")
    start_s = time.monotonic()

    with running_stack(tmp_path, SERVICES, {"MLTRAINER_SCHEDULER_LEASE_S": str(LEASE_S)}) as stack:
        async with stack.client() as client:
            await wait_for_rows(client, await load_bars(stack, client))
            killer = Killer(stack, random.Random(plan.seed), plan.kill_pause_s)
            requests = await _ask_while_killing(plan, client, killer)
            outcomes = await _wait_for_outcomes(client, requests, plan.finish_s)
            history, findings = await _settled(stack, client, requests)
    elapsed_s = time.monotonic() - start_s
    _say(f"{killer.summary()}\n  outcomes: {outcomes}; {len(history.events)} events; {elapsed_s:.0f} s")

    assert findings == []
    assert stack.processes() == []
    assert outcomes["STATE_COMPLETED"] >= plan.trainings * 0.9
    assert {kill.target for kill in killer.kills} >= {"kafka", *(f"{slug}-0" for slug in SERVICES)}


async def _ask_while_killing(plan: Plan, client: Client, killer: Killer) -> list[str]:
    stop = asyncio.Event()
    producer = Producer(client, random.Random(plan.seed + 1))
    async with asyncio.TaskGroup() as group:
        killing = group.create_task(killer.run(stop))
        for request in _requests(plan):
            await producer.send(request)
            await asyncio.sleep(plan.send_pause_s)
        with suppress(TimeoutError):
            await _wait_for_outcomes(client, producer.sent, plan.kill_longer_s)
        while not killer.has_reached_all and not killing.done():  # noqa: ASYNC110 - chance decides
            await asyncio.sleep(0.1)
        stop.set()
    return producer.sent


def _requests(plan: Plan) -> list[TrainingRequested]:
    """Distinct computations; every sixth is asked for by two producers, and one of as many cannot be done."""
    asked: list[TrainingRequested] = []
    for seed in range(plan.trainings):
        study = f"chaos-{seed % 3}"
        asked.append(cheap_request(f"distinct-{seed}", seed, study, ALIAS))
        if seed % 6 == 5:
            asked.append(cheap_request(f"again-{seed}", seed, study, ALIAS))
            refused = cheap_request(f"refused-{seed}", seed, study, ALIAS)
            refused.target.horizon_bars = 0
            asked.append(refused)
    return asked


async def _wait_for_outcomes(client: Client, requests: Sequence[str], timeout_s: float) -> Counter[str]:
    trainings: list[Training] = []
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                with suppress(RpcFailure):
                    trainings = await list_trainings(client)
                    ended = {one.request_id for one in trainings if one.state in TERMINAL_STATES}
                    if ended >= set(requests):
                        return Counter(Training.State.Name(one.state) for one in trainings)
                await asyncio.sleep(0.5)
    except TimeoutError as error:
        left = [f"{one.request_id}: {one.message}" for one in trainings if one.state not in TERMINAL_STATES]
        raise TimeoutError(f"no outcome {timeout_s:.0f} s after the last kill: {left}") from error


async def _settled(
    stack: RunningStack, client: Client, requests: Sequence[str]
) -> tuple[History, list[Finding]]:
    """Reads until nothing is missing any more, and once again later: what is wrong then stays wrong."""
    servers = stack.record().kafka_bootstrap_servers
    deadline_s = time.monotonic() + _SETTLE_S
    while True:
        history = await read_history(servers, client, requests)
        findings = check(history)
        if not findings or time.monotonic() > deadline_s:
            break
        await asyncio.sleep(_QUIET_S)
    await asyncio.sleep(_QUIET_S)
    history = await read_history(servers, client, requests)
    return history, check(history)
