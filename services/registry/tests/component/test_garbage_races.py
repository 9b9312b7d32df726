"""Replicas that upload, make versions and collect at the same time never lose a file of a version."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer_common.database import DatabaseConflictError
from mltrainer_common.ids import new_id
from mltrainer_registry.application.upload_artifact import FilePiece, UploadArtifact
from mltrainer_registry.domain.errors import ManifestNotUploadedError, UploadExpiredError
from mltrainer_registry.domain.manifests import ArtifactFile
from mltrainer_registry.wire.events import to_create_version
from mltrainer_registry.wire.searches import to_version_search

# Few contents, so that everybody relies on what somebody else is giving up.
CONTENTS = [bytes([number]) * (number + 1) for number in range(5)]
WRITERS, ROUNDS, COLLECTIONS = 6, 5, 12


async def send(contents: list[bytes]) -> AsyncIterator[FilePiece]:
    for index, content in enumerate(contents):
        await asyncio.sleep(0)
        yield FilePiece(index, content)


async def deliver(registry: Any, attempts: Any, training: str, contents: list[bytes]) -> None:
    files = [
        ArtifactFile(f"f{index}", hashlib.sha256(it).hexdigest(), len(it))
        for index, it in enumerate(contents)
    ]
    while True:
        try:
            manifest = await registry.use.upload_artifact(
                UploadArtifact(training, 1, tuple(files), "", "vol5"), send(contents)
            )
            event = attempts.succeeded(training)
            event.manifest_digest = manifest.digest
            await registry.create(to_create_version(new_id(), event))
        except (UploadExpiredError, ManifestNotUploadedError, DatabaseConflictError):
            continue
        return


async def test_no_version_ever_lacks_a_file(open_registry: Any, attempts: Any) -> None:
    replicas = [await open_registry(), await open_registry()]
    # Everything is old at once: a claim is all that protects.
    replicas[0].clock.set(datetime.now(UTC) + timedelta(days=30))
    generator = random.Random(4)
    chosen = [[generator.sample(CONTENTS, 3) for _ in range(ROUNDS)] for _ in range(WRITERS)]

    async def write(writer: int) -> None:
        for number, contents in enumerate(chosen[writer]):
            await deliver(replicas[writer % 2], attempts, f"trainings/w{writer}-{number}", contents)

    async def collect(registry: Any) -> int:
        garbage = 0
        for _ in range(COLLECTIONS):
            await asyncio.sleep(0.02)
            registry.clock.advance(8 * 86_400)
            try:
                report = await registry.use.collect_garbage(dry_run=False)
            except DatabaseConflictError:
                continue
            garbage += report.garbage_count + report.expired_upload_count
        return garbage

    writing = asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    garbage = await asyncio.gather(*map(collect, replicas))
    await writing

    search = to_version_search(api.ListModelVersionsRequest(), "vol5")
    page = await replicas[0].use.search.search.versions("vol5", search, 1_000, "")
    assert sum(garbage) > 0, "nothing was ever given up: the race did not take place"
    assert len(page.items) == WRITERS * ROUNDS
    stored = {content.digest for content in replicas[0].content.contents()}
    assert {file.sha256 for version in page.items for file in version.manifest.files} <= stored
