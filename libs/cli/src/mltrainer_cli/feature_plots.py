"""Draws features over time, into a picture or a line of text."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from mltrainer_cli.pictures import blank_picture, write_picture

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one symbol by event time, an RFC 3339 text, oldest first."""

    symbol: str
    points: tuple[tuple[str, float], ...]


def draw_series(drawn: Sequence[Series], path: Path, *, title: str, up: str) -> None:
    """Writes a picture in the format that the name of the file ends with."""
    figure = blank_picture(9.0, 4.5)
    axes = figure.subplots()
    for series in drawn:
        times = np.array([time.rstrip("Z") for time, _ in series.points], dtype="datetime64[us]")
        axes.plot(times, [value for _, value in series.points], linewidth=1.2, label=series.symbol)
    axes.set_title(title)
    axes.set_xlabel("event time, UTC")
    axes.set_ylabel(up)
    axes.grid(visible=True, alpha=0.3)
    figure.legend(loc="outside lower center", ncols=min(len(drawn), 6))
    write_picture(figure, path)


def sparkline(series: Series) -> str:
    """Returns a line of blocks, each the mean of its part of the time, with the range it spans."""
    values = [value for _, value in series.points]
    parts = min(_WIDTH, len(values))
    edges = [len(values) * part // parts for part in range(parts + 1)]
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    blocks = "".join(_BARS[round((mean - low) * scale)] for mean in means)
    return f"{series.symbol:8} {blocks} {low:.4g} to {high:.4g}"
