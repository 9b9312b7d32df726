"""Versions: numbers, lineage, fencing and archiving, on every database."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from mltrainer.registry.v1 import registry_service_pb2 as api
from mltrainer_registry.application.archive_version import ArchiveVersion
from mltrainer_registry.application.create_version import VersionOutcome
from mltrainer_registry.application.observe_attempt import ObserveAttempt
from mltrainer_registry.domain.errors import (
    ManifestNotUploadedError,
    StaleEtagError,
    VersionHasAliasError,
    VersionNotFoundError,
)
from mltrainer_registry.domain.names import VersionName
from mltrainer_registry.domain.versions import VersionState
from mltrainer_registry.wire.events import to_create_version
from mltrainer_registry.wire.searches import to_model_search, to_version_search
from mltrainer_testkit import conformance


async def test_thirty_two_writers_number_the_versions_of_one_model_without_gaps(open_registry: Any) -> None:
    instances = [await open_registry(), await open_registry()]
    writers, each = 32, 10

    async def write(writer: int) -> list[int]:
        registry = instances[writer % len(instances)]
        numbers = []
        for round_number in range(each):
            name = await registry.make_version(f"trainings/t{writer}-{round_number}")
            numbers.append(name.number)
        return numbers

    written = await asyncio.gather(*(write(writer) for writer in range(writers)))

    numbers = sorted(number for own in written for number in own)
    assert numbers == list(range(1, writers * each + 1))
    changes = await instances[0].log.changes(0, 10_000)
    assert [change.revision for change in changes] == numbers


async def test_a_version_is_read_as_it_was_delivered(registry: Any, attempts: Any) -> None:
    event = attempts.succeeded("trainings/t1", r2=0.25)

    _, name = await registry.deliver(event)

    stored = await registry.use.reader.version(name)
    expected = to_create_version("e", event)
    assert (stored.lineage, stored.result, stored.target) == (
        expected.lineage,
        expected.result,
        expected.target,
    )
    assert stored.manifest.files == attempts.files()
    assert stored.create_time == registry.clock.now()
    assert await registry.follower.version(name) == stored


async def test_a_training_has_at_most_one_version(registry: Any, attempts: Any) -> None:
    _, first = await registry.deliver(attempts.succeeded("trainings/t1", token=1))

    outcome, name = await registry.deliver(attempts.succeeded("trainings/t1", token=2))

    assert (outcome, name) == (VersionOutcome.TRAINING_HAS_VERSION, first)


async def test_a_redelivered_event_changes_nothing(registry: Any, attempts: Any) -> None:
    await registry.upload(attempts.upload("trainings/t1"), b'{"kind":"ridge"}')
    command = to_create_version("e1", attempts.succeeded("trainings/t1"))

    outcomes = [(await registry.create(command))[0] for _ in range(2)]

    assert outcomes == [VersionOutcome.CREATED, VersionOutcome.SEEN_BEFORE]
    assert (await registry.use.reader.model("vol5")).version_count == 1


async def test_a_stale_attempt_creates_nothing(registry: Any, attempts: Any) -> None:
    await registry.upload(attempts.upload("trainings/t1", token=1), b'{"kind":"ridge"}')
    await registry.observe(ObserveAttempt("e1", "trainings/t1", 2))

    outcome, name = await registry.create(
        to_create_version("e2", attempts.succeeded("trainings/t1", token=1))
    )

    assert (outcome, name) == (VersionOutcome.STALE_TOKEN, None)
    assert await registry.use.reader.model("vol5") is None


async def test_the_fencing_mark_never_goes_back(registry: Any) -> None:
    await registry.observe(ObserveAttempt("e1", "trainings/t1", 5))
    await registry.observe(ObserveAttempt("e2", "trainings/t1", 3))

    assert await registry.use.reader.lowest_token("trainings/t1") == 5


async def test_a_success_without_upload_creates_nothing_and_may_come_again(
    registry: Any, attempts: Any
) -> None:
    command = to_create_version("e1", attempts.succeeded("trainings/t1"))

    with pytest.raises(ManifestNotUploadedError):
        await registry.create(command)

    await registry.upload(attempts.upload("trainings/t1"), b'{"kind":"ridge"}')
    assert (await registry.create(command))[0] is VersionOutcome.CREATED


async def test_a_proposal_of_an_impossible_alias_costs_nobody_the_version(
    registry: Any, attempts: Any
) -> None:
    outcome, name = await registry.deliver(attempts.succeeded("trainings/t1", alias="Not/An Alias"))

    assert (outcome, name) == (VersionOutcome.ALIAS_INVALID, VersionName("vol5", 1))
    assert (await registry.use.reader.model("vol5")).aliases == ()


async def test_an_archived_version_stays_readable(registry: Any) -> None:
    name = await registry.make_version("trainings/t1")
    before = await registry.follower.version(name)

    archived = await registry.use.archive_version(ArchiveVersion(name, before.etag))

    assert archived.state is VersionState.ARCHIVED
    assert archived.etag != before.etag
    assert await registry.follower.version(name) == archived
    assert await registry.use.reader.version(name) == archived
    assert await registry.use.archive_version(ArchiveVersion(name, "")) == archived


async def test_a_version_under_an_alias_cannot_be_archived(registry: Any) -> None:
    name = await registry.make_version("trainings/t1", alias="champion")

    with pytest.raises(VersionHasAliasError) as refused:
        await registry.use.archive_version(ArchiveVersion(name, ""))

    assert refused.value.aliases == ("models/vol5/aliases/champion",)


async def test_a_stale_etag_archives_nothing(registry: Any) -> None:
    name = await registry.make_version("trainings/t1")

    with pytest.raises(StaleEtagError):
        await registry.use.archive_version(ArchiveVersion(name, "r0"))
    with pytest.raises(VersionNotFoundError):
        await registry.use.archive_version(ArchiveVersion(VersionName("vol5", 9), ""))


async def test_lists_are_complete_page_by_page(registry: Any) -> None:
    for number in range(5):
        await registry.make_version(f"trainings/t{number}", alias="latest")

    seen: list[int] = []
    cursor, pages = "", 0
    while not pages or cursor:
        page = await registry.use.search.search.versions(
            "vol5", to_version_search(api.ListModelVersionsRequest(), "vol5"), 2, cursor
        )
        seen += [version.name.number for version in page.items]
        cursor, pages = page.next_cursor, pages + 1

    assert (seen, pages) == ([5, 4, 3, 2, 1], 3)
    models = await registry.use.search.search.models(to_model_search(api.ListModelsRequest()), 2, "")
    assert [(model.model, model.version_count) for model in models.items] == [("vol5", 5)]
    assert [alias.number for alias in models.items[0].aliases] == [5]


async def test_every_change_of_a_model_changes_its_etag(registry: Any) -> None:
    name = await registry.make_version("trainings/t1")
    etags = [(await registry.use.reader.model("vol5")).etag]
    await registry.make_version("trainings/t2", alias="champion")
    etags.append((await registry.use.reader.model("vol5")).etag)
    await registry.use.archive_version(ArchiveVersion(name, ""))
    etags.append((await registry.use.reader.model("vol5")).etag)

    assert len(set(etags)) == 3


async def test_the_unit_of_work_claims_an_event_once(registry: Any) -> None:
    await conformance.check_an_event_is_claimed_once(registry.unit_of_work)


async def test_leaving_without_commit_leaves_nothing(registry: Any) -> None:
    async with registry.unit_of_work() as uow:
        await uow.trainings.refuse_below("trainings/t1", 9)
        _ = await uow.changes.next_revision()

    assert await registry.use.reader.lowest_token("trainings/t1") == 0
    assert await registry.log.revision() == 0


async def test_another_instance_reads_a_version_after_it_is_archived(open_registry: Any) -> None:
    writer, reader = await open_registry(), await open_registry()
    name = await writer.make_version("trainings/t1")
    await reader.follower.catch_up()
    held = await reader.follower.version(name)

    archived = await writer.use.archive_version(ArchiveVersion(name, ""))
    await reader.follower.catch_up()

    assert replace(held, state=VersionState.ARCHIVED, state_revision=archived.state_revision) == archived
    assert await reader.follower.version(name) == archived
    assert reader.follower.revision == writer.follower.revision
