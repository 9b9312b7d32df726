from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from mltrainer_cli.errors import CliError, ExitCode
from mltrainer_cli.feature_files import to_csv
from mltrainer_cli.feature_plots import Series, draw_series, sparkline
from mltrainer_cli.feature_skew import draw_skew

CLOSE = datetime(2024, 1, 2, 21, tzinfo=UTC)


def bars(**changes: object) -> pl.DataFrame:
    return pl.DataFrame({"symbol": ["A"], "event_time": [CLOSE], "close": [10.5], **changes})


def test_a_csv_is_handed_over_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    file.write_bytes(b"symbol,event_time,close\nA,2024-01-02,10.5\n")

    assert to_csv(file) == file.read_bytes()


def test_event_times_of_parquet_become_utc(tmp_path: Path) -> None:
    file = tmp_path / "bars.parquet"
    new_york = bars().with_columns(pl.col("event_time").dt.convert_time_zone("America/New_York"))
    new_york.write_parquet(file)

    assert to_csv(file).splitlines()[1].startswith(b"A,2024-01-02T21:00:00")


@pytest.mark.parametrize(
    ("table", "word"),
    [
        pytest.param(bars(event_time=[CLOSE.replace(tzinfo=None)]), "no time zone", id="a naive time"),
        pytest.param(bars().drop("close"), "lacks the columns close", id="no close"),
    ],
)
def test_a_parquet_that_could_be_misread_is_refused(tmp_path: Path, table: pl.DataFrame, word: str) -> None:
    file = tmp_path / "bars.parquet"
    table.write_parquet(file)

    with pytest.raises(CliError, match=word) as raised:
        to_csv(file)

    assert raised.value.code is ExitCode.USAGE


def test_a_line_of_blocks_rises_with_its_values() -> None:
    series = Series("A", tuple((f"2024-01-{day:02}T21:00:00Z", float(day)) for day in range(1, 9)))

    assert sparkline(series) == "A        ▁▂▃▄▅▆▇█ 1 to 8"


def test_a_constant_is_a_flat_line() -> None:
    series = Series("A", (("2024-01-01T21:00:00Z", 2.0), ("2024-01-02T21:00:00Z", 2.0)))

    assert sparkline(series).split()[1] == "▁▁"


def test_a_picture_is_written_in_the_format_of_its_name(tmp_path: Path) -> None:
    picture = tmp_path / "drawn.png"
    points = (("2024-01-01T21:00:00Z", 1.0), ("2024-01-02T21:00:00Z", 2.0))

    draw_series([Series("A", points)], picture, title="view", up="feature")

    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(CliError, match="Could not write"):
        draw_series([Series("A", points)], tmp_path / "drawn.unknown", title="view", up="feature")


def test_skew_is_drawn_with_what_is_unknown_left_empty(tmp_path: Path) -> None:
    picture = tmp_path / "skew.png"
    shared = {"compared_count": 120, "different_count": 3}

    draw_skew([{"feature": "a", "stability_index": 0.4, **shared}, {"feature": "b", **shared}], picture)

    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(CliError, match="Could not write"):
        draw_skew([{"feature": "b", **shared}], tmp_path / "skew.unknown")
