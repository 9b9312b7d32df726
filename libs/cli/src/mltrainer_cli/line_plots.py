"""Draws lines that share one pair of axes into a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mltrainer_cli.errors import CliError


@dataclass(frozen=True, slots=True)
class Line:
    """One series and its name in the legend."""

    name: str
    across: Sequence[float]
    up: Sequence[float]


def draw_lines(lines: Sequence[Line], path: Path, *, across: str, up: str) -> None:
    """Writes a picture in the format that the name of the file ends with."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    for line in lines:
        axes.plot(line.across, line.up, marker="o" if len(line.up) < 20 else "", label=line.name)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    try:
        canvas.print_figure(str(path), dpi=120)
    except OSError as error:
        raise CliError.from_os_error(error, "write the picture") from None
    except ValueError as error:
        raise CliError(f"Could not write {path}: {error}.") from None
