"""Datasets that nobody refers to lose their bytes, and come back when they are asked for."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from grpc import StatusCode
from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer.registry.v1.registry_service_pb2 import ListModelVersionsResponse
from mltrainer.registry.v1.resources_pb2 import ModelVersion
from mltrainer.trainer.v1.resources_pb2 import Attempt
from mltrainer.trainer.v1.trainer_service_pb2 import ListAttemptsRequest, ListAttemptsResponse
from mltrainer_common.errors import RpcFailure
from mltrainer_feature.adapters.dataset_references import RpcDatasetReferences
from mltrainer_feature.adapters.files import StoredFiles
from mltrainer_feature.application.datasets import WriteNextDataset
from mltrainer_feature.domain.datasets import DatasetState
from mltrainer_feature.domain.errors import InvalidRequestError, ReferencesUnknownError
from mltrainer_feature.wire.times import write_time

from .conftest import StartFeature
from .dataset_store import START, Datasets, open_datasets
from .quotes import day

MONTHS_LATER = 90 * 86_400.0


@pytest.fixture
async def datasets(database_url: str, tmp_path: Path) -> AsyncIterator[Datasets]:
    async with open_datasets(database_url, tmp_path) as opened:
        yield opened


async def test_a_dataset_that_nobody_asked_for_of_late_loses_its_bytes_and_keeps_its_record(
    datasets: Datasets,
) -> None:
    old = await datasets.created()
    datasets.clock.advance(MONTHS_LATER)
    young = await datasets.created(as_of=16)

    looked = await datasets.collect(dry_run=True)
    there_after_looking, counted_after_looking = (
        datasets.files.exists(old.sha256),
        [*datasets.counted.sizes_bytes],
    )
    report = await datasets.collect(dry_run=False)
    again = await datasets.collect(dry_run=False)

    assert (looked.names, looked.collected_bytes > 0, there_after_looking) == ((old.name,), True, True)
    assert report == looked
    assert (again.idle_count, again.collected_count) == (0, 0)
    assert (counted_after_looking, datasets.counted.sizes_bytes) == ([], [report.collected_bytes])
    kept = await datasets.get(old.name)
    assert (kept.state, kept.uri, kept.sha256) == (DatasetState.COLLECTED, "", old.sha256)
    assert not datasets.files.exists(old.sha256)
    assert (await datasets.get(young.name)).state is DatasetState.ACTIVE
    assert datasets.files.exists(young.sha256)


async def test_a_dataset_that_a_model_was_made_of_stays(datasets: Datasets) -> None:
    dataset = await datasets.created()
    datasets.clock.advance(MONTHS_LATER)
    datasets.references.with_models = {dataset.name}

    report = await datasets.collect(dry_run=False)

    assert (report.idle_count, report.referenced_count, report.collected_count) == (1, 1, 0)
    assert datasets.files.exists(dataset.sha256)


async def test_asking_for_a_dataset_keeps_it(datasets: Datasets) -> None:
    dataset = await datasets.created()
    datasets.clock.advance(MONTHS_LATER)

    asked = await datasets.ask()
    report = await datasets.collect(dry_run=False)

    assert (asked.revision, asked.state) == (dataset.revision, DatasetState.ACTIVE)
    assert report.idle_count == 0


@pytest.mark.parametrize(
    ("started_after", "idle"),
    [
        pytest.param(timedelta(minutes=-5), 0, id="it may have asked for the dataset"),
        pytest.param(timedelta(hours=2), 1, id="it began after the dataset was last asked for"),
    ],
)
async def test_what_a_running_attempt_may_read_stays(
    datasets: Datasets, started_after: timedelta, idle: int
) -> None:
    await datasets.created()
    datasets.clock.advance(MONTHS_LATER)
    datasets.references.running_since = START + started_after

    report = await datasets.collect(dry_run=True)

    assert report.idle_count == idle


async def test_nothing_is_removed_while_somebody_does_not_say_what_he_refers_to(datasets: Datasets) -> None:
    dataset = await datasets.created()
    datasets.clock.advance(MONTHS_LATER)
    datasets.references.is_away = True

    with pytest.raises(ReferencesUnknownError):
        await datasets.collect(dry_run=False)

    assert datasets.files.exists(dataset.sha256)
    assert (datasets.counted.stopped_count, datasets.counted.sizes_bytes) == (1, [])


async def test_a_grace_period_has_a_lower_limit(datasets: Datasets) -> None:
    with pytest.raises(InvalidRequestError, match="grace"):
        await datasets.collect(dry_run=True, grace=timedelta(minutes=1))


class PowerCutError(Exception):
    """The process dies."""


class DyingFiles(StoredFiles):
    """Dies before, or after, a file is deleted."""

    deletes = False

    def delete(self, sha256: str) -> None:
        if self.deletes:
            super().delete(sha256)
        raise PowerCutError


class DyingAfterFiles(DyingFiles):
    """Dies after a file is deleted."""

    deletes = True


@pytest.mark.parametrize(
    "dying", [DyingFiles, DyingAfterFiles], ids=["before the bytes go", "after they went"]
)
async def test_a_collection_that_was_killed_is_finished_by_the_next(
    datasets: Datasets, dying: type[DyingFiles]
) -> None:
    dataset = await datasets.created()
    datasets.clock.advance(MONTHS_LATER)
    files = dying(datasets.files.store, datasets.files.close_offset, datasets.files.max_bytes)

    with pytest.raises(PowerCutError):
        await datasets.collect_with(files)(dry_run=False)
    await datasets.collect(dry_run=False)

    assert not datasets.files.exists(dataset.sha256)
    assert (await datasets.get(dataset.name)).uri == ""


@pytest.mark.parametrize(
    ("dying", "state"),
    [
        pytest.param(DyingFiles, DatasetState.ACTIVE, id="its bytes are there"),
        pytest.param(DyingAfterFiles, DatasetState.CREATING, id="its bytes are gone"),
    ],
)
async def test_whoever_asks_in_the_middle_of_a_collection_gets_the_dataset_back(
    datasets: Datasets, dying: type[DyingFiles], state: DatasetState
) -> None:
    dataset = await datasets.created()
    datasets.clock.advance(MONTHS_LATER)
    files = dying(datasets.files.store, datasets.files.close_offset, datasets.files.max_bytes)
    with pytest.raises(PowerCutError):
        await datasets.collect_with(files)(dry_run=False)

    asked = await datasets.ask()
    back = asked if asked.state is DatasetState.ACTIVE else await datasets.write()
    await datasets.collect(dry_run=False)

    assert asked.state is state
    assert (back.state, back.sha256) == (DatasetState.ACTIVE, dataset.sha256)
    assert datasets.files.exists(dataset.sha256)


async def test_a_collected_dataset_is_written_again_with_the_same_bytes(datasets: Datasets) -> None:
    dataset = await datasets.created()
    datasets.clock.advance(MONTHS_LATER)
    await datasets.collect(dry_run=False)

    again = await datasets.created()

    assert (again.name, again.sha256, again.state) == (dataset.name, dataset.sha256, DatasetState.ACTIVE)
    assert datasets.files.exists(again.sha256)


async def test_bytes_that_another_dataset_has_too_stay(datasets: Datasets) -> None:
    # Nothing became known between the two times, so both hold the same rows.
    first = await datasets.created(as_of=50)
    datasets.clock.advance(MONTHS_LATER)
    second = await datasets.created(as_of=51)

    report = await datasets.collect(dry_run=False)

    assert first.sha256 == second.sha256
    assert report.names == (first.name,)
    assert datasets.files.exists(second.sha256)


async def test_a_dataset_whose_bytes_went_before_it_was_active_is_written_again(datasets: Datasets) -> None:
    await datasets.ask()

    class ForgetfulFiles(StoredFiles):
        def exists(self, sha256: str) -> bool:
            del sha256
            return False

    files = ForgetfulFiles(datasets.files.store, datasets.files.close_offset, datasets.files.max_bytes)
    unfinished = await WriteNextDataset(datasets.unit_of_work, files)()
    finished = await datasets.write()

    assert unfinished is not None
    assert (unfinished.state, finished.state) == (DatasetState.CREATING, DatasetState.ACTIVE)


async def test_alone_it_collects_nothing_and_says_who_is_missing(start_feature: StartFeature) -> None:
    async with start_feature() as feature:
        with pytest.raises(RpcFailure) as caught:
            await feature.api.CollectDatasets(service_pb2.CollectDatasetsRequest(dry_run=True))

    assert (caught.value.code, caught.value.reason) == (StatusCode.UNAVAILABLE, "REFERENCES_UNKNOWN")
    assert caught.value.metadata == {"service": "trainer"}


class FakeTrainer:
    """Lists attempts, one a page."""

    def __init__(self, attempts: list[Attempt]) -> None:
        self._attempts = attempts

    async def ListAttempts(self, request: ListAttemptsRequest, timeout: float) -> ListAttemptsResponse:
        del timeout
        place = int(request.page_token or 0)
        token = str(place + 1) if place + 1 < len(self._attempts) else ""
        return ListAttemptsResponse(attempts=self._attempts[place : place + 1], next_page_token=token)


class FakeRegistry:
    """Knows one version."""

    filters: list[str]

    def __init__(self) -> None:
        self.filters = []

    async def ListModelVersions(self, request: object, timeout: float) -> ListModelVersionsResponse:
        del timeout
        self.filters.append(request.filter)  # type: ignore[attr-defined]  # a message
        found = [ModelVersion()] if "d1" in self.filters[-1] else []
        return ListModelVersionsResponse(model_versions=found)


def attempt(state: "Attempt.State.ValueType", start: int | None, end: int | None = None) -> Attempt:
    made = Attempt(state=state)
    if start is not None:
        made.start_time.CopyFrom(write_time(day(start)))
    if end is not None:
        made.end_time.CopyFrom(write_time(day(end)))
    return made


async def test_attempts_that_run_or_have_just_ended_are_references() -> None:
    attempts = [
        attempt(Attempt.STATE_PENDING, None),
        attempt(Attempt.STATE_EXECUTING, 9),
        attempt(Attempt.STATE_SUCCEEDED, 5, end=10),
        attempt(Attempt.STATE_FAILED, 2, end=3),
    ]
    references = RpcDatasetReferences(FakeTrainer(attempts), FakeRegistry())  # type: ignore[arg-type]  # stubs

    assert await references.in_use_since(day(9)) == day(5)
    assert await references.in_use_since(day(11)) == day(9)


async def test_a_version_made_of_the_dataset_is_a_reference() -> None:
    registry = FakeRegistry()
    references = RpcDatasetReferences(FakeTrainer([]), registry)  # type: ignore[arg-type]  # stubs

    found = [await references.has_models(name) for name in ("datasets/d1", "datasets/d2")]

    assert found == [True, False]
    assert registry.filters == ['dataset = "datasets/d1"', 'dataset = "datasets/d2"']
    assert await references.in_use_since(day(0)) is None
