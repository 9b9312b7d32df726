"""The whole service in this process: calls, events and their faults, on SQLite and the broker in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1.events_pb2 import AliasMoved, GateEvaluated, VersionCreated
from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from mltrainer.trainer.v1.events_pb2 import AttemptFailed, AttemptStarted
from mltrainer_common.errors import RpcFailure
from mltrainer_common.service import start_service
from mltrainer_common.settings import PlatformSettings
from mltrainer_messaging.broker import BrokerUnavailableError
from mltrainer_registry.bootstrap import assemble
from mltrainer_registry.settings import RegistrySettings
from mltrainer_testkit.fake_broker import FakeBroker

CHAMPION = "models/vol5/aliases/champion"
CONTENT = b'{"kind":"ridge"}'
TRACEPARENT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


class NoPublisher:
    """Refuses as a broker does that went away."""

    async def publish(self, events: object) -> None:
        raise BrokerUnavailableError("away")


class HalfDeadBroker(FakeBroker):
    """Delivers, but stores nothing of what the service publishes."""

    @property
    def publisher(self) -> Any:
        return NoPublisher()


@asynccontextmanager
async def running(folder: Path, broker: FakeBroker) -> AsyncIterator[Any]:
    platform = PlatformSettings(data_directory=folder)
    settings = RegistrySettings(max_revision_wait_s=0.2, watch_heartbeat_s=0.1)
    async with AsyncExitStack() as stack:
        start = start_service("registry", platform, settings, partial(assemble, broker=broker))
        service = await stack.enter_async_context(start)
        channel = service.context.channel("registry")
        await channel.channel_ready()
        yield RegistryServiceStub(channel)


async def messages(*parts: Message) -> AsyncIterator[Any]:
    for part in parts:
        yield part


def chunk(data: bytes) -> api.UploadArtifactRequest:
    return api.UploadArtifactRequest(chunk=api.UploadChunk(file_index=0, data=data))


async def upload(stub: Any, attempts: Any, trainings: Iterable[str]) -> None:
    for training in trainings:
        await stub.UploadArtifact(messages(attempts.header(training), chunk(CONTENT)))


def new_version(*, verdict: Any = 0, dataset: str = "") -> api.CreateModelVersionRequest:
    request = api.CreateModelVersionRequest(parent="models/vol5", fencing_token=1)
    version = request.model_version
    version.training, version.manifest.digest = "trainings/t1", "0" * 64
    version.result.verdict, version.lineage.dataset = verdict, dataset
    return request


def stored(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def refused(call: Any) -> RpcFailure:
    with pytest.raises(RpcFailure) as failure:
        await call
    return failure.value


async def test_an_attempt_becomes_a_served_champion(tmp_path: Path, attempts: Any) -> None:
    broker = FakeBroker()
    async with running(tmp_path, broker) as stub:
        await broker.send(AttemptStarted(training="trainings/t1", fencing_token=1))
        await upload(stub, attempts, ["trainings/t1"])
        event = attempts.succeeded("trainings/t1", alias="champion")
        await broker.send(event, traceparent=TRACEPARENT)
        (moved,) = await broker.wait_for(AliasMoved)

        alias = await stub.GetAlias(api.GetAliasRequest(name=CHAMPION))
        version = await stub.GetModelVersion(api.GetModelVersionRequest(name=alias.version))
        download = api.DownloadArtifactRequest(version=alias.version, path="model.json")
        received = b"".join([piece.data async for piece in stub.DownloadArtifact(download)])
        async with aclosing(stub.WatchModels(api.WatchModelsRequest())) as watched:
            seen = [await anext(watched) for _ in range(3)]

    (created,), (held,) = broker.events(VersionCreated), broker.events(GateEvaluated)
    assert created.version == version
    assert (version.result, version.lineage) == (event.result, event.lineage)
    assert held.evaluation.passed
    assert (moved.move.from_version, moved.move.to_version) == ("", "models/vol5/versions/1")
    assert [created.revision, held.revision, moved.revision] == [1, 2, 3]
    assert received == CONTENT
    assert [item.WhichOneof("change") for item in seen] == ["version", "alias", "bookmark"]
    assert {item.traceparent[3:35] for item in seen[:2]} == {TRACEPARENT[3:35]}


async def test_redelivered_and_reordered_events_make_one_version_per_training(
    tmp_path: Path, attempts: Any
) -> None:
    broker = FakeBroker(redeliver=True, shuffle_seed=7)
    trainings = [f"trainings/t{number}" for number in range(6)]
    async with running(tmp_path, broker) as stub:
        await upload(stub, attempts, trainings)
        for training in trainings:
            await broker.send(AttemptStarted(training=training, fencing_token=1))
            await broker.send(attempts.succeeded(training))
            await broker.send(attempts.succeeded(training))
        await broker.settle()
        page = await stub.ListModelVersions(api.ListModelVersionsRequest(parent="models/vol5"))

    assert sorted(version.training for version in page.model_versions) == trainings
    assert sorted(version.number for version in page.model_versions) == [1, 2, 3, 4, 5, 6]
    assert {event.version.name for event in broker.events(VersionCreated)} == {
        version.name for version in page.model_versions
    }
    assert broker.dead_letters() == []


async def test_what_was_committed_before_a_crash_is_published_after_it(tmp_path: Path, attempts: Any) -> None:
    first, second = HalfDeadBroker(), FakeBroker()
    async with running(tmp_path, first) as stub:
        await upload(stub, attempts, ["trainings/t1"])
        await first.send(attempts.succeeded("trainings/t1", alias="champion"))
        async with aclosing(stub.WatchModels(api.WatchModelsRequest())) as watched:
            async for item in watched:
                if item.WhichOneof("change") == "alias":
                    break

    async with running(tmp_path, second) as stub:
        await second.wait_for(AliasMoved)
        alias = await stub.GetAlias(api.GetAliasRequest(name=CHAMPION))

    assert first.events(VersionCreated) == []
    assert alias.version == "models/vol5/versions/1"
    assert len(second.events(VersionCreated)) == 1


async def test_an_event_that_can_never_be_handled_does_not_stop_the_others(
    tmp_path: Path, attempts: Any
) -> None:
    broker = FakeBroker()
    async with running(tmp_path, broker) as stub:
        await broker.send(attempts.succeeded("trainings/never-uploaded"))
        await upload(stub, attempts, ["trainings/t1"])
        await broker.send(attempts.succeeded("trainings/t1"))
        await broker.wait_for(VersionCreated)
        await broker.settle()

    (letter,) = broker.dead_letters()
    assert "never-uploaded" in str(letter)


async def test_a_failed_attempt_delivers_no_more(tmp_path: Path, attempts: Any) -> None:
    broker = FakeBroker()
    async with running(tmp_path, broker) as stub:
        await broker.send(AttemptFailed(training="trainings/t1", fencing_token=1))
        await broker.settle()

        stale = await refused(stub.UploadArtifact(messages(attempts.header("trainings/t1"), chunk(CONTENT))))
        later = attempts.header("trainings/t1", token=2)
        answer = await stub.UploadArtifact(messages(later, chunk(CONTENT)))

    assert (stale.code, stale.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STALE_FENCING_TOKEN")
    assert stale.metadata["lowest_accepted"] == "2"
    assert answer.manifest_digest == later.header.manifest.digest


async def test_the_same_upload_is_answered_without_its_bytes(tmp_path: Path, attempts: Any) -> None:
    header = attempts.header("trainings/t1")
    async with running(tmp_path, FakeBroker()) as stub:
        first = await stub.UploadArtifact(messages(header, chunk(CONTENT)))
        again = await stub.UploadArtifact(messages(header, *(chunk(CONTENT) for _ in range(50))))
        bare = await stub.UploadArtifact(messages(header))

    assert first == again == bare


async def test_an_upload_cut_by_its_sender_leaves_nothing(tmp_path: Path, attempts: Any) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[Any]:
        yield attempts.header("trainings/t1")
        yield chunk(CONTENT[:4])
        begun.set()
        await asyncio.Event().wait()

    async with running(tmp_path, FakeBroker()) as stub:
        sending = asyncio.create_task(stub.UploadArtifact(endless()))
        await begun.wait()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        async with asyncio.timeout(5):
            while stored(tmp_path / "artifacts"):  # noqa: ASYNC110 - the folder cannot tell when it is empty
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("method", "request_message", "code", "reason"),
    [
        ("GetModel", api.GetModelRequest(name="models/none"), "NOT_FOUND", "MODEL_NOT_FOUND"),
        ("GetModel", api.GetModelRequest(name="none"), "INVALID_ARGUMENT", "INVALID_FIELD"),
        (
            "GetModelVersion",
            api.GetModelVersionRequest(name="models/m/versions/1"),
            "NOT_FOUND",
            "VERSION_NOT_FOUND",
        ),
        ("GetAlias", api.GetAliasRequest(name=CHAMPION), "NOT_FOUND", "ALIAS_NOT_FOUND"),
        ("ListModels", api.ListModelsRequest(page_size=5_000), "INVALID_ARGUMENT", "INVALID_FIELD"),
        (
            "ListModelVersions",
            api.ListModelVersionsRequest(parent="models/m", page_token="Zm9v"),
            "INVALID_ARGUMENT",
            "INVALID_FIELD",
        ),
        (
            "MoveAlias",
            api.MoveAliasRequest(name=CHAMPION, version="models/vol5/versions/1"),
            "NOT_FOUND",
            "VERSION_NOT_FOUND",
        ),
        ("RollBackAlias", api.RollBackAliasRequest(name=CHAMPION), "NOT_FOUND", "ALIAS_NOT_FOUND"),
        ("CreateModelVersion", new_version(), "FAILED_PRECONDITION", "MANIFEST_NOT_UPLOADED"),
        ("CreateModelVersion", new_version(verdict=99), "INVALID_ARGUMENT", "INVALID_FIELD"),
        ("CreateModelVersion", new_version(dataset="d\0"), "INVALID_ARGUMENT", "INVALID_FIELD"),
        (
            "GetAlias",
            api.GetAliasRequest(name=CHAMPION, min_revision=9),
            "DEADLINE_EXCEEDED",
            "REVISION_NOT_REACHED",
        ),
        (
            "ArchiveModelVersion",
            api.ArchiveModelVersionRequest(name="models/m/versions/1"),
            "PERMISSION_DENIED",
            "ROLE_MISSING",
        ),
    ],
)
async def test_refusals_are_rich(
    tmp_path: Path, method: str, request_message: Message, code: str, reason: str
) -> None:
    async with running(tmp_path, FakeBroker()) as stub:
        failure = await refused(getattr(stub, method)(request_message))

    assert (failure.code, failure.reason) == (grpc.StatusCode[code], reason)
    assert failure.domain == "mltrainer.registry"


async def test_moves_by_call_are_listed_with_their_actor(tmp_path: Path, attempts: Any) -> None:
    broker = FakeBroker()
    async with running(tmp_path, broker) as stub:
        await upload(stub, attempts, ["trainings/t1", "trainings/t2"])
        await broker.send(attempts.succeeded("trainings/t1"))
        await broker.send(attempts.succeeded("trainings/t2", r2=0.6))
        await broker.wait_for(VersionCreated, 2)
        first, second = "models/vol5/versions/1", "models/vol5/versions/2"
        await stub.MoveAlias(api.MoveAliasRequest(name=CHAMPION, version=first, reason="the first"))
        second_move = api.MoveAliasRequest(name=CHAMPION, version=second, expected_version=first)
        await stub.MoveAlias(second_move)
        lost = await refused(stub.MoveAlias(second_move))
        alias = await stub.RollBackAlias(api.RollBackAliasRequest(name=CHAMPION, reason="worse live"))
        page = await stub.ListAliasMoves(api.ListAliasMovesRequest(parent=CHAMPION, page_size=2))
        rest = api.ListAliasMovesRequest(parent=CHAMPION, page_token=page.next_page_token)
        last = await stub.ListAliasMoves(rest)
        gates = await stub.ListGateEvaluations(api.ListGateEvaluationsRequest(parent=second))
        models = await stub.ListModels(api.ListModelsRequest())
        past = api.GetAliasRequest(name=CHAMPION)
        past.as_of.CopyFrom(page.alias_moves[1].move_time)
        before = await stub.GetAlias(past)

    assert (lost.code, lost.reason) == (grpc.StatusCode.ABORTED, "ALIAS_MOVED")
    assert lost.metadata["version"] == second
    assert alias.version == first
    assert [move.to_version for move in page.alias_moves] == [first, second]
    assert [(move.actor, move.reason) for move in last.alias_moves] == [("services/registry", "the first")]
    assert last.next_page_token == ""
    assert [held.passed for held in gates.gate_evaluations] == [True]
    assert models.models[0].version_count == 2
    assert before.version == second


async def test_watchers_do_not_delay_the_stop(tmp_path: Path) -> None:
    async def watch(stub: Any, begun: asyncio.Event) -> None:
        async for _ in stub.WatchModels(api.WatchModelsRequest()):
            begun.set()

    begun = [asyncio.Event(), asyncio.Event()]
    async with running(tmp_path, FakeBroker()) as stub:
        watches = [asyncio.create_task(watch(stub, event)) for event in begun]
        await asyncio.gather(*(event.wait() for event in begun))
        start_s = asyncio.get_running_loop().time()
    elapsed_s = asyncio.get_running_loop().time() - start_s

    ends = await asyncio.gather(*watches, return_exceptions=True)
    # The service answers, unless its own channel, which the watchers use here, closes before they read it.
    assert all(isinstance(end, RpcFailure | asyncio.CancelledError) for end in ends)
    assert elapsed_s < 8
