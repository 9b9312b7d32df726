"""Says whether a model has an edge, given its out-of-sample losses and how much was tried."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from mltrainer_features import TargetKind
from mltrainer_models import LossKind

from mltrainer_trainer.domain.inference import MeanEstimate, deflate_p_value, hac_mean
from mltrainer_trainer.domain.metrics import OutOfSample, mean_by_date, strategy_returns
from mltrainer_trainer.domain.objectives import OBJECTIVES
from mltrainer_trainer.domain.overfitting import BLOCK_COUNT, backtest_overfitting
from mltrainer_trainer.domain.search import MonthlyLoss, Trial, TrialState
from mltrainer_trainer.domain.sharpe import deflated_sharpe

SIGNIFICANCE = 0.05
SHARPE_CONFIDENCE = 0.95
MINIMUM_PERIODS = 40
FEWEST_BLOCKS = 4


class VerdictKind(StrEnum):
    """What an evaluation concludes."""

    EDGE = "EDGE"
    NO_EDGE = "NO_EDGE"
    NOT_ENOUGH_DATA = "NOT_ENOUGH_DATA"


class VerdictReason(StrEnum):
    """The rule that decided."""

    BEATS_BASELINE = "BEATS_BASELINE"
    BASELINE_CHOSEN = "BASELINE_CHOSEN"
    WITHIN_CHANCE = "WITHIN_CHANCE"
    SHARPE_WITHIN_SEARCH = "SHARPE_WITHIN_SEARCH"
    TOO_FEW_PERIODS = "TOO_FEW_PERIODS"
    NO_BASELINE = "NO_BASELINE"


@dataclass(frozen=True, slots=True)
class PriorTrial:
    """What the ledger knows of a try: its Sharpe ratio per holding period, and its losses by month."""

    sharpe_ratio: float | None = None
    monthly_losses: tuple[MonthlyLoss, ...] = ()

    @classmethod
    def of(cls, trial: Trial) -> "PriorTrial":
        """Takes from a trial what is kept of it."""
        losses = trial.monthly_losses if trial.state is TrialState.COMPLETE else ()
        return cls(trial.metrics.get("sharpe"), losses)


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """All tries of a study, those of earlier trainings included; `trials` may know fewer than there were."""

    trial_count: int
    trials: tuple[PriorTrial, ...] = ()

    @property
    def sharpe_ratios(self) -> list[float]:
        """Lists the Sharpe ratios that are known."""
        return [it.sharpe_ratio for it in self.trials if it.sharpe_ratio is not None]

    def overfitting(self) -> float | None:
        """Gives the probability that the best of one half of the months is below the median of the other.

        Over the tries that know most months, and the months that all of them know; None where there are too
        few of either.
        """
        longest = max((len(it.monthly_losses) for it in self.trials), default=0)
        known = [
            {one.month: one.loss for one in it.monthly_losses}
            for it in self.trials
            if 2 * len(it.monthly_losses) > longest
        ]
        months = sorted(set.intersection(*map(set, known))) if len(known) > 1 else []
        blocks = min(BLOCK_COUNT, len(months) // 2 * 2)
        if blocks < FEWEST_BLOCKS:
            return None
        performance = -np.array([[trial[month] for trial in known] for month in months])
        return backtest_overfitting(performance, blocks).probability


@dataclass(frozen=True, slots=True)
class Verdict:
    """The conclusion and the numbers behind it.

    `improvement` is by how much the loss per date is below that of `baseline`; `p_value` is
    deflated by `trial_count`. `deflated_sharpe` is set for returns only. `overfitting` is the probability
    that what the study finds best is below its median on other months; it informs and does not decide.
    """

    kind: VerdictKind
    reason: VerdictReason
    chosen: str
    baseline: str
    trial_count: int
    periods: int
    improvement: MeanEstimate | None = None
    p_value: float = 1.0
    deflated_sharpe: float | None = None
    overfitting: float | None = None
    loss_kind: LossKind = LossKind.SQUARED_ERROR

    def explain(self) -> str:
        """Explains the conclusion in one sentence."""
        facts = f"{self.periods} independent periods, {self.trial_count} trials in the study"
        if self.improvement is None:
            return f"{self.kind}: {self.reason} ({self.chosen}; {facts})."
        words = self.loss_kind.replace("_", " ")
        sharpe = "" if self.deflated_sharpe is None else f", deflated Sharpe {self.deflated_sharpe:.3f}"
        if self.overfitting is not None:
            facts += f", probability of overfitting {self.overfitting:.2f}"
        return (
            f"{self.kind}: {self.reason}; {self.chosen} against {self.baseline}: {words} per date lower by "
            f"{self.improvement.mean:.3g} ± {self.improvement.standard_error:.2g} "
            f"(t {self.improvement.t_statistic:.2f}, deflated p {self.p_value:.3g}{sharpe}; {facts})."
        )


def judge(
    chosen: str,
    results: Mapping[str, OutOfSample],
    *,
    baselines: frozenset[str],
    target: TargetKind,
    horizon_bars: int,
    record: StudyRecord,
) -> Verdict:
    """Compares the chosen model with the strongest baseline on the same test rows.

    The test is one-sided on the difference of mean losses per date (squared errors where the objective
    declares nothing else), with standard errors that allow for overlapping labels, and its p-value is raised
    to what the best of all tries of the study shows by chance. For excess returns the model must also, as a
    strategy, survive the deflated Sharpe ratio, over the Sharpe ratios of all tries as far as they are known.
    With fewer than 40 non-overlapping periods nothing is concluded.
    """
    present = [name for name in sorted(baselines) if name in results]
    objective = OBJECTIVES[target]
    overlap_bars = objective.overlap_bars(horizon_bars)
    periods = len(np.unique(results[chosen].date)) // overlap_bars
    baseline = min(present, key=lambda name: float(results[name].losses.mean()), default="")
    overfitting = record.overfitting()
    undecided = _without_test(chosen, baseline, baselines, periods)
    if undecided is not None:
        return Verdict(
            *undecided,
            chosen,
            baseline,
            record.trial_count,
            periods,
            overfitting=overfitting,
            loss_kind=objective.loss_kind,
        )
    difference = results[baseline].losses - results[chosen].losses
    improvement = hac_mean(mean_by_date(results[chosen].date, difference), overlap_bars - 1)
    p_value = deflate_p_value(improvement.p_value, record.trial_count)
    sharpe = None
    if objective.needs_sharpe:
        sharpe = deflated_sharpe(
            strategy_returns(results[chosen], horizon_bars), record.sharpe_ratios, record.trial_count
        )
    conclusion = _with_test(p_value, sharpe)
    return Verdict(
        *conclusion,
        chosen,
        baseline,
        record.trial_count,
        periods,
        improvement,
        p_value,
        sharpe,
        overfitting,
        objective.loss_kind,
    )


def _without_test(
    chosen: str, baseline: str, baselines: frozenset[str], periods: int
) -> tuple[VerdictKind, VerdictReason] | None:
    if not baseline:
        return VerdictKind.NOT_ENOUGH_DATA, VerdictReason.NO_BASELINE
    if periods < MINIMUM_PERIODS:
        return VerdictKind.NOT_ENOUGH_DATA, VerdictReason.TOO_FEW_PERIODS
    if chosen in baselines:
        return VerdictKind.NO_EDGE, VerdictReason.BASELINE_CHOSEN
    return None


def _with_test(p_value: float, sharpe: float | None) -> tuple[VerdictKind, VerdictReason]:
    if p_value >= SIGNIFICANCE:
        return VerdictKind.NO_EDGE, VerdictReason.WITHIN_CHANCE
    if sharpe is not None and sharpe < SHARPE_CONFIDENCE:
        return VerdictKind.NO_EDGE, VerdictReason.SHARPE_WITHIN_SEARCH
    return VerdictKind.EDGE, VerdictReason.BEATS_BASELINE
