"""A namespace of the real cluster for each test."""

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
from mltrainer_testkit.kubernetes import NODE, TEST_IMAGE, Cluster
from mltrainer_trainer.adapters.kubernetes.backend import ClusterView, KubernetesBackend
from mltrainer_trainer.adapters.kubernetes.client import RestClusterApi, open_api
from mltrainer_trainer.adapters.kubernetes.job import job_name
from mltrainer_trainer.adapters.kubernetes.profile import JobProfile
from mltrainer_trainer.domain.attempt import Placement

SHELL = ("sh", "-c", 'eval "$(base64 -d "$0/order.b64")"')
PREFIX = "nodes/test."
_numbers = itertools.count(1)


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
def machine(kubernetes_cluster: Cluster) -> Iterator[KubernetesMachine]:
    """Gives an empty namespace of a cluster in good order, and leaves it so."""
    namespace = f"test-{next(_numbers)}"
    kubernetes_cluster.add_namespace(namespace)
    yield KubernetesMachine(kubernetes_cluster, namespace)
    kubernetes_cluster.signal("kubelet", signal.SIGCONT)
    kubernetes_cluster.wait(kubernetes_cluster.node_is_ready, "node")
    kubernetes_cluster.empty_namespace(namespace)
