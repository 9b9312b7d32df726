"""Starts the real service and breaks real child processes that a tiny supervisor brings back."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from grpc import StatusCode
from mltrainer.chaos.v1 import chaos_service_pb2 as api
from mltrainer.chaos.v1 import events_pb2 as events
from mltrainer.chaos.v1.chaos_service_pb2_grpc import ChaosServiceStub
from mltrainer.chaos.v1.resources_pb2 import ChaosRun
from mltrainer_chaos.bootstrap import assemble
from mltrainer_chaos.settings import ChaosSettings
from mltrainer_common.authorization import Role
from mltrainer_common.errors import RpcFailure
from mltrainer_common.rpc_client import Caller, ServiceChannel
from mltrainer_common.rpc_metrics import ClientMetrics
from mltrainer_common.service import start_service
from mltrainer_common.settings import PlatformSettings
from mltrainer_common.tokens import TokenIssuer
from mltrainer_testkit.fake_broker import FakeBroker
from prometheus_client import CollectorRegistry

pytestmark = pytest.mark.integration

Experiment = dict[str, Any]
Act = Callable[..., Experiment]
LIMIT_S = 30.0


@asynccontextmanager
async def running(directory: Path, broker: FakeBroker) -> AsyncIterator[Any]:
    platform = PlatformSettings(data_directory=directory, kafka_bootstrap_servers="127.0.0.1:1")
    async with start_service("chaos", platform, ChaosSettings(), partial(assemble, broker=broker)) as service:
        context = service.context
        issuer = TokenIssuer(context.key, "users/sre", [Role.OPERATOR])
        caller = Caller(issuer, context.telemetry.tracer, ClientMetrics(CollectorRegistry()))
        async with ServiceChannel("chaos", context.resolver, caller) as channel:
            yield ChaosServiceStub(channel)


async def create(stub: Any, experiment: Experiment, **fields: Any) -> ChaosRun:
    request = api.CreateChaosRunRequest(experiment_json=json.dumps(experiment), reason="test", **fields)
    run: ChaosRun = await stub.CreateChaosRun(request)
    return run


async def get(stub: Any, name: str) -> ChaosRun:
    run: ChaosRun = await stub.GetChaosRun(api.GetChaosRunRequest(name=name))
    return run


async def wait_until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - another process decides
            await asyncio.sleep(0.01)


async def verdict_of(stub: Any, name: str) -> ChaosRun:
    async with asyncio.timeout(LIMIT_S):
        while not (run := await get(stub, name)).verdict:  # noqa: ASYNC110 - as a client polls
            await asyncio.sleep(0.05)
    return run


def is_suspended(pid: int) -> bool:
    return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)


async def test_a_killed_service_that_comes_back_passes_with_its_recovery_time(
    tmp_path: Path, supervised: Any, experiment: Experiment
) -> None:
    broker = FakeBroker()
    async with supervised(tmp_path, restart_s=0.3) as supervisor, running(tmp_path, broker) as stub:
        killed = supervisor.pid
        plan = await create(stub, experiment, dry_run=True)
        created = await create(stub, experiment, request_id="q1")
        again = await create(stub, experiment, request_id="q1")
        run = await verdict_of(stub, created.name)
        (finished,) = await broker.wait_for(events.RunFinished)

    assert (plan.name, [item.target for item in plan.faults]) == ("", [f"serving-0 (pid {killed})"])
    assert again.name == created.name
    assert (run.verdict, run.state) == ("PASSED", run.STATE_FINISHED)
    assert (run.actor, run.reason) == ("users/sre", "test")
    assert supervisor.restarts == 1
    assert 0.3 < run.recovery_s < 10.0
    assert [item.target for item in run.faults] == [f"serving-0 (pid {killed})"]
    assert run.faults[0].HasField("revert_time")
    assert {item.phase for item in run.probes} == {"before", "during", "after"}
    assert not all(item.passed for item in run.probes)
    assert (finished.run, finished.verdict) == (run.name, "PASSED")
    assert finished.recovery_s == run.recovery_s


async def test_the_journal_has_the_keys_of_the_chaos_toolkit(
    tmp_path: Path, supervised: Any, experiment: Experiment
) -> None:
    async with supervised(tmp_path), running(tmp_path, FakeBroker()) as stub:
        run = await verdict_of(stub, (await create(stub, experiment)).name)

    journal = json.loads(run.journal_json)
    assert {
        *("chaoslib-version", "platform", "node", "experiment", "start", "status", "deviated"),
        *("steady_states", "run", "rollbacks", "end", "duration"),
    } <= set(journal)
    assert (journal["status"], journal["deviated"]) == ("completed", False)
    assert journal["experiment"] == experiment
    states = journal["steady_states"]
    assert set(states) == {"before", "after", "during"}
    assert states["before"]["steady_state_met"]
    activity = {"activity", "output", "start", "status", "end", "duration"}
    assert set(journal["run"][0]) == activity
    assert set(states["during"][0]["probes"][0]) == activity | {"tolerance_met"}


async def test_a_recovery_after_the_tolerance_is_a_deviation(
    tmp_path: Path, supervised: Any, experiment: Experiment, ours: Experiment
) -> None:
    ours["recovery_tolerance_s"] = 0.2
    async with supervised(tmp_path, restart_s=0.6), running(tmp_path, FakeBroker()) as stub:
        run = await verdict_of(stub, (await create(stub, experiment)).name)

    assert run.verdict == "DEVIATED"
    assert "the tolerance is 0.2 s" in run.explanation
    assert json.loads(run.journal_json)["deviated"] is True


async def test_fail_fast_in_the_file_interrupts_the_action(
    tmp_path: Path, supervised: Any, experiment: Experiment, ours: Experiment, act: Act
) -> None:
    ours["recovery_tolerance_s"] = 0.5
    experiment["runtime"]["hypothesis"]["fail_fast"] = True
    experiment["method"] = [act("pause_service", service="serving", duration_s=20)]
    async with supervised(tmp_path) as supervisor, running(tmp_path, FakeBroker()) as stub:
        begun = time.monotonic()
        run = await verdict_of(stub, (await create(stub, experiment)).name)
        elapsed_s = time.monotonic() - begun
        suspended = is_suspended(supervisor.pid)

    assert run.verdict == "DEVIATED"
    assert elapsed_s < 10.0
    assert not suspended
    assert json.loads(run.journal_json)["run"][0]["exception"] == "interrupted"


async def test_a_paused_service_goes_on_when_its_lease_ends(
    tmp_path: Path, supervised: Any, experiment: Experiment, act: Act
) -> None:
    experiment["method"] = [act("pause_service", service="serving", duration_s=0.8)]
    async with supervised(tmp_path) as supervisor, running(tmp_path, FakeBroker()) as stub:
        name = (await create(stub, experiment)).name
        await wait_until(lambda: is_suspended(supervisor.pid))
        run = await verdict_of(stub, name)
        suspended = is_suspended(supervisor.pid)

    assert (run.verdict, suspended, supervisor.restarts) == ("PASSED", False, 0)
    assert 0.7 <= run.recovery_s < 5.0
    lease = run.faults[0].lease_expire_time.ToDatetime() - run.faults[0].inject_time.ToDatetime()
    assert lease.total_seconds() == pytest.approx(0.8, abs=0.01)


async def test_the_kill_switch_ends_a_run_within_a_second_and_holds_until_it_is_released(
    tmp_path: Path, supervised: Any, experiment: Experiment, act: Act
) -> None:
    experiment["method"] = [act("pause_service", service="serving", duration_s=20)]
    broker = FakeBroker()
    async with supervised(tmp_path) as supervisor:
        async with running(tmp_path, broker) as stub:
            name = (await create(stub, experiment)).name
            await wait_until(lambda: is_suspended(supervisor.pid))
            begun = time.monotonic()
            stopped = await stub.StopAllChaosRuns(api.StopAllChaosRunsRequest(reason="real incident"))
            elapsed_s = time.monotonic() - begun
            suspended = is_suspended(supervisor.pid)
            run = await get(stub, name)
        async with running(tmp_path, broker) as stub:
            with pytest.raises(RpcFailure) as refused:
                await create(stub, experiment)
            await stub.ReleaseKillSwitch(api.ReleaseKillSwitchRequest(reason="over"))
            experiment["method"] = []
            passed = await verdict_of(stub, (await create(stub, experiment)).name)

    assert list(stopped.stopped_chaos_runs) == [name]
    assert elapsed_s < 1.0
    assert not suspended
    assert (run.verdict, run.state) == ("ABORTED", run.STATE_ABORTED)
    assert run.explanation == "users/sre stopped all runs: real incident"
    assert run.faults[0].HasField("revert_time")
    assert (refused.value.code, refused.value.reason) == (
        StatusCode.FAILED_PRECONDITION,
        "KILL_SWITCH_ON",
    )
    assert passed.verdict == "PASSED"


async def test_one_run_has_a_target_at_a_time(
    tmp_path: Path, supervised: Any, experiment: Experiment, act: Act
) -> None:
    experiment["method"] = [act("pause_service", service="serving", duration_s=20)]
    broker = FakeBroker()
    async with supervised(tmp_path), running(tmp_path, broker) as stub:
        first = await create(stub, experiment)
        with pytest.raises(RpcFailure) as busy:
            await create(stub, experiment)
        await broker.send(events.RunRequested(run="chaosRuns/second", experiment_json=json.dumps(experiment)))
        refused = (await broker.wait_for(events.RunFinished))[0]
        await stub.StopAllChaosRuns(api.StopAllChaosRunsRequest())
        await stub.ReleaseKillSwitch(api.ReleaseKillSwitchRequest(reason="test"))
        experiment["method"] = []
        after = await verdict_of(stub, (await create(stub, experiment)).name)

    assert busy.value.reason == "TARGET_BUSY"
    assert busy.value.metadata == {"target": "serving-0", "run": first.name}
    assert (refused.run, refused.verdict) == ("chaosRuns/second", "FAILED")
    assert after.verdict == "PASSED"


async def test_a_guard_out_of_its_tolerance_stops_the_run(
    tmp_path: Path,
    supervised: Any,
    experiment: Experiment,
    ours: Experiment,
    act: Act,
    probe: Callable[..., Experiment],
) -> None:
    experiment["method"] = [act("pause_service", service="serving", duration_s=20)]
    ours["stop_conditions"].append({"type": "probe", "probe": probe("registry-answers", "registry")})
    async with supervised(tmp_path) as supervisor, running(tmp_path, FakeBroker()) as stub:
        run = await verdict_of(stub, (await create(stub, experiment)).name)
        suspended = is_suspended(supervisor.pid)

    assert run.verdict == "ABORTED"
    assert run.explanation == "stop condition: registry-answers is out of its tolerance"
    assert not suspended


async def test_the_duration_stops_the_run(
    tmp_path: Path, supervised: Any, experiment: Experiment, ours: Experiment, act: Act
) -> None:
    experiment["method"] = [act("pause_service", service="serving", duration_s=20) | {"background": True}]
    ours["stop_conditions"] = [{"type": "duration", "seconds": 0.7}]
    async with supervised(tmp_path) as supervisor, running(tmp_path, FakeBroker()) as stub:
        run = await verdict_of(stub, (await create(stub, experiment)).name)
        suspended = is_suspended(supervisor.pid)

    assert (run.verdict, run.explanation) == ("ABORTED", "stop condition: the run lasted 0.7 s")
    assert not suspended


async def test_a_background_action_lets_the_next_one_begin_and_rollbacks_follow(
    tmp_path: Path, supervised: Any, experiment: Experiment, act: Act
) -> None:
    resume = act("resume_service", service="serving") | {"pauses": {"before": 1.0}}
    experiment["method"] = [
        act("pause_service", service="serving", duration_s=4) | {"background": True},
        resume,
    ]
    experiment["rollbacks"] = [{"ref": "resume-service"}]
    async with supervised(tmp_path), running(tmp_path, FakeBroker()) as stub:
        run = await verdict_of(stub, (await create(stub, experiment)).name)

    journal = json.loads(run.journal_json)
    assert run.verdict == "PASSED"
    assert run.recovery_s < 3.5
    assert [item["activity"]["name"] for item in journal["run"]] == ["resume-service", "pause-service"]
    assert [item["status"] for item in journal["rollbacks"]] == ["succeeded"]


async def test_nothing_is_injected_where_the_steady_state_does_not_hold_before(
    tmp_path: Path, supervised: Any, experiment: Experiment, probe: Callable[..., Experiment]
) -> None:
    experiment["steady-state-hypothesis"]["probes"].append(probe("trainer-answers", "trainer"))
    async with supervised(tmp_path) as supervisor, running(tmp_path, FakeBroker()) as stub:
        run = await verdict_of(stub, (await create(stub, experiment)).name)

    assert (run.verdict, run.state) == ("FAILED", run.STATE_ABORTED)
    assert (list(run.faults), supervisor.restarts) == ([], 0)


async def test_refusals_are_rich(tmp_path: Path, supervised: Any, experiment: Experiment) -> None:
    async with supervised(tmp_path), running(tmp_path, FakeBroker()) as stub:
        failures = {}
        for name, service in (("protected", "chaos"), ("absent", "registry")):
            experiment["method"][0]["provider"]["arguments"]["service"] = service
            with pytest.raises(RpcFailure) as caught:
                await create(stub, experiment)
            failures[name] = caught.value
        with pytest.raises(RpcFailure) as missing:
            await get(stub, "chaosRuns/none")
        with pytest.raises(RpcFailure) as unfounded:
            await stub.CreateChaosRun(api.CreateChaosRunRequest(experiment_json="{}"))

    assert failures["protected"].code is StatusCode.PERMISSION_DENIED
    assert failures["absent"].reason == "INVALID_EXPERIMENT"
    assert "registry-0, which does not run here" in failures["absent"].message
    assert missing.value.code is StatusCode.NOT_FOUND
    assert [item.field for item in unfounded.value.field_violations] == ["reason"]


@pytest.mark.parametrize("shuffle_seed", [1, 2])
async def test_an_event_starts_one_run_however_often_it_comes(
    tmp_path: Path, supervised: Any, experiment: Experiment, shuffle_seed: int
) -> None:
    broker = FakeBroker(redeliver=True, shuffle_seed=shuffle_seed)
    request = events.RunRequested(
        run="chaosRuns/night", experiment_json=json.dumps(experiment), actor="users/bot", reason="game day"
    )
    async with supervised(tmp_path) as supervisor, running(tmp_path, broker) as stub:
        for event_id in ("e1", "e1", "e2"):
            await broker.send(request, event_id=event_id)
        await broker.send(events.RunRequested(run="chaosRuns/bad", experiment_json="{", actor="users/bot"))
        await broker.wait_for(events.RunFinished, 2)
        await broker.settle()
        run, bad = await get(stub, "chaosRuns/night"), await get(stub, "chaosRuns/bad")
        page = await stub.ListChaosRuns(api.ListChaosRunsRequest(page_size=1))
        rest = await stub.ListChaosRuns(api.ListChaosRunsRequest(page_token=page.next_page_token))

    assert (run.verdict, run.actor, run.reason) == ("PASSED", "users/bot", "game day")
    assert (bad.verdict, bad.state) == ("FAILED", bad.STATE_ABORTED)
    assert supervisor.restarts == 1
    assert sorted(item.run for item in broker.events(events.RunFinished)) == [
        "chaosRuns/bad",
        "chaosRuns/night",
    ]
    assert {item.experiment_json + item.journal_json for item in page.chaos_runs} == {""}
    assert sorted(item.name for item in (*page.chaos_runs, *rest.chaos_runs)) == [bad.name, run.name]
    assert broker.dead_letters() == []


async def test_the_end_of_a_run_is_published_once_the_broker_is_back(
    tmp_path: Path, supervised: Any, experiment: Experiment
) -> None:
    broker = FakeBroker()
    async with supervised(tmp_path):
        async with running(tmp_path, broker) as stub:
            name = (await create(stub, experiment)).name
            broker.is_available = False
            run = await verdict_of(stub, name)
            lost = broker.events(events.RunFinished)
        await broker.resume()
        async with running(tmp_path, broker):
            (finished,) = await broker.wait_for(events.RunFinished)

    assert lost == []
    assert finished.run == run.name


async def test_a_stop_of_the_service_undoes_the_fault_and_ends_the_run(
    tmp_path: Path, supervised: Any, experiment: Experiment, act: Act
) -> None:
    experiment["method"] = [act("pause_service", service="serving", duration_s=20)]
    async with supervised(tmp_path) as supervisor:
        async with running(tmp_path, FakeBroker()) as stub:
            name = (await create(stub, experiment)).name
            await wait_until(lambda: is_suspended(supervisor.pid))
        suspended = is_suspended(supervisor.pid)
        async with running(tmp_path, FakeBroker()) as stub:
            run = await get(stub, name)

    assert not suspended
    assert (run.verdict, run.explanation) == ("ABORTED", "the chaos service was stopped meanwhile")


async def test_a_stale_pid_in_the_record_is_never_signalled(
    tmp_path: Path, supervised: Any, experiment: Experiment
) -> None:
    async with supervised(tmp_path) as supervisor, running(tmp_path, FakeBroker()) as stub:
        record = tmp_path / "supervisor.json"
        content = json.loads(record.read_text())
        content["processes"][0]["start_mark"] = "another boot:1"
        record.write_text(json.dumps(content))
        with pytest.raises(RpcFailure) as refused:
            await create(stub, experiment)
        os.kill(supervisor.pid, signal.SIGCONT)

    assert refused.value.reason == "INVALID_EXPERIMENT"
    assert supervisor.restarts == 0
