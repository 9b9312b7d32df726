"""Asks the services that refer to datasets: trainer for its attempts, registry for its versions."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mltrainer.registry.v1.registry_service_pb2 import ListModelVersionsRequest
from mltrainer.trainer.v1.resources_pb2 import Attempt
from mltrainer.trainer.v1.trainer_service_pb2 import ListAttemptsRequest
from mltrainer_common.errors import RpcFailure

from mltrainer_feature.domain.errors import ReferencesUnknownError

if TYPE_CHECKING:  # exists in the type stubs only
    from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub
    from mltrainer.trainer.v1.trainer_service_pb2_grpc import TrainerServiceAsyncStub

_PAGE = 200
_CALL_TIMEOUT_S = 30.0
_RUNNING = frozenset({Attempt.STATE_PENDING, Attempt.STATE_EXECUTING})


@dataclass(frozen=True, slots=True)
class RpcDatasetReferences:
    """Implements `DatasetReferences`."""

    trainer: "TrainerServiceAsyncStub"
    registry: "RegistryServiceAsyncStub"

    async def in_use_since(self, ended_after: datetime) -> datetime | None:
        """Returns since when attempts run that run still or ended after a time; None where there are none."""
        starts = [
            attempt.start_time.ToDatetime(UTC)
            async for attempt in self._attempts()
            if attempt.HasField("start_time") and _may_need_data(attempt, ended_after)
        ]
        return min(starts, default=None)

    async def _attempts(self) -> AsyncIterator[Attempt]:
        token = ""
        while True:
            try:
                page = await self.trainer.ListAttempts(
                    ListAttemptsRequest(page_size=_PAGE, page_token=token), timeout=_CALL_TIMEOUT_S
                )
            except RpcFailure as error:
                raise ReferencesUnknownError("trainer") from error
            for attempt in page.attempts:
                yield attempt
            token = page.next_page_token
            if not token:
                return

    async def has_models(self, name: str) -> bool:
        """Tells whether a model version was made of a dataset."""
        request = ListModelVersionsRequest(parent="models/-", page_size=1, filter=f'dataset = "{name}"')
        try:
            page = await self.registry.ListModelVersions(request, timeout=_CALL_TIMEOUT_S)
        except RpcFailure as error:
            raise ReferencesUnknownError("registry") from error
        return bool(page.model_versions)


def _may_need_data(attempt: Attempt, ended_after: datetime) -> bool:
    if attempt.state in _RUNNING or not attempt.HasField("end_time"):
        return True
    return attempt.end_time.ToDatetime(UTC) >= ended_after
