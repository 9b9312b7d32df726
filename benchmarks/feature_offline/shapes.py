"""Data of several shapes, so that a store tuned to one of them shows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

FEATURES = [f"feature_{number}" for number in range(10)]
START = np.datetime64("1990-01-02T21:00:00", "us")
DAY = np.timedelta64(1, "D").astype("timedelta64[us]")


@dataclass(frozen=True)
class Shape:
    """A history and the entity rows that ask for it."""

    name: str
    entities: int
    days: int
    versions: int = 1
    skewed: bool = False
    gap_s: int = 86_400


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("daily", entities=20, days=8_313),
        Shape("many_entities", entities=100_000, days=3),
        Shape("restated", entities=20, days=4_000, versions=8),
        Shape("skewed", entities=200, days=5_000, skewed=True, gap_s=3_600),
    )
}


def write(shape: Shape, folder: Path, rows: int, seed: int = 7) -> None:
    """Writes the history and so many entity rows."""
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    history = _history(shape, draw)
    history.write_parquet(folder / "history.parquet", row_group_size=100_000)
    _entities(history, rows, draw).write_parquet(folder / "entities.parquet", row_group_size=100_000)
    pl.DataFrame({"name": FEATURES}).write_parquet(folder / "features.txt.parquet")


def _history(shape: Shape, draw: np.random.Generator) -> pl.DataFrame:
    lengths = np.full(shape.entities, shape.days)
    if shape.skewed:
        lengths = np.maximum(1, shape.days // np.arange(1, shape.entities + 1) ** 2)
        lengths[0] = shape.days * 40
    codes = np.repeat(np.arange(shape.entities), lengths)
    steps = np.concatenate([np.arange(length) for length in lengths])
    # Twelve days without a row now and then, so that a maximal age decides something.
    kept = (steps // 12) % 7 != 6
    codes, steps = codes[kept], steps[kept]
    codes, steps = np.repeat(codes, shape.versions), np.repeat(steps, shape.versions)
    version = np.tile(np.arange(shape.versions), len(codes) // shape.versions)
    event = START + steps * np.timedelta64(shape.gap_s * 1_000_000, "us")
    # The first version is known at once, each other one some hours or days later.
    delay = version * 7 * 3_600_000_000 + np.where(version, draw.integers(0, 3_600_000_000, len(codes)), 0)
    columns = {name: draw.normal(size=len(codes)) for name in FEATURES}
    frame = pl.DataFrame(
        {
            "symbol": pl.Series([f"S{code:06d}" for code in range(shape.entities)]).gather(codes),
            "event_time": event,
            "created_time": event + delay.astype("timedelta64[us]"),
            **columns,
        }
    )
    return frame.with_columns(pl.col("event_time", "created_time").dt.replace_time_zone("UTC")).sort(
        "event_time", "symbol"
    )


def _entities(history: pl.DataFrame, rows: int, draw: np.random.Generator) -> pl.DataFrame:
    chosen = history.select("symbol", "event_time").gather(draw.integers(0, history.height, rows))
    jitter = draw.integers(0, 12 * 86_400_000_000, rows).astype("timedelta64[us]")
    times = chosen["event_time"].dt.replace_time_zone(None).to_numpy() + jitter
    return pl.DataFrame(
        {"symbol": chosen["symbol"], "event_timestamp": times, "label": np.arange(rows)}
    ).with_columns(pl.col("event_timestamp").dt.replace_time_zone("UTC"))
