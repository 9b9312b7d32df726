"""What a job says about its attempt, and what an operator adds to it."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mltrainer_trainer.adapters.kubernetes.job import job_name, render_job
from mltrainer_trainer.adapters.kubernetes.profile import JobProfile
from mltrainer_trainer.application.ports import LaunchError
from mltrainer_trainer.domain.attempt import AttemptLimits, Placement

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PROFILE = JobProfile(
    namespace="ml", image="registry/mltrainer:1", program=("python",), environment={"A": "b"}
)
LIMITS = AttemptLimits(cpus=1.5, memory_bytes=2 << 30)
PLACEMENT = Placement(
    training="trainings/vol_5",
    number=2,
    allocation="allocations/a1",
    fencing_token=7,
    node="nodes/kubernetes.gpu-1.example",
    study="studies/s",
    computation_key="k",
    as_of_time=NOW,
    lease_expire_time=NOW,
    spec=b"",
    limits=LIMITS,
)


def rendered(profile: JobProfile = PROFILE, **limits: Any) -> dict[str, Any]:
    return render_job(replace(PLACEMENT, limits=replace(LIMITS, **limits)), b"order", profile)


def pod_of(job: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec


def container_of(job: Mapping[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = pod_of(job)["containers"][0]
    return container


def expressions_of(job: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    affinity = pod_of(job)["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    return [(it["key"], it["operator"], it["values"]) for it in terms[0]["matchExpressions"]]


@given(
    training=st.from_regex(r"[a-z0-9][a-z0-9\-_]{0,127}", fullmatch=True),
    number=st.integers(1, 2**31 - 1),
    token=st.integers(1, 2**63 - 1),
)
def test_every_attempt_has_a_name_that_a_cluster_takes(training: str, number: int, token: int) -> None:
    placement = replace(PLACEMENT, training=f"trainings/{training}", number=number, fencing_token=token)

    name = job_name(placement, "mltrainer")

    # A pod's host is called like its job with an index of up to seven digits behind it.
    assert len(name) <= 63 - 8
    assert name.replace("-", "a").isalnum()
    assert name == name.lower()
    assert name[-1].isalnum()


def test_a_name_belongs_to_one_attempt_token_and_owner() -> None:
    others = [replace(PLACEMENT, number=3), replace(PLACEMENT, fencing_token=8)]
    others.append(replace(PLACEMENT, training="trainings/vol-5"))

    names = {job_name(it, "a") for it in (PLACEMENT, *others)} | {job_name(PLACEMENT, "b")}

    assert len(names) == 5
    assert job_name(PLACEMENT, "a") == job_name(replace(PLACEMENT), "a")


def test_a_job_executes_its_attempt_once_and_is_bounded_in_time() -> None:
    spec = rendered()["spec"]

    assert (spec["backoffLimit"], spec["completions"], spec["parallelism"]) == (0, 1, 1)
    assert pod_of(rendered())["restartPolicy"] == "Never"
    assert spec["activeDeadlineSeconds"] == 7 * 86_400
    assert spec["ttlSecondsAfterFinished"] == 86_400
    assert not spec["suspend"]


def test_a_pod_may_do_nothing_but_compute() -> None:
    pod, container = pod_of(rendered()), container_of(rendered())

    assert not pod["automountServiceAccountToken"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [it["mountPath"] for it in container["volumeMounts"] if not it.get("readOnly")] == ["/tmp"]


def test_the_order_is_a_file_of_the_pod_and_the_whole_of_what_is_created() -> None:
    job = rendered()

    annotation = job["spec"]["template"]["metadata"]["annotations"]["mltrainer.dev/order"]
    (item,) = pod_of(job)["volumes"][0]["downwardAPI"]["items"]
    assert base64.b64decode(annotation) == b"order"
    assert item["path"] == "order.b64"
    assert container_of(job)["command"] == ["python", "/mltrainer/attempt"]
    assert job["metadata"]["annotations"]["mltrainer.dev/attempt"] == (
        "trainings/vol_5/attempts/2 allocations/a1 7"
    )


def test_an_order_that_no_pod_can_be_given_is_refused() -> None:
    with pytest.raises(LaunchError, match="name fewer symbols"):
        render_job(PLACEMENT, bytes(200_000), PROFILE)


def test_a_worker_gets_what_it_asked_for_and_no_more() -> None:
    held = container_of(rendered(gpus=2.0))["resources"]

    assert held["requests"] == held["limits"]
    assert held["limits"] == {"cpu": "1500m", "memory": str(2 << 30), "nvidia.com/gpu": "2"}


def test_a_fraction_of_a_gpu_is_refused() -> None:
    with pytest.raises(LaunchError, match="whole GPUs"):
        rendered(gpus=0.5)


def test_a_placement_is_bound_to_its_host_and_to_its_type_of_gpu() -> None:
    expressions = expressions_of(rendered(gpus=1.0, gpu_type="A100"))

    assert ("kubernetes.io/hostname", "In", ["gpu-1.example"]) in expressions
    assert ("nvidia.com/gpu.product", "In", ["A100"]) in expressions


def test_spot_capacity_is_used_only_where_it_is_allowed() -> None:
    never, allowed = rendered(allows_spot=False), rendered()

    assert ("karpenter.sh/capacity-type", "NotIn", ["spot"]) in expressions_of(never)
    tolerated = {it["key"] for it in pod_of(allowed)["tolerations"]}
    assert "karpenter.sh/capacity-type" in tolerated
    assert "karpenter.sh/capacity-type" not in {it["key"] for it in pod_of(never)["tolerations"]}


def test_a_gang_is_one_indexed_job_whose_workers_know_their_index() -> None:
    job = rendered(workers=4)

    environment = {it["name"]: it.get("value") for it in container_of(job)["env"]}
    assert (job["spec"]["completionMode"], job["spec"]["completions"], job["spec"]["parallelism"]) == (
        "Indexed",
        4,
        4,
    )
    assert environment["MLTRAINER_WORKER_COUNT"] == "4"
    assert "MLTRAINER_WORKER_INDEX" in environment
    # One node may not hold all of them; the cluster finds places for the rest.
    assert pod_of(job)["affinity"]["nodeAffinity"] == {}


def test_with_a_queue_kueue_lets_the_job_begin() -> None:
    job = rendered(replace(PROFILE, queue="{queue}-local", priority_class="research"))

    assert job["spec"]["suspend"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "default-local"
    assert job["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "research"


def test_an_operator_adds_to_the_pod_and_to_its_container() -> None:
    added = {
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "artifacts"}}],
        "containers": [{"volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "securityContext": {"runAsUser": 1000},
    }

    job = rendered(replace(PROFILE, pod=added))

    assert [it["name"] for it in pod_of(job)["volumes"]] == ["attempt", "scratch", "data"]
    assert container_of(job)["volumeMounts"][-1]["mountPath"] == "/data"
    assert pod_of(job)["securityContext"]["runAsUser"] == 1000
    assert pod_of(job)["securityContext"]["runAsNonRoot"]
    assert pod_of(job)["imagePullSecrets"] == [{"name": "registry"}]
