"""Puts the backend together that executes attempts as jobs of a cluster."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from mltrainer_common.service import Loop, ServiceContext

from mltrainer_trainer.adapters.kubernetes.backend import ClusterView, KubernetesBackend
from mltrainer_trainer.adapters.kubernetes.client import open_api
from mltrainer_trainer.adapters.kubernetes.nodes import ClusterProbe
from mltrainer_trainer.adapters.kubernetes.profile import JobProfile, NodeLabels
from mltrainer_trainer.settings import KubernetesSettings, TrainerSettings
from mltrainer_trainer.wire.order import encode_order

# What the trainer is told about its own machine says nothing about a pod.
_NOT_FOR_PODS = {
    "MLTRAINER_DATA_DIRECTORY",
    "MLTRAINER_BIND_HOST",
    "MLTRAINER_ADVERTISE_HOST",
    "MLTRAINER_TOKEN_KEY_FILE",
}
_POD_DEFAULTS = {"MLTRAINER_DATA_DIRECTORY": "/tmp/mltrainer", "HOME": "/tmp", "PYTHONUNBUFFERED": "1"}  # noqa: S108 - a volume of the pod's own
_PROGRAM = ("python", "-m", "mltrainer_trainer.attempt")


@dataclass(frozen=True, slots=True)
class OpenedCluster:
    """The parts of the backend; `background` keeps its view of the cluster."""

    nodes: str
    backend: KubernetesBackend
    probe: ClusterProbe
    background: Mapping[str, Loop]


async def open_cluster(
    context: ServiceContext, settings: TrainerSettings, stated: Mapping[str, str], wakeup: Callable[[], None]
) -> OpenedCluster:
    """Connects to the cluster that the settings name."""
    kubernetes = settings.kubernetes
    api = await context.stack.enter_async_context(open_api(kubernetes.kubeconfig, kubernetes.context))
    profile = job_profile(settings, stated)
    view = ClusterView(api, profile, wakeup)
    return OpenedCluster(
        nodes=profile.node_prefix,
        backend=KubernetesBackend(api, view, profile, encode_order, context.clock),
        probe=ClusterProbe(api, view.nodes, profile, context.clock, time.monotonic),
        background={"jobs": view.jobs.run, "pods": view.pods.run, "nodes": view.nodes.run},
    )


def job_profile(settings: TrainerSettings, stated: Mapping[str, str]) -> JobProfile:
    """Reads what all jobs share; pods find the other services as the trainer does, unless told otherwise."""
    kubernetes = settings.kubernetes
    inherited = {name: value for name, value in stated.items() if name not in _NOT_FOR_PODS}
    spot_label, _, spot_value = kubernetes.spot_label.partition("=")
    return JobProfile(
        namespace=kubernetes.namespace,
        image=kubernetes.image,
        program=_PROGRAM,
        environment={**inherited, **_POD_DEFAULTS, **kubernetes.environment},
        owner=kubernetes.owner,
        node_prefix=f"nodes/{kubernetes.cluster}.",
        queue=kubernetes.queue,
        priority_class=kubernetes.priority_class,
        image_pull_policy=kubernetes.image_pull_policy,
        labels=NodeLabels(kubernetes.gpu_resource, kubernetes.gpu_type_label, spot_label, spot_value),
        pod=_pod_fields(kubernetes),
        start_timeout_s=kubernetes.start_timeout_s,
        longest_s=kubernetes.longest_s,
        grace_s=max(1, int(settings.grace_s)),
        keep_s=int(settings.keep_attempts_s),
    )


def _pod_fields(kubernetes: KubernetesSettings) -> Mapping[str, Any]:
    if kubernetes.pod_file is None:
        return {}
    fields = yaml.safe_load(kubernetes.pod_file.read_text())
    if not isinstance(fields, dict):
        raise TypeError(f"{kubernetes.pod_file} must hold the fields of a pod")
    return fields
