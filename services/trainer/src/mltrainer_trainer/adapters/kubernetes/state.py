"""Reads from the job and the pods of an attempt what became of it."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mltrainer_trainer.adapters.kubernetes.api import Object
from mltrainer_trainer.adapters.kubernetes.profile import MESSAGE_ANNOTATION, VERDICT_ANNOTATION
from mltrainer_trainer.domain.execution import Ended, EndReason, Executing, Starting

_NO_SUCH_IMAGE = frozenset({"ErrImageNeverPull", "InvalidImageName"})
_NO_IMAGE_YET = frozenset({"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"})
_NODE_LOST = frozenset({"DeletionByTaintManager", "DeletionByPodGC", "NodeLost"})
_EXIT_CODE = re.compile(r"failed with exit code (\d+)")
_TOO_MUCH_ON_DISK = ("EmptyDir volume", "ephemeral local storage")
_DISRUPTED = "has condition DisruptionTarget"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An attempt that cannot go on; its job has to be ended."""

    reason: EndReason
    message: str


def judge(
    job: Object, pods: Sequence[Object], heard_nodes: Collection[str], waited_s: float, start_timeout_s: float
) -> Starting | Executing | Ended | Verdict:
    """Says what became of an attempt.

    Args:
        job: The job.
        pods: Its pods, also those that are gone, as they were last seen.
        heard_nodes: Nodes that are there and heard of.
        waited_s: Since when the job is there.
        start_timeout_s: How long its pods may take to begin.
    """
    uid = job["metadata"]["uid"]
    finished = _condition(job, "Complete"), _condition(job, "Failed")
    if finished[0] is not None:
        return Ended(EndReason.SUCCEEDED, 0, execution_id=uid)
    if finished[1] is not None:
        return _explain(job, finished[1], pods)
    living = [pod for pod in pods if _phase(pod) in {"Pending", "Running"}]
    lost = sorted({_node(pod) for pod in living} - {*heard_nodes, ""})
    if lost:
        return Verdict(EndReason.NODE_LOST, f"{', '.join(lost)} is not heard of")
    workers = job["spec"].get("completions", 1)
    begun = sum(_phase(pod) in {"Running", "Succeeded", "Failed"} for pod in pods)
    if begun >= workers:
        return Executing(uid)
    return _hopeless(living, waited_s, start_timeout_s) or Starting(uid)


def _hopeless(living: Iterable[Object], waited_s: float, start_timeout_s: float) -> Verdict | None:
    reasons = [waiting for pod in living for waiting in _waiting(pod)]
    for reason, message in reasons:
        if reason in _NO_SUCH_IMAGE or (reason in _NO_IMAGE_YET and waited_s > start_timeout_s):
            return Verdict(EndReason.IMAGE_MISSING, message or reason)
    if waited_s <= start_timeout_s:
        return None
    explained = [message for _, message in reasons if message]
    cause = explained[0] if explained else "no pod was created, or its queue has not admitted it"
    return Verdict(EndReason.UNSCHEDULABLE, f"not begun within {start_timeout_s:.0f} s: {cause}")


def _waiting(pod: Object) -> list[tuple[str, str]]:
    status = pod.get("status", {})
    containers = [it.get("state", {}).get("waiting") for it in status.get("containerStatuses", [])]
    conditions = [it for it in status.get("conditions", []) if it.get("reason") == "Unschedulable"]
    return [(it.get("reason", ""), it.get("message", "")) for it in (*containers, *conditions) if it]


def _explain(job: Object, failed: Object, pods: Sequence[Object]) -> Ended:
    annotations = job["metadata"].get("annotations", {})
    uid = job["metadata"]["uid"]
    if verdict := annotations.get(VERDICT_ANNOTATION):
        return Ended(EndReason(verdict), message=annotations.get(MESSAGE_ANNOTATION, ""), execution_id=uid)
    # The pod that failed by itself says more than those that were ended because of it.
    told = sorted((_end_of(pod) for pod in pods), key=lambda it: it[0])
    if told and told[0][0] < _SILENT:
        _, reason, code, message = told[0]
        return Ended(reason, code, message=message, execution_id=uid)
    message = failed.get("message", "")
    if found := _EXIT_CODE.search(message):
        return Ended(EndReason.FAILED, int(found[1]), execution_id=uid)
    reason = EndReason.EVICTED if _DISRUPTED in message else EndReason.FAILED
    return Ended(reason, message=message or failed.get("reason", ""), execution_id=uid)


_SILENT = 9


def _end_of(pod: Object) -> tuple[int, EndReason, int | None, str]:
    """Says how a pod ended, with a rank: what is told first explains the rest."""
    status = pod.get("status", {})
    ends = [it.get("state", {}).get("terminated") for it in status.get("containerStatuses", [])]
    end: Object = next((it for it in ends if it), {})
    code = end.get("exitCode")
    if end.get("reason") == "OOMKilled":
        return 0, EndReason.OUT_OF_MEMORY, code, "the container holds more memory than its limit"
    disruption = _condition(pod, "DisruptionTarget") or {}
    cause = disruption.get("reason") or status.get("reason", "")
    told = disruption.get("message") or status.get("message", "")
    if any(words in told for words in _TOO_MUCH_ON_DISK):
        return 1, EndReason.DISK_EXCEEDED, code, told
    if disruption or cause in {"Evicted", "NodeLost"}:
        reason = EndReason.NODE_LOST if cause in _NODE_LOST else EndReason.EVICTED
        return 1, reason, code, told
    if code:
        is_ended_by_job = "deletionTimestamp" in pod["metadata"]
        return 3 if is_ended_by_job else 2, EndReason.FAILED, code, ""
    return _SILENT, EndReason.UNKNOWN, None, ""


def heard_nodes(nodes: Iterable[Object]) -> frozenset[str]:
    """Returns the nodes that are heard of."""
    return frozenset(
        node["metadata"]["name"]
        for node in nodes
        if not any(it["type"] == "Ready" and it["status"] == "Unknown" for it in _conditions(node))
    )


def waited_s(found: Object, now: datetime) -> float:
    """Returns for how long an object is there."""
    created = datetime.fromisoformat(found["metadata"]["creationTimestamp"]).astimezone(UTC)
    return (now - created).total_seconds()


def is_finished(job: Object) -> bool:
    """Tells whether a job is over."""
    return _condition(job, "Complete") is not None or _condition(job, "Failed") is not None


def _condition(found: Object, kind: str) -> Object | None:
    return next((it for it in _conditions(found) if it["type"] == kind and it["status"] == "True"), None)


def _conditions(found: Object) -> list[Object]:
    return found.get("status", {}).get("conditions") or []


def _phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def _node(pod: Object) -> str:
    return str(pod["spec"].get("nodeName", ""))
