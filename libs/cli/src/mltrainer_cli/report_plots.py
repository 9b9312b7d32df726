"""Draws the pictures of a report as SVG that stands by itself."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from mltrainer_models.diagnostics import GainKind, ModelDiagnostics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_IN, _HEIGHT_IN = 7.2, 3.2
_BLUE, _RED, _GREY, _ORANGE = "#1f4e79", "#b03a2e", "#8a8f98", "#d9822b"
_MOST_FEATURES = 15


def draw_all(diagnostics: ModelDiagnostics) -> dict[str, str]:
    """Draws every picture there are figures for, by name."""
    pictures = {}
    if diagnostics.gains:
        pictures["gains"] = _gains(diagnostics)
    if diagnostics.correlations:
        pictures["correlations"] = _correlations(diagnostics)
    if diagnostics.calibration:
        pictures["calibration"] = _calibration(diagnostics)
    if diagnostics.importance:
        pictures["importance"] = _importance(diagnostics)
    return pictures


def drawdown(total: Sequence[float]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Returns how far each value lies below the highest before it, or below the start; never positive."""
    values = np.asarray(total, dtype=np.float64)
    highest = np.maximum.accumulate(np.maximum(values, 0.0))
    return np.asarray(values - highest)


def draw_paths(values: Mapping[str, Sequence[float]]) -> str:
    """Draws, metric by metric, what every combinatorial path came to, and their mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, 0.4 + 0.55 * len(values)), layout="constrained")
    rows = figure.subplots(len(values), 1, squeeze=False)[:, 0]
    for axes, (name, found) in zip(rows, values.items(), strict=True):
        _tidy(axes)
        axes.spines["left"].set_visible(False)
        axes.plot(found, [0.0] * len(found), "o", color=_BLUE, alpha=0.6, markersize=6)
        axes.plot([float(np.mean(found))], [0.0], "|", color=_RED, markersize=16, markeredgewidth=2)
        axes.set_yticks([0.0], [name])
        axes.margins(x=0.05)
    return _svg(figure)


def _gains(diagnostics: ModelDiagnostics) -> str:
    figure, upper, lower = _figure_of_two()
    days = np.array([one.day for one in diagnostics.gains], dtype="datetime64[D]")
    total = np.cumsum([one.gain for one in diagnostics.gains])
    net = np.cumsum(diagnostics.net_gains)
    upper.plot(days, total, color=_BLUE, linewidth=1.4, label="before costs")
    if len(net) == len(days):
        upper.plot(days, net, color=_ORANGE, linewidth=1.1, label="after costs")
    if len(diagnostics.baseline_gains) == len(days):
        others = np.cumsum(diagnostics.baseline_gains)
        label = f"baseline {diagnostics.baseline}, after costs"
        upper.plot(days, others, color=_GREY, linewidth=1.2, label=label)
    if len(upper.lines) > 1:
        upper.legend(frameon=False, fontsize=9)
    upper.axhline(0.0, color=_GREY, linewidth=0.8)
    total = net if len(net) == len(days) else total
    is_return = diagnostics.gain_kind is GainKind.STRATEGY_RETURN
    upper.set_ylabel("sum of returns" if is_return else "sum of loss gains")
    lower.fill_between(days, drawdown(total.tolist()), 0.0, color=_RED, alpha=0.6, linewidth=0)
    lower.set_ylabel("drawdown")
    return _svg(figure)


def _correlations(diagnostics: ModelDiagnostics) -> str:
    figure, axes = _figure()
    lags = [one.lag_bars for one in diagnostics.correlations]
    means = np.array([one.mean for one in diagnostics.correlations])
    errors = 1.96 * np.array([one.standard_error for one in diagnostics.correlations])
    positions = np.arange(len(lags))
    axes.bar(positions, means, color=_BLUE, width=0.6, alpha=0.85)
    axes.errorbar(positions, means, errors, fmt="none", ecolor="#222222", elinewidth=1, capsize=3)
    axes.axhline(0.0, color=_GREY, linewidth=0.8)
    axes.set_xticks(positions, [str(lag) for lag in lags])
    axes.set_xlabel("bars that the label lies after the prediction's own")
    axes.set_ylabel("correlation")
    return _svg(figure)


def _calibration(diagnostics: ModelDiagnostics) -> str:
    figure, axes = _figure()
    predicted = np.array([one.predicted for one in diagnostics.calibration])
    observed = np.array([one.observed for one in diagnostics.calibration])
    errors = 1.96 * np.array([one.standard_error for one in diagnostics.calibration])
    ends = [float(min(predicted.min(), observed.min())), float(max(predicted.max(), observed.max()))]
    axes.plot(ends, ends, color=_GREY, linewidth=1, linestyle="--", label="perfectly calibrated")
    axes.errorbar(predicted, observed, errors, color=_BLUE, fmt="o-", markersize=4, linewidth=1, capsize=3)
    axes.set_xlabel("mean prediction")
    axes.set_ylabel("mean label")
    axes.legend(frameon=False)
    return _svg(figure)


def _importance(diagnostics: ModelDiagnostics) -> str:
    shown = diagnostics.importance[:_MOST_FEATURES][::-1]
    figure, axes = _figure(0.9 + 0.26 * len(shown))
    axes.barh(
        [one.feature for one in shown],
        [100.0 * one.increase for one in shown],
        xerr=[100.0 * one.spread for one in shown],
        color=_BLUE,
        alpha=0.85,
        error_kw={"elinewidth": 1, "capsize": 2},
    )
    axes.set_xlabel("squared error grows by, %")
    return _svg(figure)


def _figure(height_in: float = _HEIGHT_IN) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    axes = figure.subplots()
    _tidy(axes)
    return figure, axes


def _figure_of_two() -> "tuple[Figure, Axes, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _tidy(upper)
    _tidy(lower)
    return figure, upper, lower


def _tidy(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25)
    axes.tick_params(labelsize=9)


def _svg(figure: "Figure") -> str:
    """Writes text as text, and the same bytes for the same figures."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    target = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "mltrainer", "font.family": "sans-serif"}):
        figure.set_canvas(FigureCanvasSVG(figure))
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    return text[text.index("<svg") :]
