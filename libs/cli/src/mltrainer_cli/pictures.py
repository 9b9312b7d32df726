"""Makes pictures without a display, and writes them where the user wants them."""

from pathlib import Path
from typing import TYPE_CHECKING

from mltrainer_cli.errors import CliError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def blank_picture(width: float, height: float) -> "Figure":
    """Returns an empty picture of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_picture(figure: "Figure", path: Path) -> None:
    """Writes a picture in the format that the name of the file ends with.

    Raises:
        CliError: The file cannot be written, or no format has such a name.
    """
    try:
        figure.savefig(str(path), dpi=120)
    except OSError as error:
        raise CliError.from_os_error(error, "write the picture") from None
    except ValueError as error:
        raise CliError(f"Could not write {path}: {error}.") from None
