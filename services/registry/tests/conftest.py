"""Builds a registry on an empty database, and what attempts tell it."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1 import resources_pb2 as resources
from mltrainer.trainer.v1.events_pb2 import AttemptSucceeded
from mltrainer.types.v1 import types_pb2 as types
from mltrainer_common.content_store import ContentStore
from mltrainer_common.database import Database, open_database
from mltrainer_common.ids import new_id
from mltrainer_common.migrations import migrate
from mltrainer_messaging.outbox import OutboxSignal
from mltrainer_messaging.transactions import EventTransactions
from mltrainer_registry.adapters.artifact_store import ContentArtifactStore
from mltrainer_registry.adapters.change_log import SqlChangeReader
from mltrainer_registry.adapters.evaluations import ContentEvaluations
from mltrainer_registry.adapters.reader import SqlRegistryReader
from mltrainer_registry.adapters.unit_of_work import SqlUnitOfWorkFactory
from mltrainer_registry.application.create_version import CreateVersionHandler, VersionOutcome
from mltrainer_registry.application.follow_changes import ChangeFollower
from mltrainer_registry.application.observe_attempt import ObserveAttemptHandler
from mltrainer_registry.application.upload_artifact import FilePiece, UploadArtifact
from mltrainer_registry.bootstrap import make_use_cases
from mltrainer_registry.domain.manifests import ArtifactFile, Manifest, manifest_digest
from mltrainer_registry.domain.names import VersionName
from mltrainer_registry.entrypoints.follow import follow_to
from mltrainer_registry.settings import RegistrySettings
from mltrainer_registry.wire.events import to_create_version, to_message
from mltrainer_testkit.clocks import ManualClock

MODEL_BYTES = b'{"kind":"ridge"}'


class Attempts:
    """Makes what an attempt uploads and reports."""

    @staticmethod
    def files(content: bytes = MODEL_BYTES) -> tuple[ArtifactFile, ...]:
        return (ArtifactFile("model.json", hashlib.sha256(content).hexdigest(), len(content)),)

    def upload(self, training: str, token: int = 1, content: bytes = MODEL_BYTES) -> UploadArtifact:
        files = self.files(content)
        return UploadArtifact(training, token, files, manifest_digest(files))

    def header(
        self, training: str, token: int = 1, content: bytes = MODEL_BYTES
    ) -> api.UploadArtifactRequest:
        command = self.upload(training, token, content)
        listed = [
            resources.ArtifactFile(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes)
            for file in command.files
        ]
        manifest = resources.Manifest(digest=command.manifest_digest, files=listed)
        header = api.UploadHeader(training=training, fencing_token=token, manifest=manifest)
        return api.UploadArtifactRequest(header=header)

    def succeeded(
        self,
        training: str,
        *,
        token: int = 1,
        study: str = "vol5",
        r2: float = 0.5,
        alias: str = "",
        content: bytes = MODEL_BYTES,
    ) -> AttemptSucceeded:
        event = AttemptSucceeded(
            training=training,
            attempt=token,
            fencing_token=token,
            manifest_digest=manifest_digest(self.files(content)),
        )
        event.spec.study = f"studies/{study}"
        event.spec.target.kind = types.TARGET_KIND_LOG_REALIZED_VARIANCE
        event.spec.target.horizon_bars = 5
        event.spec.propose_alias = alias
        event.result.verdict = types.VERDICT_EDGE
        event.result.metrics.add(name="r2", value=r2, standard_error=0.01)
        event.result.leaderboard.add(catalogue_id="ridge", chosen=True)
        lineage = event.lineage
        lineage.training, lineage.attempt, lineage.study = training, token, f"studies/{study}"
        lineage.dataset, lineage.dataset_sha256 = "datasets/d1", "d" * 64
        lineage.feature_view_versions.append("bars@1")
        lineage.code_digest, lineage.environment_digest = "c" * 64, "e" * 64
        lineage.computation_key = "k" * 64
        lineage.as_of.CopyFrom(Timestamp(seconds=1_700_000_000))
        return event


class Registry:
    """The use cases of one instance."""

    def __init__(self, database: Database, folder: Path, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock
        self.attempts = Attempts()
        self.settings = RegistrySettings(watch_heartbeat_s=0.05, max_watchers=4, buffered_changes=8)
        self.log = SqlChangeReader(database)
        self.content_folder = folder / "artifacts"
        self.content = ContentStore(str(self.content_folder))
        self.follower = ChangeFollower(self.log, SqlRegistryReader(database), self.settings.buffered_changes)
        transactions = EventTransactions(database, "registry", OutboxSignal(), encode=to_message, clock=clock)
        self.unit_of_work = SqlUnitOfWorkFactory(
            transactions,
            partial(follow_to, self.follower),
            ContentEvaluations(ContentArtifactStore(self.content)),
        )
        self.use = make_use_cases(
            self.settings,
            database=database,
            follower=self.follower,
            unit_of_work=self.unit_of_work,
            content=self.content,
            clock=clock,
        )
        self.create = CreateVersionHandler(self.unit_of_work, clock)
        self.observe = ObserveAttemptHandler(self.unit_of_work)

    async def upload(self, command: UploadArtifact, *chunks: bytes) -> Manifest:
        async def pieces() -> AsyncIterator[FilePiece]:
            for chunk in chunks:
                yield FilePiece(0, chunk)

        return await self.use.upload_artifact(command, pieces())

    async def deliver(self, event: AttemptSucceeded) -> tuple[VersionOutcome, VersionName | None]:
        command = self.attempts.upload(event.training, event.fencing_token)
        await self.upload(command, MODEL_BYTES)
        return await self.create(to_create_version(new_id(), event))

    async def make_version(self, training: str, *, r2: float = 0.5, alias: str = "") -> VersionName:
        _, name = await self.deliver(self.attempts.succeeded(training, r2=r2, alias=alias))
        assert name is not None
        return name


@pytest.fixture
def attempts() -> Attempts:
    return Attempts()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
async def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        from mltrainer_testkit.databases import create_postgres_database

        return await create_postgres_database(request.getfixturevalue("postgres_server_url"))
    return f"sqlite:///{tmp_path}/registry.db"


OpenRegistry = Callable[[], Awaitable[Registry]]


@pytest.fixture
async def open_registry(
    empty_url: str, tmp_path: Path, manual_clock: ManualClock
) -> AsyncIterator[OpenRegistry]:
    """Opens instances on the same database and content store; all are closed at the end."""
    await migrate(empty_url, "mltrainer_registry.adapters.migrations")
    async with AsyncExitStack() as stack:

        async def open_one() -> Registry:
            database = await stack.enter_async_context(open_database(empty_url))
            registry = Registry(database, tmp_path, manual_clock)
            await registry.follower.load()
            return registry

        yield open_one


@pytest.fixture
async def registry(open_registry: OpenRegistry) -> Registry:
    return await open_registry()
