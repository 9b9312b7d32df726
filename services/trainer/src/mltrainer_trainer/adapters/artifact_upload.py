"""Hands the files of a model to `registry`: sealed, streamed, and resumed where a cut left off."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mltrainer.registry.v1.registry_service_pb2 import (
    GetUploadRequest,
    GetUploadResponse,
    UploadArtifactRequest,
    UploadChunk,
    UploadHeader,
)
from mltrainer.registry.v1.resources_pb2 import ArtifactFile, Manifest
from mltrainer_models import SBOM_FILE, SIGNATURE_FILE, ModelArtifact

from mltrainer_trainer.adapters.peer_calls import call_patiently
from mltrainer_trainer.adapters.sbom import environment_sbom
from mltrainer_trainer.domain.plan import AttemptPlan

if TYPE_CHECKING:  # exists in the type stubs only
    from mltrainer.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

_CHUNK_BYTES = 1 << 20

Seal = Callable[[str, Mapping[str, bytes]], Mapping[str, bytes]]
"""Adds to the files of a model, whose name it is given, what vouches for them."""


@dataclass(frozen=True, slots=True)
class ArtifactSeal:
    """Adds the list of the environment's packages, and a signature over everything.

    Attributes:
        private_key: PEM; empty where nothing is signed.
        cache: Keeps the list, one per environment.
    """

    private_key: bytes
    environment_digest: str
    cache: Path

    def __call__(self, model: str, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Returns the files with those that were added."""
        complete = {**files, SBOM_FILE: environment_sbom(self.environment_digest, self.cache)}
        if not self.private_key:
            return complete
        from mltrainer_models.signatures import sign_manifest

        entries = ModelArtifact(complete).manifest.entries
        return {**complete, SIGNATURE_FILE: sign_manifest(entries, self.private_key, model)}


@dataclass(frozen=True, slots=True)
class RpcArtifactUpload:
    """Streams files to `registry`."""

    stub: "RegistryServiceAsyncStub"
    seal: Seal

    async def __call__(self, plan: AttemptPlan, files: Mapping[str, bytes]) -> str:
        """Returns the digest of the manifest."""
        model = f"models/{plan.study.removeprefix('studies/')}"
        sealed = await asyncio.to_thread(self.seal, model, files)
        contents = [sealed[path] for path in sorted(sealed)]
        listed = [
            ArtifactFile(path=path, sha256=_sha256(sealed[path]), size_bytes=len(sealed[path]))
            for path in sorted(sealed)
        ]
        header = UploadHeader(
            training=plan.training,
            fencing_token=plan.identity.fencing_token,
            # The registry computes the digest of the manifest: one spelling of it, in one place.
            manifest=Manifest(files=listed),
            model=model,
        )
        upload = _Upload(self.stub, header, contents)
        return await call_patiently(upload.send)


class _Upload:
    """Sends everything at first; whoever has to repeat it asks what has arrived."""

    def __init__(
        self, stub: "RegistryServiceAsyncStub", header: UploadHeader, contents: Sequence[bytes]
    ) -> None:
        self._stub = stub
        self._header = header
        self._contents = contents
        self._was_cut = False

    async def send(self) -> str:
        held = GetUploadResponse()
        if self._was_cut:
            held = await self._stub.GetUpload(GetUploadRequest(header=self._header))
        self._was_cut = True
        answer = await self._stub.UploadArtifact(self._parts(held))
        return answer.manifest_digest

    async def _parts(self, held: GetUploadResponse) -> AsyncIterator[UploadArtifactRequest]:
        yield UploadArtifactRequest(header=self._header)
        for chunk in missing_chunks(self._contents, held):
            yield UploadArtifactRequest(chunk=chunk)


def missing_chunks(contents: Sequence[bytes], held: GetUploadResponse) -> Iterator[UploadChunk]:
    """Yields what is not held: no chunk of a complete file, nor of a part with the right digest."""
    for index, content in enumerate(contents):
        file = held.files[index] if held.files else None
        if file is not None and file.complete:
            continue
        parts = {part.number: part.sha256 for part in file.parts} if file is not None else {}
        part_bytes = held.part_bytes if parts else max(1, len(content))
        for number, start in enumerate(range(0, len(content), part_bytes)):
            part = content[start : start + part_bytes]
            if number in parts and parts[number] == _sha256(part):
                continue
            for begin in range(0, len(part), _CHUNK_BYTES):
                data = part[begin : begin + _CHUNK_BYTES]
                yield UploadChunk(file_index=index, data=data, offset_bytes=start + begin)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
