"""Draws what a replay did: completion times, use of the cluster, length of the queue."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mltrainer_cli.pictures import blank_picture, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mltrainer_scheduling.simulation import Replay

_HOUR_S = 3_600.0
_DAY_S = 86_400.0
_BINS = 200


def draw_replays(replays: "Mapping[str, Replay]", path: Path) -> None:
    """Writes a picture; several policies share the axes."""
    figure = blank_picture(9.0, 10.0)
    completion, use, queue = figure.subplots(3, 1)
    for name, one in replays.items():
        hours = np.sort(one.finish_s - one.submit_s) / _HOUR_S
        completion.step(hours, np.arange(1, len(hours) + 1) / len(hours), where="post", label=name)
        days, used, waiting = _binned(one)
        use.step(days, used / one.total_gpus, where="post", label=name)
        queue.step(days, waiting, where="post", label=name)
    completion.set_xscale("log")
    _label(completion, "completion time, h", "part of the jobs")
    _label(use, "day", "part of the GPUs allocated")
    _label(queue, "day", "jobs waiting")
    completion.legend()
    write_picture(figure, path)


def _binned(one: "Replay") -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Averages over time, so that a month stays readable."""
    edges = np.linspace(one.time_s[0], one.time_s[-1] + 1.0, _BINS + 1)
    return edges[:-1] / _DAY_S, _mean(one, one.used_gpus, edges), _mean(one, one.waiting, edges)


def _mean(one: "Replay", amounts: np.ndarray, edges: np.ndarray) -> np.ndarray:
    area = np.concatenate([[0.0], np.cumsum(np.diff(one.time_s) * amounts[:-1])])
    means: np.ndarray = np.diff(np.interp(edges, one.time_s, area)) / np.diff(edges)
    return means


def _label(axes: "Axes", across: str, up: str) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(visible=True, alpha=0.3)
