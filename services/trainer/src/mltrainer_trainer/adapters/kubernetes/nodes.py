"""Tells the scheduler what the nodes of a cluster offer."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from mltrainer_trainer.adapters.kubernetes import profile as names
from mltrainer_trainer.adapters.kubernetes.api import ClusterApi, Collection, Object, UnavailableError
from mltrainer_trainer.adapters.kubernetes.profile import JobProfile, NodeLabels
from mltrainer_trainer.adapters.kubernetes.reflector import Reflector
from mltrainer_trainer.application.ports import Clock
from mltrainer_trainer.domain.release import NodeReport

_QUANTITY = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)([numkKMGTPE]?i?)")
_FACTORS = {"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "Ki": 1024.0} | {
    f"{letter}{suffix}": float(base**power)
    for power, letter in enumerate("kMGTPE", start=1)
    for suffix, base in (("", 1000), ("i", 1024))
}
# The cluster's own marks are told by `Ready`; ours are tolerated by every job that may go there.
_OWN_TAINTS = "node.kubernetes.io/"


def quantity(text: str) -> float:
    """Reads an amount such as `3920m` or `16Gi`.

    Raises:
        ValueError: It is no amount.
    """
    found = _QUANTITY.fullmatch(text)
    factor = _FACTORS.get(found[2]) if found else None
    if found is None or factor is None:
        raise ValueError(f"{text!r} is no quantity")
    return float(found[1]) * factor


@dataclass(slots=True)
class ClusterProbe:
    """Reports each node at a change and at an interval; one that has gone is reported once, offering nothing.

    What the pods of others ask for is theirs: it is looked up at an interval.
    """

    api: ClusterApi
    nodes: Reflector
    profile: JobProfile
    clock: Clock
    monotonic: Callable[[], float]
    repeat_s: float = 10.0
    look_s: float = 15.0
    _reported: dict[str, tuple[float, NodeReport]] = field(default_factory=dict)
    _foreign: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    _looked_s: float | None = None

    async def reports(self) -> Sequence[NodeReport]:
        """Says what is news about the nodes, or was last told a while ago."""
        if not self.nodes.is_complete:
            raise UnavailableError("the nodes of the cluster were not seen yet")
        await self._look_at_others()
        now_s, now = self.monotonic(), self.clock.now()
        present = {it.node: it for it in (self._report(node, now) for node in self.nodes)}
        gone = {
            name: NodeReport(name, 0.0, 0, schedulable=False, revision=_revision(now), report_time=now)
            for name in self._reported
            if name not in present
        }
        due = [it for it in present.values() if self._is_due(it, now_s)]
        self._reported.update({it.node: (now_s, it) for it in due})
        for name in gone:
            del self._reported[name]
        return [*due, *gone.values()]

    def _is_due(self, report: NodeReport, now_s: float) -> bool:
        told_s, last = self._reported.get(report.node, (now_s, None))
        if last is None or now_s - told_s >= self.repeat_s:
            return True
        return replace(report, revision=last.revision, report_time=last.report_time) != last

    async def _look_at_others(self) -> None:
        if self._looked_s is not None and self.monotonic() - self._looked_s < self.look_s:
            return
        selector = f"{names.OWNER_LABEL}!={self.profile.owner}"
        pods, rest = list[Object](), ""
        while True:
            page = await self.api.list_page(Collection("/api/v1/pods", selector), rest)
            pods += page.items
            if not page.rest:
                break
            rest = page.rest
        self._foreign, self._looked_s = requests_by_node(pods), self.monotonic()

    def _report(self, node: Object, now: datetime) -> NodeReport:
        return to_report(node, self.profile, self._foreign.get(node["metadata"]["name"], {}), now)


def to_report(node: Object, profile: JobProfile, foreign: Mapping[str, float], now: datetime) -> NodeReport:
    """Reads what a node offers to attempts; `foreign` is what the pods of others ask for there."""
    tags = node["metadata"].get("labels", {})
    amounts = node.get("status", {}).get("allocatable", {})

    def offered(resource: str) -> float:
        return max(0.0, quantity(amounts.get(resource, "0")) - foreign.get(resource, 0.0))

    labels = profile.labels
    gpus = offered(labels.gpu_resource)
    return NodeReport(
        node=profile.node_prefix + tags.get(names.HOSTNAME_LABEL, node["metadata"]["name"]),
        cpus=round(offered("cpu"), 3),
        memory_bytes=int(offered("memory")),
        schedulable=_is_schedulable(node, labels),
        gpus=gpus,
        gpu_type=tags.get(labels.gpu_type, "") if gpus else "",
        zone=tags.get(names.ZONE_LABEL, ""),
        spot=tags.get(labels.spot) == labels.spot_value,
        revision=_revision(now),
        report_time=now,
    )


def _is_schedulable(node: Object, labels: NodeLabels) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    is_ready = any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
    tolerated = {labels.gpu_resource, labels.spot}
    repelling = [
        it
        for it in node["spec"].get("taints", [])
        if it["effect"] != "PreferNoSchedule"
        and it["key"] not in tolerated
        and not it["key"].startswith(_OWN_TAINTS)
    ]
    return is_ready and not repelling and not node["spec"].get("unschedulable", False)


def requests_by_node(pods: Iterable[Object]) -> dict[str, dict[str, float]]:
    """Adds up what living pods ask for, by node and resource."""
    totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for pod in pods:
        node = pod["spec"].get("nodeName")
        if not node or pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
            continue
        for container in pod["spec"].get("containers", []):
            for resource, amount in container.get("resources", {}).get("requests", {}).items():
                totals[node][resource] += quantity(amount)
    return {node: dict(amounts) for node, amounts in totals.items()}


def _revision(now: datetime) -> int:
    return int(now.timestamp() * 1000)
