"""Searches: each default first, then draws around the best learners, pruned by fold, within a CPU budget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np
from mltrainer_models import canonical_digest

from mltrainer_trainer.domain.catalogue import CatalogueEntry, Choice, CostClass, Parameters
from mltrainer_trainer.domain.cpu_budget import EXPECTED_S, MARGIN, Reserve, SearchBudget
from mltrainer_trainer.domain.losses_by_month import is_beaten, monthly_losses
from mltrainer_trainer.domain.metrics import OutOfSample, joined
from mltrainer_trainer.domain.objectives import score
from mltrainer_trainer.domain.sampling import Observation, Sampler
from mltrainer_trainer.domain.search import (
    TRAINING_BARS,
    Candidate,
    Hooks,
    SkippedModel,
    SkipReason,
    Trial,
    TrialFailedError,
    TrialState,
)
from mltrainer_trainer.domain.training_data import Integers, TrainingData
from mltrainer_trainer.domain.walk_forward import Fold

# Markets change: learners are also fitted on the latest half of the dates, where that is as many as this.
_FEWEST_RECENT_BARS = 1_000
_SEARCHED_LEARNERS = 4
_MOST_REPEATS = 20
_TOO_LITTLE_LEFT = "it would leave too little to test what was tried before"
_DRAWING_COST = {
    CostClass.TRIVIAL: 1,
    CostClass.CHEAP: 1,
    CostClass.MODERATE: 2,
    CostClass.EXPENSIVE: 8,
}


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
        repeats, reserve = 0, Reserve(budget, _SEARCHED_LEARNERS)
        while len(self.trials) < budget.max_trials and repeats < _MOST_REPEATS:
            drawn = self._draw()
            if drawn is None or not self._fits_in(reserve, self._expected_cpu(drawn[0])):
                break
            if self._digest(drawn[0].entry, drawn[1]) in {it.configuration_digest for it in self.trials}:
                repeats += 1
                continue
            self._report(drawn[0], budget)
            self.add(self._evaluate(*drawn, reserve, is_default=False))

    def _try_defaults(self, budget: SearchBudget) -> None:
        for candidate in sorted(self.candidates, key=_default_order):
            self._report(candidate, budget)
            needed = candidate.entry.is_baseline or not self.ranking(baselines=False)
            reserve = None if needed else Reserve(budget)
            fits = self._fits_in(reserve, self._expected_cpu(candidate))
            if fits:
                self.add(self._evaluate(candidate, candidate.entry.defaults, reserve, is_default=True))
            if not fits or self.trials[-1].detail == _TOO_LITTLE_LEFT:
                skipped = SkippedModel(candidate.entry.id, SkipReason.BUDGET_EXHAUSTED, _TOO_LITTLE_LEFT)
                self.skipped.append(skipped)

    def _try_recent(self, budget: SearchBudget) -> None:
        bars = self._recent_bars()
        for trial in self.ranking(baselines=False)[:_SEARCHED_LEARNERS] if bars else ():
            candidate = self.candidate(trial.catalogue_id)
            if self._fits_in(Reserve(budget), trial.cpu_seconds / 2):
                self._report(candidate, budget)
                recent = {**candidate.entry.defaults, TRAINING_BARS: bars}
                self.add(self._evaluate(candidate, recent, Reserve(budget), is_default=True))

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
            if holder is None or is_beaten(holder.monthly_losses, trial.monthly_losses):
                champions[is_recent] = trial
        return list(champions.values())

    def ranking(self, *, baselines: bool) -> list[Trial]:
        """Returns the best trial of each baseline or of each other model, best first."""
        ids = [it.entry.id for it in self.candidates if it.entry.is_baseline == baselines]
        return sorted((best for best in map(self.best, ids) if best is not None), key=_rank)

    def fit_cpu_seconds(self, trial: Trial) -> float:
        """Says what one fit of a complete trial took."""
        return trial.cpu_seconds / len(self.folds)

    def reserved_cpu_seconds(self, budget: SearchBudget, chosen: Sequence[Trial]) -> float:
        """Predicts what remains to be paid where these are chosen: baselines are tested beside them."""
        baselines = sum(self.fit_cpu_seconds(it) for it in self.ranking(baselines=True))
        chosen_s = budget.choosing_s(sum(self.fit_cpu_seconds(it) for it in chosen))
        return chosen_s + budget.testing_s(baselines) + budget.closing_s

    def _report(self, candidate: Candidate, budget: SearchBudget) -> None:
        finite = [it.objective for it in self.trials if _is_complete(it)]
        total = max(budget.max_trials, len(self.candidates), len(self.trials) + 1)
        self.hooks.report("trials", len(self.trials), total, candidate.entry.id, min(finite, default=None))

    def _fits_in(self, reserve: Reserve | None, expected_s: float) -> bool:
        """Tells whether the reserve is left after so much more; always where none is asked for."""
        if reserve is None:
            return True
        best = self.ranking(baselines=False)[: reserve.learners]
        kept = [it for one in best for it in self.champions(one.catalogue_id)]
        reserved_s = self.reserved_cpu_seconds(reserve.budget, kept)
        return self.spent_cpu_seconds() + expected_s + reserved_s <= reserve.budget.cpu_seconds

    def _expected_cpu(self, candidate: Candidate) -> float:
        known = self.best(candidate.entry.id)
        if known is not None:
            return known.cpu_seconds
        rows = sum(len(fold.train) for fold in self.folds)
        size = rows / 1e5 * len(self.data.feature_names) / 40
        return EXPECTED_S[candidate.entry.cost_class] * size

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

    def _evaluate(
        self, candidate: Candidate, parameters: Parameters, reserve: Reserve | None, *, is_default: bool
    ) -> Trial:
        """Evaluates a configuration, on fewer folds where it is behind or its further ones cost too much."""
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
            fitting = self.hooks.cpu_seconds()
            for fold in self.folds:
                parts.append(candidate.test(self.data, fold, parameters, self.seed))
                fit_s = (self.hooks.cpu_seconds() - fitting) / len(parts)
                detail = self._why_stopped(candidate, parts, fit_s, reserve, is_default=is_default)
                if detail:
                    state = TrialState.PRUNED
                    break
        except TrialFailedError as error:
            state, detail = TrialState.FAILED, f"{error.reason}: {error.detail}"
        if state is TrialState.COMPLETE:
            self.results[digest] = parts
        trial = Trial(
            number, candidate.entry.id, dict(parameters), self.seed, inf, {}, 0.0, digest, state, detail
        )
        scored = self._scored(trial, parts)
        return replace(scored, cpu_seconds=self.hooks.cpu_seconds() - started)

    def _why_stopped(
        self,
        candidate: Candidate,
        parts: list[OutOfSample],
        fit_s: float,
        reserve: Reserve | None,
        *,
        is_default: bool,
    ) -> str:
        """Says why a trial ends after some of its folds; nothing where it goes on."""
        left = len(self.folds) - len(parts)
        if not is_default and self._is_behind(candidate, parts):
            return f"behind after {len(parts)} of {len(self.folds)} folds"
        if left and not self._fits_in(reserve, MARGIN * left * fit_s):
            return _TOO_LITTLE_LEFT
        return ""

    def _scored(self, trial: Trial, parts: list[OutOfSample]) -> Trial:
        if trial.state is TrialState.FAILED:
            return trial
        result = joined(parts)
        return replace(
            trial,
            objective=float(result.losses.mean()),
            metrics=score(result, self.data.target, self.data.horizon_bars),
            monthly_losses=monthly_losses(self.months(), result),
        )

    def _is_behind(self, candidate: Candidate, parts: list[OutOfSample]) -> bool:
        incumbent = self.best(candidate.entry.id)
        if incumbent is None or len(parts) == len(self.folds):
            return False
        return is_beaten(monthly_losses(self.months(), joined(parts)), incumbent.monthly_losses)

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


def _is_complete(trial: Trial) -> bool:
    return trial.state is TrialState.COMPLETE


def _rank(trial: Trial) -> tuple[float, int]:
    return trial.objective, trial.number


def _default_order(candidate: Candidate) -> tuple[bool, float]:
    return not candidate.entry.is_baseline, EXPECTED_S[candidate.entry.cost_class]
