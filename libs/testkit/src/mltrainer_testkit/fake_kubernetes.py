"""A Kubernetes cluster in memory: as much of API server, controllers, scheduler and kubelet as jobs meet.

It is kept faithful by checks that hold on a real cluster too. A container does what its program says by name.
"""

import asyncio
import base64
import copy
import itertools
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mltrainer_trainer.adapters.kubernetes.api import (
    AlreadyExistsError,
    Collection,
    ExpiredError,
    Object,
    Page,
    RefusedError,
    UnavailableError,
)
from mltrainer_trainer.adapters.kubernetes.nodes import quantity
from mltrainer_trainer.adapters.kubernetes.profile import ORDER_ANNOTATION
from mltrainer_trainer.domain.workers import WORKER_NODE

from mltrainer_testkit.execution_backends import Program

_TICK_S = 0.002
_JOB_OF_POD = "batch.kubernetes.io/job-name"
_INDEX_OF_POD = "batch.kubernetes.io/job-completion-index"
_OUTPUTS = {
    Program.FAIL: "no such column\n",
    Program.CHATTER: "x" * 3000 + "\nlast words\n",
    Program.SAY_THREADS: "threads=1 index=0\n",
}
_EXIT_CODES = {
    Program.SUCCEED: 0,
    Program.FAIL: 3,
    Program.CHATTER: 0,
    Program.SAY_THREADS: 0,
    Program.SAY_NODE: 0,
    Program.SAY_USER: 0,
    Program.HOG: 137,
}


@dataclass(slots=True)
class FakeCluster:
    """Implements `ClusterApi`; `step` lets the cluster go on.

    Attributes:
        images: What its nodes can execute.
        is_available: Whether the API server answers.
        oldest: What changed up to this version is forgotten.
    """

    images: frozenset[str] = frozenset({"image"})
    is_available: bool = True
    oldest: int = 0
    objects: dict[str, Object] = field(default_factory=dict)
    changes: list[tuple[int, str, Object]] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)
    _version: int = 0
    _uids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _cut: int = 0

    def add_node(self, name: str, labels: Mapping[str, str] | None = None, **allocatable: str) -> None:
        """Adds a node that is ready."""
        node = {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
            "spec": {},
            "status": {
                "allocatable": {"cpu": "4", "memory": "8Gi", **allocatable},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        self._put(f"/api/v1/nodes/{name}", node)

    def cut_watches(self) -> None:
        """Breaks every connection."""
        self._cut += 1

    async def create(self, path: str, body: Object) -> Object:
        """Creates a job."""
        self._answer()
        name = body["metadata"]["name"]
        if f"{path}/{name}" in self.objects:
            raise AlreadyExistsError(name)
        if len(name) > 63:
            raise RefusedError("metadata.name: must be no more than 63 characters")
        return copy.deepcopy(self._put(f"{path}/{name}", copy.deepcopy(body)))

    async def get(self, path: str) -> Object | None:
        """Returns an object."""
        self._answer()
        return copy.deepcopy(self.objects.get(path))

    async def patch(self, path: str, body: Object) -> Object | None:
        """Merges fields into an object."""
        self._answer()
        if path not in self.objects:
            return None
        if "nodeSelector" in body["spec"] and not self.objects[path]["spec"].get("schedulingGates"):
            raise RefusedError("spec.nodeSelector: only pods that are held back may be sent elsewhere")
        return copy.deepcopy(self._put(path, _merged(self.objects[path], body)))

    async def delete(self, path: str, *, selector: str = "", grace_s: int | None = None) -> None:
        """Deletes an object and what it owns, or the objects that a selector finds."""
        self._answer()
        chosen = (
            [key for key in self._below(path) if _matches(self.objects[key], selector)]
            if selector
            else [path]
        )
        for key in chosen:
            if key in self.objects and "/pods/" in key:
                self._end_pod(key, force=grace_s == 0)
            elif key in self.objects:
                job = self.objects[key]["metadata"]["uid"]
                self._remove(key)
                for pod in self._pods_of(job):
                    self._end_pod(pod, force=True)
                    self._remove(pod)

    async def read_log(self, pod: str, lines: int) -> bytes:  # noqa: ARG002 - it says little
        """Returns what the program of a pod has said."""
        self._answer()
        found = self.objects.get(pod)
        if found is None:
            return b""
        if _program(found) is Program.SAY_NODE:
            return f"node={_environment(found)[WORKER_NODE]}\n".encode()
        return _OUTPUTS.get(_program(found), "").encode()

    async def list_page(self, collection: Collection, rest: str) -> Page:
        """Returns two objects at a time."""
        self._answer()
        keys = [
            key for key in self._below(collection.path) if _matches(self.objects[key], collection.selector)
        ]
        keys = sorted(key for key in keys if key > rest)
        items = tuple(copy.deepcopy(self.objects[key]) for key in keys[:2])
        return Page(items, str(self._version), keys[1] if len(keys) > 2 else "")

    async def watch(self, collection: Collection, version: str) -> AsyncGenerator[tuple[str, Object], None]:
        """Yields changes until connections are cut."""
        self._answer()
        seen, cut = int(version), self._cut
        while cut == self._cut:
            if seen < self.oldest:
                raise ExpiredError("too old resource version")
            for number, kind, found in [it for it in self.changes if it[0] > seen]:
                seen = number
                if found["_path"].startswith(f"{collection.path}/") and _matches(found, collection.selector):
                    yield kind, copy.deepcopy({k: v for k, v in found.items() if k != "_path"})
            await asyncio.sleep(_TICK_S)
        raise UnavailableError("the connection was cut")

    async def run(self) -> None:
        """Lets the cluster go on until cancelled."""
        while True:
            self.step()
            await asyncio.sleep(_TICK_S)

    def step(self) -> None:
        """Lets each part of the cluster act once."""
        for key in [key for key in self.objects if "/jobs/" in key]:
            self._control(key)
        for key in [key for key in self.objects if "/pods/" in key]:
            if key in self.objects:
                self._execute(key)

    def _control(self, key: str) -> None:
        job = self.objects[key]
        pods = [self.objects[pod] for pod in self._pods_of(job["metadata"]["uid"])]
        if _is_over(job) or job["spec"]["suspend"]:
            return
        if not pods and not job["status"].get("startTime"):
            job["status"]["startTime"] = _now()
            for index in range(job["spec"]["completions"]):
                self._create_pod(key, job, index)
        elif failure := _failure(job, pods):
            self._fail(key, job, pods, failure)
        elif sum(_phase(pod) == "Succeeded" for pod in pods) >= job["spec"]["completions"]:
            self._finish(key, job, "Complete", "", "")

    def _fail(self, key: str, job: Object, pods: list[Object], failure: tuple[str, str]) -> None:
        target = job["metadata"]["annotations"].setdefault("failure", "\n".join(failure))
        for pod in pods:
            if _phase(pod) in {"Pending", "Running"} and "deletionTimestamp" not in pod["metadata"]:
                self._end_pod(_path_of(pod), force=False)
        if not any(_phase(pod) in {"Pending", "Running"} for pod in pods):
            reason, _, message = target.partition("\n")
            self._finish(key, job, "Failed", reason, message)

    def _finish(self, key: str, job: Object, kind: str, reason: str, message: str) -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        job["status"].setdefault("conditions", []).append(condition)
        self._put(key, job)
        for pod in self._pods_of(job["metadata"]["uid"]):
            if "deletionTimestamp" in self.objects[pod]["metadata"]:
                self._remove(pod)

    def _create_pod(self, key: str, job: Object, index: int) -> None:
        template, name = job["spec"]["template"], f"{job['metadata']['name']}-{index}-{next(self._uids)}"
        labels = {
            **template["metadata"]["labels"],
            _JOB_OF_POD: job["metadata"]["name"],
            _INDEX_OF_POD: str(index),
        }
        metadata = {
            "name": name,
            "labels": labels,
            "annotations": dict(template["metadata"]["annotations"]),
            "ownerReferences": [{"uid": job["metadata"]["uid"]}],
        }
        path = key.partition("/jobs/")[0].replace("/apis/batch/v1", "/api/v1")
        spec = copy.deepcopy(template["spec"])
        self._put(f"{path}/pods/{name}", {"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}})

    def _execute(self, key: str) -> None:
        pod = self.objects[key]
        if pod["spec"].get("nodeName") in self.silent:
            return
        if pod["spec"].get("schedulingGates"):
            return
        if _phase(pod) == "Pending" and not pod["spec"].get("nodeName"):
            self._bind(key, pod)
        elif _phase(pod) == "Pending":
            self._begin(key, pod)
        elif _phase(pod) == "Running":
            self._go_on(key, pod)

    def _bind(self, key: str, pod: Object) -> None:
        node = next((it for it in self._nodes() if self._fits(pod, it)), None)
        if node is not None:
            pod["spec"]["nodeName"] = node["metadata"]["name"]
            pod["status"].pop("conditions", None)
            self._put(key, pod)
        elif not pod["status"].get("conditions"):
            message = f"0/{len(self._nodes())} nodes are available"
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
            }
            pod["status"]["conditions"] = [condition]
            self._put(key, pod)

    def _fits(self, pod: Object, node: Object) -> bool:
        affinity = pod["spec"]["affinity"]["nodeAffinity"]
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
        expressions = required["nodeSelectorTerms"][0]["matchExpressions"] if required else []
        labels, name = node["metadata"]["labels"], node["metadata"]["name"]
        if not pod["spec"].get("nodeSelector", {}).items() <= labels.items():
            return False
        if any((labels.get(it["key"]) in it["values"]) != (it["operator"] == "In") for it in expressions):
            return False
        others = [self.objects[key] for key in self.objects if "/pods/" in key]
        there = [
            it for it in others if it["spec"].get("nodeName") == name and _phase(it) in {"Pending", "Running"}
        ]
        return all(
            sum(quantity(_requests(it).get(resource, "0")) for it in (*there, pod))
            <= quantity(node["status"]["allocatable"].get(resource, "0"))
            for resource in _requests(pod)
        )

    def _begin(self, key: str, pod: Object) -> None:
        container = pod["spec"]["containers"][0]
        if container["image"] in self.images:
            pod["status"] = {"phase": "Running", "steps": 0}
            self._put(key, pod)
        elif not pod["status"].get("containerStatuses"):
            waiting = {"waiting": {"reason": "ErrImageNeverPull", "message": "the image is not present"}}
            pod["status"]["containerStatuses"] = [{"name": container["name"], "state": waiting}]
            self._put(key, pod)

    def _go_on(self, key: str, pod: Object) -> None:
        pod["status"]["steps"] += 1
        program, index = _program(pod), pod["metadata"]["labels"][_INDEX_OF_POD]
        if pod["status"]["steps"] < 10:
            return
        code = _EXIT_CODES.get(program)
        if program is Program.SECOND_FAILS and index == "1" and pod["status"]["steps"] > 30:
            code = 3
        if code is not None:
            self._terminate(key, code, "OOMKilled" if program is Program.HOG else "")

    def evict(self, key: str) -> None:
        """Evicts a pod as the eviction API does."""
        pod = self.objects[key]
        message = "Eviction API: evicting"
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": message,
        }
        pod["status"].setdefault("conditions", []).append(condition)
        self._end_pod(key, force=False)

    def silence(self, node: str) -> None:
        """Lets nothing be heard of a node."""
        self.silent.add(node)
        found = self.objects[f"/api/v1/nodes/{node}"]
        found["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
        self._put(f"/api/v1/nodes/{node}", found)

    def remove_node(self, node: str) -> None:
        """Removes a node."""
        self._remove(f"/api/v1/nodes/{node}")

    def _end_pod(self, key: str, *, force: bool) -> None:
        pod = self.objects[key]
        is_unheard = pod["spec"].get("nodeName") in self.silent
        pod["metadata"]["deletionTimestamp"] = _now()
        if force or not pod["spec"].get("nodeName"):
            if _phase(pod) in {"Pending", "Running"}:
                pod["status"]["phase"] = "Failed"
            self._remove(key)
        elif not is_unheard and _phase(pod) in {"Pending", "Running"}:
            self._terminate(key, 137 if _program(pod) is Program.IGNORE else 143, "")

    def _terminate(self, key: str, code: int, reason: str) -> None:
        pod = self.objects[key]
        state = {"terminated": {"exitCode": code, "reason": reason or ("Error" if code else "Completed")}}
        pod["status"] |= {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": pod["spec"]["containers"][0]["name"], "state": state}],
        }
        self._put(key, pod)

    def _answer(self) -> None:
        if not self.is_available:
            raise UnavailableError("the API server cannot be asked")

    def _nodes(self) -> list[Object]:
        nodes = [self.objects[key] for key in self._below("/api/v1/nodes")]
        return [it for it in nodes if it["metadata"]["name"] not in self.silent]

    def _below(self, path: str) -> list[str]:
        if path == "/api/v1/pods":
            return [key for key in self.objects if "/pods/" in key]
        return [key for key in self.objects if key.startswith(f"{path}/")]

    def _pods_of(self, job: str) -> list[str]:
        return [
            key
            for key, it in self.objects.items()
            if "/pods/" in key and it["metadata"]["ownerReferences"][0]["uid"] == job
        ]

    def _put(self, key: str, found: Object) -> Object:
        kind = "MODIFIED" if key in self.objects else "ADDED"
        self._version += 1
        metadata = found["metadata"]
        metadata.setdefault("uid", f"uid-{next(self._uids)}")
        metadata.setdefault("creationTimestamp", _now())
        metadata["resourceVersion"] = str(self._version)
        found.setdefault("status", {})
        found["_path"] = key
        self.objects[key] = found
        self.changes.append((self._version, kind, copy.deepcopy(found)))
        return found

    def _remove(self, key: str) -> None:
        found = self.objects.pop(key, None)
        if found is not None:
            self._version += 1
            found["metadata"]["resourceVersion"] = str(self._version)
            self.changes.append((self._version, "DELETED", copy.deepcopy(found)))


def _failure(job: Object, pods: list[Object]) -> tuple[str, str] | None:
    if "failure" in job["metadata"]["annotations"]:
        reason, _, message = job["metadata"]["annotations"]["failure"].partition("\n")
        return reason, message
    if job["spec"]["activeDeadlineSeconds"] == 0:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    for pod in pods:
        name = pod["metadata"]["name"]
        if _phase(pod) != "Failed":
            continue
        if any(it["type"] == "DisruptionTarget" for it in pod["status"].get("conditions", [])):
            return (
                "PodFailurePolicy",
                f"Pod {name} has condition DisruptionTarget matching FailJob rule at index 0",
            )
        code = pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
        return (
            "PodFailurePolicy",
            f"Container for pod {name} failed with exit code {code} matching FailJob rule",
        )
    if not pods and job["status"].get("startTime"):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    return None


def _is_over(job: Object) -> bool:
    return bool(job["status"].get("conditions"))


def _phase(pod: Object) -> str:
    return str(pod["status"]["phase"])


def _path_of(found: Object) -> str:
    return str(found["_path"])


def _requests(pod: Object) -> Mapping[str, str]:
    requests: Mapping[str, str] = pod["spec"]["containers"][0]["resources"]["requests"]
    return requests


def _environment(pod: Object) -> Mapping[str, str]:
    """Returns the variables of a pod that say where it is."""
    known = {"MLTRAINER_HOST": str(pod["spec"]["nodeName"])}
    for variable in pod["spec"]["containers"][0]["env"]:
        text = str(variable.get("value", ""))
        for name, value in list(known.items()):
            text = text.replace(f"$({name})", value)
        known.setdefault(variable["name"], text)
    return known


def _program(pod: Object) -> Program:
    return Program(base64.b64decode(pod["metadata"]["annotations"][ORDER_ANNOTATION]).decode())


def _matches(found: Object, selector: str) -> bool:
    labels = found["metadata"].get("labels", {})
    for term in filter(None, selector.split(",")):
        key, operator, value = term.partition("!=") if "!=" in term else term.partition("=")
        if (labels.get(key) == value) != (operator == "="):
            return False
    return True


def _merged(known: Any, change: Any) -> Any:
    if not isinstance(change, dict) or not isinstance(known, dict):
        return copy.deepcopy(change)
    return {**known, **{key: _merged(known.get(key), value) for key, value in change.items()}}


def _now() -> str:
    return datetime.now(UTC).isoformat()
