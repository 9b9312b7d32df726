"""Garbage: what nothing refers to is found and deleted after its grace period, what is referred to never."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mltrainer_common.ids import new_id
from mltrainer_registry.application.upload_artifact import FilePiece, UploadArtifact
from mltrainer_registry.domain.errors import InvalidFieldError, ManifestNotUploadedError, UploadExpiredError
from mltrainer_registry.domain.manifests import ArtifactFile
from mltrainer_registry.domain.uploads import PART_BYTES
from mltrainer_registry.wire.events import to_create_version

GRACE = timedelta(days=7)
ORPHAN = b"nobody knows me"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def age(registry: Any, by: timedelta = GRACE + timedelta(minutes=1)) -> None:
    """Lets what is stored now be as old as that."""
    registry.clock.set(datetime.now(UTC) + by)


def stored(registry: Any) -> set[str]:
    return {content.digest for content in registry.content.contents()}


@pytest.fixture(autouse=True)
def _now(registry: Any) -> None:
    registry.clock.set(datetime.now(UTC))


def announce(training: str, *contents: bytes, model: str = "") -> UploadArtifact:
    files = [ArtifactFile(f"f{index}", sha256(it), len(it)) for index, it in enumerate(contents)]
    return UploadArtifact(training, 1, tuple(files), "", model)


async def send(*contents: bytes) -> AsyncIterator[FilePiece]:
    for index, content in enumerate(contents):
        yield FilePiece(index, content)


async def test_a_planted_orphan_is_found_and_deleted_after_its_grace_period(registry: Any) -> None:
    registry.content.put_bytes(ORPHAN)
    age(registry, GRACE - timedelta(minutes=1))
    young = await registry.use.collect_garbage(dry_run=False)

    age(registry)
    looked = await registry.use.collect_garbage(dry_run=True)
    assert stored(registry) == {sha256(ORPHAN)}
    collected = await registry.use.collect_garbage(dry_run=False)

    assert young.garbage_count == 0
    assert looked == collected
    assert (collected.garbage_count, collected.garbage_bytes) == (1, len(ORPHAN))
    assert collected.digests == (sha256(ORPHAN),)
    assert stored(registry) == set()


async def test_files_of_versions_outlive_every_collection(registry: Any) -> None:
    await registry.make_version("trainings/t1")
    before = stored(registry)

    age(registry)
    await registry.use.collect_garbage(dry_run=False)
    report = await registry.use.collect_garbage(dry_run=False)

    assert (report.scanned_count, report.garbage_count, report.expired_upload_count) == (1, 0, 0)
    assert stored(registry) == before


async def test_an_upload_without_a_version_is_given_up_with_its_quota(registry: Any) -> None:
    await registry.use.upload_artifact(announce("trainings/t1", ORPHAN, model="vol5"), send(ORPHAN))
    age(registry)

    looked = await registry.use.collect_garbage(dry_run=True)
    report = await registry.use.collect_garbage(dry_run=False)

    assert looked == report
    assert (report.expired_upload_count, report.garbage_count) == (1, 1)
    async with registry.unit_of_work() as uow:
        assert await uow.uploads.usage("vol5", []) == (0, 0)


async def test_another_upload_of_the_same_training_does_not_outlive_its_version(registry: Any) -> None:
    await registry.use.upload_artifact(announce("trainings/t1", ORPHAN), send(ORPHAN))
    await registry.make_version("trainings/t1")
    age(registry)

    report = await registry.use.collect_garbage(dry_run=False)

    assert report.digests == (sha256(ORPHAN),)
    assert len(stored(registry)) == 1


async def test_content_shared_with_a_version_stays(registry: Any, attempts: Any) -> None:
    await registry.make_version("trainings/t1")
    shared = attempts.upload("trainings/t2", 1)
    await registry.use.upload_artifact(shared, send())
    age(registry)

    report = await registry.use.collect_garbage(dry_run=False)

    assert (report.expired_upload_count, report.garbage_count) == (1, 0)
    assert len(stored(registry)) == 1


async def test_a_cut_upload_leaves_only_what_a_collection_finds(registry: Any) -> None:
    large = b"x" * (PART_BYTES + 1)

    async def cut() -> AsyncIterator[FilePiece]:
        yield FilePiece(0, ORPHAN)
        for _ in range(PART_BYTES >> 20):
            yield FilePiece(1, b"x" * (1 << 20))
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await registry.use.upload_artifact(announce("trainings/t1", ORPHAN, large), cut())
    left = [path for path in registry.content_folder.rglob("*") if path.is_file()]
    spool = registry.content_folder / "incoming" / "of-a-killed-process"
    spool.write_bytes(b"half")
    age(registry)
    report = await registry.use.collect_garbage(dry_run=False)

    assert len(left) == 2
    assert (report.expired_upload_count, report.garbage_count, report.abandoned_part_count) == (1, 1, 2)
    assert [path for path in registry.content_folder.rglob("*") if path.is_file()] == []


async def test_parts_of_an_upload_that_goes_on_are_kept(registry: Any) -> None:
    large = b"x" * (PART_BYTES + 1)
    command = announce("trainings/t1", large)

    async def slow() -> AsyncIterator[FilePiece]:
        for _ in range(PART_BYTES >> 20):
            yield FilePiece(0, b"x" * (1 << 20))
        registry.clock.set(datetime.now(UTC) + timedelta(days=6))
        report = await registry.use.collect_garbage(dry_run=False)
        assert (report.expired_upload_count, report.abandoned_part_count) == (0, 0)
        yield FilePiece(0, b"x")

    await registry.use.upload_artifact(command, slow())

    assert registry.content.read_bytes(sha256(large)) == large


async def test_an_upload_that_finds_an_orphan_there_may_rely_on_it(registry: Any) -> None:
    registry.content.put_bytes(ORPHAN)
    age(registry)

    async def collect_while_it_uploads() -> AsyncIterator[FilePiece]:
        yield FilePiece(1, b"new")
        await registry.use.collect_garbage(dry_run=False)

    await registry.use.upload_artifact(announce("trainings/t1", ORPHAN, b"new"), collect_while_it_uploads())

    assert stored(registry) == {sha256(ORPHAN), sha256(b"new")}


async def test_an_upload_slower_than_its_grace_period_is_refused_rather_than_incomplete(
    registry: Any,
) -> None:
    async def too_slow() -> AsyncIterator[FilePiece]:
        yield FilePiece(0, ORPHAN)
        yield FilePiece(1, b"second")
        age(registry)
        await registry.use.collect_garbage(dry_run=False)

    with pytest.raises(UploadExpiredError):
        await registry.use.upload_artifact(announce("trainings/t1", ORPHAN, b"second"), too_slow())

    assert not await registry.use.reader.is_uploaded("trainings/t1", "")


async def test_no_version_is_made_of_files_that_were_given_up(registry: Any, attempts: Any) -> None:
    event = attempts.succeeded("trainings/t1")
    await registry.upload(attempts.upload("trainings/t1"), b'{"kind":"ridge"}')
    age(registry)
    await registry.use.collect_garbage(dry_run=False)

    with pytest.raises(ManifestNotUploadedError):
        await registry.create(to_create_version("e1", event))


async def test_a_grace_period_below_its_limit_is_refused(registry: Any) -> None:
    with pytest.raises(InvalidFieldError):
        await registry.use.collect_garbage(dry_run=True, grace=timedelta(minutes=59))


CONTENTS = [bytes([number]) * (number + 1) for number in range(4)]
Step = tuple[str, frozenset[int]]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["upload", "version", "orphan", "age", "collect"]),
        st.frozensets(st.integers(0, 3), min_size=1),
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_after_any_history_versions_keep_their_files_and_nothing_else_stays(
    registry: Any, attempts: Any, steps: list[Step]
) -> None:
    history = new_id()
    registry.clock.set(datetime.now(UTC))
    referenced: set[str] = getattr(registry, "referenced", set())
    for number, (kind, chosen) in enumerate(steps):
        contents = [CONTENTS[index] for index in sorted(chosen)]
        command = announce(f"trainings/{history}-{number}", *contents, model="vol5")
        if kind == "orphan":
            registry.content.put_bytes(contents[0])
        elif kind == "age":
            age(registry)
        elif kind == "collect":
            await registry.use.collect_garbage(dry_run=False)
        else:
            manifest = await registry.use.upload_artifact(command, send(*contents))
            if kind == "version":
                event = attempts.succeeded(command.training)
                event.manifest_digest = manifest.digest
                await registry.create(to_create_version(new_id(), event))
                referenced |= {sha256(content) for content in contents}
        assert referenced <= stored(registry)
    registry.clock.set(registry.clock.now() + 2 * GRACE)
    await registry.use.collect_garbage(dry_run=False)
    registry.referenced = referenced

    assert stored(registry) == referenced
    sizes = {sha256(content): len(content) for content in CONTENTS}
    async with registry.unit_of_work() as uow:
        assert await uow.uploads.usage("vol5", []) == (sum(sizes[it] for it in referenced), 0)
