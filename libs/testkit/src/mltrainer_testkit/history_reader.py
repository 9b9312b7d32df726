"""Collects a history from a running stack: all topics from their beginning, and what the services answer."""

import hashlib
from collections.abc import Iterable

from google.protobuf.message import Message
from mltrainer.registry.v1.registry_service_pb2 import (
    DownloadArtifactRequest,
    ListModelsRequest,
    ListModelVersionsRequest,
)
from mltrainer.registry.v1.resources_pb2 import Model, ModelVersion
from mltrainer.scheduler.v1.resources_pb2 import Allocation, Training
from mltrainer.scheduler.v1.scheduler_service_pb2 import ListAllocationsRequest, ListTrainingsRequest
from mltrainer_cli.event_stream import event_types, read_records
from mltrainer_messaging.dead_letters import read_dead_letter
from mltrainer_messaging.envelope import EnvelopeError, Event, decode_event
from mltrainer_messaging.topics import DEAD_LETTER_SUFFIX
from mltrainer_sdk import Client

from mltrainer_testkit.history_facts import History

_PATTERN = r"^mltrainer\."
_PAGE = 1_000


async def read_history(bootstrap_servers: str, client: Client, requests: Iterable[str]) -> History:
    """Returns everything that can be seen from outside now."""
    events, dead_letters = await _read_topics(bootstrap_servers)
    models = await _models(client)
    versions = [version for model in models for version in await _versions(client, model.name)]
    return History(
        requests=frozenset(requests),
        events=events,
        trainings=await list_trainings(client),
        allocations=await _allocations(client),
        versions=versions,
        aliases=[alias for model in models for alias in model.aliases],
        readable_digests=await _readable_digests(client, versions),
        dead_letters=dead_letters,
    )


async def list_trainings(client: Client) -> list[Training]:
    """Returns every training."""
    found: list[Training] = []
    token = ""
    while True:
        request = ListTrainingsRequest(page_size=_PAGE, page_token=token)
        page = await client.scheduler.ListTrainings(request)
        found.extend(page.trainings)
        if not (token := page.next_page_token):
            return found


async def _read_topics(bootstrap_servers: str) -> tuple[list[Event[Message]], list[str]]:
    types = event_types()
    events: list[Event[Message]] = []
    dead_letters: list[str] = []
    async for record in read_records(bootstrap_servers, _PATTERN, from_beginning=True, follow=False):
        where = f"{record.topic}/{record.partition}/{record.offset}"
        if record.topic.endswith(DEAD_LETTER_SUFFIX):
            letter = read_dead_letter(record)
            dead_letters.append(f"{where} {letter.handler}: {letter.cause}, {letter.detail}")
            continue
        try:
            events.append(decode_event(record, types))
        except EnvelopeError as error:
            dead_letters.append(f"{where} cannot be read: {error}")
    return events, dead_letters


async def _models(client: Client) -> list[Model]:
    found: list[Model] = []
    token = ""
    while True:
        page = await client.registry.ListModels(ListModelsRequest(page_size=_PAGE, page_token=token))
        found.extend(page.models)
        if not (token := page.next_page_token):
            return found


async def _versions(client: Client, model: str) -> list[ModelVersion]:
    found: list[ModelVersion] = []
    token = ""
    while True:
        request = ListModelVersionsRequest(parent=model, page_size=_PAGE, page_token=token)
        page = await client.registry.ListModelVersions(request)
        found.extend(page.model_versions)
        if not (token := page.next_page_token):
            return found


async def _allocations(client: Client) -> list[Allocation]:
    page = await client.scheduler.ListAllocations(ListAllocationsRequest(page_size=_PAGE))
    return list(page.allocations)


async def _readable_digests(client: Client, versions: Iterable[ModelVersion]) -> frozenset[str]:
    readable: set[str] = set()
    for version in versions:
        for file in version.manifest.files:
            if file.sha256 in readable:
                continue
            digest = hashlib.sha256()
            request = DownloadArtifactRequest(version=version.name, path=file.path)
            async for piece in client.registry.DownloadArtifact(request):
                digest.update(piece.data)
            if digest.hexdigest() == file.sha256:
                readable.add(file.sha256)
    return frozenset(readable)
