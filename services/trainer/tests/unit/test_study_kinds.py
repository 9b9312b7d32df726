from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import polars as pl
import pytest
from mltrainer_features import TargetKind, compute_features, compute_labels, feature_names
from mltrainer_models import (
    LibraryModel,
    LossKind,
    ModelDescription,
    ModelTarget,
    load_predictor,
    read_evaluation,
)
from mltrainer_models.diagnostics import GainKind, read_diagnostics
from mltrainer_trainer.adapters.estimators import load_learner
from mltrainer_trainer.domain.catalogue import CATALOGUE, Task, find_entry, select_entries
from mltrainer_trainer.domain.diagnostics import with_diagnostics
from mltrainer_trainer.domain.leak_guards import CandidateGuard, Leak, LeakFoundError
from mltrainer_trainer.domain.learners import BadTrainingInputError, FitRequest, Learner
from mltrainer_trainer.domain.panel_fits import Settings
from mltrainer_trainer.domain.search import Candidate
from mltrainer_trainer.domain.series_readings import read_series, read_volatility
from mltrainer_trainer.domain.state_readings import read_states
from mltrainer_trainer.domain.training import TrainingOutcome, TrainingPlan, execute_training
from mltrainer_trainer.domain.training_data import (
    Floats,
    TrainingData,
    load_training_data,
    to_microseconds,
)
from mltrainer_trainer.domain.verdict import VerdictKind, VerdictReason
from mltrainer_trainer.domain.walk_forward import EvaluationPlan, Fold
from mltrainer_trainer.domain.weight_readings import read_weights
from mltrainer_trainer.wire.outcome import to_outcome, to_result

START = datetime(2015, 1, 1, 21, tzinfo=UTC)
DATES, SYMBOLS = 1_000, 5
FIRST_TEST = to_microseconds(START + timedelta(days=700))
SETTINGS = Settings({}, 3)
DESCRIPTION = ModelDescription("test", ModelTarget("VARIANCE_REGIME", 5), ("return_1",))


@cache
def market(momentum: float) -> pl.DataFrame:
    """Prices of a market that is calm or wild for long, with returns that continue where asked."""
    random = np.random.default_rng(11)
    is_wild = np.cumsum(random.random(DATES) < 0.01) % 2
    shocks = random.standard_normal((DATES, SYMBOLS)) * np.where(is_wild, 0.03, 0.006)[:, np.newaxis]
    returns = np.zeros((DATES, SYMBOLS))
    for day in range(1, DATES):
        own = returns[day - 1] - returns[day - 1].mean()
        returns[day] = shocks[day] + momentum * own
    closes = 50 * np.exp(np.cumsum(returns, axis=0))
    rows = [
        (f"S{column}", START + timedelta(days=day), float(closes[day, column]))
        for day in range(DATES)
        for column in range(SYMBOLS)
    ]
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "symbol": pl.String,
        "event_time": pl.Datetime("us", "UTC"),
        "close": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


@cache
def panel(target: TargetKind, horizon: int = 5, momentum: float = 0.0) -> TrainingData:
    bars = market(momentum)
    dataset = compute_features(bars).join(compute_labels(bars, target, horizon), on=["symbol", "event_time"])
    return load_training_data(dataset, feature_names(), target, horizon)


def study(data: TrainingData, *models: str) -> TrainingOutcome:
    evaluation = EvaluationPlan(FIRST_TEST, refit_interval_bars=100)
    plan = TrainingPlan(select_entries(models, data.target), evaluation, 0, seed=7, validation_bars=200)
    return execute_training(plan, data, load_learner)


def test_every_model_of_the_catalogue_but_one_can_be_named_by_a_training() -> None:
    unnamed = [entry.id for entry in CATALOGUE if not entry.target_kinds]

    # Its leaves are models that our trees do not have.
    assert unnamed == ["lightgbm-linear-leaves"]


@pytest.mark.parametrize(
    ("target", "horizon", "model", "baselines", "metrics"),
    [
        pytest.param(
            TargetKind.FORWARD_RANK,
            5,
            "linear-rankers",
            {"no-order", "reversal", "momentum"},
            {"rank_ic", "ndcg"},
            id="ranking",
        ),
        pytest.param(
            TargetKind.PORTFOLIO_RETURN,
            5,
            "baseline",
            {"one-over-n"},
            {"sharpe", "net_sharpe", "net_return", "drawdown", "turnover", "holdings"},
            id="portfolio",
        ),
        pytest.param(
            TargetKind.VARIANCE_REGIME,
            5,
            "k-means",
            {"one-state", "variance-level"},
            {"r2", "rmse", "qlike"},
            id="regime",
        ),
        pytest.param(
            TargetKind.TAIL_EVENT,
            5,
            "isolation-forest",
            {"event-rate", "last-move"},
            {"r2", "rmse", "log_loss", "brier", "calibration_error", "auc", "event_rate"},
            id="anomaly",
        ),
    ],
)
def test_a_kind_of_study_is_searched_tested_judged_and_packed(
    target: TargetKind, horizon: int, model: str, baselines: set[str], metrics: set[str]
) -> None:
    data = panel(target, horizon)

    outcome = with_diagnostics(study(data, model), data, 7)

    assert {entry.catalogue_id for entry in outcome.leaderboard if entry.is_baseline} == baselines
    for entry in outcome.leaderboard:
        assert set(entry.metrics) == metrics
        assert np.isfinite(list(entry.metrics.values())).all()
        assert all(fold.metrics.keys() == metrics for fold in entry.folds)
    losses = [outcome.out_of_sample[it.catalogue_id].losses.mean() for it in outcome.leaderboard]
    assert losses == sorted(losses)
    assert outcome.verdict.baseline in baselines
    assert read_diagnostics(outcome.artifact.files["diagnostics.json"]).gains
    predictor = load_predictor(outcome.artifact)
    assert np.isfinite(predictor.predict(np.ones((3, len(predictor.feature_names))))).all()


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        pytest.param(TargetKind.FORWARD_RANK, LossKind.ONE_MINUS_RANK_CORRELATION, id="ranking"),
        pytest.param(TargetKind.PORTFOLIO_RETURN, LossKind.NEGATIVE_SHARPE_RATIO, id="portfolio"),
        pytest.param(TargetKind.VARIANCE_REGIME, LossKind.SQUARED_ERROR, id="regime"),
    ],
)
def test_the_loss_that_was_computed_is_named_wherever_it_is_shown(target: TargetKind, kind: LossKind) -> None:
    outcome = study(panel(target), "baseline")

    result = to_result(to_outcome(outcome, 1.0), 1)

    losses = [row.loss for row in result.leaderboard if row.metrics]
    assert read_evaluation(outcome.artifact.files["evaluation.json"]).loss_kind is kind
    assert (result.loss_kind, outcome.verdict.loss_kind) == (kind, kind)
    assert losses == sorted(losses)
    assert all(row.baseline for row in result.leaderboard if row.metrics)


def test_returns_that_continue_can_be_ranked() -> None:
    outcome = study(panel(TargetKind.FORWARD_RANK, 1, momentum=0.5), "rank-ridge")

    (chosen,) = [entry for entry in outcome.leaderboard if entry.is_chosen]
    assert chosen.catalogue_id == "rank-ridge"
    assert chosen.metrics["rank_ic"] > 0.2
    assert outcome.verdict.kind == VerdictKind.EDGE, outcome.verdict.explain()


def test_states_of_a_market_that_is_calm_or_wild_are_told_apart() -> None:
    outcome = study(panel(TargetKind.VARIANCE_REGIME), "gaussian-mixture")

    scores = {entry.catalogue_id: entry.metrics["r2"] for entry in outcome.leaderboard}
    assert scores["gaussian-mixture"] > 0.5
    assert scores["one-state"] < 0.05


def test_equal_weights_are_all_there_is_where_nothing_else_is_named() -> None:
    data = panel(TargetKind.PORTFOLIO_RETURN)

    outcome = with_diagnostics(study(data, "baseline"), data, 7)

    predictor = load_predictor(outcome.artifact)
    assert predictor.feature_names == data.symbols
    assert predictor.predict(np.array([[0.1, 0.0, 0.0, 0.0, 0.0]])) == pytest.approx([0.02])
    assert outcome.verdict.reason == VerdictReason.BASELINE_CHOSEN
    figures = read_diagnostics(outcome.artifact.files["diagnostics.json"])
    assert figures.gain_kind is GainKind.STRATEGY_RETURN
    # Weights are no forecasts of returns.
    assert (figures.correlations, figures.calibration, figures.importance) == ((), (), ())


def test_a_portfolio_is_drawn_before_and_after_costs_beside_its_baseline() -> None:
    data = panel(TargetKind.PORTFOLIO_RETURN)
    outcome = study(data, "baseline")
    equal = outcome.out_of_sample["one-over-n"]
    half = replace(equal, predictions=equal.predictions / 2)

    drawn = with_diagnostics(
        replace(
            outcome,
            chosen=replace(outcome.chosen, catalogue_id="half-in-cash"),
            out_of_sample={"one-over-n": equal, "half-in-cash": half},
        ),
        data,
        7,
    )

    figures = read_diagnostics(drawn.artifact.files["diagnostics.json"])
    gross = [one.gain for one in figures.gains]
    assert figures.baseline == "one-over-n"
    assert len(gross) == len(figures.net_gains) == len(figures.baseline_gains)
    assert all(before > after for before, after in zip(gross, figures.net_gains, strict=True))
    assert figures.net_gains != figures.baseline_gains


def test_gains_of_losses_are_over_the_baseline_of_the_verdict() -> None:
    data = panel(TargetKind.VARIANCE_REGIME)

    outcome = with_diagnostics(study(data, "gaussian-mixture"), data, 7)

    figures = read_diagnostics(outcome.artifact.files["diagnostics.json"])
    assert outcome.verdict.improvement is not None
    assert figures.baseline == outcome.verdict.baseline
    assert np.mean([one.gain for one in figures.gains]) == pytest.approx(outcome.verdict.improvement.mean)


def test_weights_are_held_for_the_horizon() -> None:
    result = study(panel(TargetKind.PORTFOLIO_RETURN), "baseline").out_of_sample["one-over-n"]

    assert (np.diff(np.unique(result.date)) == 5).all()


def test_a_portfolio_of_one_asset_is_refused() -> None:
    data = panel(TargetKind.PORTFOLIO_RETURN)
    entry = find_entry("one-over-n")

    with pytest.raises(BadTrainingInputError, match="1 symbols"):
        read_weights(entry, load_learner(entry), data, np.flatnonzero(data.symbol == 2), SETTINGS)


@dataclass(frozen=True, eq=False, slots=True)
class Answers:
    """Says what `rule` makes of the rows it is shown."""

    request: FitRequest
    kind: str

    def predict(self, matrix: Floats) -> Floats:
        match self.kind:
            case "variance-before":
                squares = np.concatenate([[1.0], matrix[:-1, 0] ** 2])
                return np.asarray(np.cumsum(squares) / np.arange(1, len(squares) + 1))
            case "steps":
                return np.asarray(self.request.matrix[-1, 0] + np.arange(1.0, len(matrix) + 1))
            case "look-ahead":
                return np.full(len(matrix), round(10 * float(matrix[:, 0].mean())) % 7, dtype=np.float64)
        raise AssertionError(self.kind)

    def to_model(self, description: ModelDescription) -> LibraryModel:
        return LibraryModel(description, {"last": float(self.request.matrix[-1, 0])})


def learner_of(kind: str) -> Learner:
    return lambda request: Answers(request, kind)


def test_a_volatility_model_reads_the_returns_of_its_symbol_up_to_the_row() -> None:
    data = panel(TargetKind.LOG_REALIZED_VARIANCE)
    rows = np.flatnonzero(data.date < 500)
    fit = read_volatility(find_entry("garch"), learner_of("variance-before"), data, rows, SETTINGS)
    asked = np.flatnonzero((data.date >= 500) & (data.date < 510))
    later = data.matrix.copy()
    later[data.date >= 510] = 7.0

    before = fit.predict(data, asked)

    changed = TrainingData(
        **{name: getattr(data, name) for name in TrainingData.__slots__ if name != "matrix"}, matrix=later
    )
    np.testing.assert_array_equal(fit.predict(changed, asked), before)
    (column,) = data.columns(("return_1",))
    own = np.flatnonzero((data.symbol == 0) & (data.date <= 500))
    squares = np.concatenate([[1.0], (100 * data.matrix[own, column]) ** 2])
    assert before[0] == pytest.approx(fit.intercept + fit.slope * np.log(squares.mean()))


def test_a_forecast_goes_on_from_the_last_known_label_of_its_symbol() -> None:
    data = panel(TargetKind.LOG_REALIZED_VARIANCE)
    rows = np.flatnonzero(data.date < 500)

    fit = read_series(find_entry("theta"), learner_of("steps"), data, rows, SETTINGS)

    asked = np.flatnonzero((data.symbol == 1) & np.isin(data.date, [500, 504, 505, 509]))
    last = data.labels[rows[data.symbol[rows] == 1][-1]]
    assert fit.predict(data, asked) - last == pytest.approx([1.0, 1.0, 2.0, 2.0])
    state = fit.to_model(DESCRIPTION).state  # type: ignore[union-attr]  # a series is a library's model
    assert set(state["series"]) == set(data.symbols)
    assert state["end_times"]["S1"] == data.event_time[rows[-1]]


def test_a_state_is_named_from_what_lies_before_its_date_though_the_model_reads_whole_series() -> None:
    data = panel(TargetKind.VARIANCE_REGIME)
    rows = np.flatnonzero(data.date < 400)
    fit = read_states(find_entry("hidden-markov-diagonal"), learner_of("look-ahead"), data, rows, SETTINGS)
    asked = np.flatnonzero(data.date == 402)
    later = data.matrix.copy()
    later[data.date > 402] = 7.0

    changed = TrainingData(
        **{name: getattr(data, name) for name in TrainingData.__slots__ if name != "matrix"}, matrix=later
    )

    np.testing.assert_array_equal(fit.predict(changed, asked), fit.predict(data, asked))


def test_a_series_model_that_saw_the_test_rows_is_refused() -> None:
    data = panel(TargetKind.LOG_REALIZED_VARIANCE)
    peeking = Candidate(find_entry("garch"), learner_of("variance-before"))
    inner = Fold(np.flatnonzero(data.date < 600), np.flatnonzero(data.date >= 620))

    CandidateGuard(data, inner, 1)(peeking)

    with pytest.raises(LeakFoundError) as caught:
        CandidateGuard(data, inner, 1)(Candidate(find_entry("garch"), lambda request: Peeking(data)))
    assert caught.value.leak is Leak.TEST_ROWS_SEEN


@dataclass(frozen=True, eq=False, slots=True)
class Peeking:
    """Standardises by all rows it is shown."""

    data: TrainingData

    def predict(self, matrix: Floats) -> Floats:
        return np.asarray(1.0 + (matrix[:, 0] - matrix[:, 0].mean()) ** 2)

    def to_model(self, description: ModelDescription) -> LibraryModel:
        return LibraryModel(description, {})


def test_only_tasks_with_a_reading_are_in_the_catalogue() -> None:
    assert {entry.task for entry in CATALOGUE} == set(Task)
