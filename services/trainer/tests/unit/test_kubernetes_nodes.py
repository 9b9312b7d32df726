"""What the scheduler learns of the nodes of a cluster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from mltrainer_testkit.clocks import ManualClock
from mltrainer_testkit.fake_kubernetes import FakeCluster
from mltrainer_trainer.adapters.kubernetes.api import Collection
from mltrainer_trainer.adapters.kubernetes.nodes import ClusterProbe, quantity, requests_by_node, to_report
from mltrainer_trainer.adapters.kubernetes.profile import JobProfile
from mltrainer_trainer.adapters.kubernetes.reflector import Reflector
from mltrainer_trainer.application.ports import BackendUnavailableError
from mltrainer_trainer.domain.release import NodeReport

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PROFILE = JobProfile(namespace="ns", image="i", program=("p",), environment={})
GPU_LABELS = {
    "kubernetes.io/hostname": "gpu-1",
    "nvidia.com/gpu.product": "A100",
    "karpenter.sh/capacity-type": "spot",
    "topology.kubernetes.io/zone": "eu-1a",
}


def node(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "ip-10-0-0-1", "labels": GPU_LABELS},
        "spec": spec,
        "status": {
            "allocatable": {"cpu": "7910m", "memory": "31Gi", "nvidia.com/gpu": "4"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("4", 4.0),
        ("7910m", 7.91),
        ("31Gi", 31 * 2**30),
        ("1k", 1000.0),
        ("24581696Ki", 24581696 * 1024.0),
        ("128974848", 128974848.0),
        ("1e3", 1000),
    ],
)
def test_quantities_are_read_as_the_cluster_means_them(text: str, amount: float) -> None:
    assert quantity(text) == pytest.approx(amount)


def test_what_is_no_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantity("many")


def test_a_node_offers_what_is_allocatable_under_the_name_of_its_host() -> None:
    report = to_report(node(), PROFILE, {"cpu": 0.91, "memory": float(2**30)}, NOW)

    assert (report.node, report.zone, report.spot) == ("nodes/kubernetes.gpu-1", "eu-1a", True)
    assert (report.cpus, report.memory_bytes) == (7.0, 30 * 2**30)
    assert (report.gpus, report.gpu_type, report.schedulable) == (4.0, "A100", True)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"unschedulable": True}, id="cordoned"),
        pytest.param({"taints": [{"key": "team", "effect": "NoSchedule"}]}, id="kept for others"),
    ],
)
def test_a_node_that_would_refuse_our_pods_is_not_schedulable(spec: dict[str, Any]) -> None:
    assert not to_report(node(**spec), PROFILE, {}, NOW).schedulable


def test_taints_that_our_pods_tolerate_do_not_count() -> None:
    taints = [
        {"key": "nvidia.com/gpu", "effect": "NoSchedule"},
        {"key": "team", "effect": "PreferNoSchedule"},
    ]

    assert to_report(node(taints=taints), PROFILE, {}, NOW).schedulable


def test_what_ended_pods_asked_for_is_free_again() -> None:
    def pod(phase: str) -> dict[str, Any]:
        containers = [{"resources": {"requests": {"cpu": "500m"}}}]
        return {"spec": {"nodeName": "n", "containers": containers}, "status": {"phase": phase}}

    assert requests_by_node([pod("Running"), pod("Succeeded"), pod("Pending")]) == {"n": {"cpu": 1.0}}


@dataclass(slots=True)
class Watched:
    cluster: FakeCluster
    probe: ClusterProbe
    monotonic_s: float = 0.0

    async def reports(self) -> list[NodeReport]:
        for _ in range(50):
            await asyncio.sleep(0.001)
        return list(await self.probe.reports())


@asynccontextmanager
async def watched(manual_clock: ManualClock) -> AsyncIterator[Watched]:
    cluster = FakeCluster()
    cluster.add_node("a")
    nodes = Reflector(cluster, Collection("/api/v1/nodes"), lambda: None)
    found = Watched(cluster, ClusterProbe(cluster, nodes, PROFILE, manual_clock, lambda: found.monotonic_s))
    task = asyncio.create_task(nodes.run())
    try:
        yield found
    finally:
        task.cancel()


async def test_a_node_is_reported_at_a_change_and_at_an_interval(manual_clock: ManualClock) -> None:
    async with watched(manual_clock) as found:
        first, again = await found.reports(), await found.reports()
        found.monotonic_s = 11.0
        later = await found.reports()

    assert [report.node for report in first] == ["nodes/kubernetes.a"]
    assert again == []
    assert [report.node for report in later] == ["nodes/kubernetes.a"]


async def test_a_node_that_vanishes_offers_nothing_until_it_is_back_with_less(
    manual_clock: ManualClock,
) -> None:
    async with watched(manual_clock) as found:
        await found.reports()
        found.cluster.remove_node("a")
        manual_clock.advance(1)
        (gone,) = await found.reports()
        silent = await found.reports()
        found.cluster.add_node("a", cpu="1")
        manual_clock.advance(1)
        (back,) = await found.reports()

    assert (gone.node, gone.schedulable, gone.cpus) == ("nodes/kubernetes.a", False, 0.0)
    assert silent == []
    assert (back.schedulable, back.cpus) == (True, 1.0)
    assert back.revision > gone.revision


async def test_nodes_that_were_not_seen_yet_are_not_reported_as_gone(manual_clock: ManualClock) -> None:
    cluster = FakeCluster(is_available=False)
    nodes = Reflector(cluster, Collection("/api/v1/nodes"), lambda: None)

    with pytest.raises(BackendUnavailableError):
        await ClusterProbe(cluster, nodes, PROFILE, manual_clock, lambda: 0.0).reports()
