"""Writes a report as one HTML page that needs nothing else."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrainer_cli.calls import short, usd
from mltrainer_cli.combinatorial_paths import path_title, values_of_paths
from mltrainer_cli.report_facts import ReportFacts
from mltrainer_cli.report_plots import draw_all, draw_paths, drawdown

if TYPE_CHECKING:
    from mltrainer.trainer.v1.resources_pb2 import AttemptResult, LeaderboardRow, Trial
    from mltrainer_models.diagnostics import ModelDiagnostics

DEFINITIONS = {
    "r2": "R²: 1 - squared errors / those of each fold's training mean; above 0 is better than the mean.",
    "rmse": "Root of the mean squared error of the label's forecasts.",
    "qlike": "Mean of exp(e) - e - 1, e = label - forecast: loss of forecasts of log variance; 0 is perfect.",
    "ic": "Information coefficient: correlation of forecasts and labels across symbols, averaged over dates.",
    "rank_ic": "The same of ranks; a few extreme labels do not decide it.",
    "mean_absolute_error": "Mean absolute error of the label's forecasts.",
    "log_loss": "Mean of -log of the probability that was given to what happened; 0.693 is a coin.",
    "brier": "Mean squared error of forecast probabilities; 0.25 is a coin.",
    "accuracy": "Share of directions that were forecast rightly.",
    "auc": "Chance that a row with the event was given a higher probability than one without; 0.5 is a coin.",
    "sharpe": "Mean over standard deviation of the strategy's returns, per holding period.",
    "net_sharpe": "The same after costs of 5 basis points of what is traded.",
    "net_return": "Mean return after costs, per holding period.",
    "drawdown": "Deepest fall of the sum of log returns from its highest point.",
    "turnover": "What is bought and sold per holding period, as a share of the capital.",
    "holdings": "1 / sum of squared weights, averaged over periods: as many equal positions weigh alike.",
    "ndcg": "Gain of the first five of each date, discounted by place; 1 is the true order.",
    "calibration_error": "Mean distance of forecast and observed rates over ten groups of rows.",
    "event_rate": "Share of test rows with the event.",
}
_VERDICTS = {
    "EDGE": ("edge", "There is evidence of an edge"),
    "NO_EDGE": ("none", "No edge"),
    "NOT_ENOUGH_DATA": ("unsure", "Not enough data to say"),
}
_MOST_TRIALS = 500
_PICTURES = ("gains", "correlations", "calibration", "importance", "paths")


def render(facts: ReportFacts, now: datetime) -> str:
    """Returns the page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("mltrainer_cli"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    # Pictures are ours, drawn from numbers and from feature names that matplotlib escapes.
    drawn = draw_all(facts.diagnostics) if facts.diagnostics else {}
    if facts.result.combinatorial.paths:
        drawn["paths"] = draw_paths(values_of_paths(facts.result.combinatorial))
    pictures = dict.fromkeys(_PICTURES, "") | drawn
    page = environment.get_template("training_report.html.j2")
    return page.render(
        **_sections(facts),
        pictures={name: Markup(svg) for name, svg in pictures.items()},  # noqa: S704 - see above
        made=f"{now.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
    )


def number(value: float | None, digits: int = 4) -> str:
    """Writes a number as people read it."""
    if value is None or not np.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 10_000 or abs(value) < 0.0001:
        return f"{value:.2e}"
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.1f}"


def _sections(facts: ReportFacts) -> dict[str, Any]:
    from mltrainer.types.v1.types_pb2 import TargetKind, Verdict

    result, spec = facts.result, facts.training.spec
    verdict = Verdict.Name(result.verdict).removeprefix("VERDICT_")
    css, title = _VERDICTS.get(verdict, ("unsure", "No verdict"))
    metrics = _metric_names(result.leaderboard)
    return {
        "training": short(facts.training.name),
        "source": short(facts.source.name) if facts.source.name != facts.training.name else "",
        "study": short(spec.study),
        "verdict": {"css": css, "title": title, "reason": result.verdict_reason},
        "facts": _facts(facts, TargetKind.Name(spec.target.kind).removeprefix("TARGET_KIND_")),
        "chosen": result.catalogue_id,
        "headline": _headlines(result),
        "metrics": metrics,
        "is_portfolio": TargetKind.Name(spec.target.kind) == "TARGET_KIND_PORTFOLIO_RETURN",
        "loss": _loss_in_words(result.loss_kind),
        "definitions": {name: DEFINITIONS[name] for name in metrics if name in DEFINITIONS},
        "leaderboard": [_leader(row, metrics) for row in result.leaderboard if row.metrics],
        "skipped": [row for row in result.leaderboard if row.skipped_reason],
        "folds": _folds(result),
        "gains": _gain_facts(facts.diagnostics) if facts.diagnostics else None,
        "paths": path_title(result.combinatorial) if result.HasField("combinatorial") else "",
        "trials": _trials(facts.trials, result),
        "hidden_trials": max(len(facts.trials) - _MOST_TRIALS, 0),
        "study_trials": result.study_trial_count,
        "cost": _cost(facts),
        "reuse": result.reuse if result.HasField("reuse") else None,
    }


def _facts(facts: ReportFacts, target: str) -> list[tuple[str, str]]:
    spec, result = facts.training.spec, facts.result
    symbols = ", ".join(spec.symbols[:12]) + (
        f" and {len(spec.symbols) - 12} more" if len(spec.symbols) > 12 else ""
    )
    version = facts.version.name if facts.version else "none"
    return [
        ("Forecasts", f"{target.replace('_', ' ').lower()} over {spec.target.horizon_bars} bars"),
        ("Universe", symbols),
        ("Known until", _day(spec.as_of)),
        ("Out of sample from", _day(spec.evaluation.first_test_time)),
        (
            "Refitted every",
            f"{spec.evaluation.refit_interval_bars} bars, embargo {spec.evaluation.embargo_bars}",
        ),
        ("Rows", f"{result.row_count:,}"),
        ("Seed", str(spec.search.seed)),
        ("Version", version),
        ("Model digest", result.canonical_digest),
        ("Computation key", facts.training.computation_key),
    ]


def _day(time: Any) -> str:
    return f"{time.ToDatetime(tzinfo=UTC):%Y-%m-%d}"


def _headlines(result: "AttemptResult") -> list[dict[str, Any]]:
    known = list(DEFINITIONS)
    ordered = sorted(
        result.metrics,
        key=lambda one: (known.index(one.name) if one.name in known else len(known), one.name),
    )
    return [_headline(metric.name, metric) for metric in ordered]


def _headline(name: str, metric: Any) -> dict[str, Any]:
    error = metric.standard_error if metric.HasField("standard_error") else None
    return {"name": name, "value": metric.value, "error": error}


def _loss_in_words(kind: str) -> str:
    """Names what models are compared by; results of earlier releases do not say."""
    return kind.replace("_", " ") or "the loss of this kind of study"


def _metric_names(rows: "Sequence[LeaderboardRow]") -> list[str]:
    found = {metric.name for row in rows for metric in row.metrics}
    known = [name for name in DEFINITIONS if name in found]
    return [*known, *sorted(found - set(known))]


def _leader(row: "LeaderboardRow", metrics: list[str]) -> dict[str, Any]:
    values = {metric.name: metric for metric in row.metrics}
    return {
        "name": row.catalogue_id,
        "chosen": row.chosen,
        "baseline": row.baseline,
        "loss": row.loss if row.HasField("loss") else None,
        "cells": [_headline(name, values[name]) if name in values else None for name in metrics],
    }


def _folds(result: "AttemptResult") -> dict[str, Any] | None:
    """Puts one metric of every model beside each other, fold by fold."""
    rows = [row for row in result.leaderboard if row.folds]
    if not rows:
        return None
    chosen = next((row for row in rows if row.chosen), rows[0])
    metric = next(
        (
            name
            for name in ("r2", "rank_ic", "net_sharpe", "rmse")
            if name in {it.name for it in chosen.folds[0].metrics}
        ),
        "",
    )
    lines = []
    for row in rows:
        values = [{it.name: it.value for it in fold.metrics}.get(metric) for fold in row.folds]
        lines.append({"name": row.catalogue_id, "chosen": row.chosen, "cells": values})
    heads = [
        {"first": _day(fold.first_test_time), "last": _day(fold.last_test_time), "rows": fold.row_count}
        for fold in chosen.folds
    ]
    return {"metric": metric, "heads": heads, "lines": lines}


def _gain_facts(diagnostics: "ModelDiagnostics") -> dict[str, Any]:
    has_net = 0 < len(diagnostics.net_gains) == len(diagnostics.gains)
    gains = np.array([one.gain for one in diagnostics.gains])
    gross = float(gains.sum())
    gains = np.array(diagnostics.net_gains) if has_net else gains
    total = np.cumsum(gains)
    spread = float(gains.std(ddof=1)) if len(gains) > 1 else 0.0
    return {
        "kind": diagnostics.gain_kind.value,
        "count": len(gains),
        "gross": gross if has_net else None,
        "baseline": diagnostics.baseline,
        "total": float(total[-1]) if len(total) else 0.0,
        "worst": float(drawdown(total.tolist()).min()) if len(total) else 0.0,
        "ratio": float(gains.mean()) / spread if spread > 0 else None,
        "positive": float((gains > 0).mean()) if len(gains) else 0.0,
    }


def _trials(trials: "Sequence[Trial]", result: "AttemptResult") -> list[dict[str, Any]]:
    ranked = sorted(trials, key=lambda one: (one.objective, one.name))[:_MOST_TRIALS]
    return [
        {
            "name": one.catalogue_id,
            "parameters": _parameters(one.parameters_json),
            "objective": one.objective,
            "cpu_seconds": one.cpu_seconds,
            "chosen": (one.catalogue_id, one.parameters_json)
            == (result.catalogue_id, result.parameters_json),
        }
        for one in ranked
    ]


def _parameters(text: str) -> str:
    """Writes parameters shortly; the ledger has every digit."""
    try:
        values = json.loads(text or "{}")
    except ValueError:
        return text
    return ", ".join(
        f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in sorted(values.items())
    )


def _cost(facts: ReportFacts) -> list[tuple[str, str, str]]:
    lines = [
        ("CPU time", f"{facts.result.cpu_seconds:.1f} s", "CPU time of the attempt that has the result."),
    ]
    if facts.bill is not None:
        billed, idle = facts.bill.billed_micros, facts.bill.idle_micros
        lines += [
            (
                "Billed",
                f"{usd(billed)} USD",
                "What its allocations held, at the prices in force, while they held it.",
            ),
            ("Of this idle", f"{usd(idle)} USD", "What was held and not used."),
        ]
    if facts.source.name != facts.training.name:
        taken = "Taken from an equal training: nothing was computed or billed for this one."
        lines.insert(0, ("This training", "0 USD", taken))
    return lines
