"""What must hold whatever happens in whichever order."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mltrainer_scheduler.application.renew_allocations import Claim
from mltrainer_scheduler.domain.catalogue import ViewVersion
from mltrainer_scheduler.domain.specification import TrainingSpec
from mltrainer_scheduler.domain.training import SchedulingPolicy, TrainingState, computation_id

TERMINAL = {"TrainingRejected", "TrainingDeduplicated", "TrainingCompleted", "TrainingFailed"}
FINAL_EVENT = {
    TrainingState.REJECTED: "TrainingRejected",
    TrainingState.DEDUPLICATED: "TrainingDeduplicated",
    TrainingState.COMPLETED: "TrainingCompleted",
    TrainingState.FAILED: "TrainingFailed",
    TrainingState.CANCELLED: "TrainingFailed",
}

number = st.integers(0, 7)
steps = st.one_of(
    st.tuples(st.just("request"), number, st.integers(0, 2)),
    st.tuples(st.just("request"), number, st.integers(0, 2)),
    st.tuples(st.just("place"), st.just(0), st.just(0)),
    st.tuples(st.just("place"), st.just(0), st.just(0)),
    st.tuples(st.just("succeed"), number, st.integers(0, 2)),
    st.tuples(st.just("fail"), number, st.integers(0, 1)),
    st.tuples(st.just("stale"), number, st.integers(1, 3)),
    st.tuples(st.just("cancel"), number, st.just(0)),
    st.tuples(st.just("renew"), number, st.just(0)),
    st.tuples(st.just("advance"), st.integers(1, 40), st.just(0)),
    st.tuples(st.just("revise"), st.just(0), st.just(0)),
)


class World:
    """Applies steps to a scheduler and checks it after each."""

    def __init__(self, scheduler: Any, seeded: Callable[..., TrainingSpec], view: ViewVersion) -> None:
        self.scheduler = scheduler
        self.seeded = seeded
        self.view = view

    async def apply(self, name: str, which: int, detail: int) -> None:
        await getattr(self, name)(which, detail)
        self.check()

    async def request(self, which: int, seed: int) -> None:
        # An event id that repeats is a redelivery; a request id that repeats under a new one is a retry.
        await self.scheduler.request(f"r{which}", self.seeded(seed), event_id=f"e{which}-{seed}")

    async def place(self, _which: int, _detail: int) -> None:
        await self.scheduler.heartbeat(cpus=2.0)
        await self.scheduler.place()

    async def succeed(self, which: int, detail: int) -> None:
        training = self._of(which)
        if training is not None:
            # The same event id again and again: only its first delivery may count.
            event_id = f"s{which}-{training.fencing_token}-{detail}"
            await self.scheduler.succeed(training, event_id=event_id)

    async def fail(self, which: int, retryable: int) -> None:
        training = self._of(which)
        if training is not None:
            await self.scheduler.fail(training, retryable=bool(retryable))

    async def stale(self, which: int, age: int) -> None:
        training = self._of(which)
        if training is None:
            return
        before = self.scheduler.store
        token = training.fencing_token - age
        conclusion = await self.scheduler.succeed(training, token=token if token > 0 else -1)
        assert conclusion == "STALE"
        assert self.scheduler.store.trainings == before.trainings
        assert self.scheduler.store.events == before.events

    async def cancel(self, which: int, _detail: int) -> None:
        training = self._of(which)
        if training is not None:
            await self.scheduler.cancel(training.name)

    async def renew(self, which: int, _detail: int) -> None:
        living = [item for item in self.scheduler.store.allocations.values() if item.end_time is None]
        claims = [Claim(item.name, item.fencing_token) for item in living[: which + 1]]
        renewal = await self.scheduler.renew("nodes/a", claims)
        assert set(renewal.renewed) == {claim.allocation for claim in claims}

    async def advance(self, seconds: int, _detail: int) -> None:
        self.scheduler.clock.advance(seconds)
        await self.scheduler.lapse()

    async def revise(self, _which: int, _detail: int) -> None:
        self.view = replace(
            self.view, data_revision=self.view.data_revision + 1, revision=self.view.revision + 1
        )
        await self.scheduler.replicate.views([self.view])

    async def finish(self) -> None:
        """Lets every attempt succeed until nothing is left to do."""
        for _ in range(100):
            self.scheduler.clock.advance(20)
            await self.place(0, 0)
            for training in list(self.scheduler.store.trainings.values()):
                if training.state is TrainingState.PLACED:
                    await self.scheduler.succeed(training)
            self.check()
            if all(training.state.is_final for training in self.scheduler.store.trainings.values()):
                return
        raise AssertionError("something never ends")

    def check(self) -> None:
        self._check_outcomes()
        self._check_allocations()
        self._check_computations()

    def _check_outcomes(self) -> None:
        store = self.scheduler.store
        requests = [training.request_id for training in store.trainings.values()]
        assert len(requests) == len(set(requests))
        ends = Counter(event.training.name for event in store.events if type(event).__name__ in TERMINAL)
        for training in store.trainings.values():
            assert ends[training.name] == (1 if training.state.is_final else 0)
            if training.state.is_final:
                events = self.scheduler.event_names(training.name)
                assert [name for name in events if name in TERMINAL] == [FINAL_EVENT[training.state]]

    def _check_allocations(self) -> None:
        store = self.scheduler.store
        living = [item for item in store.allocations.values() if item.end_time is None]
        assert len(living) <= 2
        for item in living:
            training = store.trainings[item.training]
            assert training.state is TrainingState.PLACED
            assert training.fencing_token == item.fencing_token
        assert {item.training for item in living} == {
            name for name, training in store.trainings.items() if training.state is TrainingState.PLACED
        }
        tokens: dict[str, list[int]] = {}
        for event in store.events:
            if type(event).__name__ == "TrainingPlaced":
                tokens.setdefault(event.training.name, []).append(event.allocation.fencing_token)
        assert all(values == list(range(1, len(values) + 1)) for values in tokens.values())

    def _check_computations(self) -> None:
        store = self.scheduler.store
        for computation in store.computations.values():
            leader = store.trainings[computation.leader]
            if computation.is_finished:
                assert leader.state is TrainingState.COMPLETED
            else:
                assert leader.state in {TrainingState.QUEUED, TrainingState.PLACED}
                assert computation_id(leader) == computation.id
        for training in store.trainings.values():
            if training.state is TrainingState.JOINED:
                computation = store.computations[computation_id(training)]
                assert not computation.is_finished
                assert training.duplicate_of == computation.leader

    def _of(self, which: int) -> Any:
        trainings = self.scheduler.store.trainings.values()
        return next((item for item in trainings if item.request_id == f"r{which}"), None)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=40))
def test_every_request_ends_exactly_once_whatever_happens(
    make_scheduler: Callable[..., Any],
    seeded: Callable[..., TrainingSpec],
    view: ViewVersion,
    script: list[tuple[str, int, int]],
) -> None:
    async def run() -> None:
        scheduler = make_scheduler(policy=SchedulingPolicy(max_attempts=3))
        world = World(await scheduler.ready(), seeded, view)
        for step in script:
            await world.apply(*step)
        await world.finish()

    asyncio.run(run())


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=25))
def test_announcements_may_come_after_the_requests(
    make_scheduler: Callable[..., Any],
    seeded: Callable[..., TrainingSpec],
    view: ViewVersion,
    script: list[tuple[str, int, int]],
) -> None:
    async def run() -> None:
        scheduler = make_scheduler()
        world = World(scheduler, seeded, view)
        for step in script:
            await world.apply(*step)
        await scheduler.ready()
        world.check()
        await world.finish()

    asyncio.run(run())
