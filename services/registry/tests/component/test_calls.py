"""Every call of the whole service: what its answers carry, which events follow, and what it refuses."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1 import resources_pb2 as resources
from mltrainer.registry.v1.events_pb2 import (
    GatePolicyChanged,
    ModelUpdated,
    PromotionDecided,
    PromotionRequested,
    VersionArchived,
    VersionCreated,
    VersionUpdated,
)
from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from mltrainer_common.authorization import Role
from mltrainer_common.errors import RpcFailure
from mltrainer_common.rpc_call import Caller
from mltrainer_common.rpc_client import ServiceChannel
from mltrainer_common.rpc_metrics import ClientMetrics
from mltrainer_common.service import start_service
from mltrainer_common.settings import PlatformSettings
from mltrainer_common.tokens import TokenIssuer
from mltrainer_models import DailyLoss, ModelEvaluation
from mltrainer_registry.bootstrap import assemble
from mltrainer_registry.settings import RegistrySettings
from mltrainer_testkit.fake_broker import FakeBroker
from prometheus_client import CollectorRegistry

MODEL, VERSION, CHAMPION = "models/vol5", "models/vol5/versions/1", "models/vol5/aliases/champion"
POLICY = "models/vol5/gatePolicies/champion"


@asynccontextmanager
async def running(folder: Path, broker: FakeBroker) -> AsyncIterator[Any]:
    platform = PlatformSettings(data_directory=folder)
    async with AsyncExitStack() as stack:
        start = start_service("registry", platform, RegistrySettings(), partial(assemble, broker=broker))
        service = await stack.enter_async_context(start)
        context = service.context
        issuer = TokenIssuer(context.key, "users/ada", [Role.OPERATOR, Role.SERVICE])
        caller = Caller(issuer, context.telemetry.tracer, ClientMetrics(CollectorRegistry()))
        channel = ServiceChannel("registry", context.resolver, caller)
        stack.push_async_callback(channel.close)
        await channel.channel_ready()
        yield RegistryServiceStub(channel)


async def deliver(stub: Any, broker: FakeBroker, event: Any, files: dict[str, bytes]) -> None:
    """Uploads files and tells of the attempt that made them."""
    listed = [
        resources.ArtifactFile(path=path, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        for path, content in sorted(files.items())
    ]
    header = api.UploadHeader(
        training=event.training, fencing_token=1, manifest=resources.Manifest(files=listed)
    )

    async def parts() -> AsyncIterator[api.UploadArtifactRequest]:
        yield api.UploadArtifactRequest(header=header)
        for index, file in enumerate(listed):
            yield api.UploadArtifactRequest(chunk=api.UploadChunk(file_index=index, data=files[file.path]))

    event.manifest_digest = (await stub.UploadArtifact(parts())).manifest_digest
    seen = len(broker.events(VersionCreated))
    await broker.send(event)
    await broker.wait_for(VersionCreated, seen + 1)


async def refused(call: Any) -> RpcFailure:
    with pytest.raises(RpcFailure) as failure:
        await call
    return failure.value


def losses(factor: float) -> bytes:
    days = tuple(DailyLoss(day, factor * (1 + (day * 7919) % 13 / 13), 5) for day in range(200))
    return ModelEvaluation(("A",), 4, days).to_bytes()


async def test_losses_that_travel_with_versions_decide_between_them(tmp_path: Path, attempts: Any) -> None:
    broker = FakeBroker()
    async with running(tmp_path, broker) as stub:
        for number, factor in ((1, 1.0), (2, 1.1), (3, 0.9)):
            # The bare metric says the opposite.
            event = attempts.succeeded(f"trainings/t{number}", r2=0.1 * factor, alias="champion")
            await deliver(stub, broker, event, {"model.json": b"{}", "evaluation.json": losses(factor)})
        await broker.settle()
        alias = await stub.GetAlias(api.GetAliasRequest(name=CHAMPION))
        listed = [
            await stub.ListGateEvaluations(api.ListGateEvaluationsRequest(parent=f"models/vol5/versions/{n}"))
            for n in (2, 3)
        ]

    (worse,), (better,) = (page.gate_evaluations for page in listed)
    estimates = [evaluation.conditions[2].estimate for evaluation in (worse, better)]
    assert alias.version == "models/vol5/versions/3"
    assert [worse.passed, better.passed] == [False, True]
    assert estimates == pytest.approx([-0.1, 0.1])
    assert "over 200 days" in worse.conditions[2].detail


async def test_losses_that_cannot_be_read_are_not_taken_for_losses(tmp_path: Path, attempts: Any) -> None:
    broker = FakeBroker()
    async with running(tmp_path, broker) as stub:
        for number in (1, 2):
            event = attempts.succeeded(f"trainings/t{number}", r2=0.5, alias="champion")
            await deliver(stub, broker, event, {"model.json": b"{}", "evaluation.json": b"[" * number})
        await broker.settle()
        page = await stub.ListGateEvaluations(api.ListGateEvaluationsRequest(parent="models/vol5/versions/2"))

    (evaluation,) = page.gate_evaluations
    assert evaluation.conditions[2].detail.startswith("r2 0.5 against 0.5")


async def test_each_change_is_answered_told_and_watched(tmp_path: Path, attempts: Any) -> None:
    broker = FakeBroker()
    async with running(tmp_path, broker) as stub:
        await deliver(stub, broker, attempts.succeeded("trainings/t1"), {"model.json": b"1"})
        await deliver(stub, broker, attempts.succeeded("trainings/t2"), {"model.json": b"2"})
        conditions = [resources.PolicyCondition(condition="approved")]
        wanted = resources.GatePolicy(name=POLICY, conditions=conditions, reason="two pairs of eyes")
        policy = await stub.UpdateGatePolicy(api.UpdateGatePolicyRequest(gate_policy=wanted))
        request = api.RequestPromotionRequest(
            alias=CHAMPION, version=VERSION, reason="better", request_id="q"
        )
        promotion = await stub.RequestPromotion(request)
        own = await refused(stub.ApprovePromotion(api.ApprovePromotionRequest(name=promotion.name)))
        rejected = await stub.RejectPromotion(api.RejectPromotionRequest(name=promotion.name, reason="no"))
        update = api.UpdateModelRequest(model=resources.Model(name=MODEL, tags={"team": "vol"}))
        update.update_mask.paths.append("tags.team")
        model = await stub.UpdateModel(update)
        describe = api.UpdateModelVersionRequest(
            model_version=resources.ModelVersion(name=VERSION, description="The first.")
        )
        describe.update_mask.paths.append("description")
        version = await stub.UpdateModelVersion(describe)
        await stub.ArchiveModelVersion(api.ArchiveModelVersionRequest(name="models/vol5/versions/2"))
        last = api.ListModelVersionsRequest(parent="models/-", filter="state = ARCHIVED")
        archived = await stub.ListModelVersions(last)
        latest = archived.model_versions[0].update_revision
        fetched = [
            await stub.GetGatePolicy(api.GetGatePolicyRequest(name=POLICY, min_revision=latest)),
            await stub.GetPromotion(api.GetPromotionRequest(name=promotion.name, min_revision=latest)),
            await stub.GetModel(api.GetModelRequest(name=MODEL, min_revision=latest)),
        ]
        async with aclosing(stub.WatchModels(api.WatchModelsRequest(from_revision=2))) as watched:
            seen = [await anext(watched) for _ in range(8)]
        await broker.wait_for(VersionArchived)

    assert (policy.number, policy.reason, policy.actor) == (1, "two pairs of eyes", "users/ada")
    assert (own.code, own.reason) == (grpc.StatusCode.PERMISSION_DENIED, "OWN_PROMOTION")
    assert (rejected.state, rejected.decision_reason) == (resources.Promotion.STATE_REJECTED, "no")
    assert (dict(model.tags), version.description) == ({"team": "vol"}, "The first.")
    assert fetched[:2] == [policy, rejected]
    assert [item.WhichOneof("change") for item in seen] == [
        "gate_policy",
        "gate_evaluation",
        "promotion",
        "promotion",
        "model",
        "version",
        "version",
        "bookmark",
    ]
    assert [one.gate_policy for one in broker.events(GatePolicyChanged)] == [policy]
    assert [one.promotion for one in broker.events(PromotionRequested)] == [promotion]
    assert [one.promotion for one in broker.events(PromotionDecided)] == [rejected]
    assert [dict(one.resource.tags) for one in broker.events(ModelUpdated)] == [{"team": "vol"}]
    assert [one.version for one in broker.events(VersionUpdated)] == [version]


HOSTILE = [
    "",
    "..",
    "models/..",
    "models/../vol5",
    "models/vol5/../../etc/passwd",
    "models/vol5/versions/1/..",
    "models/vol5\x00",
    "models/vol5\n",
    "models/a b",
    "models/VOL5",
    "models/vol5/versions/0",
    "models/vol5/versions/99999999999",
    "models/ｖol5",
    "models/" + "x" * 10_240,
    "x" * 10_240,
]
NAMED: dict[str, tuple[type[Message], str]] = {
    "GetModel": (api.GetModelRequest, "name"),
    "GetModelVersion": (api.GetModelVersionRequest, "name"),
    "ListModelVersions": (api.ListModelVersionsRequest, "parent"),
    "ArchiveModelVersion": (api.ArchiveModelVersionRequest, "name"),
    "GetAlias": (api.GetAliasRequest, "name"),
    "MoveAlias": (api.MoveAliasRequest, "name"),
    "RollBackAlias": (api.RollBackAliasRequest, "name"),
    "ListAliasMoves": (api.ListAliasMovesRequest, "parent"),
    "ListGateEvaluations": (api.ListGateEvaluationsRequest, "parent"),
    "GetModelCard": (api.GetModelCardRequest, "version"),
    "GetLineage": (api.GetLineageRequest, "version"),
    "GetGatePolicy": (api.GetGatePolicyRequest, "name"),
    "ListGatePolicyChanges": (api.ListGatePolicyChangesRequest, "parent"),
    "UpdateGatePolicy": (api.UpdateGatePolicyRequest, "gate_policy.name"),
    "RequestPromotion": (api.RequestPromotionRequest, "alias"),
    "GetPromotion": (api.GetPromotionRequest, "name"),
    "ListPromotions": (api.ListPromotionsRequest, "parent"),
    "ApprovePromotion": (api.ApprovePromotionRequest, "name"),
    "RejectPromotion": (api.RejectPromotionRequest, "name"),
    "UpdateModel": (api.UpdateModelRequest, "model.name"),
    "UpdateModelVersion": (api.UpdateModelVersionRequest, "model_version.name"),
}


async def test_names_that_may_not_be_used_are_refused_by_every_call_and_change_nothing(
    tmp_path: Path, attempts: Any
) -> None:
    broker = FakeBroker()
    codes: dict[str, set[tuple[grpc.StatusCode, str]]] = {}
    async with running(tmp_path, broker) as stub:
        await deliver(stub, broker, attempts.succeeded("trainings/t1"), {"model.json": b"1"})
        for method, (kind, path) in NAMED.items():
            for name in HOSTILE:
                request = kind()
                *parents, field = path.split(".")
                target: Any = request
                for parent in parents:
                    target = getattr(target, parent)
                setattr(target, field, name)
                failure = await refused(getattr(stub, method)(request))
                codes.setdefault(method, set()).add((failure.code, failure.reason))
                assert len(failure.message) < 1_000
        page = await stub.ListModels(api.ListModelsRequest())

    assert codes == {method: {(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")} for method in NAMED}
    assert [(model.name, model.revision) for model in page.models] == [(MODEL, 1)]


SENSELESS: list[tuple[str, Message]] = [
    ("ListModels", api.ListModelsRequest(filter="(")),
    ("ListModels", api.ListModelsRequest(order_by="colour")),
    ("ListModels", api.ListModelsRequest(page_size=1_001)),
    ("ListModels", api.ListModelsRequest(page_token="é")),
    ("ListPromotions", api.ListPromotionsRequest(parent="models/-", state=9)),
    ("GetLineage", api.GetLineageRequest(version=VERSION, generations=101)),
    ("ListDescendants", api.ListDescendantsRequest()),
    ("ListDescendants", api.ListDescendantsRequest(origin=resources.LineageNode(kind=99, name="x"))),
    ("RequestPromotion", api.RequestPromotionRequest(alias=CHAMPION, version=VERSION, reason="x" * 1_001)),
    ("RequestPromotion", api.RequestPromotionRequest(alias=CHAMPION, version=VERSION, reason="\x1b[2J")),
    (
        "UpdateGatePolicy",
        api.UpdateGatePolicyRequest(
            gate_policy=resources.GatePolicy(
                name=POLICY, conditions=[resources.PolicyCondition(condition="x" * 10_240)]
            )
        ),
    ),
]


async def test_requests_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path, FakeBroker()) as stub:
        failures = [await refused(getattr(stub, method)(request)) for method, request in SENSELESS]

    assert {failure.code for failure in failures} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert max(len(failure.message) for failure in failures) < 1_000
