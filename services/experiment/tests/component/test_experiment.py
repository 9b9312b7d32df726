"""The whole service in this process: calls, flags, events and their faults."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from flagd.evaluation.v1 import evaluation_pb2 as v1
from flagd.evaluation.v1.evaluation_pb2_grpc import ServiceStub as FlagsV1
from flagd.evaluation.v2 import evaluation_pb2 as v2
from flagd.evaluation.v2.evaluation_pb2_grpc import ServiceStub as FlagsV2
from mltrainer.experiment.v1 import events_pb2 as events
from mltrainer.experiment.v1 import experiment_service_pb2 as api
from mltrainer.experiment.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from mltrainer.experiment.v1.resources_pb2 import Experiment
from mltrainer_common.errors import RpcFailure
from mltrainer_messaging.broker import BrokerUnavailableError
from mltrainer_testkit.fake_broker import FakeBroker

BLUE = "experiments/blue"
UNITS_A_DAY = 12


class HalfDeadBroker(FakeBroker):
    """Delivers, but stores nothing of what the service publishes."""

    @property
    def publisher(self) -> Any:
        return _NoPublisher()


class _NoPublisher:
    async def publish(self, events: object) -> None:
        raise BrokerUnavailableError("away")


def _stub(service: Any) -> Any:
    return ExperimentServiceStub(service.context.channel("experiment"))


async def _start(stub: Any, make: Any, experiment_id: str = "blue", **changes: Any) -> None:
    await stub.CreateExperiment(make.create_request(experiment_id, **changes))
    await stub.StartExperiment(api.StartExperimentRequest(name=f"experiments/{experiment_id}"))


async def _assign(stub: Any, unit: str) -> Any:
    return await stub.AssignUnit(api.AssignUnitRequest(experiment=BLUE, unit=unit))


async def _result(stub: Any) -> Any:
    return await stub.GetExperimentResult(api.GetExperimentResultRequest(name=BLUE))


async def _live(stub: Any, broker: FakeBroker, make: Any, days: range, gain: float) -> None:
    """Lets units of some days meet their arms and reports how well these predicted."""
    for day in days:
        for index in range(UNITS_A_DAY):
            unit = f"demo/S{index}/{day}"
            arm = await _assign(stub, unit)
            noise = 0.2 * ((day * 7 + index * 3) % 11 - 5) / 5
            value = 1.0 + noise - (gain if arm.variant == "challenger" else 0.0)
            await broker.send(make.outcome(unit, value, day=day))


async def _refused(call: Any) -> RpcFailure:
    with pytest.raises(RpcFailure) as failure:
        await call
    return failure.value


async def test_the_life_of_an_experiment(running: Any, make: Any) -> None:
    async with running(FakeBroker()) as service:
        stub = _stub(service)
        created = await stub.CreateExperiment(make.create_request())
        before = await _assign(stub, "u")
        started = await stub.StartExperiment(api.StartExperimentRequest(name=BLUE))
        arms = [await _assign(stub, f"u{index}") for index in range(40)]
        result = await _result(stub)
        stopped = await stub.StopExperiment(api.StopExperimentRequest(name=BLUE))
        after = await _assign(stub, "u1")
        again = await stub.StopExperiment(api.StopExperimentRequest(name=BLUE))

    assert [one.state for one in (created, started, stopped)] == [
        Experiment.STATE_DRAFT,
        Experiment.STATE_ACTIVE,
        Experiment.STATE_STOPPED,
    ]
    assert created.salt
    assert [(one.variant, one.exposed) for one in (before, after)] == [("champion", False)] * 2
    assert {(arm.variant, arm.alias) for arm in arms} == {("champion",) * 2, ("challenger",) * 2}
    assert sum(one.exposed_units for one in result.variants) == 40
    assert result.conclusion == "NOT_ENOUGH_DATA"
    assert again == stopped


async def test_a_better_challenger_ends_the_experiment_and_the_event_says_why(
    running: Any, make: Any
) -> None:
    broker = FakeBroker()
    async with running(broker) as service:
        stub = _stub(service)
        await _start(stub, make)
        await _live(stub, broker, make, range(22), gain=0.6)
        (decided,) = await broker.wait_for(events.ExperimentDecided)
        experiment = await stub.GetExperiment(api.GetExperimentRequest(name=BLUE))
        result = await _result(stub)
        await broker.send(make.outcome("demo/S0/0", 99.0, outcome_id="late"))
        await broker.settle()
        after = await _result(stub)

    assert (decided.winner, decided.conclusion) == ("challenger", "CHALLENGER_BETTER")
    assert (experiment.state, experiment.decision) == (Experiment.STATE_DECIDED, "challenger")
    assert decided.revision == experiment.revision
    assert decided.explanation == result.explanation
    assert result.effect_upper < 0.0
    assert after == result


async def test_a_kill_after_the_answer_loses_no_exposure_and_moves_no_unit(running: Any, make: Any) -> None:
    async with running(FakeBroker()) as service:
        stub = _stub(service)
        await _start(stub, make)
        first = await asyncio.gather(*(_assign(stub, f"u{index}") for index in range(60)))
        counted = (await _result(stub)).variants

    async with running(FakeBroker()) as service:
        stub = _stub(service)
        kept = (await _result(stub)).variants
        second = await asyncio.gather(*(_assign(stub, f"u{index}") for index in range(60)))
        repeated = (await _result(stub)).variants

    assert sum(one.exposed_units for one in counted) == 60
    assert list(kept) == list(counted) == list(repeated)
    assert second == first


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_redelivered_and_reordered_reports_count_once(running: Any, make: Any, seed: int) -> None:
    broker = FakeBroker(redeliver=True, shuffle_seed=seed)
    async with running(broker) as service:
        stub = _stub(service)
        await _start(stub, make)
        for index in range(10):
            variant = ("champion", "challenger")[index % 2]
            await broker.send(make.outcome(f"u{index}", float(index)))
            await broker.send(make.exposure(f"u{index}", variant, minutes=1))
            await broker.send(make.exposure(f"u{index}", "champion", minutes=2))
            await broker.send(make.outcome(f"u{index}", 50.0))
        await broker.settle()
        variants = (await _result(stub)).variants

    assert [(one.exposed_units, one.outcome_count, one.mean) for one in variants] == [
        (5, 5, 4.0),
        (5, 5, 5.0),
    ]
    assert broker.dead_letters() == []


async def test_a_decision_survives_a_crash_between_commit_and_publish(running: Any, make: Any) -> None:
    dead = HalfDeadBroker()
    async with running(dead) as service:
        await _start(_stub(service), make)
        await _stub(service).StopExperiment(api.StopExperimentRequest(name=BLUE))

    broker = FakeBroker()
    async with running(broker):
        (decided,) = await broker.wait_for(events.ExperimentDecided)

    assert dead.events(events.ExperimentDecided) == []
    assert (decided.experiment, decided.winner, decided.conclusion) == (BLUE, "", "NOT_ENOUGH_DATA")


async def test_a_bad_report_takes_no_other_with_it(running: Any, make: Any) -> None:
    broker = FakeBroker()
    async with running(broker) as service:
        stub = _stub(service)
        await _start(stub, make)
        await broker.send(make.exposure("u1"))
        await broker.send(make.outcome("u1", float("nan"), outcome_id="bad"))
        await broker.send(make.outcome("u1", 2.0))
        await broker.send(make.outcome("u1", 2.0, experiment="experiments/none"))
        await broker.settle()
        control = (await _result(stub)).variants[0]

    assert (control.outcome_count, control.mean) == (1, 2.0)
    assert len(broker.dead_letters()) == 1


async def test_refusals_name_the_reason(running: Any, make: Any) -> None:
    async with running(FakeBroker()) as service:
        stub = _stub(service)
        await _start(stub, make)
        await stub.CreateExperiment(make.create_request("red"))
        failures = [
            await _refused(stub.CreateExperiment(make.create_request("X", alpha=3.0))),
            await _refused(stub.GetExperiment(api.GetExperimentRequest(name="experiments/none"))),
            await _refused(stub.StartExperiment(api.StartExperimentRequest(name=BLUE))),
            await _refused(stub.StartExperiment(api.StartExperimentRequest(name="experiments/red"))),
            await _refused(stub.StopExperiment(api.StopExperimentRequest(name="experiments/none"))),
            await _refused(_assign(stub, "")),
        ]

    assert [failure.reason for failure in failures] == [
        "INVALID_DEFINITION",
        "EXPERIMENT_NOT_FOUND",
        "EXPERIMENT_NOT_DRAFT",
        "MODEL_HAS_ACTIVE_EXPERIMENT",
        "EXPERIMENT_NOT_FOUND",
        "INVALID_FIELD",
    ]
    assert [one.field for one in failures[0].field_violations] == ["experiment_id", "experiment.alpha"]


async def test_experiments_are_listed_page_by_page(running: Any, make: Any) -> None:
    async with running(FakeBroker()) as service:
        stub = _stub(service)
        for name in ("c", "a", "b"):
            await stub.CreateExperiment(make.create_request(name))
        first = await stub.ListExperiments(api.ListExperimentsRequest(page_size=2))
        rest = await stub.ListExperiments(api.ListExperimentsRequest(page_token=first.next_page_token))

    names = [[one.name for one in page.experiments] for page in (first, rest)]
    assert names == [["experiments/a", "experiments/b"], ["experiments/c"]]
    assert rest.next_page_token == ""


FLAGS = [pytest.param(v1, FlagsV1, id="v1"), pytest.param(v2, FlagsV2, id="v2")]


@asynccontextmanager
async def _flags(service: Any, stub_class: Any) -> Any:
    """Speaks as a foreign SDK does: without a token."""
    async with grpc.aio.insecure_channel(service.address) as channel:
        yield stub_class(channel)


@pytest.mark.parametrize(("contract", "stub_class"), FLAGS)
async def test_a_flag_is_the_alias_of_the_units_arm(
    running: Any, make: Any, contract: Any, stub_class: Any
) -> None:
    async with running(FakeBroker()) as service, _flags(service, stub_class) as flags:
        stub = _stub(service)
        await stub.CreateExperiment(make.create_request())
        request = contract.ResolveStringRequest(flag_key="blue")
        request.context.update({"targetingKey": "u1", "session": 3})
        draft = await flags.ResolveString(request)
        await stub.StartExperiment(api.StartExperimentRequest(name=BLUE))
        active = await flags.ResolveString(request)
        assigned = await _assign(stub, "u1")
        exposed = sum(one.exposed_units for one in (await _result(stub)).variants)

    assert (draft.value, draft.reason) == ("champion", "DEFAULT")
    assert (active.value, active.variant, active.reason) == (assigned.alias, assigned.variant, "SPLIT")
    assert exposed == 1


@pytest.mark.parametrize(("contract", "stub_class"), FLAGS)
async def test_what_is_no_flag_or_no_text_is_refused_as_flagd_does(
    running: Any, make: Any, contract: Any, stub_class: Any
) -> None:
    async with running(FakeBroker()) as service, _flags(service, stub_class) as flags:
        await _start(_stub(service), make)
        codes = []
        for kind in ("Boolean", "Int", "Float", "Object"):
            request = getattr(contract, f"Resolve{kind}Request")(flag_key="blue")
            request.context.update({"targetingKey": "u1"})
            codes.append(await _code(getattr(flags, f"Resolve{kind}")(request)))
        unknown = await _code(flags.ResolveString(contract.ResolveStringRequest(flag_key="red")))
        no_unit = await _code(flags.ResolveString(contract.ResolveStringRequest(flag_key="blue")))
        result = await _result(_stub(service))

    assert codes == [grpc.StatusCode.INVALID_ARGUMENT] * 4
    assert (unknown, no_unit) == (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
    assert sum(one.exposed_units for one in result.variants) == 0


@pytest.mark.parametrize(("contract", "stub_class"), FLAGS)
async def test_the_stream_says_ready_and_then_which_flags_change(
    running: Any, make: Any, contract: Any, stub_class: Any
) -> None:
    async with running(FakeBroker()) as service, _flags(service, stub_class) as flags:
        call = flags.EventStream(contract.EventStreamRequest())
        ready = await call.read()
        await _stub(service).CreateExperiment(make.create_request())
        change = await asyncio.wait_for(call.read(), 5)
        call.cancel()

    assert ready.type == "provider_ready"
    assert change.type == "configuration_change"
    assert list(change.data["flags"]) == ["blue"]


async def test_all_flags_at_once_are_no_exposure(running: Any, make: Any) -> None:
    async with running(FakeBroker()) as service, _flags(service, FlagsV1) as flags:
        stub = _stub(service)
        await _start(stub, make)
        await stub.CreateExperiment(make.create_request("red"))
        request = v1.ResolveAllRequest()
        request.context.update({"targetingKey": "u1"})
        answer = await flags.ResolveAll(request)
        result = await _result(stub)

    assert {key: flag.reason for key, flag in answer.flags.items()} == {"blue": "SPLIT", "red": "DEFAULT"}
    assert sum(one.exposed_units for one in result.variants) == 0


async def _code(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    return failure.value.code()
