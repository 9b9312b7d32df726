"""Searches: each default first, then draws around the best learners, pruned by fold, within a CPU budget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np
from mltrainer_models import canonical_digest

from mltrainer_trainer.domain.catalogue import CatalogueEntry, Choice, CostClass, Parameters
from mltrainer_trainer.domain.inference import hac_mean
from mltrainer_trainer.domain.metrics import OutOfSample, joined
from mltrainer_trainer.domain.objectives import score
from mltrainer_trainer.domain.sampling import Observation, Sampler
from mltrainer_trainer.domain.search import (
    TRAINING_BARS,
    Candidate,
    Hooks,
    MonthlyLoss,
    SkippedModel,
    SkipReason,
    Trial,
    TrialFailedError,
    TrialState,
)
from mltrainer_trainer.domain.training_data import Floats, Integers, TrainingData
from mltrainer_trainer.domain.walk_forward import Fold

# Markets change: learners are also fitted on the latest half of the dates, where that is as many as this.
_FEWEST_RECENT_BARS = 1_000
_SEARCHED_LEARNERS = 4
_MOST_REPEATS = 20
# A configuration is better than another where its losses by month are lower by this many standard errors.
_BEATEN_T = 1.0
_FEWEST_MONTHS = 2
# Expected CPU time of a fit on 100,000 rows of 40 features before any was measured: the middle of the class.
_EXPECTED_S = {
    CostClass.TRIVIAL: 0.03,
    CostClass.CHEAP: 0.3,
    CostClass.MODERATE: 3.0,
    CostClass.EXPENSIVE: 30.0,
}
_DRAWING_COST = {
    CostClass.TRIVIAL: 1,
    CostClass.CHEAP: 1,
    CostClass.MODERATE: 2,
    CostClass.EXPENSIVE: 8,
}


@dataclass(frozen=True, slots=True)
class SearchBudget:
    """How much may be tried.

    Attributes:
        max_trials: Defaults are evaluated beyond it as far as the CPU time goes, baselines and one model
            always.
        cpu_seconds: Of the whole training.
        test_fits: How much each chosen model will cost after the search, in fits on a validation fold.
    """

    max_trials: int
    cpu_seconds: float
    test_fits: float


@dataclass(slots=True)
class Study:
    """Evaluates configurations on the validation folds, always with the same data and seed.

    The course depends on data, seed and what trials come out as, and on CPU time only where the budget ends
    it. `guard` looks at a candidate before it is tried.
    """

    candidates: Sequence[Candidate]
    data: TrainingData
    folds: Sequence[Fold]
    seed: int
    context_digest: str
    hooks: Hooks
    sampler: Sampler
    guard: Callable[[Candidate], None] = field(default=lambda _candidate: None)
    trials: list[Trial] = field(default_factory=list)
    skipped: list[SkippedModel] = field(default_factory=list)
    results: dict[str, list[OutOfSample]] = field(default_factory=dict)
    _started_s: float = 0.0
    _draws: dict[str, int] = field(default_factory=dict)

    def execute(self, budget: SearchBudget) -> None:
        """Fills `trials`, `skipped`, and `results`, the out-of-fold predictions by configuration digest."""
        self._started_s = self.hooks.cpu_seconds()
        self._try_defaults(budget)
        self._try_recent(budget)
        repeats = 0
        while len(self.trials) < budget.max_trials and repeats < _MOST_REPEATS:
            drawn = self._draw()
            if drawn is None or not self._fits_in(budget, self._expected_cpu(drawn[0]), _SEARCHED_LEARNERS):
                break
            if self._digest(drawn[0].entry, drawn[1]) in {it.configuration_digest for it in self.trials}:
                repeats += 1
                continue
            self._report(drawn[0], budget)
            self.add(self._evaluate(*drawn, is_default=False))

    def _try_defaults(self, budget: SearchBudget) -> None:
        for candidate in sorted(self.candidates, key=_default_order):
            self._report(candidate, budget)
            needed = candidate.entry.is_baseline or not self.ranking(baselines=False)
            if needed or self._fits_in(budget, self._expected_cpu(candidate)):
                self.add(self._evaluate(candidate, candidate.entry.defaults, is_default=True))
            else:
                detail = "its default would leave too little to test what was tried before"
                self.skipped.append(SkippedModel(candidate.entry.id, SkipReason.BUDGET_EXHAUSTED, detail))

    def _try_recent(self, budget: SearchBudget) -> None:
        bars = self._recent_bars()
        for trial in self.ranking(baselines=False)[:_SEARCHED_LEARNERS] if bars else ():
            candidate = self.candidate(trial.catalogue_id)
            if self._fits_in(budget, trial.cpu_seconds / 2):
                self._report(candidate, budget)
                recent = {**candidate.entry.defaults, TRAINING_BARS: bars}
                self.add(self._evaluate(candidate, recent, is_default=True))

    def _recent_bars(self) -> int:
        """Counts the latest half of the dates before validation; 0 where that is too few to fit on alone."""
        half = len(np.unique(self.data.date[self.folds[0].train])) // 2
        return half if half >= _FEWEST_RECENT_BARS else 0

    def spent_cpu_seconds(self) -> float:
        """Counts the CPU time of this study, with that of trials that were found."""
        return self.hooks.cpu_seconds() - self._started_s

    def add(self, trial: Trial) -> None:
        """Enters a trial."""
        self.trials.append(trial)
        self.hooks.keep_trial(trial)

    def candidate(self, catalogue_id: str) -> Candidate:
        """Returns a candidate by the id of its entry."""
        return next(it for it in self.candidates if it.entry.id == catalogue_id)

    def best(self, catalogue_id: str) -> Trial | None:
        """Returns the better of the champions of a model."""
        return min(self.champions(catalogue_id), key=_rank, default=None)

    def champions(self, catalogue_id: str) -> list[Trial]:
        """Returns what to use of a model: a trial fitted on all dates, and one fitted on the latest only.

        The first of each kind, which has default parameters, holds its place until another is better by a
        standard error over months: a search over noise finds noise.
        """
        champions: dict[bool, Trial] = {}
        for trial in self.trials:
            if trial.catalogue_id != catalogue_id or trial.state is not TrialState.COMPLETE:
                continue
            is_recent = bool(trial.parameters.get(TRAINING_BARS))
            holder = champions.get(is_recent)
            if holder is None or _is_beaten(holder.monthly_losses, trial.monthly_losses):
                champions[is_recent] = trial
        return list(champions.values())

    def ranking(self, *, baselines: bool) -> list[Trial]:
        """Returns the best trial of each baseline or of each other model, best first."""
        ids = [it.entry.id for it in self.candidates if it.entry.is_baseline == baselines]
        return sorted((best for best in map(self.best, ids) if best is not None), key=_rank)

    def fit_cpu_seconds(self, trial: Trial) -> float:
        """Says what one fit of a complete trial took."""
        return trial.cpu_seconds / len(self.folds)

    def _report(self, candidate: Candidate, budget: SearchBudget) -> None:
        finite = [it.objective for it in self.trials if _is_complete(it)]
        total = max(budget.max_trials, len(self.candidates), len(self.trials) + 1)
        self.hooks.report("trials", len(self.trials), total, candidate.entry.id, min(finite, default=None))

    def _fits_in(self, budget: SearchBudget, expected_s: float, learners: int = 1) -> bool:
        """Tells whether as many of the best learners could still be tested after a further trial."""
        best = self.ranking(baselines=False)[:learners]
        kept = [it for one in best for it in self.champions(one.catalogue_id)]
        reserved = sum(self.fit_cpu_seconds(it) for it in kept) * budget.test_fits
        return self.spent_cpu_seconds() + expected_s + reserved <= budget.cpu_seconds

    def _expected_cpu(self, candidate: Candidate) -> float:
        known = self.best(candidate.entry.id)
        if known is not None:
            return known.cpu_seconds
        rows = sum(len(fold.train) for fold in self.folds)
        size = rows / 1e5 * len(self.data.feature_names) / 40
        return _EXPECTED_S[candidate.entry.cost_class] * size

    def _draw(self) -> tuple[Candidate, Parameters] | None:
        ranked = [self.candidate(it.catalogue_id) for it in self.ranking(baselines=False)]
        searched = [it for it in ranked if it.entry.search_space][:_SEARCHED_LEARNERS]
        if not searched:
            return None

        def claim(rank: int) -> int:
            entry = searched[rank].entry
            return (self._draws.get(entry.id, 0) + 1) * (rank + 1) * _DRAWING_COST[entry.cost_class]

        chosen = searched[min(range(len(searched)), key=claim)]
        number = self._draws.get(chosen.entry.id, 0)
        self._draws[chosen.entry.id] = number + 1
        return chosen, self._parameters(chosen.entry, number)

    def _parameters(self, entry: CatalogueEntry, number: int) -> Parameters:
        bars = self._recent_bars()
        spans = {TRAINING_BARS: Choice((0, bars))} if bars else {}
        space = {**entry.search_space, **spans}
        own = [trial for trial in self.trials if trial.catalogue_id == entry.id]
        seen = [
            Observation({TRAINING_BARS: 0, **it.parameters}, it.objective, is_complete=_is_complete(it))
            for it in own
        ]
        drawn = self.sampler(space, seen, self.seed + 7_919 * number)
        if not drawn.get(TRAINING_BARS):
            drawn.pop(TRAINING_BARS, None)
        return {**entry.defaults, **drawn}

    def _evaluate(self, candidate: Candidate, parameters: Parameters, *, is_default: bool) -> Trial:
        digest, number = self._digest(candidate.entry, parameters), len(self.trials) + 1
        found = self.hooks.find_trial(digest)
        if found is not None:
            return replace(found, number=number)
        started = self.hooks.cpu_seconds()
        parts: list[OutOfSample] = []
        state, detail = TrialState.COMPLETE, ""
        try:
            if is_default:
                self.guard(candidate)
            for fold in self.folds:
                parts.append(candidate.test(self.data, fold, parameters, self.seed))
                if not is_default and self._is_behind(candidate, parts):
                    state, detail = TrialState.PRUNED, f"behind after {len(parts)} of {len(self.folds)} folds"
                    break
        except TrialFailedError as error:
            state, detail = TrialState.FAILED, f"{error.reason}: {error.detail}"
        if state is TrialState.COMPLETE:
            self.results[digest] = parts
        trial = Trial(
            number, candidate.entry.id, dict(parameters), self.seed, inf, {}, 0.0, digest, state, detail
        )
        return self._scored(trial, parts, self.hooks.cpu_seconds() - started)

    def _scored(self, trial: Trial, parts: list[OutOfSample], cpu_seconds: float) -> Trial:
        if trial.state is TrialState.FAILED:
            return replace(trial, cpu_seconds=cpu_seconds)
        result = joined(parts)
        return replace(
            trial,
            objective=float(result.losses.mean()),
            metrics=score(result, self.data.target, self.data.horizon_bars),
            cpu_seconds=cpu_seconds,
            monthly_losses=monthly_losses(self.months(), result),
        )

    def _is_behind(self, candidate: Candidate, parts: list[OutOfSample]) -> bool:
        incumbent = self.best(candidate.entry.id)
        if incumbent is None or len(parts) == len(self.folds):
            return False
        return _is_beaten(monthly_losses(self.months(), joined(parts)), incumbent.monthly_losses)

    def months(self) -> Integers:
        """Returns the month of each date, counted from January 1970."""
        times = np.unique(self.data.event_time).astype("datetime64[us]")
        return np.asarray(times.astype("datetime64[M]").astype(np.int64))

    def _digest(self, entry: CatalogueEntry, parameters: Parameters) -> str:
        return canonical_digest(
            {
                "context": self.context_digest,
                "entry": entry.digest,
                "parameters": dict(parameters),
                "seed": self.seed,
            }
        )


def monthly_losses(months: Integers, result: OutOfSample) -> tuple[MonthlyLoss, ...]:
    """Averages losses over the rows of each month; `months` are those of the dates."""
    present, numbers = np.unique(months[result.date], return_inverse=True)
    losses: Floats = np.bincount(numbers, weights=result.losses) / np.bincount(numbers)
    return tuple(MonthlyLoss(int(month), float(loss)) for month, loss in zip(present, losses, strict=True))


def _is_beaten(losses: Sequence[MonthlyLoss], by: Sequence[MonthlyLoss]) -> bool:
    """Tells whether losses are higher by a standard error, over the months that both know."""
    others = {it.month: it.loss for it in by}
    excess = np.array([it.loss - others[it.month] for it in losses if it.month in others])
    return len(excess) > _FEWEST_MONTHS and hac_mean(excess).t_statistic > _BEATEN_T


def _is_complete(trial: Trial) -> bool:
    return trial.state is TrialState.COMPLETE


def _rank(trial: Trial) -> tuple[float, int]:
    return trial.objective, trial.number


def _default_order(candidate: Candidate) -> tuple[bool, float]:
    return not candidate.entry.is_baseline, _EXPECTED_S[candidate.entry.cost_class]
