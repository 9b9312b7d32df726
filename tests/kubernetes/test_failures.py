"""What a real cluster does to attempts when parts of it fail, and what the trainer may do there."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from mltrainer_common.clock import SystemClock
from mltrainer_testkit.execution_backends import LIMITS, Program, attempt_of, place, reached, start
from mltrainer_trainer.adapters.kubernetes.nodes import ClusterProbe
from mltrainer_trainer.adapters.kubernetes.profile import INDEX_LABEL
from mltrainer_trainer.application.ports import BackendUnavailableError
from mltrainer_trainer.domain.attempt import NodeShare
from mltrainer_trainer.domain.execution import Ended, EndReason, Executing, Starting
from mltrainer_trainer.domain.release import NodeReport

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(180)]
GPU_TYPE = "nvidia.com/gpu.product"
_DEPLOY = Path(__file__).parents[2] / "deploy" / "kubernetes"
MANIFESTS = [(_DEPLOY / name).read_text() for name in ("namespace.yaml", "trainer-rbac.yaml")]
EXAMPLE = (_DEPLOY / "attempt-pod.yaml").read_text()
Machine = Any  # fixtures are not importable; see conftest.py


async def test_an_api_server_killed_in_the_middle_costs_no_attempt(machine: Machine) -> None:
    going_on, ending, unborn = (place(Program.WAIT, name) for name in ("going-on", "ending", "unborn"))
    async with machine.trainer() as backend:
        attempts = [attempt_of(it) for it in (going_on, ending)]
        for placement, attempt in zip((going_on, ending), attempts, strict=True):
            await start(backend, placement)
            await reached(machine, backend, attempt, Executing)
        lists = backend.view.pods.list_count
        await asyncio.to_thread(machine.cluster.kill, "apiserver")
        with pytest.raises(BackendUnavailableError):
            await start(backend, unborn)
        still = [await backend.observe(attempt) for attempt in attempts]
        with pytest.raises(BackendUnavailableError):
            await backend.stop(attempts[1], force=False)
        await asyncio.to_thread(machine.cluster.start_api_server)

        await start(backend, unborn)
        await reached(machine, backend, attempt_of(unborn), Executing)
        await backend.stop(attempts[1], force=False)
        ended = await reached(machine, backend, attempts[1], Ended)
        lived = await backend.observe(attempts[0])
        relisted = backend.view.pods.list_count - lists

    assert all(isinstance(seen, Executing) for seen in still)
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.CANCELLED
    assert isinstance(lived, Executing)
    assert await machine.living(going_on) == 1
    assert relisted <= 1  # a new server may have forgotten what a watch asks for


async def test_watches_that_the_server_ends_go_on_without_listing_again(machine: Machine) -> None:
    placement = place(Program.WAIT, "watched")
    short = replace(machine, watch_s=1)
    async with short.trainer() as backend:
        await asyncio.sleep(3)
        await start(backend, placement)
        await reached(machine, backend, attempt_of(placement), Executing)
        lists = backend.view.pods.list_count

    assert lists == 1


async def test_a_version_that_the_server_has_forgotten_makes_the_watch_list_again(machine: Machine) -> None:
    placement = place(Program.WAIT, "forgotten")
    short = replace(machine, watch_s=1)
    async with short.trainer() as backend:
        await start(backend, placement)
        await reached(machine, backend, attempt_of(placement), Executing)
        before = backend.view.pods.list_count
        backend.view.pods._version = "1"
        until = time.monotonic() + 30
        while backend.view.pods.list_count == before and time.monotonic() < until:  # noqa: ASYNC110 - a task of its own lists
            await asyncio.sleep(0.1)
        await backend.stop(attempt_of(placement), force=False)
        seen = await reached(machine, backend, attempt_of(placement), Ended)

    assert isinstance(seen, Ended)
    assert backend.view.pods.list_count > before


async def test_a_pod_is_nobody_and_can_write_nothing(machine: Machine) -> None:
    placement = place(Program.SAY_USER, "nobody")
    async with machine.trainer() as backend:
        await start(backend, placement)
        await reached(machine, backend, attempt_of(placement), Ended)
        output = (await backend.read_output(attempt_of(placement), 1000)).decode()

    assert "uid=65532" in output
    assert "Read-only file system" in output


@contextlib.asynccontextmanager
async def ghost(machine: Machine, name: str, labels: dict[str, str]) -> AsyncIterator[None]:
    """Adds a node with two GPUs that is heard of, and executes nothing."""
    path = f"/api/v1/nodes/{name}"
    tags = {"kubernetes.io/hostname": name, **labels}
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": tags}}
    await machine.ask("POST", "/api/v1/nodes", body)
    amounts = {"cpu": "8", "memory": "16Gi", "pods": "20", "nvidia.com/gpu": "2"}

    async def beat() -> None:
        while True:
            ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": _now(), "reason": "Heard"}
            status = {"capacity": amounts, "allocatable": amounts, "conditions": [ready]}
            content = "application/merge-patch+json"
            await machine.ask("PATCH", f"{path}/status", {"status": status}, content)
            await asyncio.sleep(1)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await machine.ask("DELETE", path)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


async def bound_to(machine: Machine, placement: Any) -> str:
    until = time.monotonic() + machine.patience_s
    while time.monotonic() < until:
        for pod in await machine.pods(placement):
            if node := pod["spec"].get("nodeName"):
                return str(node)
        await asyncio.sleep(0.2)
    raise TimeoutError(placement.training)


async def news(probe: ClusterProbe, node: str, wanted: bool) -> NodeReport:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for report in await probe.reports():
            if report.node == f"nodes/test.{node}" and report.schedulable is wanted:
                return report
        await asyncio.sleep(0.2)
    raise TimeoutError(node)


async def test_the_scheduler_of_the_cluster_puts_attempts_where_ours_has_decided(machine: Machine) -> None:
    gpu = replace(LIMITS, gpus=1.0)
    by_type = place(Program.WAIT, "by-type", limits=replace(gpu, gpu_type="H100"))
    by_host = place(Program.WAIT, "by-host", node="nodes/test.ghost-b", limits=gpu)
    async with (
        machine.trainer() as backend,
        ghost(machine, "ghost-a", {GPU_TYPE: "H100"}),
        ghost(machine, "ghost-b", {GPU_TYPE: "A100"}),
    ):
        for placement in (by_type, by_host):
            await start(backend, placement)
        bound = [await bound_to(machine, placement) for placement in (by_type, by_host)]
        seen = await backend.observe(attempt_of(by_type))

    assert bound == ["ghost-a", "ghost-b"]
    assert isinstance(seen, Starting)  # nothing executes there


async def test_the_workers_of_a_gang_go_where_each_was_placed(machine: Machine) -> None:
    ghosts = ("nodes/test.ghost-d", "nodes/test.ghost-e")
    placement = place(Program.WAIT, "gang", node=ghosts[1], limits=replace(LIMITS, workers=3))
    placement = replace(placement, shares=(NodeShare(ghosts[1], 1), NodeShare(ghosts[0], 2)))
    async with (
        machine.trainer() as backend,
        ghost(machine, "ghost-d", {}),
        ghost(machine, "ghost-e", {}),
    ):
        await start(backend, placement)
        hosts: dict[str, str] = {}
        until = time.monotonic() + machine.patience_s
        while len(hosts) < 3 and time.monotonic() < until:
            await backend.observe(attempt_of(placement))
            pods = await machine.pods(placement)
            bound = [pod for pod in pods if pod["spec"].get("nodeName")]
            hosts = {pod["metadata"]["labels"][INDEX_LABEL]: pod["spec"]["nodeName"] for pod in bound}

    assert hosts == {"0": "ghost-e", "1": "ghost-d", "2": "ghost-d"}


async def test_nodes_are_reported_as_they_come_and_go_and_take_their_attempts_along(machine: Machine) -> None:
    placement = place(Program.WAIT, "gone", node="nodes/test.ghost-c", limits=replace(LIMITS, gpus=1.0))
    spot = {GPU_TYPE: "A100", "karpenter.sh/capacity-type": "spot", "topology.kubernetes.io/zone": "z1"}
    async with machine.trainer() as backend:
        probe = ClusterProbe(
            backend.api, backend.view.nodes, backend.profile, SystemClock(), time.monotonic, look_s=1.0
        )
        async with ghost(machine, "ghost-c", spot):
            present = await news(probe, "ghost-c", wanted=True)
            await start(backend, placement)
            await bound_to(machine, placement)
        gone = await news(probe, "ghost-c", wanted=False)
        seen = await reached(machine, backend, attempt_of(placement), Ended)

    assert (present.gpus, present.gpu_type, present.spot, present.zone) == (2.0, "A100", True, "z1")
    assert (gone.cpus, gone.gpus) == (0.0, 0.0)
    assert isinstance(seen, Ended)
    assert seen.reason is EndReason.NODE_LOST


async def apply(machine: Machine, manifest: str) -> None:
    for document in yaml.safe_load_all(manifest):
        group = document["apiVersion"]
        base = f"/apis/{group}" if "/" in group else f"/api/{group}"
        namespace = document["metadata"].get("namespace")
        inside = f"/namespaces/{namespace}" if namespace else ""
        kind = document["kind"].lower() + "s"
        made = await machine.ask("POST", f"{base}{inside}/{kind}", document)
        assert made.get("kind") == document["kind"], f"{kind} {document['metadata']['name']} was refused"


async def test_the_shipped_rights_suffice_in_a_namespace_that_restricts_its_pods(machine: Machine) -> None:
    for manifest in MANIFESTS:
        await apply(machine, manifest)
    account = "/api/v1/namespaces/mltrainer/serviceaccounts"
    await asyncio.to_thread(
        machine.cluster.wait, lambda: machine.cluster.exists(f"{account}/default"), "service account"
    )
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = await machine.ask("POST", f"{account}/mltrainer-trainer/token", body)
    kubeconfig = machine.cluster.write_kubeconfig("trainer", answer["status"]["token"])
    restricted = replace(machine, namespace="mltrainer", kubeconfig=kubeconfig)
    waiting, failing = place(Program.WAIT, "allowed"), place(Program.FAIL, "seen")
    async with restricted.trainer() as backend:
        for placement in (waiting, failing):
            await start(backend, placement)
        await reached(restricted, backend, attempt_of(waiting), Executing)
        ended = await reached(restricted, backend, attempt_of(failing), Ended)
        output = await backend.read_output(attempt_of(failing), 100)
        await backend.stop(attempt_of(waiting), force=True)
        await reached(restricted, backend, attempt_of(waiting), Ended)
        probe = ClusterProbe(backend.api, backend.view.nodes, backend.profile, SystemClock(), time.monotonic)
        nodes = [report.node for report in await probe.reports()]
        for placement in (waiting, failing):
            await backend.discard(attempt_of(placement))
        with pytest.raises(BackendUnavailableError, match="forbidden"):
            await backend.api.get("/api/v1/namespaces/mltrainer/secrets/any")

    assert isinstance(ended, Ended)
    assert ended.exit_code == 3
    assert b"no such column" in output
    assert nodes == ["nodes/test.real"]


async def test_the_example_for_pods_brings_the_keys_for_their_owner_alone(
    machine: Machine,
) -> None:
    keys = {"token.key": "k" * 64, "key.pem": "p" * 64}
    secret = {"metadata": {"name": "mltrainer-keys"}, "stringData": keys}
    await machine.ask("POST", f"/api/v1/namespaces/{machine.namespace}/secrets", secret)
    fields = yaml.safe_load(EXAMPLE)
    fields["initContainers"][0]["image"] = machine.profile.image
    shell = (
        'file=$MLTRAINER_TOKEN_KEY_FILE; test -O "$file" && ls -l "$file" && cat "$file" '
        '"$MLTRAINER_TRAINER_SIGNING_FOLDER/key.pem"'
    )
    placement = replace(place(Program.SAY_USER, "keyed"), spec=shell.encode())
    async with machine.trainer(replace(machine.profile, pod=fields)) as backend:
        await start(backend, placement)
        ended = await reached(machine, backend, attempt_of(placement), Ended)
        output = (await backend.read_output(attempt_of(placement), 1000)).decode()

    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.SUCCEEDED, output
    assert output.startswith("-rw-------")
    assert output.endswith("k" * 64 + "p" * 64)
