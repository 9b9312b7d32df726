"""Puts the registry together."""

from datetime import timedelta
from functools import partial
from typing import Any

from mltrainer.registry.v1.registry_service_pb2_grpc import add_RegistryServiceServicer_to_server
from mltrainer_common.content_store import ContentStore
from mltrainer_common.database import Database, DatabaseUnavailableError, open_database
from mltrainer_common.deadlines import bounded_timeout_s
from mltrainer_common.migrations import migrate
from mltrainer_common.rpc_server import ServerLimits
from mltrainer_common.service import ServiceContext, ServiceParts
from mltrainer_common.settings import default_database_url
from mltrainer_messaging.broker import EventBroker
from mltrainer_messaging.instruments import EventInstruments
from mltrainer_messaging.kafka import KafkaBroker
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.relay import OutboxRelay
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_models import model_store_url

from mltrainer_registry.adapters.adoption import adopt_contents
from mltrainer_registry.adapters.artifact_store import ContentArtifactStore
from mltrainer_registry.adapters.change_log import SqlChangeReader
from mltrainer_registry.adapters.evaluations import ContentEvaluations
from mltrainer_registry.adapters.governance_reader import SqlGovernanceReader
from mltrainer_registry.adapters.lineage_reader import SqlLineageReader
from mltrainer_registry.adapters.reader import SqlRegistryReader
from mltrainer_registry.adapters.search import SqlSearch
from mltrainer_registry.adapters.shared_transactions import SharedTransactions, UseCase
from mltrainer_registry.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_registry.application.archive_version import ArchiveVersionHandler
from mltrainer_registry.application.coalescing import Coalescer, together
from mltrainer_registry.application.collect_garbage import CollectGarbageHandler
from mltrainer_registry.application.create_version import CreateVersionHandler
from mltrainer_registry.application.describe_version import DescribeVersionHandler
from mltrainer_registry.application.follow_changes import ChangeFollower
from mltrainer_registry.application.move_alias import MoveAliasHandler, RollBackAliasHandler
from mltrainer_registry.application.observe_attempt import ObserveAttemptHandler
from mltrainer_registry.application.ports import Clock
from mltrainer_registry.application.promote_version import (
    DecidePromotionHandler,
    RequestPromotionHandler,
)
from mltrainer_registry.application.prune_changes import PruneChangesHandler
from mltrainer_registry.application.reach_revision import ReachRevisionHandler
from mltrainer_registry.application.read_models import (
    DownloadArtifactHandler,
    GetAliasHandler,
    GetModelHandler,
)
from mltrainer_registry.application.request_version import RequestVersionHandler
from mltrainer_registry.application.set_policy import SetPolicyHandler
from mltrainer_registry.application.trace_lineage import TraceLineageHandler
from mltrainer_registry.application.update_details import UpdateModelHandler, UpdateVersionHandler
from mltrainer_registry.application.upload_artifact import GetUploadHandler, UploadArtifactHandler
from mltrainer_registry.application.watch_models import WatchModelsHandler
from mltrainer_registry.domain.uploads import UploadLimits
from mltrainer_registry.entrypoints.events import consumer_group
from mltrainer_registry.entrypoints.follow import follow, follow_to
from mltrainer_registry.entrypoints.garbage import GarbageLoop, GarbageMetrics
from mltrainer_registry.entrypoints.governance_api import GovernanceUseCases
from mltrainer_registry.entrypoints.grpc_api import RegistryApi, RegistryUseCases
from mltrainer_registry.entrypoints.prune import prune_again_and_again
from mltrainer_registry.entrypoints.search_api import SearchUseCases
from mltrainer_registry.settings import RegistrySettings
from mltrainer_registry.wire.errors import to_rpc_error
from mltrainer_registry.wire.events import PUBLISHED, to_message
from mltrainer_registry.wire.roles import ROLES

# A refusal that comes after its caller's deadline is not heard.
_ANSWER_MARGIN_S = 0.05
# Watches never end by themselves: waiting longer for them would only delay a restart.
_LIMITS = ServerLimits(grace_s=3.0)


async def assemble(
    context: ServiceContext, settings: RegistrySettings, broker: EventBroker | None = None
) -> ServiceParts:
    """Builds the registry from its settings and starts nothing; tests give a broker in memory."""
    platform, slug = context.platform, context.slug
    url = settings.database_url or default_database_url(platform.data_directory, slug)
    await migrate(url, "mltrainer_registry.adapters.migrations")
    database = await context.stack.enter_async_context(open_database(url))
    instruments = EventInstruments(context.telemetry.registry, context.telemetry.tracer)
    if broker is None:
        kafka = KafkaBroker(platform.kafka_bootstrap_servers, f"{slug}-{platform.instance}", instruments)
        broker = await context.stack.enter_async_context(kafka)
    signal = OutboxSignal()
    follower = ChangeFollower(
        SqlChangeReader(database), SqlRegistryReader(database), settings.buffered_changes
    )
    await follower.load()
    transactions = EventTransactions(database, slug, signal, encode=to_message)
    artifact_url = settings.artifact_url or str(platform.data_directory / "artifacts")
    content = ContentStore(model_store_url(artifact_url))
    _ = await adopt_contents(database, ContentStore(artifact_url), content)
    evaluations = ContentEvaluations(ContentArtifactStore(content))
    unit_of_work = SqlUnitOfWorkFactory(transactions, partial(follow_to, follower), evaluations)
    use_cases = make_use_cases(
        settings,
        database=database,
        follower=follower,
        unit_of_work=unit_of_work,
        content=content,
        clock=context.clock,
    )
    create = CreateVersionHandler(unit_of_work, context.clock)
    observe = ObserveAttemptHandler(unit_of_work)
    group = consumer_group(slug, platform.instance, database, create, observe)
    relay = OutboxRelay(
        database,
        broker,
        signal,
        PUBLISHED,
        service=slug,
        instance=platform.instance,
        instruments=instruments,
    )
    garbage = GarbageLoop(
        use_cases.collect_garbage, GarbageMetrics(context.telemetry.registry), settings.garbage_interval_s
    )
    retention = timedelta(seconds=settings.change_retention_s)
    prune = PruneChangesHandler(unit_of_work, context.clock, retention)
    return ServiceParts(
        servicers=[partial(add_RegistryServiceServicer_to_server, RegistryApi(use_cases))],
        roles=ROLES,
        map_error=to_rpc_error,
        background={
            "relay": relay.run,
            "consumer": partial(broker.consume, group),
            "follower": partial(follow, follower, settings.change_poll_s),
            "pruner": partial(prune_again_and_again, prune, settings.change_prune_interval_s),
            **({"garbage": garbage.run} if settings.garbage_interval_s else {}),
        },
        limits=_LIMITS,
    )


def make_use_cases(
    settings: RegistrySettings,
    *,
    database: Database,
    follower: ChangeFollower,
    unit_of_work: SqlUnitOfWorkFactory,
    content: ContentStore,
    clock: Clock,
) -> RegistryUseCases:
    """Builds what the API calls."""
    # Requests that arrive while a transaction is under way share the next one.
    outage = (DatabaseUnavailableError,)
    create = Coalescer(CreateVersionHandler(unit_of_work, clock).all, shared=outage)
    share: Coalescer[UseCase, Any] = Coalescer(SharedTransactions(unit_of_work), shared=outage)
    lineage = SqlLineageReader(database)
    reader, artifacts = SqlRegistryReader(database), ContentArtifactStore(content)
    limits = UploadLimits(settings.max_file_bytes, settings.max_artifact_bytes, settings.max_model_bytes)
    return RegistryUseCases(
        reader=reader,
        follower=follower,
        reach_revision=ReachRevisionHandler(
            follower, partial(bounded_timeout_s, None, _ANSWER_MARGIN_S), settings.max_revision_wait_s
        ),
        get_model=GetModelHandler(reader),
        get_alias=GetAliasHandler(reader, follower),
        move_alias=together(share, MoveAliasHandler(unit_of_work, clock)),
        roll_back_alias=together(share, RollBackAliasHandler(unit_of_work, clock)),
        request_version=RequestVersionHandler(create, reader, follower),
        archive_version=ArchiveVersionHandler(unit_of_work),
        watch_models=WatchModelsHandler(
            follower, SqlChangeReader(database), settings.watch_heartbeat_s, settings.max_watchers
        ),
        upload_artifact=UploadArtifactHandler(unit_of_work, reader, artifacts, limits, clock),
        get_upload=GetUploadHandler(reader, artifacts, limits),
        collect_garbage=CollectGarbageHandler(
            unit_of_work,
            reader,
            artifacts,
            clock,
            grace=timedelta(seconds=settings.garbage_grace_s),
            least_grace=timedelta(seconds=settings.least_garbage_grace_s),
        ),
        download_artifact=DownloadArtifactHandler(follower, artifacts),
        governance=GovernanceUseCases(
            reader=SqlGovernanceReader(database),
            set_policy=SetPolicyHandler(unit_of_work, clock),
            request_promotion=RequestPromotionHandler(unit_of_work, clock),
            decide_promotion=DecidePromotionHandler(unit_of_work, clock),
            update_model=UpdateModelHandler(unit_of_work, clock),
            update_version=UpdateVersionHandler(unit_of_work),
        ),
        search=SearchUseCases(
            search=SqlSearch(database),
            lineage=lineage,
            trace_lineage=TraceLineageHandler(follower, reader, lineage),
            describe_version=DescribeVersionHandler(follower, reader),
        ),
    )
