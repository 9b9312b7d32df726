"""Puts the same models, versions and aliases into both registries, and what single measurements need."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
import peer_requests
import registry_requests
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer.registry.v1 import resources_pb2 as resources
from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceStub

CONTENT = b'{"kind":"ridge"}'
_TEMPLATE = "trainings/template"
_AT_ONCE = 16


def stub(address: str) -> Any:
    return RegistryServiceStub(grpc.aio.insecure_channel(address))


async def fill_registry(address: str, token: str, url: str, models: Sequence[str], versions: int) -> str:
    """Creates versions and points the alias `live` to the newest; returns the digest of their manifest."""
    registry, metadata = stub(address), (("authorization", f"Bearer {token}"),)
    answer = await registry.UploadArtifact(_upload(), metadata=metadata)
    digest: str = answer.manifest_digest
    await copy_uploads(url, "fill-", len(models) * versions)

    async def fill_one(index: int) -> None:
        model = models[index]
        for n in range(versions):
            training = f"trainings/fill-{index * versions + n}"
            request = registry_requests.version_request(model, training, digest)
            created = await registry.CreateModelVersion(request, metadata=metadata, timeout=30)
        move = api.MoveAliasRequest(name=f"models/{model}/aliases/live", version=created.name)
        await registry.MoveAlias(move, metadata=metadata, timeout=30)

    await _many(len(models), fill_one)
    return digest


async def _upload() -> AsyncIterator[api.UploadArtifactRequest]:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    file = resources.ArtifactFile(path="model.json", sha256=sha256, size_bytes=len(CONTENT))
    header = api.UploadHeader(training=_TEMPLATE, fencing_token=1, manifest=resources.Manifest(files=[file]))
    yield api.UploadArtifactRequest(header=header)
    yield api.UploadArtifactRequest(chunk=api.UploadChunk(file_index=0, data=CONTENT))


async def fill_peer(address: str, models: Sequence[str], versions: int) -> None:
    free: asyncio.Queue[peer_requests.Connection] = asyncio.Queue()
    for _ in range(_AT_ONCE):
        free.put_nowait(peer_requests.Connection(address))

    async def fill_one(index: int) -> None:
        connection, model = await free.get(), models[index]
        await connection.send_patiently(peer_requests.create_model(model))
        for _ in range(versions):
            await connection.send_patiently(peer_requests.create_version(model))
        await connection.send_patiently(peer_requests.set_alias(model, versions))
        free.put_nowait(connection)

    await _many(len(models), fill_one)


async def create_peer_model(address: str, model: str) -> None:
    await peer_requests.Connection(address).send_patiently(peer_requests.create_model(model))


async def _many(count: int, fill_one: Callable[[int], Awaitable[None]]) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(index: int) -> None:
        async with gate:
            await fill_one(index)

    await asyncio.gather(*(one(index) for index in range(count)))


async def copy_uploads(url: str, prefix: str, count: int) -> None:
    """Makes the template's upload that of many trainings: a version needs one, its bytes are not measured."""
    connection = await asyncpg.connect(url)
    try:
        for table in ("upload", "upload_file", "training_fence"):
            columns = await _columns(connection, table)
            if columns:
                await _copy(connection, table, columns, {"training": f"'trainings/{prefix}' || n"}, count)
    finally:
        await connection.close()


async def _copy(
    connection: Any, table: str, columns: Sequence[str], changed: dict[str, str], count: int
) -> None:
    listed = ", ".join(columns)
    values = ", ".join(changed.get(column, column) for column in columns)
    await connection.execute(
        f"INSERT INTO {table} ({listed}) SELECT {values} FROM {table}, generate_series(0, {count - 1}) n "
        f"WHERE training = '{_TEMPLATE}' ON CONFLICT DO NOTHING"
    )


async def _columns(connection: Any, table: str) -> list[str]:
    rows = await connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = $1", table
    )
    return [row["column_name"] for row in rows]


async def grow_model(url: str, model: str, versions: int) -> None:
    """Gives a model as many versions as a long life would, with their entries of the change log."""
    connection = await asyncpg.connect(url, timeout=60, command_timeout=300)
    try:
        async with connection.transaction():
            head = await connection.fetchval("SELECT revision FROM registry_head FOR UPDATE")
            held = await connection.fetchval("SELECT version_count FROM model WHERE model = $1", model)
            grown = _Grown(connection, model, held, versions - held)
            place = {"number": "number + n", "training": "training || '-' || n"}
            revisions = dict.fromkeys(("revision", "state_revision"), f"{head} + n")
            await grown.multiply("model_version", {**place, **revisions}, "true")
            await grown.multiply("change", {"number": "number + n", **revisions}, "kind = 'VERSION_CREATED'")
            head += versions - held
            await connection.execute("UPDATE registry_head SET revision = $1", head)
            await connection.execute(
                "UPDATE model SET version_count = $1, revision = $2 WHERE model = $3", versions, head, model
            )
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


@dataclass(frozen=True)
class _Grown:
    connection: Any
    model: str
    newest: int
    added: int

    async def multiply(self, table: str, changed: dict[str, str], condition: str) -> None:
        """Copies the row of the newest version."""
        columns = await _columns(self.connection, table)
        values = ", ".join(changed.get(column, column) for column in columns)
        await self.connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} "
            f"FROM {table}, generate_series(1, {self.added}) n "
            f"WHERE model = $1 AND number = {self.newest} AND {condition}",
            self.model,
        )
