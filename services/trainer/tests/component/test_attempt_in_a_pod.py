"""The real trainer executes a real attempt in a pod of a real cluster, which reports by gRPC."""

import asyncio
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from mltrainer.trainer.v1 import events_pb2 as events
from mltrainer_common.service import start_service
from mltrainer_testkit.fake_broker import FakeBroker
from mltrainer_testkit.kubernetes import NODE, TEST_IMAGE, Cluster
from mltrainer_testkit.kubernetes_host import POD_GATEWAY
from mltrainer_trainer.bootstrap import assemble
from mltrainer_trainer.settings import BackendKind, KubernetesSettings, TrainerSettings

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]
Stage = Any  # fixtures are not importable; see conftest.py
REPOSITORY = Path(__file__).parents[4]
# The interpreter of this machine, with all it has installed, takes the place of an image.
MOUNTED = {
    "/usr": "/usr",
    "/lib": "/usr/lib",
    "/lib64": "/usr/lib64",
    sys.base_prefix: sys.base_prefix,
    str(REPOSITORY): str(REPOSITORY),
}


def pod_fields(data_directory: Path) -> dict[str, Any]:
    paths = {**MOUNTED, str(data_directory): str(data_directory)}
    names = {target: f"host-{index}" for index, target in enumerate(paths)}
    return {
        # The files of the test belong to whoever executes it.
        "securityContext": {"runAsNonRoot": False, "runAsUser": 0, "runAsGroup": 0},
        "volumes": [{"name": names[target], "hostPath": {"path": it}} for target, it in paths.items()],
        "containers": [{"volumeMounts": [{"name": names[it], "mountPath": it} for it in paths]}],
    }


def settings_for(cluster: Cluster, namespace: str, pod_file: Path, data_directory: Path) -> TrainerSettings:
    kubernetes = KubernetesSettings(
        kubeconfig=cluster.kubeconfig,
        cluster="test",
        namespace=namespace,
        image=TEST_IMAGE,
        image_pull_policy="Never",
        pod_file=pod_file,
        environment={
            "PATH": f"{Path(sys.executable).parent}:/bin:/usr/bin",
            "MLTRAINER_DATA_DIRECTORY": str(data_directory),
        },
    )
    return TrainerSettings(
        backend=BackendKind.KUBERNETES,
        kubernetes=kubernetes,
        supervise_interval_s=0.1,
        renew_interval_s=0.5,
        report_interval_s=0.5,
        grace_s=2.0,
    )


def succeeded_of(broker: FakeBroker) -> list[events.AttemptSucceeded]:
    return list(broker.events(events.AttemptSucceeded))


@pytest.fixture
def reachable_stage(stage: Stage) -> Stage:
    """Gives a stage whose services pods can reach."""
    return replace(stage, platform=stage.platform.model_copy(update={"bind_host": POD_GATEWAY}))


async def test_an_attempt_in_a_pod_becomes_a_model(
    kubernetes_cluster: Cluster, reachable_stage: Stage, fake_broker: FakeBroker, tmp_path: Path
) -> None:
    stage, namespace = reachable_stage, "attempts"
    await asyncio.to_thread(kubernetes_cluster.add_namespace, namespace)
    pod_file = tmp_path / "pod.yaml"
    pod_file.write_text(yaml.safe_dump(pod_fields(stage.platform.data_directory)))
    settings = settings_for(kubernetes_cluster, namespace, pod_file, stage.platform.data_directory)
    placed = stage.placed()
    placed.allocation.node = f"nodes/test.{NODE}"
    async with (
        stage.serve_peers(),
        start_service("trainer", stage.platform, settings, partial(assemble, broker=fake_broker)),
    ):
        (reported, *_) = await fake_broker.wait_for(events.NodeReported, timeout_s=60)
        await fake_broker.send(placed)
        async with asyncio.timeout(200):
            while not (failed := fake_broker.events(events.AttemptFailed)) and not succeeded_of(fake_broker):  # noqa: ASYNC110 - the broker in memory raises no event
                await asyncio.sleep(0.1)

    assert failed == []
    (succeeded,) = succeeded_of(fake_broker)
    jobs = kubernetes_cluster.get(f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
    assert reported.node == f"nodes/test.{NODE}"
    assert succeeded.computation_key == placed.computation_key
    assert (stage.peers.uploads[0][0].training, len(stage.peers.uploads)) == ("trainings/t1", 1)
    assert len(fake_broker.events(events.AttemptStarted)) == 1
    assert fake_broker.events(events.UsageSampled)[-1].cpu_seconds > 0
    assert len(jobs) == 1
