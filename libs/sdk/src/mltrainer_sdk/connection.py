"""Finds the services and signs calls to them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mltrainer_common.authorization import Role
from mltrainer_common.discovery import EndpointResolver, StaticResolver
from mltrainer_common.rpc_client import Caller, ServiceChannel
from mltrainer_common.rpc_metrics import ClientMetrics
from mltrainer_common.service import make_resolver
from mltrainer_common.settings import PlatformSettings
from mltrainer_common.tokens import TokenIssuer, load_or_create_token_key
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.publisher import DirectPublisher
from opentelemetry import trace
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry

_IDEMPOTENT = {
    "registry": (
        "mltrainer.registry.v1.RegistryService",
        (
            "GetModel",
            "GetModelVersion",
            "GetAlias",
            "ListModels",
            "ListModelVersions",
            "GetLineage",
            "GetModelCard",
            "ListDescendants",
        ),
    ),
    "feature": ("feast.serving.ServingService", ("GetOnlineFeatures",)),
    "serving": ("inference.GRPCInferenceService", ("ModelInfer", "ModelReady", "ModelMetadata")),
    "scheduler": (
        "mltrainer.scheduler.v1.SchedulerService",
        ("GetTraining", "LookupTraining", "ListTrainings"),
    ),
    "experiment": ("mltrainer.experiment.v1.ExperimentService", ("AssignUnit", "GetExperimentResult")),
}
"""Methods that gRPC may repeat: reads, and writes that are the same when done twice."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Channels to every service, and a publisher of events.

    Attributes:
        tracer: Spans of the calls; the global OpenTelemetry provider decides where they go.
    """

    resolver: EndpointResolver
    broker: KafkaBroker
    publisher: DirectPublisher
    tracer: Tracer
    _caller: Caller
    _stack: AsyncExitStack
    _channels: dict[str, ServiceChannel] = field(default_factory=dict)

    def channel(self, slug: str) -> ServiceChannel:
        """Returns the channel to a service; give it to a generated stub."""
        if slug not in self._channels:
            service, methods = _IDEMPOTENT.get(slug, ("", ()))
            idempotent = [f"/{service}/{method}" for method in methods]
            self._channels[slug] = ServiceChannel(
                slug, self.resolver, self._caller, idempotent_methods=idempotent
            )
            self._stack.push_async_callback(self._channels[slug].close)
        return self._channels[slug]


def embedded_platform(data_directory: Path, platform: PlatformSettings) -> PlatformSettings:
    """Points the settings at the stack of a data directory, whose broker has announced itself there."""
    directory = data_directory.expanduser().absolute()
    brokers = StaticResolver(directory / "endpoints.json").resolve("kafka")
    found = {"kafka_bootstrap_servers": ",".join(brokers)} if brokers else {}
    return platform.model_copy(update={"data_directory": directory, **found})


@asynccontextmanager
async def open_connection(
    platform: PlatformSettings, subject: str, roles: Iterable[Role], tracer: Tracer | None
) -> AsyncIterator[Connection]:
    """Connects as a subject with roles; the token key must be readable by this user."""
    async with AsyncExitStack() as stack:
        issuer = TokenIssuer(load_or_create_token_key(platform.key_file), subject, roles)
        tracer = tracer or trace.get_tracer("mltrainer_sdk")
        broker = await stack.enter_async_context(KafkaBroker(platform.kafka_bootstrap_servers, subject))
        yield Connection(
            make_resolver(platform, stack),
            broker,
            DirectPublisher(broker, f"/mltrainer/{subject}"),
            tracer,
            Caller(issuer, tracer, ClientMetrics(CollectorRegistry())),
            stack,
        )
