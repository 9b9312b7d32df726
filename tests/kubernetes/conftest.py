"""One real cluster for all tests of this folder, a namespace for each test."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from mltrainer_common.clock import SystemClock
from mltrainer_testkit.execution_backends import order_of
from mltrainer_testkit.go_programs import ProgramNotFoundError
from mltrainer_testkit.kubernetes import NODE, TEST_IMAGE, Cluster, find_or_build_cluster, node_obstacle
from mltrainer_trainer.adapters.kubernetes.backend import ClusterView, KubernetesBackend
from mltrainer_trainer.adapters.kubernetes.client import RestClusterApi, open_api
from mltrainer_trainer.adapters.kubernetes.job import job_name
from mltrainer_trainer.adapters.kubernetes.profile import JobProfile
from mltrainer_trainer.domain.attempt import Placement

COMPONENTS = Path(__file__).parents[2] / "scripts" / "kubernetes" / "components"
SHELL = ("sh", "-c", 'eval "$(base64 -d "$0/order.b64")"')
PREFIX = "nodes/test."
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Starts the control plane and a node; skips with the reason where there is none to be had."""
    if "kubernetes" not in request.config.option.markexpr:
        pytest.skip("takes minutes, and builds Kubernetes first: choose it with -m kubernetes")
    if obstacle := node_obstacle():
        pytest.skip(obstacle)
    try:
        found = find_or_build_cluster(COMPONENTS, tmp_path_factory.mktemp("cluster"))
    except ProgramNotFoundError as error:
        pytest.skip(str(error))
    try:
        found.start_control_plane()
        found.start_node()
        yield found
    finally:
        found.stop()


@dataclass(slots=True)
class KubernetesMachine:
    """A namespace of the cluster."""

    cluster: Cluster
    namespace: str
    patience_s: float = 60.0
    kubeconfig: Path | None = None
    watch_s: int = 240
    apis: list[RestClusterApi] = field(default_factory=list)

    @property
    def profile(self) -> JobProfile:
        return JobProfile(
            namespace=self.namespace,
            image=TEST_IMAGE,
            program=SHELL,
            environment={},
            node_prefix=PREFIX,
            image_pull_policy="Never",
            start_timeout_s=10.0,
            grace_s=2,
        )

    @asynccontextmanager
    async def trainer(self, profile: JobProfile | None = None) -> AsyncIterator[KubernetesBackend]:
        profile = profile or self.profile
        async with AsyncExitStack() as stack:
            api = await stack.enter_async_context(open_api(self.kubeconfig or self.cluster.kubeconfig))
            api = replace(api, watch_s=self.watch_s)
            view = ClusterView(api, profile, lambda: None)
            tasks = await stack.enter_async_context(_cancelled_at_the_end())
            tasks.extend(asyncio.create_task(it.run()) for it in (view.jobs, view.pods, view.nodes))
            async with asyncio.timeout(30):
                while not view.is_complete:  # noqa: ASYNC110 - a task of its own completes it
                    await asyncio.sleep(0.02)
            yield KubernetesBackend(api, view, profile, order_of, SystemClock())

    def without_image(self) -> Any:
        return self.trainer(replace(self.profile, image="mltrainer.test/none-such:1"))

    def with_queue(self) -> Any:
        return self.trainer(replace(self.profile, queue="{queue}-queue", priority_class="low"))

    async def ask(
        self, method: str, path: str, body: object = None, content: str = "application/json"
    ) -> Any:
        return await asyncio.to_thread(self.cluster.request, method, path, body, content)

    async def pods(self, placement: Placement) -> list[dict[str, Any]]:
        selector = f"batch.kubernetes.io/job-name={self.job(placement)}"
        answer = await self.ask("GET", f"/api/v1/namespaces/{self.namespace}/pods?labelSelector={selector}")
        return list(answer.get("items", []))

    def job(self, placement: Placement) -> str:
        return job_name(placement, self.profile.owner)

    @property
    def jobs_path(self) -> str:
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs"

    async def living(self, placement: Placement) -> int:
        return sum(pod["status"]["phase"] in {"Running", "Pending"} for pod in await self.pods(placement))

    async def left_behind(self) -> list[str]:
        jobs = await self.ask("GET", self.jobs_path)
        pods = await self.ask("GET", f"/api/v1/namespaces/{self.namespace}/pods")
        return [it["metadata"]["name"] for it in (*jobs.get("items", []), *pods.get("items", []))]

    def node(self) -> str:
        return f"{PREFIX}{NODE}"

    async def evict(self, placement: Placement) -> None:
        for pod in await self.pods(placement):
            name = pod["metadata"]["name"]
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
            await self.ask("POST", f"/api/v1/namespaces/{self.namespace}/pods/{name}/eviction", body)

    async def delete_job(self, placement: Placement) -> None:
        options = "propagationPolicy=Background"
        await self.ask("DELETE", f"{self.jobs_path}/{self.job(placement)}?{options}")

    async def lose_node(self) -> str:
        return self.node()

    async def silence(self, node: str) -> None:
        self.cluster.signal("kubelet", signal.SIGSTOP)

    async def admit(self, placement: Placement) -> None:
        path, content = f"{self.jobs_path}/{self.job(placement)}", "application/merge-patch+json"
        await self.ask("PATCH", path, {"spec": {"suspend": False}}, content)


@asynccontextmanager
async def _cancelled_at_the_end() -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def machine(cluster: Cluster) -> Iterator[KubernetesMachine]:
    """Gives an empty namespace of a cluster in good order, and leaves it so."""
    namespace = f"test-{next(_numbers)}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    cluster.request("POST", "/api/v1/namespaces", body)
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    cluster.wait(lambda: cluster.exists(account), "service account")
    yield KubernetesMachine(cluster, namespace)
    cluster.signal("kubelet", signal.SIGCONT)
    cluster.wait(cluster.node_is_ready, "node")
    options = "propagationPolicy=Background&gracePeriodSeconds=0"
    for path in (f"/apis/batch/v1/namespaces/{namespace}/jobs", f"/api/v1/namespaces/{namespace}/pods"):
        cluster.request("DELETE", f"{path}?{options}")
    pods = f"/api/v1/namespaces/{namespace}/pods"
    cluster.wait(lambda: not cluster.get(pods).get("items"), "pods to be gone", timeout_s=30)
