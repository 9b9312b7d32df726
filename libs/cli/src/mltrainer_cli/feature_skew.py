"""Shows whether models were given what was known: as rows, and as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mltrainer_cli.errors import CliError

MATCHES = ("exact", "stale", "provisional", "different", "missing")
_UNSTABLE = 0.25


def counts(report: dict[str, Any]) -> dict[str, Any]:
    """Returns how many vectors agree in which way, and when they were served."""
    found = {match: report[f"{match}_count"] for match in MATCHES}
    return found | {name: report.get(name) for name in ("first_served_time", "last_served_time")}


def draw_skew(features: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws the stability index and the share of different values of each feature side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 1.5 + 0.22 * len(features)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(features))
    left.barh(places, [one.get("stability_index") or 0.0 for one in features])
    left.axvline(_UNSTABLE, linestyle="--", linewidth=1.0, color="black")
    left.set_xlabel("population stability index")
    left.set_yticks(places, [one["feature"] for one in features], fontsize=7)
    left.invert_yaxis()
    right.barh(places, [one["different_count"] / one["compared_count"] for one in features])
    right.set_xlabel("share of values that differ")
    try:
        canvas.print_figure(str(path), dpi=120)
    except OSError as error:
        raise CliError.from_os_error(error, "write the picture") from None
    except ValueError as error:
        raise CliError(f"Could not write {path}: {error}.") from None
