"""Puts serving together."""

from functools import partial

from inference.open_inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from mltrainer.feature.v1.feature_service_pb2_grpc import FeatureServiceStub
from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from mltrainer.serving.v1.events_pb2 import PredictionLogged
from mltrainer.serving.v1.serving_service_pb2_grpc import add_ServingServiceServicer_to_server
from mltrainer_common.content_store import ContentStore
from mltrainer_common.database import open_database
from mltrainer_common.migrations import migrate
from mltrainer_common.service import ServiceContext, ServiceParts
from mltrainer_common.settings import Environment, PlatformSettings, default_database_url
from mltrainer_messaging.broker import EventBroker
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.relay import OutboxRelay
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_models import model_store_url
from mltrainer_models.key_folder import KeyFolder
from prometheus_client import Gauge

from mltrainer_serving.adapters.deployment_repository import SqlDeploymentRepository
from mltrainer_serving.adapters.feature_views import VIEW_METHODS, RpcFeatureViews
from mltrainer_serving.adapters.load_spans import load_spans
from mltrainer_serving.adapters.model_loader import ContentStoreModelLoader, SignaturePolicy
from mltrainer_serving.adapters.prediction_sink import OutboxPredictionSink
from mltrainer_serving.adapters.registry_feed import WATCH_METHODS, GrpcRegistryFeed
from mltrainer_serving.application.follow_registry import FollowRegistry
from mltrainer_serving.application.log_predictions import BufferedPredictionLog
from mltrainer_serving.application.predict import PredictHandler
from mltrainer_serving.application.route_table import RouteTable
from mltrainer_serving.entrypoints.inference_api import InferenceApi
from mltrainer_serving.entrypoints.loops import PredictionLogLoop, RegistryLoop
from mltrainer_serving.entrypoints.serving_api import ServingApi
from mltrainer_serving.settings import ServingSettings
from mltrainer_serving.wire.deployments import to_prediction_logged
from mltrainer_serving.wire.errors import to_rpc_error
from mltrainer_serving.wire.roles import ROLES


async def assemble(
    context: ServiceContext, settings: ServingSettings, broker: EventBroker | None = None
) -> ServiceParts:
    """Builds serving from its settings and restores what it served; starts nothing."""
    platform = context.platform
    url = settings.database_url or default_database_url(platform.data_directory, context.slug)
    await migrate(url, "mltrainer_serving.adapters.migrations")
    database = await context.stack.enter_async_context(open_database(url))
    if broker is None:
        client_id = f"{context.slug}-{platform.instance}"
        broker = await context.stack.enter_async_context(
            KafkaBroker(platform.kafka_bootstrap_servers, client_id)
        )
    signal = OutboxSignal()
    instruments = EventInstruments(context.telemetry.registry, context.telemetry.tracer)
    transactions = EventTransactions(database, context.slug, signal, to_prediction_logged)
    relay = OutboxRelay(
        database,
        broker,
        signal,
        [PredictionLogged],
        service=context.slug,
        instance=platform.instance,
        instruments=instruments,
    )
    routes = RouteTable()
    log = BufferedPredictionLog(OutboxPredictionSink(transactions))
    dropped = Gauge(
        "mltrainer_predictions_dropped",
        "Predictions not logged: full buffer.",
        registry=context.telemetry.registry,
    )
    dropped.set_function(lambda: log.dropped_count)
    artifact_url = settings.artifact_url or str(platform.data_directory / "artifacts")
    store = ContentStore(model_store_url(artifact_url))
    registry = RegistryServiceStub(context.channel("registry", idempotent_methods=WATCH_METHODS))
    follower = FollowRegistry(
        routes,
        ContentStoreModelLoader(store, signature_policy(platform, settings), settings.cached_model_bytes),
        SqlDeploymentRepository(database),
        GrpcRegistryFeed(registry),
        context.clock,
        load_spans(context.telemetry.tracer),
        _feature_views(context) if settings.check_feature_views else None,
    )
    await follower.restore()
    predict = PredictHandler(routes, log, context.market_clock)
    return ServiceParts(
        servicers=[
            partial(add_GRPCInferenceServiceServicer_to_server, InferenceApi(predict, routes)),
            partial(add_ServingServiceServicer_to_server, ServingApi(routes)),
        ],
        roles=ROLES,
        map_error=to_rpc_error,
        background={
            "relay": relay.run,
            "registry": RegistryLoop(follower).run,
            "prediction_log": PredictionLogLoop(log, settings.log_interval_s).run,
        },
    )


def _feature_views(context: ServiceContext) -> RpcFeatureViews:
    return RpcFeatureViews(FeatureServiceStub(context.channel("feature", idempotent_methods=VIEW_METHODS)))


def signature_policy(platform: PlatformSettings, settings: ServingSettings) -> SignaturePolicy:
    """Reads the trusted keys anew for every load."""
    keys = KeyFolder(settings.signing_folder or platform.data_directory / "signing")
    is_required = settings.require_signatures
    if is_required is None:
        is_required = platform.environment is Environment.PRODUCTION
    return SignaturePolicy(keys.trusted, is_required)
