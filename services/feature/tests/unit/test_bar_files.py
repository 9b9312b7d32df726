import io
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mltrainer_common.content_store import ContentStore
from mltrainer_feature.adapters.files import StoredFiles
from mltrainer_feature.domain.errors import UnreadableBarsError

from .quotes import START

MAX_BYTES = 100_000


@pytest.fixture
def files(tmp_path: Path) -> StoredFiles:
    return StoredFiles(ContentStore(str(tmp_path)), timedelta(hours=21), MAX_BYTES)


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "event_time",
    [
        pytest.param(START, id="UTC"),
        pytest.param(pl.Series([START]).dt.cast_time_unit("ns"), id="nanoseconds"),
        pytest.param(pl.Series([START]).dt.convert_time_zone("America/New_York"), id="another zone"),
        pytest.param(date(2021, 1, 4), id="date"),
        pytest.param("2021-01-04T21:00:00Z", id="text"),
    ],
)
def test_parquet_says_the_event_time_in_every_way(files: StoredFiles, event_time: object) -> None:
    column = event_time if isinstance(event_time, pl.Series) else [event_time]
    symbols = pl.Series(["A"], dtype=pl.Categorical)
    sha256 = files.store.put_bytes(parquet(symbol=symbols, event_time=column, close=[7], note=["x"]))

    bars = files.read_history(sha256)

    assert bars.select("symbol", "event_time", "knowledge_time", "close", "open").rows() == [
        ("A", START, START, 7.0, None)
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"PAR1 and nothing else", "no Parquet", id="no Parquet"),
        pytest.param(parquet(symbol=["A"], close=[1.0]), "lacks the columns event_time", id="no time"),
        pytest.param(
            parquet(symbol=["A"], event_time=[datetime(2021, 1, 4, 21, tzinfo=UTC).replace(tzinfo=None)]),
            "no time zone",
            id="naive time",
        ),
        pytest.param(
            parquet(symbol=["A"], event_time=[START], close=[[1.0]]), "close hold no numbers", id="list"
        ),
        pytest.param(
            parquet(symbol=["A"], event_time=[START], close=[True]), "close hold no numbers", id="truth"
        ),
        pytest.param(
            parquet(symbol=[["A"]], event_time=[START], close=[1.0]), "no Parquet of bars", id="nested symbol"
        ),
        pytest.param(
            parquet(symbol=["A"] * 5_000, event_time=[START] * 5_000, close=[1.0] * 5_000),
            f"more than {MAX_BYTES} bytes",
            id="small in the file, large in memory",
        ),
    ],
)
def test_a_file_that_holds_no_bars_is_unreadable(files: StoredFiles, content: bytes, problem: str) -> None:
    sha256 = files.store.put_bytes(content)

    with pytest.raises(UnreadableBarsError, match=problem):
        files.read_history(sha256)


@pytest.mark.parametrize("values", [pytest.param([False], id="truth value"), pytest.param([0], id="number")])
def test_parquet_says_whether_prices_are_adjusted(files: StoredFiles, values: list[object]) -> None:
    content = parquet(symbol=["A"], event_time=[START], close=[1.5], adjusted=values)

    assert files.read_history(files.store.put_bytes(content))["adjusted"].to_list() == [False]
