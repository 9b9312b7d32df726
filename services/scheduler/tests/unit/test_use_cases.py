from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mltrainer_scheduler.application.accept_trainings import Acceptance
from mltrainer_scheduler.application.record_progress import AttemptProgress
from mltrainer_scheduler.application.renew_allocations import Claim
from mltrainer_scheduler.domain.catalogue import TrainerRelease, ViewVersion
from mltrainer_scheduler.domain.errors import RequestNotFoundError, TrainingNotFoundError
from mltrainer_scheduler.domain.specification import Budget, Resources, Search, TrainingSpec
from mltrainer_scheduler.domain.training import SchedulingPolicy, TrainingState

Spec = Callable[..., TrainingSpec]


async def test_a_request_is_queued_placed_and_completed(scheduler: Any) -> None:
    await scheduler.ready()
    accepted = await scheduler.request("r1")
    await scheduler.place()
    placed = await scheduler.training("r1")
    await scheduler.succeed(placed)

    completed = await scheduler.training("r1")
    assert accepted.outcome is Acceptance.QUEUED
    assert (completed.state, completed.verdict, completed.attempt_count) == (
        TrainingState.COMPLETED,
        "EDGE",
        1,
    )
    assert scheduler.event_names() == [
        "TrainingQueued",
        "TrainingPlaced",
        "AllocationStarted",
        "TrainingCompleted",
        "AllocationEnded",
    ]
    assert [event.training.revision for event in scheduler.events] == [1, 2, 2, 3, 3]


async def test_a_placement_says_which_bar_is_read(scheduler: Any, spec: Spec) -> None:
    await scheduler.ready()
    await scheduler.request("r1", spec(as_of=datetime(2022, 12, 28, 20, 59, tzinfo=UTC)))

    await scheduler.place()

    placed = next(event for event in scheduler.events if type(event).__name__ == "TrainingPlaced")
    assert placed.closed_as_of == datetime(2022, 12, 27, 21, tzinfo=UTC)


async def test_the_same_request_id_or_event_changes_nothing(scheduler: Any, seeded: Spec) -> None:
    await scheduler.ready()
    await scheduler.request("r1", seeded(1), event_id="e1")
    await scheduler.request("r1", seeded(2), event_id="e2")
    again = await scheduler.request("r2", seeded(3), event_id="e1")

    assert again.outcome is Acceptance.KNOWN
    assert scheduler.event_names() == ["TrainingQueued"]


async def test_a_wrong_request_is_rejected_with_every_field(scheduler: Any) -> None:
    nothing = TrainingSpec("", None, (), (), None, None, None, None)

    accepted = await scheduler.request("r1", nothing)

    assert accepted.outcome is Acceptance.REJECTED
    assert scheduler.event_names() == ["TrainingRejected"]
    assert len((await scheduler.training("r1")).violations) == 8


@pytest.mark.parametrize(
    ("models", "text"),
    [
        pytest.param(
            ("ridge", "oracle"), "no model 'oracle' is known; the catalogue has ridge", id="unknown"
        ),
        pytest.param(
            ("ridge", "lightgbm"), "'lightgbm' cannot be used here: libgomp is missing", id="unavailable"
        ),
    ],
)
async def test_a_model_that_cannot_be_fitted_is_rejected(
    scheduler: Any, spec: Spec, models: tuple[str, ...], text: str
) -> None:
    await scheduler.ready()

    await scheduler.request("r1", spec(search=Search(models)))

    (violation,) = (await scheduler.training("r1")).violations
    assert (violation.field, violation.description) == ("search.models[1]", text)


async def test_requests_wait_for_announcements_and_are_judged_then(scheduler: Any, spec: Spec) -> None:
    await scheduler.request("good")
    await scheduler.request("bad", spec(search=Search(("oracle",))))
    waiting = await scheduler.training("good")
    await scheduler.ready()

    await scheduler.place()

    assert waiting.reason == "NO_TRAINER_RELEASE"
    assert (await scheduler.training("good")).state is TrainingState.PLACED
    assert (await scheduler.training("bad")).state is TrainingState.REJECTED


async def test_a_view_may_be_announced_a_little_later(scheduler: Any, spec: Spec, view: ViewVersion) -> None:
    await scheduler.ready()
    await scheduler.request("late", spec(feature_views=("news",)))
    await scheduler.request("never", spec(feature_views=("bars_daily", "nothing")))
    queued = await scheduler.training("late")
    await scheduler.replicate.views([replace(view, feature_view="news")])
    await scheduler.place()
    scheduler.clock.advance(15.0)
    await scheduler.heartbeat()
    await scheduler.place()

    assert queued.reason == "UNKNOWN_FEATURE_VIEW_YET"
    assert (await scheduler.training("late")).state is TrainingState.PLACED
    rejected = await scheduler.training("never")
    assert [item.field for item in rejected.violations] == ["feature_views[1]"]


async def test_an_equal_request_joins_and_shares_the_result(scheduler: Any) -> None:
    await scheduler.ready()
    await scheduler.request("r1")
    joined = await scheduler.request("r2")
    await scheduler.place()
    leader = await scheduler.training("r1")
    await scheduler.succeed(leader)
    late = await scheduler.request("r3")

    assert joined.outcome is Acceptance.JOINED
    assert late.outcome is Acceptance.DEDUPLICATED
    for request_id in ("r2", "r3"):
        shared = await scheduler.training(request_id)
        assert (shared.state, shared.duplicate_of) == (TrainingState.DEDUPLICATED, leader.name)
        assert shared.manifest_digest == f"manifest of {leader.name}"
    assert scheduler.event_names().count("TrainingPlaced") == 1


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"study": "studies/other"}, id="study"),
        pytest.param({"propose_alias": "champion"}, id="alias"),
        pytest.param({"symbols": ("AAPL",)}, id="symbols"),
        pytest.param({"as_of": datetime(2022, 12, 27, 21, tzinfo=UTC)}, id="bar"),
        pytest.param({"search": Search(("ridge",), seed=2)}, id="seed"),
        pytest.param({"budget": Budget(cpu_seconds=61.0)}, id="budget"),
    ],
)
async def test_requests_that_differ_in_effect_do_not_join(
    scheduler: Any, spec: Spec, changes: dict[str, Any]
) -> None:
    await scheduler.ready()
    await scheduler.request("r1")

    assert (await scheduler.request("r2", spec(**changes))).outcome is Acceptance.QUEUED


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"symbols": ("MSFT", "AAPL")}, id="order"),
        pytest.param({"as_of": datetime(2022, 12, 29, 20, 59, tzinfo=UTC)}, id="same closed bar"),
        pytest.param({"feature_views": ("bars_daily@1",)}, id="latest version named"),
        pytest.param({"search": Search(("linear",), seed=1)}, id="family of one"),
        pytest.param({"owner": "other", "priority": 7, "labels": {"a": "b"}}, id="who asks"),
    ],
)
async def test_requests_that_compute_the_same_join(
    scheduler: Any, spec: Spec, changes: dict[str, Any]
) -> None:
    await scheduler.ready()
    await scheduler.request("r1")

    assert (await scheduler.request("r2", spec(**changes))).outcome is Acceptance.JOINED


async def test_the_oldest_that_joined_replaces_a_leader_that_fails(scheduler: Any) -> None:
    await scheduler.ready()
    for request_id in ("r1", "r2", "r3"):
        await scheduler.request(request_id)
    await scheduler.place()
    await scheduler.fail(await scheduler.training("r1"), retryable=False, reason="NOT_ENOUGH_ROWS")
    await scheduler.place()
    heir = await scheduler.training("r2")

    assert (await scheduler.training("r1")).reason == "NOT_ENOUGH_ROWS"
    assert heir.state is TrainingState.PLACED
    assert (await scheduler.training("r3")).duplicate_of == heir.name


async def test_corrected_data_changes_the_key_of_what_waits(scheduler: Any, view: ViewVersion) -> None:
    await scheduler.ready(cpus=1.0)
    await scheduler.request("r1")
    await scheduler.request("r2")
    before = (await scheduler.training("r1")).computation_key
    await scheduler.replicate.views([replace(view, data_revision=1, revision=2)])
    await scheduler.place()
    placed = await scheduler.training("r1")
    await scheduler.succeed(placed)
    await scheduler.place()

    assert placed.computation_key != before
    assert (await scheduler.training("r2")).duplicate_of == placed.name
    assert scheduler.event_names().count("TrainingPlaced") == 1


async def test_a_failed_attempt_is_repeated_later_and_not_forever(make_scheduler: Callable[..., Any]) -> None:
    scheduler = await make_scheduler(policy=SchedulingPolicy(max_attempts=2)).ready()
    await scheduler.request("r1")
    await scheduler.place()
    await scheduler.fail(await scheduler.training("r1"), retryable=True)
    at_once = await scheduler.place()
    scheduler.clock.advance(0.5)
    await scheduler.place()
    await scheduler.fail(await scheduler.training("r1"), retryable=True)

    failed = await scheduler.training("r1")
    assert at_once.placed == ()
    assert (failed.state, failed.reason, failed.attempt_count) == (
        TrainingState.FAILED,
        "ATTEMPTS_EXHAUSTED",
        2,
    )
    assert "PROCESS_DIED" in failed.message


async def test_a_lapsed_lease_frees_the_node_and_its_token_never_wins(scheduler: Any) -> None:
    await scheduler.ready(cpus=1.0)
    await scheduler.request("r1")
    await scheduler.place()
    first = await scheduler.training("r1")
    scheduler.clock.advance(30.0)
    await scheduler.heartbeat(cpus=1.0)
    await scheduler.lapse()
    await scheduler.place()
    second = await scheduler.training("r1")

    assert scheduler.event_names()[3:] == [
        "TrainingPreempted",
        "AllocationEnded",
        "TrainingQueued",
        "TrainingPlaced",
        "AllocationStarted",
    ]
    assert second.fencing_token > first.fencing_token
    assert await scheduler.succeed(first) == "STALE"
    assert (await scheduler.training("r1")).state is TrainingState.PLACED


async def test_renewed_leases_hold_and_others_are_revoked(scheduler: Any, seeded: Spec) -> None:
    await scheduler.ready(cpus=2.0)
    await scheduler.request("r1", seeded(1))
    await scheduler.request("r2", seeded(2))
    await scheduler.place()
    kept, foreign = sorted(scheduler.store.allocations.values(), key=lambda item: item.name)
    scheduler.clock.advance(29.0)
    claims = [Claim(kept.name, kept.fencing_token), Claim(foreign.name, 99), Claim("allocations/x", 1)]

    renewal = await scheduler.renew("nodes/a", claims)
    elsewhere = await scheduler.renew("nodes/b", [Claim(kept.name, kept.fencing_token)])
    scheduler.clock.advance(2.0)
    lapsed = await scheduler.lapse()

    assert renewal.renewed == (kept.name,)
    assert renewal.revoked == (foreign.name, "allocations/x")
    assert elsewhere.revoked == (kept.name,)
    assert [item.name for item in lapsed] == [foreign.training]


async def test_a_restarted_scheduler_gives_every_lease_its_full_length(scheduler: Any) -> None:
    await scheduler.ready()
    await scheduler.request("r1")
    await scheduler.place()
    scheduler.clock.advance(600.0)

    extended = await scheduler.lapse.extend_all()

    assert extended == 1
    assert await scheduler.lapse() == []


async def test_cancelling_takes_the_attempt_back_and_is_final(scheduler: Any) -> None:
    await scheduler.ready()
    await scheduler.request("r1")
    await scheduler.place()
    running = await scheduler.training("r1")

    await scheduler.cancel(running.name)
    again = await scheduler.cancel(running.name)

    assert again.state is TrainingState.CANCELLED
    assert scheduler.event_names()[3:] == ["TrainingPreempted", "AllocationEnded", "TrainingFailed"]
    assert await scheduler.succeed(running) == "STALE"


async def test_a_deadline_that_passes_while_waiting_fails_the_training(scheduler: Any, spec: Spec) -> None:
    deadline = scheduler.clock.now() + timedelta(seconds=60)
    await scheduler.request("r1", spec(budget=Budget(deadline_time=deadline)))
    await scheduler.ready()
    scheduler.clock.advance(60.0)

    await scheduler.place()

    assert (await scheduler.training("r1")).reason == "DEADLINE_EXCEEDED"


async def test_a_result_of_another_computation_is_not_shared(scheduler: Any) -> None:
    await scheduler.ready()
    await scheduler.request("r1")
    await scheduler.request("r2")
    await scheduler.place()
    leader = await scheduler.training("r1")

    await scheduler.succeed(replace(leader, computation_key="another"))

    assert (await scheduler.training("r1")).state is TrainingState.COMPLETED
    assert (await scheduler.training("r2")).state is TrainingState.QUEUED


async def test_a_gang_over_two_nodes_shares_token_and_lease(scheduler: Any, spec: Spec) -> None:
    await scheduler.ready(cpus=2.0, node="nodes/a")
    await scheduler.heartbeat(cpus=2.0, node="nodes/b")
    await scheduler.request("r1", spec(resources=Resources(cpus=1.0, gang_workers=4)))
    await scheduler.place()
    shares = sorted(scheduler.store.allocations.values(), key=lambda item: item.name)
    scheduler.clock.advance(20.0)
    lead = shares[0]

    await scheduler.renew(lead.share.node, [Claim(lead.name, lead.fencing_token)])
    scheduler.clock.advance(20.0)

    assert [(item.share.node, item.share.workers) for item in shares] == [("nodes/a", 2), ("nodes/b", 2)]
    assert {item.fencing_token for item in shares} == {1}
    assert scheduler.event_names().count("TrainingPlaced") == 1
    assert await scheduler.lapse() == []


async def test_explanations_name_cause_position_and_who_is_in_the_way(scheduler: Any, seeded: Spec) -> None:
    await scheduler.ready(cpus=1.0)
    for index in (1, 2, 3):
        await scheduler.request(f"r{index}", seeded(index))
    await scheduler.request("gang", seeded(4, resources=Resources(gang_workers=9)))
    await scheduler.place()
    names = {key: (await scheduler.training(key)).name for key in ("r1", "r2", "r3", "gang")}
    starting = await scheduler.explain(names["r1"])
    allocation = next(iter(scheduler.store.allocations))
    await scheduler.progress([AttemptProgress(allocation, 1, 2, "trials", 0.4)])

    executing = await scheduler.explain(names["r1"])
    third = await scheduler.explain(names["r3"])
    gang = await scheduler.explain(names["gang"])

    assert starting.reason == "STARTING"
    assert (executing.reason, "trials, 40% done" in executing.message) == ("EXECUTING", True)
    assert (third.reason, third.queue_position) == ("INSUFFICIENT_CPUS", 2)
    assert third.blocking == (names["r2"], names["r1"])
    assert (gang.reason, gang.blocking) == ("GANG_LARGER_THAN_CLUSTER", ())


async def test_a_gang_larger_than_the_cluster_is_told_so_once(scheduler: Any, spec: Spec) -> None:
    await scheduler.ready()
    await scheduler.request("r1", spec(resources=Resources(gang_workers=9)))
    await scheduler.place()
    await scheduler.place()

    reasons = [event.training.reason for event in scheduler.events]
    assert reasons == ["AWAITING_PLACEMENT", "GANG_LARGER_THAN_CLUSTER"]


async def test_progress_of_a_stale_token_or_an_older_report_is_dropped(scheduler: Any) -> None:
    await scheduler.ready()
    await scheduler.request("r1")
    await scheduler.place()
    name = next(iter(scheduler.store.allocations))

    await scheduler.progress(
        [AttemptProgress(name, 1, 5, "trials", 0.5), AttemptProgress(name, 1, 4, "dataset")]
    )
    await scheduler.progress([AttemptProgress(name, 1, 3, "dataset"), AttemptProgress(name, 2, 9, "upload")])

    assert scheduler.store.allocations[name].stage == "trials"


async def test_a_silent_node_gets_nothing_new(scheduler: Any) -> None:
    await scheduler.ready()
    scheduler.clock.advance(15.1)
    await scheduler.request("r1")

    await scheduler.place()

    assert (await scheduler.training("r1")).reason == "NO_NODE"


async def test_an_old_report_of_a_node_revives_it_not(scheduler: Any) -> None:
    await scheduler.ready()
    old = scheduler.store.nodes["nodes/a"]
    scheduler.clock.advance(3_600.0)
    await scheduler.replicate.nodes([replace(old, revision=old.revision + 1)])
    await scheduler.request("r1")

    await scheduler.place()

    assert (await scheduler.training("r1")).reason == "NO_NODE"


async def test_older_announcements_are_ignored(
    scheduler: Any, release: TrainerRelease, view: ViewVersion
) -> None:
    await scheduler.ready()

    assert not await scheduler.replicate.release(release)
    assert not await scheduler.replicate.views([view])
    assert await scheduler.replicate.views([replace(view, version=2)])


async def test_what_does_not_exist_is_not_found(scheduler: Any) -> None:
    with pytest.raises(TrainingNotFoundError):
        await scheduler.explain("trainings/x")
    with pytest.raises(TrainingNotFoundError):
        await scheduler.cancel("trainings/x")
    with pytest.raises(RequestNotFoundError):
        await scheduler.training("r9")


async def test_many_who_can_never_be_served_hide_nobody(scheduler: Any, seeded: Spec) -> None:
    await scheduler.ready()
    for index in range(70):
        await scheduler.request(f"gang{index}", seeded(index, resources=Resources(gang_workers=9)))
    await scheduler.request("small", seeded(70))

    await scheduler.place()

    assert (await scheduler.training("small")).state is TrainingState.PLACED
