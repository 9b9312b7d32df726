"""Fakes of the trainer's peers, served over real gRPC, and a dataset small enough for a test."""

import hashlib
import io
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from mltrainer.feature.v1 import resources_pb2 as feature
from mltrainer.feature.v1.feature_service_pb2 import CreateDatasetRequest, GetDatasetRequest
from mltrainer.feature.v1.feature_service_pb2_grpc import (
    FeatureServiceServicer,
    add_FeatureServiceServicer_to_server,
)
from mltrainer.registry.v1.registry_service_pb2 import UploadArtifactResponse, UploadHeader
from mltrainer.registry.v1.registry_service_pb2_grpc import (
    RegistryServiceServicer,
    add_RegistryServiceServicer_to_server,
)
from mltrainer.scheduler.v1.events_pb2 import TrainingPlaced
from mltrainer.scheduler.v1.resources_pb2 import (
    Allocation,
    Budget,
    Evaluation,
    Resources,
    Search,
    TrainingSpec,
)
from mltrainer.scheduler.v1.scheduler_service_pb2 import RenewAllocationsRequest, RenewAllocationsResponse
from mltrainer.scheduler.v1.scheduler_service_pb2_grpc import (
    SchedulerServiceServicer,
    add_SchedulerServiceServicer_to_server,
)
from mltrainer.types.v1.types_pb2 import TARGET_KIND_LOG_REALIZED_VARIANCE, Target
from mltrainer_common.authorization import Role, RoleTable
from mltrainer_common.content_store import ContentStore
from mltrainer_common.service import ServiceContext, ServiceParts, start_service
from mltrainer_common.settings import PlatformSettings
from mltrainer_models.computation_key import computation_key
from mltrainer_models.training_key import ViewRead
from mltrainer_trainer.adapters.attempt_directory import AttemptDirectory
from mltrainer_trainer.adapters.code_identity import code_identity
from mltrainer_trainer.adapters.model_release import plan_models
from mltrainer_trainer.adapters.processes import signal_group
from mltrainer_trainer.application.execute_attempt import Dataset, key_inputs
from mltrainer_trainer.application.ports import Launch
from mltrainer_trainer.settings import artifact_url
from mltrainer_trainer.wire.order import decode_order, encode_order
from mltrainer_trainer.wire.placements import to_accept_placement
from pydantic_settings import BaseSettings

AS_OF = datetime(2020, 1, 3, 21, tzinfo=UTC)
FEATURES = ("log_variance_1", "log_variance_5", "log_variance_22")
VIEW = ViewRead("volatility", 1, "ab" * 32, 3)


@dataclass(slots=True)
class FakePeers(FeatureServiceServicer, RegistryServiceServicer, SchedulerServiceServicer):
    """Feature, registry and scheduler in one.

    Attributes:
        dataset_state: What GetDataset answers; a dataset that is being created keeps an attempt waiting.
        renews: Whether the scheduler answers.
    """

    dataset_sha256: str
    dataset_state: "feature.Dataset.State.ValueType" = feature.Dataset.STATE_ACTIVE
    revoked: set[str] = field(default_factory=set)
    uploads: list[tuple[UploadHeader, dict[str, bytes]]] = field(default_factory=list)

    async def CreateDataset(self, request: CreateDatasetRequest, context: Any) -> feature.Dataset:
        return self._dataset()

    async def GetDataset(self, request: GetDatasetRequest, context: Any) -> feature.Dataset:
        return self._dataset()

    def _dataset(self) -> feature.Dataset:
        view = feature.ViewRevision(
            feature_view=VIEW.feature_view,
            version=VIEW.version,
            definition_digest=VIEW.definition_digest,
            data_revision=VIEW.data_revision,
        )
        return feature.Dataset(
            name="datasets/d1",
            state=self.dataset_state,
            sha256=self.dataset_sha256,
            view_revisions=[view],
            feature_names=FEATURES,
        )

    async def UploadArtifact(self, request_iterator: Any, context: Any) -> UploadArtifactResponse:
        contents: dict[int, bytes] = {}
        header = UploadHeader()
        async for part in request_iterator:
            if part.WhichOneof("part") == "header":
                header = part.header
            else:
                index = part.chunk.file_index
                contents[index] = contents.get(index, b"") + part.chunk.data
        files = {file.path: contents[index] for index, file in enumerate(header.manifest.files)}
        self.uploads.append((header, files))
        for file in header.manifest.files:
            assert hashlib.sha256(files[file.path]).hexdigest() == file.sha256
        return UploadArtifactResponse(manifest_digest="cd" * 32)

    async def RenewAllocations(
        self, request: RenewAllocationsRequest, context: Any
    ) -> RenewAllocationsResponse:
        names = {claim.allocation for claim in request.claims}
        return RenewAllocationsResponse(
            renewed_allocations=sorted(names - self.revoked),
            revoked_allocations=sorted(names & self.revoked),
            lease_s=30.0,
        )


_METHODS = (
    "/mltrainer.feature.v1.FeatureService/CreateDataset",
    "/mltrainer.feature.v1.FeatureService/GetDataset",
    "/mltrainer.registry.v1.RegistryService/UploadArtifact",
    "/mltrainer.scheduler.v1.SchedulerService/RenewAllocations",
)


@asynccontextmanager
async def serving_peers(
    platform: PlatformSettings, peers: FakePeers, slugs: tuple[str, ...]
) -> AsyncIterator[None]:
    """Serves the fakes where the trainer and its attempts look for the real ones."""
    add = {
        "feature": add_FeatureServiceServicer_to_server,
        "registry": add_RegistryServiceServicer_to_server,
        "scheduler": add_SchedulerServiceServicer_to_server,
    }
    roles = RoleTable({method: {Role.SERVICE} for method in _METHODS})
    async with AsyncExitStack() as stack:
        for slug in slugs:

            async def assemble(context: ServiceContext, settings: BaseSettings) -> ServiceParts:
                servicers = [partial(add[context.slug], peers)]
                return ServiceParts(servicers, roles, lambda _error: None)

            await stack.enter_async_context(start_service(slug, platform, BaseSettings(), assemble))
        yield


def small_panel(*, constant: bool = False) -> pl.DataFrame:
    """Makes the log variances of three symbols, persistent over time, with five-day labels."""
    random = np.random.default_rng(5)
    days = 900
    times = [AS_OF - timedelta(days=days - day) for day in range(days)]
    frames = []
    for symbol in ("AAA", "BBB", "CCC"):
        level = np.zeros(days + 6)
        for day in range(1, days + 6):
            level[day] = 0.95 * level[day - 1] + 0.3 * random.normal()
        label = np.zeros(days) if constant else level[5 : days + 5] - 8.0
        frames.append(
            pl.DataFrame(
                {
                    "symbol": [symbol] * days,
                    "event_time": times,
                    **{name: level[:days] - 8.0 + 0.1 * random.normal(size=days) for name in FEATURES},
                    "label": label,
                    "label_end_time": [time + timedelta(days=5) for time in times],
                }
            )
        )
    return pl.concat(frames)


@dataclass(frozen=True, slots=True)
class Stage:
    """A data directory with a dataset in it, and what can be asked of a trainer there."""

    platform: PlatformSettings
    peers: FakePeers

    def serve_peers(self, *slugs: str) -> AbstractAsyncContextManager[None]:
        """Serves the named peers, all of them where none is named."""
        return serving_peers(self.platform, self.peers, slugs or ("feature", "registry", "scheduler"))

    def end_processes(self) -> None:
        """Leaves no attempt behind."""
        for directory in (self.platform.data_directory / "trainer" / "attempts").glob("*"):
            process = AttemptDirectory(directory).process()
            if process is not None:
                signal_group(process, signal.SIGKILL)

    def placed(
        self, training: str = "t1", *, attempt: int = 1, key: str = "", **changes: Any
    ) -> TrainingPlaced:
        """Places a training of the cheapest model, with the key that the attempt will arrive at."""
        event = TrainingPlaced(
            training=f"trainings/{training}",
            request_id=training,
            study="studies/vol5",
            revision=2,
            attempt=attempt,
            allocation=Allocation(
                name=f"allocations/{training}-{attempt}",
                training=f"trainings/{training}",
                attempt=attempt,
                node="nodes/local-0",
                fencing_token=attempt,
            ),
            spec=training_spec(**changes),
        )
        event.as_of_closed_bar.FromDatetime(AS_OF)
        event.allocation.lease_expire_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=30))
        event.computation_key = key or expected_key(event, self.peers.dataset_sha256)
        return event


def training_spec(
    models: tuple[str, ...] = ("persistence",),
    cpu_seconds: float = 600,
    max_trials: int = 0,
    checkpoint_interval_s: float = 0.0,
    memory_bytes: int = 0,
    cpus: float = 0.0,
) -> TrainingSpec:
    """Asks for the walk-forward evaluation of the last year."""
    spec = TrainingSpec(
        study="studies/vol5",
        target=Target(kind=TARGET_KIND_LOG_REALIZED_VARIANCE, horizon_bars=5),
        symbols=["AAA", "BBB", "CCC"],
        feature_views=["volatility"],
        evaluation=Evaluation(refit_interval_bars=120, embargo_bars=5),
        search=Search(models=models, max_trials=max_trials or len(models), seed=7),
        budget=Budget(cpu_seconds=cpu_seconds),
        resources=Resources(
            cpus=cpus, checkpoint_interval_s=checkpoint_interval_s, memory_bytes=memory_bytes
        ),
    )
    spec.evaluation.first_test_time.FromDatetime(AS_OF - timedelta(days=360))
    return spec


def expected_key(event: TrainingPlaced, dataset_sha256: str) -> str:
    """Computes the key as the scheduler does."""
    placement = to_accept_placement(event, "e", None).placement
    plan = decode_order(encode_order(Launch(placement, 0, 30.0)))
    dataset = Dataset("datasets/d1", dataset_sha256, (VIEW,), FEATURES)
    return computation_key(key_inputs(plan, dataset, code_identity(), plan_models(plan)))


def make_stage(directory: Path, panel: pl.DataFrame) -> Stage:
    """Stores a dataset where attempts will read it."""
    platform = PlatformSettings(data_directory=directory, kafka_bootstrap_servers="127.0.0.1:1")
    buffer = io.BytesIO()
    panel.write_parquet(buffer)
    sha256 = ContentStore(artifact_url(platform)).put_bytes(buffer.getvalue())
    return Stage(platform, FakePeers(sha256))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Gives a stage with data that persistence can predict."""
    stage = make_stage(tmp_path, small_panel())
    yield stage
    stage.end_processes()


@pytest.fixture
def constant_stage(tmp_path: Path) -> Iterator[Stage]:
    """Gives a stage whose labels are all the same."""
    stage = make_stage(tmp_path, small_panel(constant=True))
    yield stage
    stage.end_processes()
