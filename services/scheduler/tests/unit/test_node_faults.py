"""Nodes that die, are cut off or come back, against the real handlers, with a clock in hand.

`MLTRAINER_FAULTS=1000 pytest services/scheduler/tests/unit/test_node_faults.py` injects more faults.
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mltrainer_scheduler.application.renew_allocations import Claim
from mltrainer_scheduler.domain.events import AllocationStarted, TrainingCompleted
from mltrainer_scheduler.domain.specification import Resources
from mltrainer_scheduler.domain.training import SchedulingPolicy, TrainingState

FAULTS = int(os.environ.get("MLTRAINER_FAULTS", "60"))
FAULTS_PER_RUN = 10
NODES = tuple(f"nodes/n{number}" for number in range(4))
TRAININGS = 12
# Two of four nodes hold everything that is asked for.
CPUS = 12.0
CHECKPOINT_S = 20.0
WORK_S = 100.0
LEASE_S = 30.0
RENEWAL_S = 3.0
MOST_TICKS = 4_000


@dataclass
class Attempt:
    """What a node executes: seconds done, of which those up to the last checkpoint outlive it."""

    name: str
    training: Any
    token: int
    done_s: float
    lease_s: float = LEASE_S


class Simulation:
    """One cluster under seeded faults; every tick is a second."""

    def __init__(self, scheduler: Any, seeded: Callable[..., Any], seed: int) -> None:
        self.scheduler = scheduler
        self.rng = random.Random(seed)
        self.faults = 0
        self.saved_s: Counter[str] = Counter()
        self.lost_s: list[float] = []
        self.rerun_s: list[float] = []
        self._seeded = seeded
        self._attempts: dict[str, Attempt] = {}
        self._node_of: dict[str, str] = {}
        self._down: dict[str, tuple[str, int]] = {}
        self._lapsed_s: dict[str, float] = {}
        self._late: list[Any] = []

    async def run(self) -> None:
        await self.scheduler.ready(cpus=0.0, node="nodes/none")
        for number in range(TRAININGS):
            resources = Resources(cpus=1.0, checkpoint_interval_s=CHECKPOINT_S, gang_workers=1 + number % 3)
            await self.scheduler.request(f"r{number}", self._seeded(number, resources=resources))
        for tick in range(MOST_TICKS):
            self._fault(tick)
            await self._nodes(tick)
            await self._scheduler()
            if self._is_over():
                return
            self.scheduler.clock.advance(1.0)
        raise AssertionError("some training never ended")

    def _is_over(self) -> bool:
        states = {item.state for item in self.scheduler.store.trainings.values()}
        return states == {TrainingState.COMPLETED} and self.faults >= FAULTS_PER_RUN and not self._late

    def _fault(self, tick: int) -> None:
        self._down = {node: how for node, how in self._down.items() if how[1] > tick}
        if self.faults < FAULTS_PER_RUN and self.rng.random() < 0.05:
            self.faults += 1
            node = self.rng.choice(NODES)
            how = self.rng.choice(["killed", "cut off", "restarted", "scheduler"])
            if how == "scheduler":
                self.scheduler.crash()
                return
            seconds = 2 if how == "restarted" else self.rng.randint(20, 120)
            self._down[node] = (how, tick + seconds)
            if how != "cut off":
                for name in [one for one, there in self._node_of.items() if there == node]:
                    self._lose(name)

    def _lose(self, name: str) -> None:
        attempt = self._attempts.pop(name, None)
        self._node_of.pop(name, None)
        if attempt is not None:
            self.lost_s.append(attempt.done_s - self.saved_s[attempt.training.name])

    async def _nodes(self, tick: int) -> None:
        for node in NODES:
            is_reached = node not in self._down
            if is_reached and tick % RENEWAL_S == 0:
                await self.scheduler.heartbeat(CPUS, node)
                await self._renew(node)
            if self._down.get(node, ("", 0))[0] != "killed":
                await self._work(node, is_reached=is_reached)

    async def _renew(self, node: str) -> None:
        mine = [self._attempts[name] for name, there in self._node_of.items() if there == node]
        renewal = await self.scheduler.renew(node, [Claim(one.name, one.token) for one in mine])
        for one in mine:
            if one.name in renewal.revoked:
                self._lose(one.name)
            else:
                one.lease_s = renewal.lease_s

    async def _work(self, node: str, *, is_reached: bool) -> None:
        for name in [one for one, there in self._node_of.items() if there == node]:
            attempt = self._attempts[name]
            attempt.done_s += 1.0
            attempt.lease_s -= 1.0
            # A lapsed lease ends the attempt by its own clock: it saves nothing any more.
            if attempt.lease_s <= 0.0:
                self._lose(name)
                continue
            saved_s = attempt.done_s - attempt.done_s % CHECKPOINT_S
            training = self.scheduler.store.trainings[attempt.training.name]
            if attempt.token == training.fencing_token:
                self.saved_s[training.name] = max(self.saved_s[training.name], saved_s)
            if attempt.done_s >= WORK_S:
                del self._attempts[name], self._node_of[name]
                self._late.append(attempt)
        if is_reached:
            for attempt in self._late:
                # At least once: every report comes twice.
                for _ in range(2):
                    await self.scheduler.succeed(attempt.training, attempt.token, f"end of {attempt.name}")
            self._late.clear()

    async def _scheduler(self) -> None:
        now_s = self.scheduler.clock.now().timestamp()
        lapsed = {item.training: item.lease_expire_time for item in self.scheduler.store.allocations.values()}
        for training in await self.scheduler.lapse():
            self._lapsed_s[training.name] = lapsed[training.name].timestamp()
        if len(self._down) > 1:
            # There may be no room; what waits for room does not wait for the scheduler.
            self._lapsed_s.clear()
        done = await self.scheduler.place()
        for training in done.placed:
            if training.name in self._lapsed_s:
                self.rerun_s.append(now_s - self._lapsed_s.pop(training.name))
            allocation = next(
                item
                for _, item in sorted(self.scheduler.store.allocations.items())
                if item.training == training.name and item.end_time is None
            )
            node = allocation.share.node
            if node not in self._down or self._down[node][0] == "cut off":
                begun = Attempt(
                    allocation.name, training, training.fencing_token, self.saved_s[training.name]
                )
                self._attempts[allocation.name], self._node_of[allocation.name] = begun, node


async def test_faults_of_nodes_duplicate_nothing_and_lose_less_than_a_checkpoint_interval(
    make_scheduler: Callable[..., Any], seeded: Callable[..., Any]
) -> None:
    faults = 0
    reruns: list[float] = []
    for seed in range(-(-FAULTS // FAULTS_PER_RUN)):
        simulation = Simulation(
            make_scheduler(policy=SchedulingPolicy(lease_s=LEASE_S, max_attempts=99)), seeded, seed
        )
        await simulation.run()
        faults += simulation.faults
        events = simulation.scheduler.events
        completed = Counter(event.training.name for event in events if isinstance(event, TrainingCompleted))
        started = [event.allocation for event in events if isinstance(event, AllocationStarted)]
        tokens = {(item.training, item.fencing_token) for item in started}

        assert set(completed.values()) == {1}
        assert len(completed) == TRAININGS
        assert len(tokens) == len({(item.training, item.attempt) for item in started})
        assert all(lost_s <= CHECKPOINT_S for lost_s in simulation.lost_s)
        reruns += simulation.rerun_s
        assert all(seconds <= 5.0 for seconds in simulation.rerun_s)
    assert faults >= FAULTS
    assert reruns
