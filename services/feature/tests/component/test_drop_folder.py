"""A real folder: files that come, grow, are bad, or are no files."""

import asyncio
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from mltrainer.feature.v1 import feature_service_pb2 as service_pb2
from mltrainer_common.content_store import ContentStore
from mltrainer_common.errors import StartupError
from mltrainer_feature.adapters.drop_folder import LocalDropFolder
from mltrainer_feature.domain.dropped_files import (
    DropOutcome,
    DropReason,
    DropState,
    UnfinishedFileError,
)
from mltrainer_feature.settings import FeatureSettings

from .conftest import Feature, StartFeature, poll
from .quotes import day

HEADER = "symbol,event_time,close\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "drop"
    path.mkdir()
    return path


@pytest.fixture
def local(folder: Path, tmp_path: Path) -> LocalDropFolder:
    return LocalDropFolder(folder, ContentStore(str(tmp_path / "artifacts")))


def drop(folder: Path, name: str, content: str | bytes) -> Path:
    """Writes a file the way its producers should: under another name, then renamed."""
    unfinished = folder / f".{name}"
    unfinished.write_bytes(content if isinstance(content, bytes) else content.encode())
    return unfinished.rename(folder / name)


def closes(symbol: str, days: int = 3) -> str:
    lines = [f"{symbol},{day(index).date()},{100 + index}" for index in range(days)]
    return HEADER + "\n".join(lines) + "\n"


def parquet(symbol: str) -> bytes:
    table = pl.DataFrame({"symbol": [symbol] * 3, "event_time": [day(n) for n in range(3)], "close": 7.5})
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def settings(folder: Path) -> FeatureSettings:
    return FeatureSettings(drop_folder=folder, drop_settle_s=0.0)


async def until(is_done: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not is_done():  # noqa: ASYNC110 - the service is waited for
            await asyncio.sleep(0.02)


def kept(folder: Path, place: str) -> set[str]:
    """Names the files in a place without the mark of their bytes."""
    return {path.name.partition("-")[2] for path in (folder / place).glob("*") if path.name[0] != "."}


async def row_count(feature: Feature) -> int:
    request = service_pb2.GetFeatureViewRequest(name="featureViews/market_returns")
    return int((await feature.api.GetFeatureView(request)).row_count)


async def test_dropped_files_are_loaded_and_the_others_are_left_or_refused(
    start_feature: StartFeature, folder: Path, tmp_path: Path
) -> None:
    drop(folder, "plain.csv", closes("A"))
    drop(folder, "packed.csv.gz", gzip.compress(closes("B").encode()))
    drop(folder, "table.parquet", parquet("C"))
    growing = drop(folder, "growing.csv", closes("D") + f"D,{day(3).date()},1")
    drop(folder, "bad.csv", "what is this?\n")
    drop(folder, ".hidden.csv", closes("E"))
    secret = tmp_path / "secret.csv"
    secret.write_text(closes("F"))
    (folder / "link.csv").symlink_to(secret)

    async with start_feature(settings=settings(folder)) as feature:
        await until(lambda: len(kept(folder, "taken")) == 3 and len(kept(folder, "refused")) == 4)
        rows_before = await row_count(feature)
        left_alone = growing.read_text()
        with growing.open("a") as file:
            file.write("03.5\n")
        await until(lambda: len(kept(folder, "taken")) == 4)
        rows = await row_count(feature)
        history = await feature.api.ListFeatureRows(
            service_pb2.ListFeatureRowsRequest(parent="featureViews/market_returns", symbol="D")
        )

    (reason,) = (folder / "refused").glob("*bad.csv.reason.json")
    facts = json.loads(reason.read_text())
    assert kept(folder, "taken") == {"plain.csv", "packed.csv.gz", "table.parquet", "growing.csv"}
    assert kept(folder, "refused") == {
        *("bad.csv", "bad.csv.reason.json"),
        *("link.csv", "link.csv.reason.json"),
    }
    assert (facts["reason"], facts["file"]) == (DropReason.UNREADABLE_BARS, "bad.csv")
    assert "lacks the columns symbol, event_time, close" in facts["message"]
    assert left_alone.endswith(",1")
    assert (rows_before, rows) == (9, 13)
    assert len(history.rows) == 4
    assert (folder / ".hidden.csv").exists()
    assert secret.exists()


async def test_a_file_that_was_loaded_but_not_put_away_counts_once(
    start_feature: StartFeature, folder: Path
) -> None:
    blocked = folder / "taken"
    blocked.write_text("in the way of what has been loaded")
    dropped = drop(folder, "bars.csv", closes("A"))
    async with start_feature(settings=settings(folder)) as feature:
        await poll(lambda: row_count(feature), bool)
        was_there = dropped.exists()
    blocked.unlink()

    async with start_feature(settings=settings(folder)) as feature:
        await until(lambda: kept(folder, "taken"))
        rows = await row_count(feature)

    assert was_there
    assert kept(folder, "taken") == {"bars.csv"}
    assert rows == 3


async def test_a_folder_that_is_none_stops_the_start(start_feature: StartFeature, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="MLTRAINER_FEATURE_DROP_FOLDER"):
        async with start_feature(settings=settings(tmp_path / "nowhere")):
            pass


def test_what_replaced_a_listed_file_is_not_stored(local: LocalDropFolder, folder: Path) -> None:
    drop(folder, "bars.csv", closes("A"))
    (listed,) = local.files()
    drop(folder, "bars.csv", closes("B", days=9))
    other = local.store(listed)
    (folder / "bars.csv").unlink()

    gone = local.store(listed)

    assert (other, gone) == (None, None)


def test_a_link_in_the_place_of_a_listed_file_is_not_followed(
    local: LocalDropFolder, folder: Path, tmp_path: Path
) -> None:
    path = drop(folder, "bars.csv", closes("A"))
    (listed,) = local.files()
    path.rename(tmp_path / "elsewhere.csv")
    path.symlink_to(tmp_path / "elsewhere.csv")

    with pytest.raises(OSError, match=r"bars\.csv"):
        local.store(listed)


def test_a_line_that_does_not_end_is_not_stored(local: LocalDropFolder, folder: Path) -> None:
    drop(folder, "bars.csv", closes("A").rstrip("\n"))
    (listed,) = local.files()

    with pytest.raises(UnfinishedFileError):
        local.store(listed)


def test_what_replaced_a_judged_file_stays(local: LocalDropFolder, folder: Path) -> None:
    drop(folder, "bars.csv", closes("A"))
    (judged,) = local.files()
    drop(folder, "bars.csv", closes("B", days=9))

    is_put_away = local.put_away(DropOutcome(judged, DropState.REFUSED, DropReason.TOO_LARGE, "too large"))

    assert not is_put_away
    assert (folder / "bars.csv").read_text() == closes("B", days=9)
    assert list((folder / "refused").iterdir()) == []
