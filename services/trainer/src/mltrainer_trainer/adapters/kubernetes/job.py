"""Writes the job of an attempt."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from mltrainer_trainer.adapters.attempt_directory import ORDER_TEXT
from mltrainer_trainer.adapters.kubernetes import profile as names
from mltrainer_trainer.adapters.kubernetes.profile import JobProfile
from mltrainer_trainer.application.ports import LaunchError
from mltrainer_trainer.domain.attempt import AttemptLimits, Placement
from mltrainer_trainer.domain.workers import WORKER_COUNT, WORKER_INDEX, WORKER_NODE

# The API server refuses objects whose annotations are longer than this together.
_LONGEST_ORDER_BYTES = 240 * 1024
_INDEX_ANNOTATION = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
_HOST = "MLTRAINER_HOST"
_UNREACHABLE = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")

Object = dict[str, Any]


def job_name(placement: Placement, owner: str) -> str:
    """Names the job of an attempt: the same for the same attempt and token, another one for any other."""
    training = placement.training.removeprefix("trainings/")
    digest = _digest(f"{owner}/{placement.attempt}/{placement.fencing_token}")
    readable = "".join(letter if letter.isalnum() else "-" for letter in training[:24]).strip("-")
    return f"mltrainer-{readable}-{digest}"


def training_label(training: str) -> str:
    """Shortens the name of a training to what a label may hold."""
    return _digest(training)


def identity(placement: Placement) -> str:
    """Says whom a job serves, in full."""
    return f"{placement.attempt} {placement.allocation} {placement.fencing_token}"


def render_job(placement: Placement, order: bytes, profile: JobProfile) -> Object:
    """Returns the job that executes an attempt, whole: nothing else needs to be created or removed.

    Raises:
        LaunchError: No pod can have what the attempt asks for.
    """
    text = base64.b64encode(order).decode()
    if len(text) > _LONGEST_ORDER_BYTES:
        raise LaunchError(
            f"the order has {len(order)} bytes, more than a pod can be given: name fewer symbols"
        )
    labels, hosts = _labels(placement, profile), worker_hosts(placement, profile)
    workers = placement.limits.workers
    spec = {
        "completionMode": "Indexed",
        "completions": workers,
        "parallelism": workers,
        # A failed attempt is the scheduler's to repeat, under a new token.
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _FAILURE_RULES},
        "activeDeadlineSeconds": profile.longest_s,
        "ttlSecondsAfterFinished": profile.keep_s,
        # With a queue, Kueue lets the job begin.
        "suspend": bool(profile.queue),
        "template": {
            "metadata": {"labels": labels, "annotations": {names.ORDER_ANNOTATION: text}},
            "spec": _join(_pod(placement, profile) | _gates(hosts), profile.pod),
        },
    }
    metadata = {
        "name": job_name(placement, profile.owner),
        "namespace": profile.namespace,
        "labels": labels | _kueue_labels(placement, profile),
        "annotations": {
            names.IDENTITY_ANNOTATION: identity(placement),
            names.HOSTS_ANNOTATION: ",".join(hosts),
        },
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def worker_hosts(placement: Placement, profile: JobProfile) -> tuple[str, ...]:
    """Returns the host of each worker by its index; empty where they were not placed on this cluster."""
    nodes = placement.worker_nodes
    if not all(node.startswith(profile.node_prefix) for node in nodes):
        return ()
    return tuple(node.removeprefix(profile.node_prefix) for node in nodes)


def release(pod: Object, hosts: Sequence[str]) -> Object | None:
    """Returns what lets a held worker go to its own host; None where it is not held."""
    gates = pod["spec"].get("schedulingGates") or []
    index = int(pod["metadata"].get("labels", {}).get(names.INDEX_LABEL, "0"))
    if names.PLACEMENT_GATE not in {gate["name"] for gate in gates} or index >= len(hosts):
        return None
    others = [gate for gate in gates if gate["name"] != names.PLACEMENT_GATE]
    return {"spec": {"schedulingGates": others, "nodeSelector": {names.HOSTNAME_LABEL: hosts[index]}}}


def _gates(hosts: Sequence[str]) -> Object:
    """Holds the workers of a gang back whose hosts differ: the pods of a job are alike until released."""
    return {"schedulingGates": [{"name": names.PLACEMENT_GATE}]} if len(set(hosts)) > 1 else {}


# The condition of the job keeps what the rules say after the pods are gone.
_FAILURE_RULES = [
    {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    {
        "action": "FailJob",
        "onExitCodes": {"containerName": names.CONTAINER, "operator": "NotIn", "values": [0]},
    },
]


def _labels(placement: Placement, profile: JobProfile) -> dict[str, str]:
    return {
        names.MANAGED_BY_LABEL: names.MANAGER,
        names.OWNER_LABEL: profile.owner,
        names.TRAINING_LABEL: training_label(placement.training),
        names.TOKEN_LABEL: str(placement.fencing_token),
    }


def _kueue_labels(placement: Placement, profile: JobProfile) -> dict[str, str]:
    labels = {}
    if profile.queue:
        labels[names.QUEUE_LABEL] = profile.queue.replace("{queue}", placement.queue.removeprefix("queues/"))
    if profile.priority_class:
        labels[names.PRIORITY_LABEL] = profile.priority_class
    return labels


def _pod(placement: Placement, profile: JobProfile) -> Object:
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": profile.grace_s,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": profile.user_id,
            "runAsGroup": profile.user_id,
            "fsGroup": profile.user_id,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": {"nodeAffinity": _node_affinity(placement, profile)},
        "tolerations": _tolerations(placement.limits, profile),
        "containers": [_container(placement, profile)],
        "volumes": [
            {
                "name": "attempt",
                "downwardAPI": {
                    "items": [
                        {
                            "path": ORDER_TEXT,
                            "fieldRef": {"fieldPath": f"metadata.annotations['{names.ORDER_ANNOTATION}']"},
                        }
                    ]
                },
            },
            {"name": "scratch", "emptyDir": {"sizeLimit": str(profile.scratch_bytes)}},
        ],
    }


def _container(placement: Placement, profile: JobProfile) -> Object:
    environment = [{"name": name, "value": value} for name, value in sorted(profile.environment.items())]
    return {
        "name": names.CONTAINER,
        "image": profile.image,
        "imagePullPolicy": profile.image_pull_policy,
        "command": [*profile.program, names.ATTEMPT_PATH],
        "env": [
            *environment,
            {"name": WORKER_INDEX, "valueFrom": {"fieldRef": {"fieldPath": _INDEX_ANNOTATION}}},
            {"name": WORKER_COUNT, "value": str(placement.limits.workers)},
            {"name": _HOST, "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": WORKER_NODE, "value": f"{profile.node_prefix}$({_HOST})"},
            {"name": "OMP_NUM_THREADS", "value": str(max(1, int(placement.limits.cpus)))},
            {"name": "POLARS_MAX_THREADS", "value": str(max(1, int(placement.limits.cpus)))},
        ],
        "resources": _resources(placement.limits, profile),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "attempt", "mountPath": names.ATTEMPT_PATH, "readOnly": True},
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
        ],
    }


def _resources(limits: AttemptLimits, profile: JobProfile) -> Object:
    held = {"cpu": f"{max(1, round(limits.cpus * 1000))}m"}
    if limits.memory_bytes:
        held["memory"] = str(limits.memory_bytes)
    if limits.gpus:
        if limits.gpus != int(limits.gpus):
            raise LaunchError(f"a pod has whole GPUs only, not {limits.gpus:g}")
        held[profile.labels.gpu_resource] = str(int(limits.gpus))
    return {"requests": held, "limits": held}


def _node_affinity(placement: Placement, profile: JobProfile) -> Object:
    limits, labels = placement.limits, profile.labels
    required: list[Object] = []
    if hosts := sorted(set(worker_hosts(placement, profile))):
        required.append({"key": names.HOSTNAME_LABEL, "operator": "In", "values": hosts})
    if limits.gpus and limits.gpu_type:
        required.append({"key": labels.gpu_type, "operator": "In", "values": [limits.gpu_type]})
    if not limits.allows_spot:
        required.append({"key": labels.spot, "operator": "NotIn", "values": [labels.spot_value]})
    if not required:
        return {}
    return {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": required}]
        }
    }


def _tolerations(limits: AttemptLimits, profile: JobProfile) -> list[Object]:
    tolerated: list[Object] = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": profile.lost_after_s}
        for key in _UNREACHABLE
    ]
    if limits.gpus:
        tolerated.append({"key": profile.labels.gpu_resource, "operator": "Exists", "effect": "NoSchedule"})
    if limits.allows_spot:
        tolerated.append(
            {"key": profile.labels.spot, "operator": "Equal", "value": profile.labels.spot_value}
        )
    return tolerated


def _join(ours: Object, added: Mapping[str, Any]) -> Object:
    """Adds an operator's fields to a pod; those of `containers[0]` go to the container of the attempt."""
    joined = dict(ours)
    for key, value in added.items():
        known = joined.get(key)
        if key == "containers":
            joined[key] = [_join(ours["containers"][0], value[0]), *value[1:]]
        elif isinstance(known, list):
            joined[key] = [*known, *value]
        elif isinstance(known, dict):
            joined[key] = _join(known, value)
        else:
            joined[key] = value
    return joined


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]
