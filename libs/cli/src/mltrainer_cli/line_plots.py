"""Draws lines that share one pair of axes into a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mltrainer_cli.pictures import blank_picture, write_picture


@dataclass(frozen=True, slots=True)
class Line:
    """One series and its name in the legend."""

    name: str
    across: Sequence[float]
    up: Sequence[float]


def draw_lines(lines: Sequence[Line], path: Path, *, across: str, up: str) -> None:
    """Writes a picture in the format that the name of the file ends with."""
    figure = blank_picture(8.0, 5.0)
    axes = figure.subplots()
    for line in lines:
        axes.plot(line.across, line.up, marker="o" if len(line.up) < 20 else "", label=line.name)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    write_picture(figure, path)
