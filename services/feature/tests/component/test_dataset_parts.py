"""Datasets are written part by part: the same rows, in bounded memory, and they can be stopped between."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from mltrainer_common.content_store import ContentStore
from mltrainer_feature.adapters.files import StoredFiles
from mltrainer_feature.adapters.parquet_dataset import ParquetDataset
from mltrainer_feature.application.datasets import CancelDatasetHandler, WriteNextDataset
from mltrainer_feature.domain.datasets import Dataset, DatasetState
from mltrainer_feature.domain.rows import Rows
from polars.testing import assert_frame_equal

from .dataset_store import Datasets, open_datasets
from .quotes import day


@pytest.fixture
async def datasets(database_url: str, tmp_path: Path) -> AsyncIterator[Datasets]:
    async with open_datasets(database_url, tmp_path) as opened:
        yield opened


class WatchedFile(ParquetDataset):
    """Calls back for every part, before it is written."""

    def __init__(self, store: ContentStore, on_part: Callable[[Rows], None]) -> None:
        super().__init__(store)
        self._on_part = on_part

    def add(self, part: Rows) -> None:
        self._on_part(part)
        super().add(part)


class WatchedFiles(StoredFiles):
    """Begins files that call back for every part."""

    on_part: Callable[[Rows], None]

    def begin_dataset(self) -> ParquetDataset:
        return WatchedFile(self.store, self.on_part)


def watched(datasets: Datasets, on_part: Callable[[Rows], None]) -> WatchedFiles:
    files = WatchedFiles(datasets.files.store, datasets.files.close_offset, datasets.files.max_bytes)
    object.__setattr__(files, "on_part", on_part)
    return files


def table_of(datasets: Datasets, dataset: Dataset) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(datasets.files.store.read_bytes(dataset.sha256)))


async def test_parts_hold_what_one_part_holds(datasets: Datasets) -> None:
    whole = await datasets.created()
    rows = table_of(datasets, whole)
    await datasets.forget(whole)
    heights: list[int] = []
    files = watched(datasets, lambda part: heights.append(part.height))

    await datasets.ask()
    parted = await WriteNextDataset(datasets.unit_of_work, files, part_rows=8)()

    assert parted is not None
    assert (parted.state, parted.progress, parted.row_count) == (DatasetState.ACTIVE, 1.0, rows.height)
    # Two symbols are stored, one is asked for: four event times, eight stored rows, at a time.
    assert heights == [4, 4, 4, 4]
    groups = pq.ParquetFile(io.BytesIO(datasets.files.store.read_bytes(parted.sha256))).metadata
    assert groups.num_row_groups == len(heights)
    assert_frame_equal(table_of(datasets, parted), rows)
    assert parted.universe == whole.universe


async def test_a_dataset_is_stopped_between_two_parts_and_leaves_nothing(datasets: Datasets) -> None:
    asked = await datasets.ask()
    loop = asyncio.get_running_loop()
    cancel = CancelDatasetHandler(datasets.unit_of_work)
    heights: list[int] = []

    def stop(part: Rows) -> None:
        heights.append(part.height)
        if len(heights) == 2:
            asyncio.run_coroutine_threadsafe(cancel(asked.name), loop).result()

    stopped = await WriteNextDataset(datasets.unit_of_work, watched(datasets, stop), part_rows=8)()

    assert stopped is not None
    assert stopped.state is DatasetState.CANCELLED
    assert len(heights) == 2
    kept = await datasets.get(asked.name)
    assert (kept.state, kept.progress, kept.sha256) == (DatasetState.CANCELLED, 0.25, "")
    assert list(datasets.files.store.contents()) == []


class PowerCutError(Exception):
    """The process dies."""


async def test_a_writer_that_died_is_followed_by_one_that_writes_the_same_bytes(
    datasets: Datasets,
) -> None:
    asked = await datasets.ask()

    def die(part: Rows) -> None:
        if day(0) not in part["event_time"]:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        await WriteNextDataset(datasets.unit_of_work, watched(datasets, die), part_rows=8)()
    left = await datasets.get(asked.name)
    resumed = await WriteNextDataset(datasets.unit_of_work, datasets.files, part_rows=8)()

    assert (left.state, left.progress) == (DatasetState.CREATING, 0.25)
    assert resumed is not None
    await datasets.forget(resumed)
    await datasets.ask()
    again = await WriteNextDataset(datasets.unit_of_work, datasets.files, part_rows=8)()
    assert again is not None
    assert again.sha256 == resumed.sha256


async def test_a_dataset_without_rows_is_an_empty_table(datasets: Datasets) -> None:
    empty = await datasets.created(as_of=-1)

    table = table_of(datasets, empty)

    assert (empty.state, empty.row_count, table.height) == (DatasetState.ACTIVE, 0, 0)
    assert {"symbol", "event_time", "label", "label_end_time", "return_1"} <= set(table.columns)
