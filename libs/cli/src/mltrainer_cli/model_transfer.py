"""Moves the files of versions to and from the registry, over cuts."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from mltrainer_models import ManifestEntry

if TYPE_CHECKING:
    from mltrainer.registry.v1.registry_service_pb2 import (
        GetUploadResponse,
        UploadArtifactRequest,
        UploadChunk,
        UploadHeader,
    )
    from mltrainer_sdk import Client

T = TypeVar("T")
Progress = Callable[[int], None]
"""Told how many more bytes have passed."""

_CHUNK_BYTES = 1 << 20
_TRIES = 6
# A slow line is no reason to give up; a cut is noticed sooner.
_UPLOAD_TIMEOUT_S = 3_600.0
_FIRST_WAIT_S = 0.2
FENCING_TOKEN = 1
"""Imports have no attempts that could overtake each other."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to upload; `open` may be called more than once."""

    entry: ManifestEntry
    open: Callable[[], IO[bytes]]


async def upload(
    client: "Client", training: str, model: str, files: Sequence[SourceFile], progress: Progress
) -> str:
    """Uploads files and returns the digest of their manifest; what the registry holds is not sent again."""
    from mltrainer.registry.v1.registry_service_pb2 import GetUploadRequest, UploadHeader
    from mltrainer.registry.v1.resources_pb2 import ArtifactFile, Manifest

    listed = [
        ArtifactFile(path=it.entry.file, sha256=it.entry.sha256, size_bytes=it.entry.size_bytes)
        for it in files
    ]
    header = UploadHeader(
        training=training, fencing_token=FENCING_TOKEN, manifest=Manifest(files=listed), model=model
    )

    async def send() -> str:
        held = await client.registry.GetUpload(GetUploadRequest(header=header))
        answer = await client.registry.UploadArtifact(
            _parts(header, files, held, progress), timeout=_UPLOAD_TIMEOUT_S
        )
        return answer.manifest_digest

    return await _patiently(send)


async def _parts(
    header: "UploadHeader", files: Sequence[SourceFile], held: "GetUploadResponse", progress: Progress
) -> "AsyncIterator[UploadArtifactRequest]":
    from mltrainer.registry.v1.registry_service_pb2 import UploadArtifactRequest

    yield UploadArtifactRequest(header=header)
    chunks = _missing_chunks(files, held)
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield UploadArtifactRequest(chunk=chunk)
        progress(len(chunk.data))


def _missing_chunks(files: Sequence[SourceFile], held: "GetUploadResponse") -> "Iterator[UploadChunk]":
    from mltrainer.registry.v1.registry_service_pb2 import UploadChunk

    for index, file in enumerate(files):
        if held.files[index].complete:
            continue
        parts = {part.number: part.sha256 for part in held.files[index].parts}
        with file.open() as content:
            for number, start in enumerate(range(0, file.entry.size_bytes, held.part_bytes)):
                part = content.read(held.part_bytes)
                if number in parts and parts[number] == hashlib.sha256(part).hexdigest():
                    continue
                for begin in range(0, len(part), _CHUNK_BYTES):
                    data = part[begin : begin + _CHUNK_BYTES]
                    yield UploadChunk(file_index=index, data=data, offset_bytes=start + begin)


async def download(client: "Client", version: str, entry: ManifestEntry, target: Path) -> None:
    """Downloads one file, going on where a cut left off; the caller verifies the whole."""
    from mltrainer.registry.v1.registry_service_pb2 import DownloadArtifactRequest

    target.parent.mkdir(parents=True, exist_ok=True)

    async def receive() -> None:
        with target.open("ab") as file:
            request = DownloadArtifactRequest(version=version, path=entry.file, offset_bytes=file.tell())
            async for piece in client.registry.DownloadArtifact(request):
                await asyncio.to_thread(file.write, piece.data)

    await _patiently(receive)


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    from grpc import StatusCode
    from mltrainer_common.errors import RpcFailure

    passing = {StatusCode.UNAVAILABLE, StatusCode.ABORTED, StatusCode.DEADLINE_EXCEEDED}
    wait_s = _FIRST_WAIT_S
    for _ in range(_TRIES - 1):
        try:
            return await call()
        except RpcFailure as failure:
            if failure.code not in passing:
                raise
        await asyncio.sleep(wait_s)
        wait_s *= 2
    return await call()
