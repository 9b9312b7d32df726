"""How the answers to each kind of study are judged: one declaration per label.

A declaration says which loss compares models, which metrics describe them, what predictions are shrunk or
raised towards, and whether a Sharpe ratio has to survive the search. Nothing else asks for the kind of label.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from mltrainer_features import TargetKind
from mltrainer_models import LossKind

from mltrainer_trainer.domain.calibration import (
    area_under_curve,
    brier_losses,
    calibration_error,
    log_losses,
)
from mltrainer_trainer.domain.holdings import held_portfolio, sharpe_losses
from mltrainer_trainer.domain.inference import hac_mean, ratio_error
from mltrainer_trainer.domain.metrics import (
    OutOfSample,
    information_coefficient,
    qlike,
    qlike_losses,
    r_squared,
    root_mean_squared_error,
    squared_errors,
    strategy_returns,
    sum_by_date,
)
from mltrainer_trainer.domain.orderings import discounted_gain, order_losses
from mltrainer_trainer.domain.sharpe import sharpe_error, sharpe_ratio
from mltrainer_trainer.domain.strategies import maximum_drawdown, trade
from mltrainer_trainer.domain.training_data import Floats

Scores = dict[str, float]
Loss = Callable[[OutOfSample], Floats]

_LOSS_KINDS: Mapping[Loss, LossKind] = {
    squared_errors: LossKind.SQUARED_ERROR,
    order_losses: LossKind.ONE_MINUS_RANK_CORRELATION,
    sharpe_losses: LossKind.NEGATIVE_SHARPE_RATIO,
}


class Blending(StrEnum):
    """What may be made of several models.

    NONE takes one as it is; SHRUNK scales what is stacked towards its centre; LEVELLED raises stacked log
    variances so that their exponentials are less biased.
    """

    NONE = "NONE"
    SHRUNK = "SHRUNK"
    LEVELLED = "LEVELLED"


@dataclass(frozen=True, slots=True)
class MetricGroup:
    """Metrics that are computed together, and the standard errors of those that have one.

    Both take the horizon in bars: labels of neighbouring dates overlap.
    """

    scores: Callable[[OutOfSample, int], Scores]
    errors: Callable[[OutOfSample, int], Scores]


@dataclass(frozen=True, slots=True)
class Objective:
    """How one kind of study is judged.

    Attributes:
        loss: Of each row; models are compared by its mean over the rows of each date.
        centre_is_zero: Predictions are shrunk towards zero, not towards the training mean.
        needs_sharpe: The verdict also asks whether the strategy survives the search.
        is_log_variance: Sums of bars are the exponentials of labels.
        holds_apart: Rows of one date per horizon are kept, so that labels do not overlap.
        has_classes: Labels are 0 and 1, and models need both.
        forecasts: Predictions are forecasts of the label; they can be calibrated and correlated with it.
        writes_forecasts: The model as written says the forecast itself, not what it is made from.
        gains: Returns by date of what is traded, before costs; where None, what is gained is loss.
        net_gains: The same after costs; empty where it is not known what is traded.
    """

    metrics: tuple[MetricGroup, ...]
    loss: Loss = squared_errors
    blending: Blending = Blending.NONE
    centre_is_zero: bool = False
    needs_sharpe: bool = False
    is_log_variance: bool = False
    holds_apart: bool = False
    has_classes: bool = False
    forecasts: bool = True
    writes_forecasts: bool = True
    gains: Callable[[OutOfSample, int], Floats] | None = None
    net_gains: Callable[[OutOfSample, int], Floats] | None = None

    @property
    def loss_kind(self) -> LossKind:
        """Names the loss, for everybody who compares or shows it."""
        return _LOSS_KINDS[self.loss]

    def overlap_bars(self, horizon_bars: int) -> int:
        """Says over how many rows of successive dates labels overlap, one where they do not."""
        return 1 if self.holds_apart else horizon_bars


def score(result: OutOfSample, target: TargetKind, horizon_bars: int) -> Scores:
    """Scores with every metric that fits the label."""
    groups = OBJECTIVES[target].metrics
    return {name: value for it in groups for name, value in it.scores(result, horizon_bars).items()}


def standard_errors(result: OutOfSample, target: TargetKind, horizon_bars: int) -> Scores:
    """Gives standard errors of the metrics of `score`, for labels that overlap from date to date.

    Sums over dates are what varies: rows of one date are correlated across symbols. Those of drawdown,
    turnover and calibration are unknown. Plus and minus 1.96 of them are a 95 % confidence interval.
    """
    groups = OBJECTIVES[target].metrics
    return {name: value for it in groups for name, value in it.errors(result, horizon_bars).items()}


def _squared(result: OutOfSample, _horizon_bars: int) -> Scores:
    return {"r2": r_squared(result), "rmse": root_mean_squared_error(result)}


def _squared_errors(result: OutOfSample, horizon_bars: int) -> Scores:
    lag = horizon_bars - 1
    rows, squared = (sum_by_date(result.date, it) for it in (np.ones(len(result)), result.squared_errors))
    spread = sum_by_date(result.date, (result.labels - result.training_mean) ** 2)
    rmse = root_mean_squared_error(result)
    error = ratio_error(squared, rows, lag) / (2 * rmse) if rmse > 0 else 0.0
    return {"r2": ratio_error(squared, spread, lag), "rmse": error}


def _variance(result: OutOfSample, _horizon_bars: int) -> Scores:
    return {"qlike": qlike(result)}


def _variance_errors(result: OutOfSample, horizon_bars: int) -> Scores:
    return {"qlike": _mean_error(result, qlike_losses(result), horizon_bars)}


def _mean_error(result: OutOfSample, losses: Floats, horizon_bars: int) -> float:
    rows = sum_by_date(result.date, np.ones(len(result)))
    return ratio_error(sum_by_date(result.date, losses), rows, horizon_bars - 1)


def _correlation(result: OutOfSample, horizon_bars: int) -> Scores:
    return {
        name: information_coefficient(result, horizon_bars, of_ranks=of_ranks).mean
        for name, of_ranks in (("ic", False), ("rank_ic", True))
    }


def _correlation_errors(result: OutOfSample, horizon_bars: int) -> Scores:
    return {
        name: information_coefficient(result, horizon_bars, of_ranks=of_ranks).standard_error
        for name, of_ranks in (("ic", False), ("rank_ic", True))
    }


def _strategy(result: OutOfSample, horizon_bars: int) -> Scores:
    """Scores the strategy of trading the predictions; nothing where it never takes a position."""
    returns = strategy_returns(result, horizon_bars)
    if not returns.any():
        return {}
    scores = {"sharpe": sharpe_ratio(returns), "drawdown": maximum_drawdown(returns)}
    if result.symbol is not None:
        strategy = trade(result.date, result.symbol, result.labels, result.predictions, horizon_bars)
        scores["turnover"] = float(strategy.turnover.mean())
        scores["net_sharpe"] = sharpe_ratio(strategy.net_returns())
    return scores


def _net_strategy_returns(result: OutOfSample, horizon_bars: int) -> Floats:
    if result.symbol is None:
        return np.zeros(0)
    return trade(result.date, result.symbol, result.labels, result.predictions, horizon_bars).net_returns()


def _strategy_errors(result: OutOfSample, horizon_bars: int) -> Scores:
    return {"sharpe": sharpe_error(strategy_returns(result, horizon_bars))}


def _probability(result: OutOfSample, _horizon_bars: int) -> Scores:
    return {
        "log_loss": float(log_losses(result.labels, result.predictions).mean()),
        "brier": float(brier_losses(result.labels, result.predictions).mean()),
        "calibration_error": calibration_error(result.labels, result.predictions),
    }


def _probability_errors(result: OutOfSample, horizon_bars: int) -> Scores:
    return {
        name: _mean_error(result, losses(result.labels, result.predictions), horizon_bars)
        for name, losses in (("log_loss", log_losses), ("brier", brier_losses))
    }


def _event(result: OutOfSample, _horizon_bars: int) -> Scores:
    return {
        "auc": area_under_curve(result.labels, result.predictions - result.training_mean),
        "event_rate": float(result.labels.mean()),
    }


def _order(result: OutOfSample, horizon_bars: int) -> Scores:
    rank_ic = information_coefficient(result, horizon_bars, of_ranks=True)
    return {"rank_ic": rank_ic.mean, "ndcg": float(discounted_gain(result).mean())}


def _order_errors(result: OutOfSample, horizon_bars: int) -> Scores:
    rank_ic = information_coefficient(result, horizon_bars, of_ranks=True)
    gain = hac_mean(discounted_gain(result), horizon_bars - 1)
    return {"rank_ic": rank_ic.standard_error, "ndcg": gain.standard_error}


def _portfolio(result: OutOfSample, _horizon_bars: int) -> Scores:
    held = held_portfolio(result)
    net = held.net_returns()
    return {
        "net_sharpe": sharpe_ratio(net),
        "sharpe": sharpe_ratio(held.returns),
        "net_return": float(net.mean()),
        "drawdown": maximum_drawdown(np.log1p(net)),
        "turnover": float(held.turnover[1:].mean()) if len(net) > 1 else 0.0,
        "holdings": float((1 / (held.positions**2).sum(axis=1)).mean()),
    }


def _portfolio_errors(result: OutOfSample, _horizon_bars: int) -> Scores:
    held = held_portfolio(result)
    return {
        "net_sharpe": sharpe_error(held.net_returns()),
        "sharpe": sharpe_error(held.returns),
        "net_return": hac_mean(held.net_returns()).standard_error,
    }


def _none(_result: OutOfSample, _horizon_bars: int) -> Scores:
    return {}


_SQUARED = MetricGroup(_squared, _squared_errors)
_VARIANCE = MetricGroup(_variance, _variance_errors)
_CORRELATION = MetricGroup(_correlation, _correlation_errors)
_PROBABILITY = MetricGroup(_probability, _probability_errors)

OBJECTIVES: Mapping[TargetKind, Objective] = {
    TargetKind.LOG_REALIZED_VARIANCE: Objective(
        (_SQUARED, _VARIANCE, _CORRELATION), blending=Blending.LEVELLED, is_log_variance=True
    ),
    TargetKind.EXCESS_RETURN: Objective(
        (_SQUARED, _CORRELATION, MetricGroup(_strategy, _strategy_errors)),
        blending=Blending.SHRUNK,
        centre_is_zero=True,
        needs_sharpe=True,
        gains=strategy_returns,
        net_gains=_net_strategy_returns,
    ),
    TargetKind.DIRECTION: Objective(
        (_SQUARED, _CORRELATION, _PROBABILITY), blending=Blending.SHRUNK, has_classes=True
    ),
    TargetKind.FORWARD_RANK: Objective(
        (MetricGroup(_order, _order_errors),), loss=order_losses, forecasts=False, writes_forecasts=False
    ),
    TargetKind.PORTFOLIO_RETURN: Objective(
        (MetricGroup(_portfolio, _portfolio_errors),),
        loss=sharpe_losses,
        holds_apart=True,
        forecasts=False,
        writes_forecasts=False,
        gains=lambda result, _horizon_bars: held_portfolio(result).returns,
        net_gains=lambda result, _horizon_bars: held_portfolio(result).net_returns(),
    ),
    TargetKind.VARIANCE_REGIME: Objective(
        (_SQUARED, _VARIANCE), is_log_variance=True, writes_forecasts=False
    ),
    TargetKind.TAIL_EVENT: Objective(
        (_SQUARED, _PROBABILITY, MetricGroup(_event, _none)), writes_forecasts=False
    ),
}
