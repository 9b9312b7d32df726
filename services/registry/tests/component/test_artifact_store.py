"""Files and parts, in a directory, an object store in memory and a real S3 server alike."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from mltrainer_common.content_store import ContentStore
from mltrainer_registry.adapters.artifact_store import ContentArtifactStore
from mltrainer_registry.domain.errors import ArtifactDigestMismatchError
from mltrainer_registry.domain.manifests import ArtifactFile
from mltrainer_registry.domain.uploads import HeldPart

MODULE = Path(__file__).parents[4] / "tests" / "integration" / "versitygw_build"
TRAINING = "trainings/t1"
PARTS = [b"a" * 3_000, b"b" * 3_000, b"c"]
WHOLE = b"".join(PARTS)


def file(content: bytes = WHOLE) -> ArtifactFile:
    return ArtifactFile("model.bin", hashlib.sha256(content).hexdigest(), len(content))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> object:
    from mltrainer_testkit.go_programs import ProgramNotFoundError
    from mltrainer_testkit.s3 import find_or_build_versitygw, s3_bucket

    try:
        executable = find_or_build_versitygw(MODULE)
        with s3_bucket(executable, tmp_path_factory.mktemp("s3")) as bucket:
            yield bucket
    except ProgramNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(
    params=[
        "directory",
        "memory",
        pytest.param("s3", marks=[pytest.mark.integration, pytest.mark.timeout(700)]),
    ]
)
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ContentArtifactStore:
    if request.param == "directory":
        return ContentArtifactStore(ContentStore(str(tmp_path / "artifacts")))
    if request.param == "memory":
        return ContentArtifactStore(ContentStore(f"memory://{uuid4().hex}/artifacts"))
    bucket = request.getfixturevalue("s3")
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return ContentArtifactStore(ContentStore(f"s3://{bucket.name}/{uuid4().hex}"))


async def pieces(*contents: bytes) -> AsyncIterator[bytes]:
    for content in contents:
        yield content


async def keep(store: ContentArtifactStore, *contents: bytes) -> list[str]:
    return [
        await store.keep_part(TRAINING, file(), number, content, "")
        for number, content in enumerate(contents)
    ]


async def test_a_file_is_held_once_it_is_received(store: ContentArtifactStore) -> None:
    assert not await store.holds(file())

    await store.receive(file(), pieces(*PARTS))

    assert await store.holds(file())
    assert not await store.holds(ArtifactFile("model.bin", file().sha256, 1))
    assert b"".join([it async for it in store.read(file(), 3_000)]) == WHOLE[3_000:]


async def test_parts_are_told_and_joined(store: ContentArtifactStore) -> None:
    digests = await keep(store, *PARTS)
    assert await store.parts(TRAINING, file()) == tuple(
        HeldPart(number, sha256(part)) for number, part in enumerate(PARTS)
    )

    await store.join_parts(TRAINING, file(), digests)

    assert b"".join([it async for it in store.read(file())]) == WHOLE
    assert await store.parts(TRAINING, file()) == ()


async def test_a_part_replaces_the_one_before(store: ContentArtifactStore) -> None:
    (old,) = await keep(store, b"damaged")

    await store.keep_part(TRAINING, file(), 0, PARTS[0], old)

    assert await store.parts(TRAINING, file()) == (HeldPart(0, sha256(PARTS[0])),)


async def test_parts_of_another_file_are_refused_and_gone(store: ContentArtifactStore) -> None:
    digests = await keep(store, *PARTS[:2], b"C")

    with pytest.raises(ArtifactDigestMismatchError):
        await store.join_parts(TRAINING, file(), digests)

    assert await store.parts(TRAINING, file()) == ()
    assert not await store.holds(file())


async def test_what_was_abandoned_is_dropped_after_its_time(store: ContentArtifactStore) -> None:
    await keep(store, *PARTS)
    await store.receive(file(), pieces(WHOLE))
    now = datetime.now(UTC)

    young = await store.drop_abandoned(now - timedelta(minutes=5), dry_run=False)
    looked = await store.drop_abandoned(now + timedelta(minutes=5), dry_run=True)
    dropped = await store.drop_abandoned(now + timedelta(minutes=5), dry_run=False)

    assert (young, looked, dropped) == (0, 3, 3)
    assert await store.parts(TRAINING, file()) == ()
    assert [[it.sha256 for it in batch] async for batch in store.batches()] == [[file().sha256]]


async def test_a_deleted_file_has_no_time(store: ContentArtifactStore) -> None:
    await store.receive(file(), pieces(WHOLE))
    assert await store.stored_time(file().sha256) is not None

    await store.delete(file().sha256)

    assert await store.stored_time(file().sha256) is None
    assert not await store.holds(file())
