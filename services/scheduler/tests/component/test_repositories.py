"""The promises of the ports, kept by the fake, by SQLite and by PostgreSQL alike."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mltrainer_common.database import DatabaseConflictError, retry_conflicts
from mltrainer_scheduler.domain.catalogue import TrainerRelease, ViewVersion
from mltrainer_scheduler.domain.cluster import Capacity, NodeReport
from mltrainer_scheduler.domain.cluster_state import ClusterState
from mltrainer_scheduler.domain.facts import Duration, HeldShare
from mltrainer_scheduler.domain.reuse import ResultDigests, Worth
from mltrainer_scheduler.domain.specification import (
    Budget,
    FieldViolation,
    Resources,
    TrainingSpec,
    with_defaults,
)
from mltrainer_scheduler.domain.spot_history import Pool, SpotRun
from mltrainer_scheduler.domain.training import (
    Allocation,
    Computation,
    ComputationId,
    Share,
    Training,
    TrainingState,
)
from mltrainer_scheduling.fair_share import PastUse
from mltrainer_scheduling.quotas import Queue

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
Spec = Callable[..., TrainingSpec]


def _training(spec: TrainingSpec, number: int = 1, **changes: Any) -> Training:
    return Training(
        name=f"trainings/{number:04d}",
        request_id=f"r{number}",
        spec=with_defaults(spec),
        state=changes.pop("state", TrainingState.QUEUED),
        create_time=NOW,
        ready_time=changes.pop("ready_time", NOW),
        **changes,
    )


def _allocation(
    number: int, training: str = "trainings/0001", node: str = "nodes/a", **changes: Any
) -> Allocation:
    return Allocation(
        name=f"allocations/{number:04d}",
        training=training,
        attempt=1,
        share=Share(node, changes.pop("workers", 1), spot=True),
        fencing_token=1,
        lease_expire_time=changes.pop("lease_expire_time", NOW + timedelta(seconds=30)),
        start_time=NOW,
        **changes,
    )


async def _stored(unit_of_work: Any, *trainings: Training) -> None:
    async with unit_of_work() as uow:
        for training in trainings:
            await uow.trainings.add_all([training])
        await uow.commit()


async def test_a_training_comes_back_as_it_was(unit_of_work: Any, spec: Spec) -> None:
    training = _training(
        spec(labels={"team": "vol"}, budget=Budget(1.5, 2.5, NOW), resources=Resources(0.5, 1, 0.25, "A100")),
        computation_key="k",
        duplicate_of="trainings/x",
        reason="R",
        message="because",
        violations=(FieldViolation("a[0]", "is wrong"),),
        end_time=NOW,
        revision=7,
        fencing_token=3,
        verdict="EDGE",
        traceparent="00-1-2-01",
    )

    await _stored(unit_of_work, training)

    async with unit_of_work.view() as view:
        assert await view.trainings.get(training.name) == training
        assert await view.trainings.of_request("r1") == training
        assert await view.trainings.get("trainings/none") is None


async def test_a_refused_request_of_any_content_is_kept(unit_of_work: Any, spec: Spec) -> None:
    odd = spec(
        study="a\x00b", queue="\x00", priority=1 << 30, resources=Resources(float("nan"), -1, float("inf"))
    )
    refused = replace(_training(spec(), state=TrainingState.REJECTED), spec=odd, request_id="")
    another = replace(refused, name="trainings/0002")

    await _stored(unit_of_work, refused, another)

    async with unit_of_work.view() as view:
        kept = await view.trainings.get(refused.name)
        assert (kept.spec.study, kept.spec.priority, kept.request_id) == ("a\x00b", 1 << 30, "")


async def test_what_is_not_committed_is_undone(unit_of_work: Any, spec: Spec) -> None:
    async with unit_of_work() as uow:
        await uow.trainings.add_all([_training(spec())])

    async with unit_of_work.view() as view:
        assert await view.trainings.get("trainings/0001") is None


async def test_a_request_id_is_stored_once(unit_of_work: Any, spec: Spec) -> None:
    await _stored(unit_of_work, _training(spec()))

    with pytest.raises(DatabaseConflictError):
        await _stored(unit_of_work, replace(_training(spec(), 2), request_id="r1"))

    async with unit_of_work.view() as view:
        assert await view.trainings.known_requests({"r1", "r2"}) == {"r1"}


async def test_a_stale_revision_changes_nothing(unit_of_work: Any, spec: Spec) -> None:
    training = _training(spec(), revision=2)
    wanted = ComputationId("studies/vol5", "", "k")
    await _stored(unit_of_work, training)
    async with unit_of_work() as uow:
        await uow.computations.add(Computation(wanted, "trainings/0001"))
        await uow.commit()

    for operation in (
        lambda uow: uow.trainings.save(replace(training, revision=3), 1),
        lambda uow: uow.computations.add(Computation(wanted, "trainings/0002")),
        lambda uow: uow.computations.save(Computation(wanted, "trainings/0002", revision=5), 4),
        lambda uow: uow.computations.remove(Computation(wanted, "trainings/0001", revision=4)),
    ):
        with pytest.raises(DatabaseConflictError):
            async with unit_of_work() as uow:
                await operation(uow)


async def test_a_computation_remembers_its_result(unit_of_work: Any) -> None:
    wanted = ComputationId("studies/vol5", "", "k")
    begun = Computation(wanted, "trainings/0001")
    known = replace(
        begun, manifest_digest="f", revision=1, digests=ResultDigests("m", "s"), worth=Worth(40.0, 0.5)
    )
    async with unit_of_work() as uow:
        await uow.computations.add(begun)
        await uow.commit()

    async with unit_of_work() as uow:
        await uow.computations.save(known, 0)
        await uow.commit()

    async with unit_of_work() as uow:
        assert await uow.computations.get(wanted) == known


async def test_planning_reads_what_is_not_over_and_then_what_has_changed(
    unit_of_work: Any, spec: Spec
) -> None:
    placed = _training(
        spec(
            queue="research",
            priority=3,
            resources=Resources(2.0, 5, 0.5, "A100", 3, checkpoint_interval_s=9.0),
        ),
        2,
        state=TrainingState.PLACED,
        computation_key="k",
        attained_s=1.5,
        preemption_count=2,
        begin_time=NOW,
        knowledge=4,
        revision=1,
    )
    await _stored(unit_of_work, _training(spec()), placed, _training(spec(), 3, state=TrainingState.FAILED))
    async with unit_of_work() as uow:
        await uow.cluster.allocate(
            [_allocation(1, placed.name, workers=2), _allocation(2, placed.name, "nodes/b")]
        )
        await uow.commit()
    state = ClusterState()
    async with unit_of_work.view() as view:
        for delta in await view.planning.changes(-1, 0):
            state.apply(delta)
    async with unit_of_work() as uow:
        await uow.trainings.save(replace(placed, state=TrainingState.COMPLETED, revision=2), 1)
        await uow.planning.add_duration(Duration("studies/vol5", 1.5, 60.0, 7.0))
        await uow.planning.set_queues([Queue("research", guaranteed=(1, 2, 3))])
        await uow.planning.set_past({"research": PastUse((1.0, 2.0, 3.0), 4.0)})
        await uow.commit()
    async with unit_of_work.view() as view:
        (second,) = await view.planning.changes(state.revision, state.durations.count)
        assert await view.planning.revision() == second.revision
        state_after = ClusterState()
        for delta in await view.planning.changes(-1, 0):
            state_after.apply(delta)
        third = await view.planning.changes(second.revision, 1)

    fact = state.facts[placed.name]
    assert sorted(state.facts) == ["trainings/0001", "trainings/0002"]
    assert fact.shares == (HeldShare("nodes/a", 2), HeldShare("nodes/b", 1))
    assert (fact.queue, fact.priority, fact.demand.worker) == ("research", 3, Capacity(2_000, 5, 500))
    assert (fact.attained_s, fact.preemption_count, fact.checkpoint_interval_s) == (1.5, 2, 9.0)
    assert (fact.begin_s, fact.knowledge, fact.is_queued) == (NOW.timestamp(), 4, False)
    assert [item.name for item in second.trainings] == [placed.name]
    assert second.queues == (Queue("research", guaranteed=(1, 2, 3)),)
    assert second.past == {"research": PastUse((1.0, 2.0, 3.0), 4.0)}
    assert (second.durations, second.duration_count) == ([Duration("studies/vol5", 1.5, 60.0, 7.0)], 1)
    assert state_after.history.submit_s.tolist() == [7.0]
    assert all((delta.trainings, delta.nodes, delta.durations) == ([], [], []) for delta in third)


async def test_planning_hears_of_checkpoints_of_living_allocations_and_reads_them_again(
    unit_of_work: Any, spec: Spec
) -> None:
    training = _training(spec(), state=TrainingState.PLACED, begin_time=NOW, computation_key="k")
    saved_time, heard_time = NOW + timedelta(seconds=5), NOW + timedelta(seconds=8)
    await _stored(unit_of_work, training)
    async with unit_of_work() as uow:
        await uow.cluster.allocate([_allocation(1), _allocation(2)])
        await uow.commit()
    async with unit_of_work() as uow:
        heard = _allocation(1, checkpoint_time=saved_time, checkpoint_heard_time=heard_time)
        await uow.cluster.update([heard])
        await uow.commit()

    async with unit_of_work.view() as view:
        (delta,) = await view.planning.changes(-1, 0)
        assert await view.planning.checkpoints_s(heard_time) == {training.name: saved_time.timestamp()}
        assert await view.planning.checkpoints_s(heard_time + timedelta(seconds=1)) == {}
        assert [fact.checkpoint_s for fact in delta.trainings] == [saved_time.timestamp()]
        assert (await view.cluster.held_by(training.name))[0] == heard


async def test_runs_of_spot_pools_are_lengthened_and_forgotten_by_age(unit_of_work: Any) -> None:
    pool, other = Pool("z1", "A100"), Pool("z1", "")
    minute = timedelta(minutes=1)
    first = SpotRun(pool, NOW, NOW, available=True)
    async with unit_of_work() as uow:
        await uow.planning.keep_spot_runs([first, SpotRun(other, NOW, NOW, available=False)], NOW)
        await uow.commit()
    longer = replace(first, end_time=NOW + minute)
    last = SpotRun(pool, NOW + 2 * minute, NOW + 2 * minute, available=False)
    async with unit_of_work() as uow:
        await uow.planning.keep_spot_runs([longer], NOW)
        await uow.planning.keep_spot_runs([last], NOW + minute)
        await uow.commit()

    async with unit_of_work.view() as view:
        assert await view.planning.spot_runs({pool, other}) == [longer, last]
        assert await view.planning.spot_runs({other}) == []
        assert await view.planning.last_spot_runs() == [last]


async def test_what_is_read_under_the_lock_is_read_again_with_its_own_changes(
    unit_of_work: Any, spec: Spec
) -> None:
    async with unit_of_work() as uow:
        number = await uow.planning.lock()
        (before,) = await uow.planning.changes(-1, 0)
        await uow.trainings.add_all([_training(spec())])
        await uow.commit()
    async with unit_of_work.view() as view:
        (after,) = await view.planning.changes(before.revision, 0)

    assert (before.revision, after.revision) == (number - 1, number)
    assert [item.name for item in after.trainings] == ["trainings/0001"]


async def test_one_scheduler_leads_until_it_falls_silent(unit_of_work: Any) -> None:
    async def lead(holder: str, after_s: float) -> bool:
        async with unit_of_work() as uow:
            leads: bool = await uow.planning.lead(holder, NOW + timedelta(seconds=after_s), 5.0)
            await uow.commit()
        return leads

    answers = [await lead(*turn) for turn in (("a", 0), ("b", 1), ("a", 4), ("b", 8), ("b", 10), ("a", 11))]

    async with unit_of_work() as uow:
        assert await uow.planning.lock_for_leader("a", NOW) is None
    async with unit_of_work() as uow:
        await uow.cluster.report(NodeReport("nodes/a", Capacity(1, 2, 3), "", True, False, "", 1, NOW))  # noqa: FBT003
        await uow.commit()
    async with unit_of_work() as uow:
        heard = await uow.planning.lock_for_leader("b", NOW)
    async with unit_of_work() as uow:
        silent = await uow.planning.lock_for_leader("b", NOW + timedelta(seconds=1))
    assert heard is not None
    assert silent is not None
    assert (heard.silent, silent.silent) == (frozenset(), {"nodes/a"})
    assert answers == [True, False, True, False, True, False]


async def test_those_who_joined_come_oldest_first(unit_of_work: Any, spec: Spec) -> None:
    joined = {"state": TrainingState.JOINED, "computation_key": "k"}
    await _stored(
        unit_of_work,
        _training(spec(), 2, **joined),
        _training(spec(), 1, **joined),
        _training(spec(propose_alias="champion"), 3, **joined),
        _training(spec(), 4, state=TrainingState.QUEUED, computation_key="k"),
    )

    async with unit_of_work() as uow:
        found = await uow.trainings.joined_to(ComputationId("studies/vol5", "", "k"))

    assert [item.name for item in found] == ["trainings/0001", "trainings/0002"]


async def test_pages_go_from_newest_to_oldest(unit_of_work: Any, spec: Spec) -> None:
    await _stored(
        unit_of_work,
        *(_training(spec(study=f"studies/s{n % 2}"), n) for n in range(1, 5)),
        _training(spec(), 5, state=TrainingState.FAILED),
    )

    async with unit_of_work.view() as view:
        everything = await view.trainings.page(10, "", "", ())
        rest = await view.trainings.page(2, "trainings/0003", "", ())
        failed = await view.trainings.page(10, "", "", {TrainingState.FAILED})
        study = await view.trainings.page(10, "", "studies/s1", {TrainingState.QUEUED})

    assert [item.name[-1] for item in everything] == ["5", "4", "3", "2", "1"]
    assert [item.name[-1] for item in rest] == ["2", "1"]
    assert [item.name[-1] for item in failed] == ["5"]
    assert [item.name[-1] for item in study] == ["3", "1"]


async def test_allocations_are_held_counted_prolonged_and_ended(unit_of_work: Any, spec: Spec) -> None:
    await _stored(unit_of_work, _training(spec(resources=Resources(cpus=0.5, gang_workers=3)), 1))
    first, second = _allocation(1, workers=2), _allocation(2, node="nodes/b")
    until = NOW + timedelta(seconds=60)
    async with unit_of_work() as uow:
        await uow.cluster.allocate([first, second])
        await uow.commit()
    async with unit_of_work() as uow:
        used = await uow.cluster.used()
        due = await uow.cluster.due(NOW + timedelta(seconds=30), 10)
        await uow.cluster.update([replace(first, end_time=NOW, end_reason="FAILED", stage="trials")])
        await uow.cluster.prolong({"trainings/0001"}, until)
        extended = await uow.cluster.prolong_all(until)
        await uow.commit()

    async with unit_of_work.view() as view:
        (held,) = await view.cluster.held()
        assert await view.cluster.held_by("trainings/0001") == [held.allocation]
        assert await view.cluster.living({first.name, second.name}) == [held.allocation]
    assert used == {"nodes/a": (Capacity(1_000, 2 << 30, 0), 1), "nodes/b": (Capacity(500, 1 << 30, 0), 1)}
    assert due == [first, second]
    assert extended == 0
    assert held.allocation == replace(second, lease_expire_time=until)
    assert held.training.name == "trainings/0001"


async def test_announcements_count_only_when_newer(
    unit_of_work: Any, release: TrainerRelease, view: ViewVersion
) -> None:
    node = NodeReport("nodes/a", Capacity(1, 2, 3), "A100", True, False, "z", 5, NOW)  # noqa: FBT003
    async with unit_of_work() as uow:
        news = [
            await uow.cluster.report(node),
            await uow.cluster.report(replace(node, revision=4, zone="old")),
            await uow.cluster.report(replace(node, revision=6)),
            await uow.knowledge.store_release(release, NOW),
            await uow.knowledge.store_release(release, NOW),
            await uow.knowledge.store_view(view),
            await uow.knowledge.store_view(replace(view, version=2)),
            await uow.knowledge.store_view(replace(view, data_revision=9)),
        ]
        await uow.commit()

    async with unit_of_work.view() as look:
        knowledge = await look.knowledge.load()
        nodes = await look.cluster.nodes()
    assert news == [True, False, False, True, False, True, True, False]
    assert nodes == [replace(node, revision=6)]
    assert knowledge.revision == 3
    assert knowledge.release == release
    assert knowledge.views == (view, replace(view, version=2))


async def test_an_event_is_claimed_once_by_each_consumer(unit_of_work: Any) -> None:
    async with unit_of_work() as uow:
        claims = [await uow.inbox.claim("e1", name) for name in ("a", "a", "b")]

    assert claims == [True, False, True]


async def test_two_schedulers_at_once_never_allocate_twice(
    unit_of_work: Any, make_scheduler: Callable[..., Any], seeded: Callable[..., TrainingSpec]
) -> None:
    first, second = make_scheduler(unit_of_work), make_scheduler(unit_of_work)
    second._counter = 5_000_000
    await first.ready(cpus=3.0)
    for index in range(12):
        await first.request(f"r{index}", seeded(index))

    async def replica(scheduler: Any) -> None:
        for _ in range(3):
            await _patiently(scheduler.place)

    await asyncio.gather(replica(first), replica(second))

    async with unit_of_work.view() as view:
        held = await view.cluster.held()
        placed = await view.trainings.page(100, "", "", {TrainingState.PLACED})
    assert len(held) == 3
    assert {item.training.name for item in held} == {item.name for item in placed}


async def test_equal_requests_at_once_are_executed_once(
    unit_of_work: Any, make_scheduler: Callable[..., Any]
) -> None:
    replicas = [make_scheduler(unit_of_work) for _ in range(4)]
    for number, replica in enumerate(replicas):
        replica._counter = number * 1_000_000
    await replicas[0].ready()

    async def ask(number: int) -> None:
        await _patiently(lambda: replicas[number % 4].request(f"r{number}"))

    await asyncio.gather(*(ask(number) for number in range(20)))

    async with unit_of_work.view() as view:
        queued = await view.trainings.page(100, "", "", {TrainingState.QUEUED})
        joined = await view.trainings.page(100, "", "", {TrainingState.JOINED})
    assert (len(queued), len(joined)) == (1, 19)
    assert {item.duplicate_of for item in joined} == {queued[0].name}


async def _patiently(operation: Callable[[], Any]) -> Any:
    return await retry_conflicts(operation, attempts=100, first_backoff_s=0.0001)
