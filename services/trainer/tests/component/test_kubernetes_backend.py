"""The backend `kubernetes` keeps the promises of the port, also while the cluster is not itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from mltrainer_common.clock import SystemClock
from mltrainer_testkit.execution_backends import (
    CHECKS,
    CLUSTER_CHECKS,
    LIMITS,
    Program,
    attempt_of,
    order_of,
    place,
    reached,
    start,
)
from mltrainer_testkit.fake_kubernetes import FakeCluster
from mltrainer_trainer.adapters.kubernetes.backend import ClusterView, KubernetesBackend
from mltrainer_trainer.adapters.kubernetes.job import job_name
from mltrainer_trainer.adapters.kubernetes.profile import INDEX_LABEL, JobProfile
from mltrainer_trainer.application.ports import BackendUnavailableError, LaunchError
from mltrainer_trainer.domain.attempt import NodeShare, Placement
from mltrainer_trainer.domain.execution import Ended, Executing, Starting

PREFIX = "nodes/fake."
PODS = "/api/v1/namespaces/ns/pods"
JOBS = "/apis/batch/v1/namespaces/ns/jobs"


PROFILE = JobProfile(
    namespace="ns", image="image", program=("sh",), environment={}, node_prefix=PREFIX, start_timeout_s=0.2
)


def new_cluster() -> FakeCluster:
    cluster = FakeCluster()
    cluster.add_node("a")
    cluster.add_node("b", {"nvidia.com/gpu.product": "A100"}, **{"nvidia.com/gpu": "2"})
    return cluster


@dataclass(slots=True)
class FakeMachine:
    cluster: FakeCluster = field(default_factory=new_cluster)
    patience_s: float = 5.0
    profile: JobProfile = PROFILE

    @asynccontextmanager
    async def trainer(self, profile: JobProfile | None = None) -> AsyncIterator[KubernetesBackend]:
        profile = profile or self.profile
        view = ClusterView(self.cluster, profile, lambda: None)
        running = [view.jobs.run(), view.pods.run(), view.nodes.run(), self.cluster.run()]
        tasks = [asyncio.create_task(it) for it in running]
        try:
            while not view.is_complete:  # noqa: ASYNC110 - a task of its own completes it
                await asyncio.sleep(0)
            yield KubernetesBackend(self.cluster, view, profile, order_of, SystemClock())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def without_image(self) -> Any:
        return self.trainer(replace(self.profile, image="none-such"))

    def with_queue(self) -> Any:
        return self.trainer(replace(self.profile, queue="{queue}-queue"))

    def pods(self, placement: Placement) -> list[str]:
        name = job_name(placement, self.profile.owner)
        return [key for key in self.cluster.objects if key.startswith(f"{PODS}/{name}-")]

    async def living(self, placement: Placement) -> int:
        self.cluster.step()
        pods = [self.cluster.objects[key] for key in self.pods(placement)]
        return sum(pod["status"]["phase"] in {"Pending", "Running"} for pod in pods)

    async def left_behind(self) -> list[str]:
        return [key for key in self.cluster.objects if key.startswith((PODS, JOBS))]

    def node(self) -> str:
        return f"{PREFIX}a"

    async def evict(self, placement: Placement) -> None:
        for key in self.pods(placement):
            self.cluster.evict(key)

    async def delete_job(self, placement: Placement) -> None:
        await self.cluster.delete(f"{JOBS}/{job_name(placement, self.profile.owner)}")

    async def lose_node(self) -> str:
        return f"{PREFIX}b"

    async def silence(self, node: str) -> None:
        self.cluster.silence(node.removeprefix(PREFIX))

    async def admit(self, placement: Placement) -> None:
        path = f"{JOBS}/{job_name(placement, self.profile.owner)}"
        await self.cluster.patch(path, {"spec": {"suspend": False}})


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


@pytest.mark.parametrize("check", [pytest.param(it, id=it.__name__) for it in (*CHECKS, *CLUSTER_CHECKS)])
async def test_jobs_keep_the_promises_of_the_port(machine: FakeMachine, check: Any) -> None:
    await check(machine)


async def test_while_the_api_server_is_away_nothing_is_concluded(machine: FakeMachine) -> None:
    known, unknown = place(Program.WAIT, "known"), place(Program.WAIT, "unknown")
    async with machine.trainer() as backend:
        await start(backend, known)
        await reached(machine, backend, attempt_of(known), Executing)
        machine.cluster.is_available = False
        machine.cluster.cut_watches()
        still = await backend.observe(attempt_of(known))

        with pytest.raises(BackendUnavailableError):
            await backend.observe(attempt_of(unknown))
        with pytest.raises(BackendUnavailableError):
            await start(backend, unknown)

    assert isinstance(still, Executing)


async def test_a_trainer_that_has_not_seen_the_cluster_yet_concludes_nothing(machine: FakeMachine) -> None:
    machine.cluster.is_available = False
    view = ClusterView(machine.cluster, machine.profile, lambda: None)
    backend = KubernetesBackend(machine.cluster, view, machine.profile, order_of, SystemClock())

    with pytest.raises(BackendUnavailableError):
        await backend.observe(attempt_of(place(Program.WAIT, "early")))


async def test_a_cut_watch_goes_on_where_it_was(machine: FakeMachine) -> None:
    placement = place(Program.WAIT, "cut")
    async with machine.trainer() as backend:
        machine.cluster.cut_watches()
        await start(backend, placement)
        await reached(machine, backend, attempt_of(placement), Executing)
        lists = backend.view.pods.list_count

    assert lists == 1


async def test_a_watch_whose_version_is_forgotten_lists_again_and_misses_no_end(machine: FakeMachine) -> None:
    placement = place(Program.WAIT, "forgotten")
    async with machine.trainer() as backend:
        await start(backend, placement)
        attempt = attempt_of(placement)
        await reached(machine, backend, attempt, Executing)
        machine.cluster.cut_watches()
        await machine.evict(placement)
        machine.cluster.step()
        machine.cluster.oldest = int(machine.cluster.changes[-1][0])
        seen = await reached(machine, backend, attempt, Ended)
        lists = backend.view.jobs.list_count

    assert isinstance(seen, Ended)
    assert lists == 2


async def test_a_lagging_watch_ends_no_attempt_that_executes(machine: FakeMachine) -> None:
    placement = place(Program.WAIT, "lagging")
    async with machine.trainer() as backend:
        await start(backend, placement)
        await reached(machine, backend, attempt_of(placement), Executing)
        ignorant = ClusterView(machine.cluster, machine.profile, lambda: None)
        for reflector in (ignorant.jobs, ignorant.pods, ignorant.nodes):
            reflector.is_complete = True
        late = replace(machine.profile, start_timeout_s=0.0)
        seen = await KubernetesBackend(machine.cluster, ignorant, late, order_of, SystemClock()).observe(
            attempt_of(placement)
        )

    assert isinstance(seen, Executing)


async def test_an_object_of_our_name_that_serves_another_is_left_alone(machine: FakeMachine) -> None:
    placement = place(Program.WAIT, "taken")
    async with machine.trainer() as backend:
        await start(backend, placement)
        with pytest.raises(LaunchError, match="serves another attempt"):
            await start(backend, replace(placement, allocation="allocations/other"))


async def test_a_node_that_vanishes_takes_its_attempts_with_it(machine: FakeMachine) -> None:
    placement = place(Program.WAIT, "vanished", node=f"{PREFIX}b", limits=LIMITS)
    async with machine.trainer() as backend:
        await start(backend, placement)
        await reached(machine, backend, attempt_of(placement), Executing)
        machine.cluster.silence("b")
        machine.cluster.remove_node("b")
        seen = await reached(machine, backend, attempt_of(placement), Ended)

    assert isinstance(seen, Ended)
    assert seen.reason == "NODE_LOST"


async def test_an_executing_job_whose_queue_takes_its_place_back_is_evicted(machine: FakeMachine) -> None:
    placement = place(Program.WAIT, "reclaimed")
    async with machine.with_queue() as backend:
        await start(backend, placement)
        await machine.admit(placement)
        executing = await reached(machine, backend, attempt_of(placement), Executing)
        assert isinstance(executing, Executing)
        path = f"{JOBS}/{job_name(placement, machine.profile.owner)}"
        await machine.cluster.patch(path, {"spec": {"suspend": True}})
        attempt = attempt_of(placement, executing.execution_id)
        seen = await reached(machine, backend, attempt, Ended)

    assert isinstance(seen, Ended)
    assert seen.reason == "EVICTED"
    assert await machine.living(placement) == 0


async def test_the_workers_of_a_gang_go_where_each_was_placed(machine: FakeMachine) -> None:
    shares = (NodeShare(f"{PREFIX}b", 1), NodeShare(f"{PREFIX}a", 2))
    placement = replace(
        place(Program.WAIT, "spread", node=f"{PREFIX}b", limits=replace(LIMITS, workers=3)), shares=shares
    )
    async with machine.trainer() as backend:
        await start(backend, placement)
        await reached(machine, backend, attempt_of(placement), Executing)

    pods = [machine.cluster.objects[key] for key in machine.pods(placement)]
    hosts = {pod["metadata"]["labels"][INDEX_LABEL]: pod["spec"]["nodeName"] for pod in pods}
    assert hosts == {"0": "b", "1": "a", "2": "a"}


async def test_a_trainer_that_was_restarted_sends_the_workers_on_their_way(machine: FakeMachine) -> None:
    shares = (NodeShare(f"{PREFIX}a", 1), NodeShare(f"{PREFIX}b", 1))
    placement = replace(
        place(Program.WAIT, "held", node=f"{PREFIX}a", limits=replace(LIMITS, workers=2)), shares=shares
    )
    async with machine.trainer() as backend:
        seen = await start(backend, placement)
    async with machine.trainer() as backend:
        later = await reached(machine, backend, attempt_of(placement), Executing)

    assert isinstance(seen, Starting)
    assert isinstance(later, Executing)
